r"""The multistate bar exam with ranked choices (2212.14402).

Bommarito and Katz, "GPT Takes the Bar Exam". The model ranks three of four
options; correct@k says that the right one is among its first k, by chance k/4.
A response without a ranking is wrong at all three. The questions are the
examiners' own: a local CSV file is read. `SETTINGS` is the published grid, with
16 new tokens and 3 samples each; its best prompt reached 50.3, 71 and 88%.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item
from ttc.tasks.graders import reply

LETTERS = 'ABCD'
SCHEMA = (
  Field('question_category'),
  Field('question_number', object),
  Field('question_prompt'),
  *(Field(f'choice_{letter}') for letter in 'abcd'),
  Field('answer', allowed=tuple(LETTERS)),
)
# Temperature, top-p and best-of of the paper's runs.
SETTINGS = tuple(itertools.product((0.0, 0.5, 1.0), (0.75, 1.0), (1, 2, 4)))
_PLACES = ('first', 'second', 'third')


def bar_exam() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='bar_exam',
    title='GPT Takes the Bar Exam',
    paper='2212.14402',
    metric='correct@1',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    categories=lambda item: {'category': item.meta['category']},
    max_new_tokens=16,
    grades_cut=True,  # 16 tokens are the protocol
  )


def parse_ranking(completion: str) -> list[str | None]:
  """First, second and third choice; None for a line that is not there."""
  found: list[str | None] = [None] * 3
  for line in completion.splitlines():
    words = line.strip().split()
    for i, place in enumerate(_PLACES):
      if words and words[0].lower().startswith(place) and found[i] is None:
        letter = words[-1].translate(str.maketrans('', '', '().')).upper()
        found[i] = letter if letter in LETTERS and len(letter) == 1 else None
  return found


def correct_within(gold: str, ranking: Sequence[str | None]) -> list[float]:
  """correct@1, @2 and @3."""
  return [float(gold in ranking[:k]) for k in (1, 2, 3)]


def rank_options(log_likelihoods: np.ndarray) -> list[str]:
  """Letters of the options, the likeliest first; ties go to the earlier."""
  order = np.argsort(-np.asarray(log_likelihoods), kind='stable')
  return [LETTERS[i] for i in order]


def _to_item(record: Record) -> Item:
  options = [record[f'choice_{letter.lower()}'] for letter in LETTERS]
  meta = {'category': record['question_category'], 'options': options}
  key = f'{record["question_category"]}/{record["question_number"]}'
  return Item(key, record['question_prompt'], record['answer'], meta)


def _prompt(item: Item) -> str:
  options = '\n'.join(
    f'({letter}) {text}'
    for letter, text in zip(LETTERS, item.meta['options'], strict=True)
  )
  return (
    'Answer this question of the bar exam with the letters of the three '
    'choices that you think best, in their order.\n\n'
    f'Question: {item.question}\n{options}\n\n'
    'Answer in this form:\nFirst Choice: <letter>\nSecond Choice: <letter>\n'
    'Third Choice: <letter>'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  ranking = parse_ranking(reply(completion))
  first, second, third = correct_within(item.answer, ranking)
  named = [letter for letter in ranking if letter]
  parts = {
    'correct@2': second,
    'correct@3': third,
    'duplicates': float(len(set(named)) < len(named)),
  }
  detail = 'ranking' if named else 'no ranking'
  return Verdict(first, ''.join(named) or None, detail, parts)
