"""Best-of-N with an exact verifier reaches pass@N.

Where it must fail: a contrary verifier prefers what is wrong, so the best of
four is right only if all four are, with p^4, 4.7% for the p of .466 here; of
768 problems with 32 samples each the error is below half a point.
"""

import jax.numpy as jnp
import numpy as np

from ttc import scaling, search
from ttc.claims.claim import (
  Claim,
  agrees,
  curve,
  equals,
  interval,
  shows,
  text,
)
from ttc.testbeds.calibrated import NUM_SAMPLES, base_law, base_samples
from ttc.types import Samples


def derive(data):
  """By problem: best of 4 by an exact and by a blind score, pass@4, pass@1."""
  samples, gold = Samples(**data['samples']), data['gold']
  right = samples.answers == gold[:, None]
  noise = np.random.default_rng(0).normal(size=right.shape)
  best = lambda scores: curve(
    search.select_best,
    samples._replace(scores=scores.astype(np.float32)),
    gold,
    [4],
  ).accuracy[:, 0]
  return {
    'best': best(right),
    'blind': best(noise),
    'contrary': best(~right),
    'passed': scaling.pass_at_k(NUM_SAMPLES, jnp.asarray(right.sum(1)), 4),
    'single': right.mean(axis=1),
  }


def figure(data):
  """Beside pass@4 and its closed form."""
  law = 100 * (1 - (1 - base_law()[0]) ** 4)
  return (
    f'{interval(data["best"])} for pass@4 {interval(data["passed"])}, closed '
    f'form {law:.1f}, pass@1 {interval(data["single"])}'
  )


def reached(data):
  """Up to the luck of 50 orders."""
  return abs(np.mean(data['best']) - np.mean(data['passed'])) < 0.005


CLAIM = Claim(
  'best_of_n, exact verifier',
  '2407.21787',
  'best-of-4 reaches pass@4',
  base_samples,
  checks=[text(figure, reached)],
  controls=[
    shows('random verifier: ', 'blind'),
    equals('to pass@1 ', 'blind', 'single'),
    agrees('contrary verifier: ', 'contrary', float(base_law()[0]) ** 4),
  ],
  derive=derive,
)
