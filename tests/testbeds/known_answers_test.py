"""Answerers of known skill."""

import numpy as np

from ttc import benchmarks, tasks
from ttc.testbeds import known_answers

ITEMS = [
  tasks.Item(f'{i}', 'question', 'ABCD'[i % 4], {'choices': list('wxyz')})
  for i in range(400)
]


def write(chance, rng, item):
  knows = rng.random() < chance
  letter = item.answer if knows else rng.choice('ABCD')
  return f'First Choice: {letter}\nSecond Choice: {letter}'


def verdicts(items, num_samples=2):
  made = known_answers.verdicts(
    benchmarks.bar_exam(), items, 'half', 0.5, write, num_samples
  )
  return [[v.score for v in row] for row in made]


def test_what_is_drawn_depends_on_name_item_and_sample_only():
  found = verdicts(ITEMS)
  assert verdicts(ITEMS[:7], 1) == [row[:1] for row in found[:7]]
  assert verdicts(ITEMS[::-1]) == found[::-1]


def test_scores_and_parts_are_those_of_the_skill():
  skills = {'knows': 1.0, 'half': 0.5}
  found = known_answers.scored(benchmarks.bar_exam(), ITEMS, skills, write)
  assert found['knows']['score'].mean() == 1
  # A half and a quarter of the other half, within 3.5 standard errors.
  law = 0.625
  error = np.sqrt(law * (1 - law) / len(ITEMS))
  assert abs(found['half']['score'].mean() - law) < 3.5 * error
  np.testing.assert_array_equal(found['half']['duplicates'], 1)
