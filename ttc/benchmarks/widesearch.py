r"""WideSearch: filling tables with what has to be searched for (2508.07999).

Wong et al., "WideSearch: Benchmarking Agentic Broad Info-Seeking". A response
is a Markdown table. Rows are joined with the gold table on the key columns;
each other cell is scored by the metric of its column, a row by its worst cell:

.. math:: P_{row} = \sum s_{row} / |rows\ said|, \quad
    R_{row} = \sum s_{row} / |rows\ wanted|

and likewise for single cells. Success is a whole table right. Of the samples of
an item mean, largest and least are reported, then means over items. The gold
table is the CSV file of the instance, beside the queries in `widesearch_gold`,
or a field `gold` with its text. Live search is not done here.
"""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from ttc.benchmarks import tables
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item
from ttc.tasks.data_files import shorten
from ttc.tasks.graders import reply

SCHEMA = (
  Field('instance_id'),
  Field('query'),
  Field('language', allowed=('en', 'zh')),
  Field('evaluation', dict),
  Field('gold', optional=True),
)
_PARTS = ('row F1', 'item F1', 'row precision', 'row recall',
          'item precision', 'item recall')  # fmt: skip


def widesearch(*, official: bool = False) -> Benchmark:
  """Makes the benchmark.

  Args:
    official: two dates that cannot be read are near each other.
  """

  def load(path):
    folder = pathlib.Path(path).parent / 'widesearch_gold'
    return from_records(SCHEMA, lambda record: _to_item(record, folder))(path)

  return Benchmark(
    name='widesearch',
    title='WideSearch: Benchmarking Agentic Broad Info-Seeking',
    paper='2508.07999',
    metric='success',
    schema=SCHEMA,
    load=load,
    prompt=lambda item: item.question,
    grade=lambda item, completion, judge: _grade(
      item, completion, judge, official
    ),
    aggregate=over_trials,
    categories=lambda item: {'language': item.meta['language']},
    max_new_tokens=8192,
  )


