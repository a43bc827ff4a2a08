"""Best-of-N with an exact verifier reaches pass@N."""

import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import NUM_SAMPLES, base_law, base_samples
from claims.row import Row, curve, difference, interval, signed
from ttc import scaling, search


def reproduce(num_seeds: int) -> Row:
  """With the exact verifier best-of-4 reaches pass@4."""
  samples, gold = base_samples(num_seeds)
  right = samples.answers == gold[:, None]
  passed = scaling.pass_at_k(NUM_SAMPLES, jnp.asarray(right.sum(1)), 4)
  exact = samples._replace(scores=right.astype(np.float32))
  best = curve(search.select_best, exact, gold, [4]).accuracy[:, 0]
  noise = np.random.default_rng(0).normal(size=right.shape)
  random = samples._replace(scores=noise.astype(np.float32))
  blind = curve(search.select_best, random, gold, [4]).accuracy[:, 0]
  single = right.mean(axis=1)
  gap = difference(blind, single)
  holds = abs(np.mean(best) - np.mean(passed)) < 0.005
  holds &= abs(gap.mean) < 3 * gap.standard_error
  return Row(
    'best_of_n, exact verifier',
    'best-of-4 reaches pass@4',
    f'{interval(best)} for pass@4 {interval(passed)}, closed form '
    f'{100 * (1 - (1 - base_law()[0]) ** 4):.1f}, '
    f'pass@1 {interval(single)}',
    f'random verifier: {interval(blind)}, pass@1 {signed(gap)}',
    bool(holds),
  )
