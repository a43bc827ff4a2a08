"""Quicker and Q2CRBench-3: from a clinical question to a recommendation.

"Quicker: Towards Evidence-Based Clinical Recommendations with LLMs", 2025,
arXiv 2505.10282. Five phases have a metric each (from memory): the question is
taken apart (population, intervention, comparison, outcomes), studies are
searched for, candidates screened, evidence assessed, and a recommendation made.
A phase is a function, a language model's or another's; `run_phases` gives every
phase the true results of those before it, or, end to end, the results of the
run. As a `Benchmark` a record is one item for each thing that a model is asked.

No claim about care is made. Live search is not done: candidates are the
record's.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.quicker import metrics
from ttc.benchmarks.quicker.bm25 import bm25_index, bm25_scores
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import exact_match
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('question_id'),
  Field('disease'),
  Field('question'),
  Field('pico', dict),  # P, I, C: texts; O: list of texts
  Field('included_ids', list, of=str),
  Field('candidates', list, of=dict),  # id, title, abstract, label
  Field('assessments', list, of=dict),  # item, evidence, label
  Field('recommendation', dict),  # text, direction, strength, certainty
)
_FIGURES = (
  'screening sensitivity',
  'screening specificity',
  'screening kappa',
  'pico f1',
  'pico recall',
  'assessment accuracy',
  'direction',
  'strength',
)
DIRECTIONS, STRENGTHS = ('for', 'against'), ('strong', 'conditional')
_YES = re.compile(r'\b(include|yes|exclude|no)\b', re.IGNORECASE)


class Phases(NamedTuple):
  """A system: a function for each phase."""

  decompose: Callable[[Record], Mapping[str, Any]]  # P, I, C, O
  # Candidates' ids for a question that was taken apart.
  search: Callable[[Mapping[str, Any], Sequence[Record]], Sequence[str]]
  screen: Callable[[Mapping[str, Any], Record], bool]
  assess: Callable[[Record], str]  # the label of an assessment
  # direction and strength, from the studies that are included
  recommend: Callable[[Record, Sequence[Record]], Mapping[str, str]]


def bm25_search(
  pico: Mapping[str, Any], candidates: Sequence[Record], count: int = 20
) -> list[str]:
  """The candidates that fit a question best; those without a word of it not."""
  index = bm25_index([f'{x["title"]} {x["abstract"]}' for x in candidates])
  query = ' '.join([pico['P'], pico['I'], pico['C'], *pico['O']])
  scores = bm25_scores(index, query)
  order = np.argsort(-scores, kind='stable')[:count]
  return [candidates[i]['id'] for i in order if scores[i] > 0]


def run_phases(
  record: Record,
  phases: Phases,
  end_to_end: bool = False,
  matches: Callable[[str, str], bool] = lambda a, b: exact_match(a, b) == 1,
) -> dict[str, float]:
  """The figures of a system on one question.

  Args:
    record: of the schema.
    phases: the system.
    end_to_end: each phase goes on from what the one before it has found.
    matches: whether two parts of a question say the same.
  """
  said = phases.decompose(record)
  pico = said if end_to_end else record['pico']
  parts = _pico_counts(said, record['pico'], matches)
  candidates = list(record['candidates'])
  found = list(phases.search(pico, candidates))
  searched = metrics.retrieval(found, record['included_ids'])
  seen = (
    [x for x in candidates if x['id'] in found] if end_to_end else candidates
  )
  kept = [bool(phases.screen(pico, x)) for x in seen]
  screened = metrics.screening(kept, [bool(x['label']) for x in seen])
  studies = [x for x, keep in zip(seen, kept, strict=True) if keep]
  if not end_to_end:
    studies = [x for x in candidates if x['id'] in record['included_ids']]
  labels = [phases.assess(x) for x in record['assessments']]
  truth = [x['label'] for x in record['assessments']]
  advice, gold = phases.recommend(record, studies), record['recommendation']
  figures = {
    'pico precision': parts.precision,
    'pico recall': parts.sensitivity,
    'pico f1': parts.f1,
    'search sensitivity': searched.sensitivity,
    'search precision': searched.precision,
    'number needed to read': searched.number_needed_to_read,
    'screening sensitivity': screened.sensitivity,
    'screening specificity': screened.specificity,
    'screening f1': screened.f1,
    'direction': float(advice['direction'] == gold['direction']),
    'strength': float(advice['strength'] == gold['strength']),
  }
  if seen:
    figures['screening kappa'] = metrics.cohen_kappa(
      kept, [bool(x['label']) for x in seen]
    )
  if labels:
    agree = [a == b for a, b in zip(labels, truth, strict=True)]
    figures['assessment accuracy'] = float(np.mean(agree))
    figures['assessment kappa'] = metrics.cohen_kappa(labels, truth)
  return figures


def summarize(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
  """Means over questions, of each figure over those where there is one."""
  names = dict.fromkeys(name for row in rows for name in row)
  values = lambda name: [
    x[name] for x in rows if np.isfinite(x.get(name, np.nan))
  ]
  return {name: float(np.mean(values(name))) for name in names if values(name)}


def quicker() -> Benchmark:
  """Makes the benchmark of single questions; a cluster is a record."""
  return Benchmark(
    name='quicker',
    title='Quicker: Evidence-Based Clinical Recommendations with LLMs',
    paper='2505.10282',
    metric='screening f1',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_items),
    prompt=_prompt,
    grade=_grade,
    aggregate=_aggregate,
    cluster=lambda item: item.meta['record'],
    categories=lambda item: {'phase': item.meta['phase']},
    max_new_tokens=256,
  )


def _pico_counts(said, truth, matches) -> metrics.Counts:
  """Parts of a question, each matched with the same part; outcomes as a set."""
  lists = lambda pico: {
    name: [x for x in _as_list(pico.get(name)) if x] for name in 'PICO'
  }
  ours, theirs = lists(said), lists(truth)
  each = [metrics.set_overlap(ours[x], theirs[x], matches) for x in 'PICO']
  return metrics.Counts(*(sum(column) for column in zip(*each, strict=True)))


def _as_list(value: Any) -> list[str]:
  return list(value) if isinstance(value, list | tuple) else [value or '']


def _to_items(record: Record) -> list[Item]:
  _check(record)
  key, pico = record['question_id'], record['pico']
  meta = {'record': key, 'disease': record['disease'], 'pico': pico}
  make = lambda name, phase, question, answer: Item(
    f'{key}/{name}', question, answer, meta | {'phase': phase}
  )
  items = [make('pico', 'decomposition', record['question'], '')]
  for x in record['candidates']:
    text = f'{x["title"]}\n{x["abstract"]}'
    answer = 'include' if x['label'] else 'exclude'
    items.append(make(f'screen/{x["id"]}', 'screening', text, answer))
  for i, x in enumerate(record['assessments']):
    text = f'{x["item"]}\n{x["evidence"]}'
    items.append(make(f'assess/{i}', 'assessment', text, x['label']))
  gold = record['recommendation']
  answer = f'{gold["direction"]}, {gold["strength"]}'
  return [
    *items,
    make('recommend', 'recommendation', record['question'], answer),
  ]


def _check(record: Record) -> None:
  """What the schema does not say."""
  pico = record['pico']
  if not all(isinstance(pico.get(x), str) for x in 'PIC') or not isinstance(
    pico.get('O'), list
  ):
    raise ValueError(
      "field 'pico' needs the texts P, I and C and the list O; found "
      f'{sorted(pico)}'
    )
  for field, names in (
    ('candidates', ('id', 'title', 'abstract', 'label')),
    ('assessments', ('item', 'evidence', 'label')),
  ):
    for x in record[field]:
      if not set(names) <= set(x):
        raise ValueError(f'field {field!r} has {sorted(x)}; expected {names}')
  for x in record['candidates']:
    if x['label'] not in (0, 1):
      raise ValueError(
        f"field 'candidates' has the label {x['label']!r}; expected true or "
        'false, 1 or 0'
      )
  ids = {x['id'] for x in record['candidates']}
  if lost := sorted(set(record['included_ids']) - ids):
    raise ValueError(f"field 'included_ids' has {lost[0]!r}, no candidate's id")
  gold = record['recommendation']
  for name, allowed in (('direction', DIRECTIONS), ('strength', STRENGTHS)):
    if gold.get(name) not in allowed:
      raise ValueError(
        f"field 'recommendation' has the {name} {gold.get(name)!r}; expected "
        f'one of {allowed}'
      )


def _prompt(item: Item) -> str:
  pico, phase = item.meta['pico'], item.meta['phase']
  if phase == 'decomposition':
    return (
      f'{item.question}\n\nTake the question apart. Answer with four lines, '
      'P: population, I: intervention, C: comparison, O: outcomes, with '
      'semicolons between outcomes.'
    )
  if phase == 'screening':
    return (
      f'P: {pico["P"]}\nI: {pico["I"]}\nC: {pico["C"]}\nO: '
      f'{"; ".join(pico["O"])}\n\n{item.question}\n\nShould this study be '
      'included? Answer include or exclude.'
    )
  if phase == 'assessment':
    return f'{item.question}\n\nAnswer with the label alone.'
  return (
    f'{item.question}\n\nRecommend for or against the intervention, strongly '
    'or conditionally. Answer with two words, such as "for, conditional".'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  said, phase = reply(completion).strip(), item.meta['phase']
  if phase == 'decomposition':
    found = dict(re.findall(r'^\W*([PICO])\W*:\s*(.*)$', said, re.MULTILINE))
    parsed = {**found, 'O': [x.strip() for x in found.get('O', '').split(';')]}
    counts = _pico_counts(
      parsed, item.meta['pico'], lambda a, b: exact_match(a, b) == 1
    )
    f1 = counts.f1
    return Verdict(f1, said, 'pico', {'pico f1': f1, 'pico recall':
                                     counts.sensitivity})  # fmt: skip
  if phase == 'screening':
    words = _YES.findall(said.lower())
    keep = bool(words) and words[-1] in ('include', 'yes')
    right = keep == (item.answer == 'include')
    score = float(right and bool(words))
    return Verdict(score, 'include' if keep else 'exclude', 'screening')
  if phase == 'assessment':
    score = exact_match(item.answer, said)
    return Verdict(score, said, 'assessment', {'assessment accuracy': score})
  words = re.findall(r'\w+', said.lower())
  direction = [x for x in words if x in DIRECTIONS]
  strength = [x for x in words if x in STRENGTHS]
  gold = item.answer.split(', ')
  parts = {
    'direction': float(direction[-1:] == gold[:1]),
    'strength': float(strength[-1:] == gold[1:]),
  }
  return Verdict(min(parts.values()), said, 'recommendation', parts)


def _aggregate(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Screening over all candidates; the parts as means over their items."""
  parts: dict[str, list[float]] = {}
  said: list[bool] = []
  truth: list[bool] = []
  for item, row in zip(items, verdicts, strict=True):
    for verdict in row:
      for name, value in verdict.parts.items():
        parts.setdefault(name, []).append(value)
      if item.meta['phase'] == 'screening':
        truth.append(item.answer == 'include')
        # Without a decision it is wrong, whatever would be right.
        is_right = verdict.score == 1
        said.append(truth[-1] if is_right else not truth[-1])
  # The same names always, for resamples of items; NaN where there are none.
  figures = {'screening f1': math.nan, **dict.fromkeys(_FIGURES, math.nan)}
  figures |= {name: float(np.mean(values)) for name, values in parts.items()}
  if truth:
    counts = metrics.screening(said, truth)
    figures |= {
      'screening f1': counts.f1,
      'screening sensitivity': counts.sensitivity,
      'screening specificity': counts.specificity,
      'screening kappa': metrics.cohen_kappa(said, truth),
    }
  return figures
