"""Efficient@k with a counter that never varies (COFFE, Peng et al., 2025)."""

import numpy as np

from ttc import evaluation
from ttc.benchmarks.coffe import (
  coffe,
  to_item,
  trimmed_mean,
)
from ttc.benchmarks.judges import no_judge
from ttc.claims.claim import Claim, interval, text
from ttc.evaluation import CostQuestion
from ttc.testbeds import costly_functions

NUM_REPEATS, NUM_RUNS = 5, 12
_LIMIT = 10**8


def measure(seed, size, cache):
  """Scores of quick and slow solutions; spread of repeated measurements."""
  del seed, cache
  problems = costly_functions.PROBLEMS[: size.fewer(10)]
  benchmark = coffe()
  items = [to_item(costly_functions.record(x)) for x in problems]
  score = lambda way: np.array(
    [
      benchmark.grade(item, x.source(getattr(x, way)), no_judge).score
      for item, x in zip(items, problems, strict=True)
    ]
  )
  return {
    'quick': score('quick'),
    'truth': score('truth'),
    'slow': score('slow'),
    'opcodes': np.array([spread(x, 'opcodes', 1) for x in problems]),
    'wall': np.array([spread(x, 'seconds', NUM_RUNS) for x in problems]),
  }


def spread(problem, counter, num_runs):
  """Standard deviation over mean of repeated measurements of one solution.

  Of seconds a measurement is the paper's: 12 runs, without the best and the
  worst.
  """
  question = CostQuestion(
    problem.source(problem.slow),
    problem.name,
    [problem.large] * num_runs,
    [_LIMIT] * num_runs,
  )
  measured = []
  for _ in range(NUM_REPEATS):
    (costs,) = evaluation.count_costs(
      [question], counter=counter, allow_execution=True, num_workers=1
    )
    runs = [x.cost for x in costs]
    measured.append(trimmed_mean(runs) if num_runs > 2 else runs[0])
  return np.std(measured, ddof=1) / np.mean(measured)


CLAIM = Claim(
  'coffe (10 problems, solutions with one loop and with two)',
  '2502.02827',
  'efficient@1 tells one loop from two; opcodes are the same in every '
  'measurement, seconds are not',
  measure,
  checks=[
    text(
      lambda d: (
        f'efficient@1 of one loop {interval(d["quick"])}, of two '
        f'{interval(d["slow"])}'
      ),
      lambda d: d['quick'].min() == 1 and d['slow'].max() == 0,
    ),
    text(
      lambda d: (
        'spread of repeated measurements (standard deviation over mean): '
        f'opcodes {100 * d["opcodes"].max():.1f}% at most'
      ),
      lambda d: d['opcodes'].max() == 0,
    ),
  ],
  controls=[
    text(
      lambda d: (
        'seconds, by the protocol of 12 runs, '
        f'{100 * np.median(d["wall"]):.1f}% (median)'
      ),
      lambda d: np.median(d['wall']) > 0.002,
    ),
    text(
      lambda d: f'the ground truth itself {interval(d["truth"])}',
      lambda d: d['truth'].max() == 0,
    ),
  ],
)
