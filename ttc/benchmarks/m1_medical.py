r"""m1: medical multiple choice with a budget of thought (2504.00869).

Huang et al., "m1: Unleash the Potential of Test-Time Scaling for Medical
Reasoning with Large Language Models". Accuracy is averaged over questions of a
source, then over sources (MedMCQA, MedQA, PubMedQA, MMLU-Pro, GPQA, ...). Where
an answer is looked for: the last box, whole, behind `=`, or inside `\text{}`;
then behind `## Final Response`: the last `answer is X`, the last letter that
stands alone, and the option whose text comes last.

The released scorer goes on to the later places also where a box is wrong
(`official`); here a box that can be read is the answer. The budget: thought is
ended at `BUDGETS` tokens with `Final Answer:`, and what ends before goes on
with `Wait`, as `ttc.search.budget_forcing` does; answers have 1 024 tokens.
Training questions at least 95% like a test question are left out.
"""

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.benchmarks.text_likeness import ratio
from ttc.tasks import Item, graders

SCHEMA = (
  Field('question'),
  Field('options', dict, of=str),  # {'A': text, ...}
  Field('answer_idx'),
  Field('answer'),
  Field('source'),
  Field('option_str', optional=True),
)
BUDGETS = (128, 256, 512, 1024, 2048, 4096, 8192)  # tokens of thought
ANSWER_TOKENS = 1024
_ANSWER_IS = re.compile(r'answer is\W*([A-Z])(?![A-Za-z])', re.IGNORECASE)
# A letter between marks or blanks; not the article of `A patient`.
_ALONE = re.compile(
  r'(?:^|(?<=[\s(\[*:"\']))(?![AI]\s+[a-z])([A-Z])(?=[\s.,:;)\]*"\']|$)'
  r'(?!\s+[aA]\b)'
)


def m1_medical(official: bool = False) -> Benchmark:
  """Makes the benchmark.

  Args:
    official: a box with a wrong answer is passed over.
  """
  return Benchmark(
    name='m1_medical',
    title='m1: Test-Time Scaling for Medical Reasoning',
    paper='2504.00869',
    metric='macro accuracy',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=lambda item, completion, judge: _grade(
      item, completion, judge, official
    ),
    aggregate=_aggregate,
    categories=lambda item: {'source': item.meta['source']},
    max_new_tokens=ANSWER_TOKENS,
  )


def extract_choice(
  completion: str, options: Mapping[str, str]
) -> list[tuple[str, str]]:
  """Answers that a completion gives, as (letter, where), in order of places.

  Args:
    completion: what the model said, its thought included.
    options: texts by letters.
  """
  text = graders.reply(completion)
  found = []
  if (boxed := graders.last_boxed(text)) is not None:
    found.append((_letter_of(boxed, options), 'boxed'))
  tail = text.rpartition('## Final Response')[2]
  for pattern, where in ((_ANSWER_IS, 'answer is'), (_ALONE, 'letter')):
    letters = [x.upper() for x in pattern.findall(tail)]
    letters = [x for x in letters if x in options]
    if letters:
      found.append((letters[-1], where))
  places = {x: tail.lower().rfind(y.lower()) for x, y in options.items()}
  best = max(places, key=lambda x: (places[x], len(options[x])))
  if places[best] >= 0:
    found.append((best, 'option text'))
  return [x for x in found if x[0]]


def contaminated(
  training: Sequence[str], test: Sequence[str], least: float = 95.0
) -> list[int]:
  """Training questions that are nearly a test question: InDel ratio of 95.

  Cost: a comparison for each pair of about the same length.
  """

  def close(a: str, b: str) -> bool:
    # The ratio is at most that of a text within the other.
    most = 200 * min(len(a), len(b)) / max(len(a) + len(b), 1)
    return most >= least and ratio(a, b) >= least

  return [i for i, a in enumerate(training) if any(close(a, b) for b in test)]


def _letter_of(said: str, options: Mapping[str, str]) -> str:
  r"""The option that a box names; empty if none."""
  inner = re.search(r'\\text\{(.*?)\}', said)
  said = (inner.group(1) if inner else said).rpartition('=')[2].strip(' .$')
  for letter, text in options.items():
    same = {letter.lower(), text.lower().strip(' .')}
    same |= {f'{letter}{mark} {text}'.lower().strip(' .') for mark in '.:)'}
    if said.lower() in same:
      return letter
  alone = re.match(r'\(?([A-Za-z])[).:\s]', said + ' ')
  letter = alone.group(1).upper() if alone else ''
  return letter if letter in options else ''


def _to_item(record: Record) -> Item:
  key, options = record['answer_idx'], record['options']
  if key not in options:
    raise ValueError(
      f"field 'answer_idx' is {key!r}; expected one of {sorted(options)}"
    )
  if options[key].strip() != record['answer'].strip():
    raise ValueError(
      f"field 'answer' is {record['answer'][:60]!r}; expected the option "
      f'{key}, {options[key][:60]!r}'
    )
  checksum = zlib.crc32((record['question'] + str(options)).encode())
  meta = {'options': options, 'source': record['source']}
  return Item(
    f'{record["source"]}-{checksum:08x}', record['question'], key, meta
  )


def _prompt(item: Item) -> str:
  options = item.meta['options'].items()
  lines = ''.join(f'{letter}. {text}\n' for letter, text in options)
  return (
    f'{item.question}\n{lines}\nThink step by step, and put the letter of the '
    'right option in \\boxed{}.'
  )


def _grade(
  item: Item, completion: str, judge: JudgeFn, official: bool
) -> Verdict:
  del judge
  found = extract_choice(completion, item.meta['options'])
  if not found:
    return Verdict(0.0, None, 'none')
  letter, where = found[0]
  if official and where == 'boxed' and letter != item.answer and found[1:]:
    letter, where = found[1]
  return Verdict(float(letter == item.answer), letter, where)


def _aggregate(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  by_source: dict[str, list[float]] = {}
  for item, row in zip(items, verdicts, strict=True):
    mean = float(np.mean([x.score for x in row]))
    by_source.setdefault(item.meta['source'], []).append(mean)
  means = [float(np.mean(x)) for x in by_source.values()]
  return {'macro accuracy': float(np.mean(means))}
