"""Graders of solutions whose skill is known (MR-GSM8K, 2312.17080).

A grader judges a right solution right with probability `specificity`, finds a
wrong one wrong with `sensitivity`, then names the first wrong step with `step`
and its reason with `reason`, and breaks the form of the answer with `broken`.
So the score that it must get is known in closed form.
"""

import random
from typing import NamedTuple

from ttc import benchmarks, tasks
from ttc.benchmarks import judges
from ttc.benchmarks.benchmark import Verdict
from ttc.benchmarks.mr_gsm8k import matthews


class Skill(NamedTuple):
  """Probabilities of a grader."""

  specificity: float
  sensitivity: float
  step: float
  reason: float
  broken: float = 0.0


SKILLS = {
  'expert': Skill(0.95, 0.9, 0.9, 0.9),
  'careful': Skill(0.8, 0.7, 0.6, 0.5),
  'careless form': Skill(0.95, 0.9, 0.9, 0.9, 0.3),
  'suspicious': Skill(0.2, 0.9, 0.5, 0.5),
  'coin': Skill(0.5, 0.5, 0.25, 0.25),
  'says correct': Skill(1.0, 0.0, 0.0, 0.0),
  'contrary': Skill(0.1, 0.1, 0.5, 0.5),
}
NUM_STEPS = 6  # of a solution


def expected_score(skill: Skill, share_correct: float) -> dict[str, float]:
  """MR-score and its parts in the limit of many items."""
  kept = 1 - skill.broken
  right, wrong = share_correct, 1 - share_correct
  mcc = matthews(
    kept * skill.specificity * right,
    kept * skill.sensitivity * wrong,
    right,
    wrong,
  )
  step = kept * skill.sensitivity * skill.step
  reason = step * skill.reason
  score = 0.2 * max(0.0, mcc) + 0.3 * step + 0.5 * reason
  return {
    'MR-score': score, 'MCC': mcc, 'first error step': step, 'reason': reason,
  }  # fmt: skip


def draw_items(num: int, seed: int) -> list[tasks.Item]:
  """Solutions of which about half are wrong, at a step drawn at random."""
  rng = random.Random(f'known_graders/{seed}')
  items = []
  for i in range(num):
    is_wrong = rng.random() < 0.52
    meta = {
      'solution': 'as taught',
      'steps': [f'step {j}' for j in range(NUM_STEPS)],
      'step': rng.randint(1, NUM_STEPS) if is_wrong else None,
      'reason': 'slips' if is_wrong else '',
      'question_type': rng.choice(('original', 'POT', 'reversed')),
    }
    answer = 'wrong' if is_wrong else 'correct'
    items.append(tasks.Item(f'{seed}/{i}', f'question {i}', answer, meta))
  return items


def grade_as(skill: Skill, item: tasks.Item, seed: int) -> str:
  """What a grader of this skill writes."""
  rng = random.Random(f'{skill}/{seed}/{item.id}')
  happens = lambda chance: rng.random() < chance
  if happens(skill.broken):
    return 'I would say that this is a matter of taste.'
  is_right = happens(
    skill.specificity if item.answer == 'correct' else skill.sensitivity
  )
  if (item.answer == 'correct') == is_right:
    return _form('correct', 'N/A', 'N/A')
  step = item.meta['step'] or rng.randint(1, NUM_STEPS)
  if not happens(skill.step):
    step = step % NUM_STEPS + 1
  return _form('wrong', str(step), 'slips' if happens(skill.reason) else 'luck')


def verdicts(
  skill: Skill, items: list[tasks.Item], seed: int
) -> list[list[Verdict]]:
  """What the benchmark says of a grader, the judge reading reasons."""
  made = benchmarks.mr_gsm8k()
  read = lambda prompt: (
    'Yes.' if prompt.rpartition('Another explanation is:\n')[2].startswith(
      'slips'
    ) else 'No.'
  )  # fmt: skip
  judge = judges.from_function(read)
  return [[made.grade(x, grade_as(skill, x, seed), judge)] for x in items]


def _form(judgement: str, step: str, reason: str) -> str:
  return (
    f'Final Judgement: {judgement}\nFirst Error Step: {step}\nError Analysis: '
    f'{reason}'
  )
