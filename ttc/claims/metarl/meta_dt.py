"""A code of the task, and a prompt for what it leaves open (2410.11448)."""

import numpy as np

from ttc.claims.claim import Claim, above, compares, estimate, low, shows, text
from ttc.testbeds.offline_point_robot import BED, NUM_TEST, compare

LEAST = 0.2  # of what plain decision transformers leave to the best


def measure(seed, size, cache):
  """Scores of test tasks."""
  del cache
  bed = BED._replace(
    world=size_recipe(BED.world, size), policy=size_recipe(BED.policy, size)
  )
  return compare(bed, seed, num_test=size.problems(NUM_TEST))


def size_recipe(recipe, size):
  """With as many steps as there may be."""
  return recipe._replace(steps=tuple(size.steps(n) for n in recipe.steps))


def won(data):
  """What a prompt and a code win, and the share that is asked for."""
  few, plain = data['few_shot'], data['plain']
  return few - plain, LEAST * (1 - plain)


def say_won(data):
  """The share of what was left."""
  gap, least = (x.mean() for x in won(data))
  share = LEAST * gap / least
  return f'few-shot wins {100 * share:.0f}% of what DT leaves to the best'


def say_returns(data):
  """Undiscounted returns, means over test tasks."""
  mean = lambda name: np.mean(data['returns'][name])
  names = {
    'random': 'random',
    'plain': 'DT',
    'zero_shot': 'zero-shot',
    'few_shot': 'few-shot',
    'best': 'best',
  }
  return 'returns: ' + ', '.join(
    f'{words} {mean(name):.2f}' for name, words in names.items()
  )


CLAIM = Claim(
  'Meta-DT on PointRobot',
  '2410.11448',
  'on test tasks Meta-DT with a prompt from its own episodes scores above '
  'Meta-DT without one, which scores above a decision transformer without the '
  "world model's code; with both it wins 20% or more of what the last leaves "
  'to the best',
  measure,
  checks=[
    shows('few-shot ', 'few_shot'),
    above('over zero-shot ', 'few_shot', 'zero_shot'),
    above('zero-shot over DT ', 'zero_shot', 'plain'),
    text(say_won, lambda d: low(estimate(np.subtract(*won(d)))) > 0),
    text(say_returns),
  ],
  controls=[
    compares(
      "told another task's code, over DT ",
      'misled',
      'plain',
      lambda gap: low(gap) <= 0,
    ),
    shows('few-shot before its prompt ', 'first'),
  ],
  because=(
    'the code of the world model tells the goal already, so a prompt has '
    'nothing left to tell: -1.0 [-2.4, +0.3]'
  ),
)
