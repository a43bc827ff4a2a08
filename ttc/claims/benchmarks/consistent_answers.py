"""Four of five tell knowing from luck (CritPt, 2509.26574).

Two answerers are right in 60% of their runs: one knows 60% of the problems, the
other is right by that chance in each run of each. Consistently solved, four of
five runs or more, are 60% and `5 p^4 (1 - p) + p^5` = 33.7%. Power: of 3000
problems an error of 0.9 points, the two differ by 26.
"""

import random

import numpy as np

from ttc import tasks
from ttc.benchmarks.benchmark import Verdict
from ttc.benchmarks.critpt import UNGRADED, over_runs
from ttc.claims.claim import Claim, above, agrees, equals, text

NUM_ITEMS, NUM_RUNS, RIGHT = 1000, 5, 0.6


def measure(seed, size, cache):
  """Accuracy and consistency, problem by problem; and of ungraded ones."""
  del cache
  found = {}
  for name in ('knows', 'lucky'):
    rows = []
    for i in range(size.fewer(NUM_ITEMS)):
      rng = random.Random(f'{name}/{seed}/{i}')
      knows = rng.random() < RIGHT
      right = [
        knows if name == 'knows' else rng.random() < RIGHT
        for _ in range(NUM_RUNS)
      ]
      item = tasks.Item(f'{i}', 'problem', 'def answer(): ...', {})
      rows.append(over_runs([item], [[Verdict(float(x)) for x in right]]))
    found[name] = {
      'accuracy': np.array([x['accuracy'] for x in rows]),
      'consistent': np.array([x['consistently solved'] for x in rows]),
    }
  graded = tasks.Item('graded', 'problem', 'def answer(): ...', {})
  closed = tasks.Item('closed', 'problem', '', {})
  mixed = over_runs(
    [graded, closed], [[Verdict(1.0)], [Verdict(0.0, None, UNGRADED)]]
  )
  return found | {'mixed': np.float64(mixed['accuracy'])}


CLAIM = Claim(
  'CritPt, consistently solved (two answerers of known skill, 1000 problems)',
  '2509.26574',
  'of two that are right as often in five runs, consistency tells who knows, '
  'by the closed form within 3.5 standard errors',
  measure,
  checks=[
    agrees('consistent: knows ', 'knows/consistent', RIGHT, 3.5),
    agrees(
      'lucky ',
      'lucky/consistent',
      5 * RIGHT**4 * (1 - RIGHT) + RIGHT**5,
      3.5,
    ),
    above('knows to lucky ', 'knows/consistent', 'lucky/consistent', 0.2),
  ],
  controls=[
    equals('their accuracies ', 'knows/accuracy', 'lucky/accuracy'),
    text(
      lambda d: 'a problem whose answer is with the authors does not count',
      lambda d: np.all(d['mixed'] == 1),
    ),
  ],
)
