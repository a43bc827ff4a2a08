"""Best-of-N under a verifier that can be fooled (Gao et al., 2022)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling, search, verifiers
from ttc.claims.claim import (
  Claim,
  compares,
  curve,
  estimate,
  interval,
  text,
)
from ttc.testbeds.calibrated import base_law, base_samples
from ttc.types import Samples

EXPLOIT_RATE = 0.05  # share of the wrong samples that score above the right
BUDGETS = (1, 2, 4, 8, 16, 32)
PEAK, LAST = 4, 32  # where it should be high, and low again


def chosen(scores, correct, k):
  """Exact accuracy of the best of `k` by a score, of each problem."""
  accuracy = lambda s, z: scaling.best_of_k_accuracy(s, 1.0 * z, k)
  return np.asarray(jax.jit(jax.vmap(accuracy))(scores, correct))


def closed_form(k):
  """Of `verifiers.over_optimized`, for the law of the base."""
  p = base_law()[0]
  h = (1 - p) * EXPLOIT_RATE
  return (1 - h) ** k - (1 - h - p) ** k


def derive(data):
  """Accuracy by budget under the fooled verifier, a fair one, and a vote."""
  samples, gold = Samples(**data['samples']), data['gold']
  correct = jnp.asarray(samples.answers == gold[:, None])
  fooled = verifiers.over_optimized(jax.random.key(500), correct, EXPLOIT_RATE)
  fair = jnp.minimum(fooled, 1.0)  # the same errors, none of them preferred
  vote = curve(
    search.weighted_best_of_n,
    samples._replace(scores=np.asarray(fooled)),
    gold,
    [PEAK, LAST],
  ).accuracy
  by_budget = lambda scores: {
    str(k): chosen(scores, correct, k) for k in BUDGETS
  }
  return {
    'fooled': by_budget(fooled),
    'fair': by_budget(fair),
    'vote': dict(zip((str(PEAK), str(LAST)), vote.T, strict=True)),
  }


def largest_z(data):
  """Standard errors between the closed form and what was found."""
  found = {k: estimate(data['fooled'][str(k)]) for k in BUDGETS}
  return max(
    abs(float(x.mean) - float(closed_form(k))) / float(x.standard_error)
    for k, x in found.items()
  )


def limits(data):
  """At the peak and at the end, of what does not prefer its errors."""
  p = float(base_law()[0])
  ceiling = p / (p + (1 - p) * EXPLOIT_RATE)
  at = lambda name: ', '.join(
    f'N={n} {interval(data[name][str(n)])}' for n in (PEAK, LAST)
  )
  return (
    f'the same errors without preference: {at("fair")}, limit '
    f'{100 * ceiling:.1f}; weighted vote under the fooled verifier: '
    f'{at("vote")}'
  )


CLAIM = Claim(
  f'over_optimization (S3, L=8, e=.1; {100 * EXPLOIT_RATE:.0f}% of the wrong '
  'samples score above all right ones)',
  '2210.10760',
  'true accuracy rises with N, then falls, by the closed form',
  base_samples,
  checks=[
    text(
      lambda d: ', '.join(
        f'N={k}: {interval(d["fooled"][str(k)])} for {100 * closed_form(k):.1f}'
        for k in BUDGETS
      )
    ),
    compares(
      f'N={PEAK} against 1 ',
      f'fooled/{PEAK}',
      'fooled/1',
      lambda rise: rise.mean > 2 * rise.standard_error,
    ),
    compares(
      f'{LAST} against {PEAK} ',
      f'fooled/{LAST}',
      f'fooled/{PEAK}',
      lambda fall: fall.mean < -2 * fall.standard_error,
    ),
    text(lambda d: f'largest z {largest_z(d):.1f}', lambda d: largest_z(d) < 3),
  ],
  controls=[
    text(limits),
    compares(
      f'without preference, {LAST} against {PEAK} ',
      f'fair/{LAST}',
      f'fair/{PEAK}',
      lambda change: change.mean > -2 * change.standard_error,
    ),
  ],
  derive=derive,
)
