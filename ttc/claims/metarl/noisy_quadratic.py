"""Evolution finds schedules, one-step gradients do not (2402.05828)."""

import numpy as np

from ttc.claims.claim import Claim, text
from ttc.testbeds import learned_rates as rates
from ttc.testbeds.noisy_quadratic import Quadratic

PROBLEM = Quadratic()
TRAINED, UNSEEN = (10, 50, 250), (25, 500)
HORIZONS = (*TRAINED, *UNSEEN)


def measure(seed, size, cache):
  """Expected final losses by horizon, over the best schedule's."""
  del cache
  learned = rates.learn(PROBLEM, seed, TRAINED, size.steps(6000))
  losses = rates.relative_losses(PROBLEM, learned, HORIZONS)
  return {name: x[None] for name, x in losses.items()}


def by_horizon(name):
  """Means over seeds and the largest, at each horizon."""

  def say(data):
    return ', '.join(
      f'N={N} {x.mean():.3f} (at most {x.max():.3f})'
      for N, x in zip(HORIZONS, data[name].T, strict=True)
    )

  return say


def of(data, name, horizons):
  """Of some horizons, `[seeds, horizons]`."""
  return data[name][:, [HORIZONS.index(N) for N in horizons]]


CLAIM = Claim(
  'TA rules on the noisy quadratic',
  '2402.05828',
  'over the best loss: evolution with [n/N, log N] within 1.10 at trained '
  'horizons and 1.25 at unseen ones',
  measure,
  checks=[
    text(
      lambda d: f'evolution {by_horizon("evolution")(d)}',
      lambda d: (
        np.all(of(d, 'evolution', TRAINED) < 1.10)
        and np.all(of(d, 'evolution', UNSEEN) < 1.25)
      ),
    )
  ],
  controls=[
    text(
      lambda d: f'without inputs {by_horizon("blind")(d)}',
      lambda d: np.all(
        of(d, 'blind', (10, 250)) > 1.2 * of(d, 'evolution', (10, 250))
      ),
    ),
    text(
      lambda d: (
        f'one-step gradients {by_horizon("one_step")(d)}; greedy '
        f'{by_horizon("greedy")(d)}'
      ),
      lambda d: np.all(
        np.abs(of(d, 'one_step', TRAINED) / of(d, 'greedy', TRAINED) - 1) < 0.05
      ),
    ),
    text(lambda d: f'best constant {by_horizon("constant")(d)}'),
  ],
  seeds=range(5),
  because=(
    'evolution holds at all five horizons; a control asks one-step '
    'gradients to come within 5% of the greedy schedule, and at N = 250 '
    'they are 5.4% above it'
  ),
)