def over_trials(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Means over items of the mean, largest and least of their samples."""
  found = {}
  for name in ('success', *_PARTS):
    rows = [[v.parts.get(name, 0.0) for v in row] for row in verdicts]
    found[name] = sum(sum(row) / len(row) for row in rows) / len(rows)
    if name in ('success', 'row F1', 'item F1'):
      found[f'{name}, best'] = sum(map(max, rows)) / len(rows)
      found[f'{name}, worst'] = sum(map(min, rows)) / len(rows)
  return found


def _to_item(record: Record, folder: pathlib.Path) -> Item:
  rules = record['evaluation']
  for name, kind in (
    ('required', list),
    ('unique_columns', list),
    ('eval_pipeline', dict),
  ):
    if not isinstance(rules.get(name), kind) or not rules[name]:
      raise ValueError(
        f"field 'evaluation' has {name}={rules.get(name)!r}; expected a "
        f'{kind.__name__} that is not empty'
      )
  text = record.get('gold')
  path = folder / f'{record["instance_id"]}.csv'
  if text is None:
    if not path.is_file():
      raise ValueError(f"there is neither a field 'gold' nor a file {path}")
    try:
      text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
      raise ValueError(f'{path}: not UTF-8: {error.reason}') from None
  rows = _gold_rows(text)
  for name in ('required', 'unique_columns'):
    if not all(isinstance(x, str) for x in rules[name]):
      raise ValueError(
        f"field 'evaluation' has {name}={rules[name]!r}; expected names"
      )
  required = [tables.column(name) for name in rules['required']]
  if not rows or not set(required) <= set(rows[0]):
    raise ValueError(
      f'the gold table has columns {sorted(rows[0]) if rows else []}; expected '
      f'{required}'
    )
  keys = [tables.column(name) for name in rules['unique_columns']]
  if not set(keys) <= set(required):
    raise ValueError(
      f"field 'evaluation' has unique_columns={rules['unique_columns']!r}; "
      'expected some of those required'
    )
  pipeline = {
    tables.column(name): rule for name, rule in rules['eval_pipeline'].items()
  }
  for name, rule in pipeline.items():
    _check_rule(name, rule)
  meta: dict[str, Any] = {'rows': rows, 'required': required, 'keys': keys}
  meta |= {'pipeline': pipeline, 'language': record['language']}
  return Item(record['instance_id'], record['query'], text, meta)


def _gold_rows(text: str) -> list[tables.Row]:
  """Rows of the gold table, as many cells each as there are columns."""
  try:
    found = list(csv.DictReader(io.StringIO(text, newline='')))
  except csv.Error as error:
    raise ValueError(f'the gold table is not CSV: {error}') from None
  for number, row in enumerate(found, start=1):
    if None in row or None in row.values():
      raise ValueError(
        f'row {number} of the gold table has {shorten([*row.values()])}; '
        f'expected {len([k for k in row if k is not None])} cells'
      )
  return [{tables.column(k): v for k, v in row.items()} for row in found]


def _check_rule(name: str, rule: Any) -> None:
  """Refuses a rule of a column with steps or metrics that there are not."""
  if not isinstance(rule, dict):
    raise ValueError(
      f"field 'evaluation' has {shorten(rule)} for column {name!r}; expected "
      'an object with metric, preprocess or criterion'
    )
  for field, allowed in (
    ('metric', sorted(tables.METRICS)),
    ('preprocess', list(tables.PREPROCESSORS)),
  ):
    said = rule.get(field, [])
    for value in said if isinstance(said, list) else [said]:
      if value not in allowed or not isinstance(said, list):
        raise ValueError(
          f"field 'evaluation' has {field} {value!r} of column {name!r}; "
          f'expected a list of {allowed}'
        )


def _grade(
  item: Item, completion: str, judge: JudgeFn, official: bool
) -> Verdict:
  nothing: dict[str, float] = dict.fromkeys(('success', *_PARTS), 0.0)
  said = tables.read_markdown(reply(completion))
  if not said:
    return Verdict(0.0, None, 'no table', nothing)
  meta = item.meta
  said = _rename(said, meta['required'], judge)
  if said is None:
    return Verdict(0.0, None, 'other columns', nothing)
  wanted = tables.unique(meta['rows'], meta['keys'])
  found = tables.unique(said, meta['keys'])
  found = _gold_spelling(wanted, found, meta, judge)
  columns = [
    (name, meta['pipeline'].get(name, {}))
    for name in meta['required']
    if name not in meta['keys']
  ]
  by_key = {tuple(row[k] for k in meta['keys']): row for row in wanted}
  pairs = [(by_key.get(tuple(x[k] for k in meta['keys'])), x) for x in found]
  pairs = [(gold, row) for gold, row in pairs if gold is not None]
  _ask_at_once(pairs, columns, judge)
  rows, cells = 0.0, 0.0
  for gold, row in pairs:
    scores = [
      tables.score_cell(rule, gold[name], row[name], judge, official=official)
      for name, rule in columns
    ]
    rows += min(scores, default=1.0)
    cells += sum(scores) + len(meta['keys'])
  width = len(meta['required'])
  parts = {}
  for name, total, size in (('row', rows, 1), ('item', cells, width)):
    precision = total / (size * len(found))
    recall = total / (size * len(wanted))
    both = precision + recall
    parts[f'{name} precision'], parts[f'{name} recall'] = precision, recall
    parts[f'{name} F1'] = 2 * precision * recall / both if both else 0.0
  success = float(all(parts[name] >= 1.0 for name in _PARTS))
  parts['success'] = success
  shown = f'{len(found)} rows'
  return Verdict(success, shown, f'{rows:g} of {len(wanted)} rows', parts)


def _ask_at_once(pairs, columns, judge: JudgeFn) -> None:
  """Asks for all cells that a judge compares, before each is scored."""
  prompts = [
    tables.cell_prompt(rule, gold[name], row[name])
    for gold, row in pairs
    for name, rule in columns
    if 'llm_judge' in rule.get('metric', ())
  ]
  if prompts:
    judge(prompts)


def _rename(said, required, judge):
  """The rows under the gold names of their columns; None if they do not fit."""
  names = list(said[0])
  if set(names) == set(required):
    return said
  if len(names) != len(required):
    return None
  prompt = (
    f'Columns of a table: {", ".join(names)}.\nColumns that are wanted: '
    f'{", ".join(required)}.\nName, in the order of the first and separated by '
    'commas, the wanted column that each of them is. If they do not match, '
    'reply "none".'
  )
  reply_ = judge([prompt])[0][0]
  renamed = [tables.column(name) for name in reply_.split(',')]
  if sorted(renamed) != sorted(required):
    return None
  return [dict(zip(renamed, row.values(), strict=True)) for row in said]


def _gold_spelling(wanted, found, meta, judge):
  """Keys as the gold table spells them, where the judge says they are same."""
  for key in meta['keys']:
    rule = meta['pipeline'].get(key, {})
    wanted_values = {tables.prepare(rule, row[key]): row[key] for row in wanted}
    spelling = {}
    for row in found:
      value = row[key]
      prepared = tables.prepare(rule, value)
      if prepared in wanted_values:
        spelling[value] = wanted_values[prepared]
    open_ = [row[key] for row in found if row[key] not in spelling]
    open_ = list(dict.fromkeys(open_))
    free = [v for v in wanted_values.values() if v not in spelling.values()]
    metrics = set(rule.get('metric', ['exact_match']))
    if open_ and free and metrics & {'exact_match', 'llm_judge'}:
      prompts = [
        f'Which of these is another spelling of {value!r} as a {key}: '
        f'{"; ".join(free)}? Reply with it as it stands there, or with "none".'
        for value in open_
      ]
      for value, (answer,) in zip(open_, judge(prompts), strict=True):
        if answer.strip() in free:
          spelling[value] = answer.strip()
    found = [{**row, key: spelling.get(row[key], row[key])} for row in found]
  return tables.unique(found, meta['keys'])
