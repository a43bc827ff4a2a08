"""Best-of-N under a verifier that can be fooled (Gao et al., 2022)."""

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import base_law, base_samples
from claims.row import Row, curve, difference, estimate, interval, signed
from ttc import scaling, search, verifiers

EXPLOIT_RATE = 0.05  # share of the wrong samples that score above the right
BUDGETS = (1, 2, 4, 8, 16, 32)
PEAK, LAST = 4, 32  # where it should be high, and low again


def reproduce(num_seeds: int) -> Row:
  """What best-of-N gains it loses again, as the closed form says."""
  samples, gold = base_samples(num_seeds)
  correct = jnp.asarray(samples.answers == gold[:, None])
  fooled = verifiers.over_optimized(jax.random.key(500), correct, EXPLOIT_RATE)
  fair = jnp.minimum(fooled, 1.0)  # the same errors, none of them preferred
  got = {k: chosen(fooled, correct, k) for k in BUDGETS}
  control = {k: chosen(fair, correct, k) for k in BUDGETS}
  z = [
    abs(float(estimate(got[k]).mean) - float(closed_form(k)))
    / float(estimate(got[k]).standard_error)
    for k in BUDGETS
  ]
  rise = difference(got[PEAK], got[1])
  fall = difference(got[LAST], got[PEAK])
  fair_change = difference(control[LAST], control[PEAK])
  vote = curve(
    search.weighted_best_of_n,
    samples._replace(scores=np.asarray(fooled)),
    gold,
    [PEAK, LAST],
  ).accuracy
  p = float(base_law()[0])
  ceiling = p / (p + (1 - p) * EXPLOIT_RATE)
  return Row(
    f'over_optimization (S3, L=8, e=.1; {100 * EXPLOIT_RATE:.0f}% of the wrong '
    'samples score above all right ones)',
    'true accuracy rises with N, then falls, by the closed form',
    ', '.join(
      f'N={k}: {interval(got[k])} for {100 * closed_form(k):.1f}'
      for k in BUDGETS
    )
    + f'; N={PEAK} against 1 {signed(rise)}, {LAST} against {PEAK} '
    f'{signed(fall)}; largest z {max(z):.1f}',
    f'the same errors without preference: N={PEAK} {interval(control[PEAK])}, '
    f'N={LAST} {interval(control[LAST])}, limit {100 * ceiling:.1f}, '
    f'{signed(fair_change)}; weighted vote under the fooled verifier: '
    f'N={PEAK} {interval(vote[:, 0])}, N={LAST} {interval(vote[:, 1])}',
    bool(
      max(z) < 3
      and rise.mean > 2 * rise.standard_error
      and fall.mean < -2 * fall.standard_error
      and fair_change.mean > -2 * fair_change.standard_error
    ),
  )


def chosen(scores, correct, k):
  """Exact accuracy of the best of `k` by a score, of each problem."""
  accuracy = lambda s, z: scaling.best_of_k_accuracy(s, z, k)
  return np.asarray(jax.jit(jax.vmap(accuracy))(scores, correct))


def closed_form(k):
  """Of `verifiers.over_optimized`, for the law of the base."""
  p = base_law()[0]
  h = (1 - p) * EXPLOIT_RATE
  return (1 - h) ** k - (1 - h - p) ** k
