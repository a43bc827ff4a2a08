"""What is true of every benchmark, on records that were written for it.

A benchmark has in `examples` its records (`timeqa.jsonl`, or .csv), completions
with the score and the parts that each must get, one malformed and one truncated
among them (`timeqa.completions.jsonl`: item by number), and, if it asks a
judge, rules by which one replies (`timeqa.judge.jsonl`): the first whose words
are all in the prompt, a reply for each vote.
"""

import csv
import json
import pathlib

import pytest

from ttc import benchmarks
from ttc.benchmarks import judges
from ttc.drivers import benchmark_figures
from ttc.tasks.data_files import read_table

EXAMPLES = pathlib.Path(__file__).parent / 'examples'
NAMES = [factory.__name__ for factory in benchmarks.BENCHMARKS]


def read(name):
  path = EXAMPLES / name
  return [json.loads(x) for x in path.read_text().splitlines()]


def data_of(name):
  csv_path = EXAMPLES / f'{name}.csv'
  return csv_path if csv_path.exists() else EXAMPLES / f'{name}.jsonl'


def judge_of(name):
  path = EXAMPLES / f'{name}.judge.jsonl'
  rules = read(path.name) if path.exists() else []

  def reply(prompt, vote):
    for rule in rules:
      if all(words in prompt for words in rule['if']):
        return rule['replies'][vote % len(rule['replies'])]
    raise AssertionError(f'no rule for {prompt}')

  return lambda prompts, num_votes=1: [
    [reply(prompt, vote) for vote in range(num_votes)] for prompt in prompts
  ]


@pytest.mark.parametrize('name', NAMES)
def test_scores_are_those_written_beside(name):
  made = benchmarks.find(name)
  items = made.load(data_of(name))
  judge, rows = judge_of(name), read(f'{name}.completions.jsonl')
  verdicts = [[] for _ in items]
  for row in rows:
    found = made.grade(items[row['item']], row['completion'], judge)
    where = f'{row}: {found}'
    assert found.score == pytest.approx(row['score'], abs=1e-9), where
    for part, value in row.get('parts', {}).items():
      assert found.parts[part] == pytest.approx(value, abs=1e-9), where
    verdicts[row['item']].append(found)
  notes = ' '.join(row.get('note', '') for row in rows)
  assert 'malformed' in notes and 'truncated' in notes
  assert 0 < sum(row['score'] for row in rows) < len(rows)
  graded = benchmark_figures.Graded(
    items, [row or [benchmarks.MISSING] for row in verdicts]
  )
  figures = benchmark_figures.figures(made, graded, 10)
  assert next(iter(figures)) == made.metric
  for figure in figures.values():
    assert figure.low <= figure.high or figure.low != figure.low


@pytest.mark.parametrize('name', NAMES)
def test_items_and_prompts(name):
  made = benchmarks.find(name)
  items = made.load(data_of(name))
  assert len(items) >= 5
  assert made.name == name and made.title and made.paper
  assert len({item.id for item in items}) == len(items)
  for item in items:
    assert item.question.strip() in made.prompt(item)
    assert all(isinstance(x, str) for x in made.categories(item).values())
    assert made.cluster is None or made.cluster(item)
    # What a grader meets first when a model is broken.
    for completion in ('', '\x00\ud800', '{' * 3000, '<think>', '|' * 99):
      found = made.grade(item, completion, judges.from_function(lambda p: 'no'))
      assert 0 <= found.score <= 1
  # The same under the quirks of the released scorer.
  official = benchmarks.find(name, official=True)
  assert [official.prompt(x) for x in official.load(data_of(name))] == [
    made.prompt(x) for x in items
  ]


@pytest.mark.parametrize('name', NAMES)
def test_what_is_wrong_with_a_record_is_said(name, tmp_path):
  made = benchmarks.find(name)
  records = read_table(data_of(name))
  path = tmp_path / f'bad{data_of(name).suffix}'

  def refuses(bad, says):
    if path.suffix == '.csv':
      with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, bad[-1])
        writer.writeheader()
        writer.writerows({k: x.get(k) for k in bad[-1]} for x in bad)
    else:
      path.write_text(''.join(json.dumps(x) + '\n' for x in bad))
    with pytest.raises(ValueError, match='bad') as caught:
      made.load(path)
    message = str(caught.value)
    assert says in message and '\n' not in message, message

  refuses([records[0], records[1], records[0]], 'that of an earlier record')
  for field in made.schema:
    if not field.optional:
      without = {k: x for k, x in records[0].items() if k != field.name}
      refuses([without], f'field {field.name!r} is missing')
    if field.kind is not object and path.suffix != '.csv':
      refuses([{**records[0], field.name: 1.5}], f'field {field.name!r} is 1.5')
    if field.allowed:
      refuses([{**records[0], field.name: '?'}], f"field {field.name!r} is '?'")
  refuses([{'idx': 1, 'colour': 'red'}], 'is missing; expected')


def test_the_list_shows_all():
  from ttc.drivers.benchmark import list_benchmarks

  table = list_benchmarks()
  for name in NAMES:
    assert f'| {name} | ' in table
