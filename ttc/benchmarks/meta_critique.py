r"""MetaCritique: is a critique true, and is it complete (2401.04518)?

Sun et al., "The Critique of Critique". A critique and the reference critique
are taken apart into atomic units. With `p` the share of its units that are true
and `r` the share of the reference's units that follow from its text alone,

.. math:: F_1 = \frac{2}{1/p + 1/r}, \quad 0 \text{ if } p = 0 \text{ or } r = 0

Corpus figures are means over critiques, so meta-F1 is not the harmonic mean of
meta-precision and meta-recall. Of no units `p` is 0; of no units in the
reference `r` is 1, and a part says so (the source divides by zero). The judge
takes apart and decides; `meta_critique_match` splits sentences and looks for
their words. Published meta-F1: AUTO-J 71.14, GPT-3.5 68.72, people 64.02.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_overlap import normalize
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('id', object),
  Field('question'),
  Field('response'),
  Field('reference_answer'),
  Field('reference_critique', empty=True),
)


class Backend(NamedTuple):
  """Who takes apart and decides.

  Attributes:
    extract: `(text, judge) -> units`.
    are_true: `(item, units, judge)`, whether each is.
    entails: `(item, critique, units, judge)`, whether each follows from it.
  """

  extract: Callable[[str, JudgeFn], list[str]]
  are_true: Callable[[Item, Sequence[str], JudgeFn], list[bool]]
  entails: Callable[[Item, str, Sequence[str], JudgeFn], list[bool]]


def meta_critique() -> Benchmark:
  """Makes the benchmark with a judge."""
  backend = Backend(_ask_units, _ask_true, _ask_entailed)
  return _benchmark('meta_critique', backend)


def meta_critique_match() -> Benchmark:
  """Makes the benchmark that goes by words."""

  def are_true(item, units, judge):
    del judge
    known = f'{item.meta["critique"]} {item.meta["reference_answer"]}'
    return _contained(known, units)

  def entails(item, critique, units, judge):
    del item, judge
    return _contained(critique, units)

  extract = lambda text, judge: split_sentences(text)
  return _benchmark('meta_critique_match', Backend(extract, are_true, entails))


def _benchmark(name: str, backend: Backend) -> Benchmark:
  return Benchmark(
    name=name,
    title='The Critique of Critique',
    paper='2401.04518',
    metric='meta-F1',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=lambda item, completion, judge: _grade(
      item, completion, judge, backend
    ),
    max_new_tokens=512,
  )


def harmonic_mean(precision: float, recall: float) -> float:
  """F1; 0 if either is 0."""
  if not precision or not recall:
    return 0.0
  return 2 / (1 / precision + 1 / recall)


def split_sentences(text: str) -> list[str]:
  """Sentences and lines, without marks of lists."""
  parts = re.split(r'(?<=[.!?])\s+|\n+', text)
  parts = [re.sub(r'^\s*(?:[-*]|\d+[.)])\s*', '', part) for part in parts]
  return [part.strip() for part in parts if normalize(part)]


def _to_item(record: Record) -> Item:
  meta = {
    'response': record['response'],
    'reference_answer': record['reference_answer'],
    'critique': record['reference_critique'],
  }
  return Item(
    str(record['id']), record['question'], record['reference_critique'], meta
  )


def _prompt(item: Item) -> str:
  return (
    f'Question:\n{item.question}\n\nAnswer:\n{item.meta["response"]}\n\n'
    'Write a critique of this answer: what is wrong, what is missing, what is '
    'good. One point a sentence.'
  )


def _grade(item, completion, judge, backend) -> Verdict:
  critique = reply(completion).strip()
  units = backend.extract(critique, judge) if critique else []
  wanted = backend.extract(item.answer, judge) if item.answer.strip() else []
  true = backend.are_true(item, units, judge) if units else []
  found = (
    backend.entails(item, critique, wanted, judge) if wanted and units else []
  )
  precision = sum(true) / len(units) if units else 0.0
  recall = sum(found) / len(wanted) if wanted else 1.0
  both = harmonic_mean(precision, recall)
  parts = {
    'meta-precision': precision,
    'meta-recall': recall,
    'no reference units': float(not wanted),
  }
  detail = (
    f'{sum(true)} of {len(units)} true, {sum(found)} of {len(wanted)} said'
  )
  return Verdict(both, critique or None, detail, parts)


def _contained(text: str, units: Sequence[str]) -> list[bool]:
  text = f' {normalize(text)} '
  return [f' {normalize(unit)} ' in text for unit in units]


def _ask_units(text: str, judge: JudgeFn) -> list[str]:
  prompt = (
    'Take this critique apart into its smallest statements, one a line and '
    f'each understood alone:\n\n{text}'
  )
  return split_sentences(judges.ask(judge, prompt))


def _ask_true(item: Item, units: Sequence[str], judge: JudgeFn) -> list[bool]:
  prompts = [
    f'Question:\n{item.question}\n\nAnswer:\n{item.meta["response"]}\n\n'
    f'Reference answer:\n{item.meta["reference_answer"]}\n\nIs this statement '
    f'about the answer true: "{unit}"? Answer yes or no.'
    for unit in units
  ]
  return [judges.says(row[0], 'yes') for row in judge(prompts)]


def _ask_entailed(
  item: Item, critique: str, units: Sequence[str], judge: JudgeFn
) -> list[bool]:
  del item
  prompts = [
    f'Critique:\n{critique}\n\nDoes it follow from this critique alone that '
    f'"{unit}"? Answer yes or no.'
    for unit in units
  ]
  return [judges.says(row[0], 'yes') for row in judge(prompts)]
