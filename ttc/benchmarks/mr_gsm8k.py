r"""MR-GSM8K: grading a student's solution instead of solving (2312.17080).

Zeng et al., "MR-GSM8K: A Meta-Reasoning Benchmark for Large Language Model
Evaluation". The model says whether a solution is right, where its first error
is and what it is. With the right solutions as positives,

.. math:: \mathrm{MR} = 0.2 \max(0, \mathrm{MCC}) + 0.3\, T_2 + 0.5\, T_3

where :math:`T_2` is the share of wrong solutions whose first wrong step was
named, :math:`T_3` the share of which the reason was also judged right. What
cannot be parsed is an error. The released parser takes whatever contains
"correct" for a judgement of correct unless it is exactly "incorrect"; by
default words are read. `parsers differ` says on how many responses that
matters. Its totals are those of the full set; ours are those of the data. GPT-4
Turbo, no shots: 50.5.
"""

import math
import re
from collections.abc import Mapping, Sequence

from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('uuid'),
  Field('question'),
  Field('ground_truth_solution'),
  Field('ground_truth_answer', object),
  Field('model_output_steps', list, of=str),
  Field('model_output_answer_correctness', allowed=('correct', 'wrong')),
  Field('model_output_solution_correctness', allowed=('correct', 'wrong')),
  Field('model_output_solution_first_error_step', object),  # 3, or 'N/A'
  Field('model_output_solution_first_error_reason', empty=True),
  Field('question_type', allowed=('original', 'POT', 'reversed')),
)
_FORM = re.compile(
  r'Final Judge?ment:(.*?)First Error Step:(.*?)Error Analysis:(.*)',
  re.IGNORECASE | re.DOTALL,
)
_STEP = re.compile(r'\W*(?:step\s*)?(\d+)\b', re.IGNORECASE)


def mr_gsm8k(*, official: bool = False) -> Benchmark:
  """Makes the benchmark.

  Args:
    official: read judgements as the released parser does.
  """
  read = read_released if official else read_words
  return Benchmark(
    name='mr_gsm8k',
    title='MR-GSM8K: A Meta-Reasoning Benchmark for LLM Evaluation',
    paper='2312.17080',
    metric='MR-score',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=lambda item, completion, judge: _grade(item, completion, judge, read),
    aggregate=mr_score,
    categories=lambda item: {
      'question': item.meta['question_type'],
      'solution': item.answer,
    },
    max_new_tokens=512,
  )


def mr_score(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """MR-score, its three parts, and where the two parsers differ."""

  def total(part, which):
    means = (
      sum(v.parts.get(part, 0.0) for v in row) / len(row)
      for item, row in zip(items, verdicts, strict=True)
      if item.answer in which
    )
    return sum(means, 0.0)

  num_wrong = sum(item.answer == 'wrong' for item in items)
  num_correct = len(items) - num_wrong
  mcc = matthews(
    total('judged', ['correct']),
    total('judged', ['wrong']),
    float(num_correct),
    float(num_wrong),
  )
  step, reason = (
    total(part, ['wrong']) / max(num_wrong, 1) for part in ('step', 'reason')
  )
  differ = total('parsers differ', ['correct', 'wrong']) / len(items)
  return {
    'MR-score': 0.2 * max(0.0, mcc) + 0.3 * step + 0.5 * reason,
    'MCC': mcc,
    'first error step': step,
    'reason': reason,
    'parsers differ': differ,
  }


def matthews(
  true_positives: float,
  true_negatives: float,
  num_positives: float,
  num_negatives: float,
) -> float:
  """Matthews' correlation; 0 where it has no value (the source raises)."""
  tp, tn = true_positives, true_negatives
  fp, fn = num_negatives - tn, num_positives - tp
  square = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
  return (tp * tn - fp * fn) / math.sqrt(square) if square > 0 else 0.0


def read_words(said: str) -> str | None:
  """'correct' or 'wrong' by words; None where both or neither are said."""
  text = re.sub(r'\b(?:not|isn\'t|in)[\s-]*correct\b', 'wrong', said.lower())
  found = set(re.findall(r'\b(correct|wrong)\b', text))
  return found.pop() if len(found) == 1 else None


def read_released(said: str) -> str | None:
  """As the released scorer reads: '**incorrect**' is correct."""
  text = said.strip().lower()
  text = 'wrong' if text == 'incorrect' else text
  return next((word for word in ('correct', 'wrong') if word in text), None)


def _to_item(record: Record) -> Item:
  correctness = record['model_output_solution_correctness']
  step = record['model_output_solution_first_error_step']
  match = _STEP.fullmatch(str(step).strip())
  if correctness == 'wrong' and not match:
    raise ValueError(
      f"field 'model_output_solution_first_error_step' is {step!r}; expected "
      'the number of a step, for the solution is wrong'
    )
  meta = {
    'solution': record['ground_truth_solution'],
    'steps': record['model_output_steps'],
    'step': int(match[1]) if match and correctness == 'wrong' else None,
    'reason': record['model_output_solution_first_error_reason'],
    'question_type': record['question_type'],
  }
  return Item(record['uuid'], record['question'], correctness, meta)


def _prompt(item: Item) -> str:
  steps = '\n'.join(
    f'Step {i}: {step}' for i, step in enumerate(item.meta['steps'], start=1)
  )
  return (
    'Below are a question, a reference solution and the solution of a student. '
    'Decide whether the student is right in every step. If not, name the first '
    'wrong step and say what is wrong there.\n\n'
    f'Question:\n{item.question}\n\nReference:\n{item.meta["solution"]}\n\n'
    f'Student:\n{steps}\n\nAnswer in this form:\n'
    'Final Judgement: correct or wrong\n'
    'First Error Step: a number, or N/A\n'
    'Error Analysis: one sentence, or N/A'
  )


def _grade(item, completion, judge, read) -> Verdict:
  match = _FORM.search(reply(completion))
  if not match:
    nothing = {'judged': 0.0, 'parsers differ': 0.0}
    if item.answer == 'wrong':
      nothing |= {'step': 0.0, 'reason': 0.0}
    return Verdict(0.0, None, 'PARSE_ERROR', nothing)
  said, step, reason = (part.strip() for part in match.groups())
  judged = read(said)
  parts = {
    'judged': float(judged == item.answer),
    'parsers differ': float(read_words(said) != read_released(said)),
  }
  if item.answer == 'correct':
    return Verdict(parts['judged'], judged, 'form', parts)
  named = _STEP.match(step)
  is_step = judged == 'wrong' and bool(
    named and int(named[1]) == item.meta['step']
  )
  is_reason = is_step and judges.says(
    judges.ask(judge, _reason_prompt(item, reason)), 'yes'
  )
  parts |= {'step': float(is_step), 'reason': float(is_reason)}
  return Verdict(float(is_reason), f'{judged}, step {step}', 'form', parts)


def _reason_prompt(item: Item, reason: str) -> str:
  return (
    f'A solution of the question\n{item.question}\n\nhas its first error in '
    f'step {item.meta["step"]}. An expert explains it so:\n'
    f'{item.meta["reason"]}\n\nAnother explanation is:\n{reason}\n\nDo both '
    'find the same error? Answer yes or no.'
  )
