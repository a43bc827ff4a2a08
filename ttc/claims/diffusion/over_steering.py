"""An unbounded reward is over-optimised: the exact density tells."""

import jax
import numpy as np

from ttc.claims.claim import Claim, text
from ttc.diffusion import mixtures
from ttc.testbeds import mixture_diffusion as bed

BUDGETS = (15, 59, 236)  # samples of best-of-N
NAMES = ('best of N', 'EvoSearch', 'FK steering', 'SVDD')


def measure(seed, size, cache):
  """Reward and log density by budget and search; those of data beside."""
  del cache
  key, num = jax.random.key(4000 + seed), size.problems(64)
  found = {
    str(budget): {
      name: x._asdict()
      for name, x in bed.compare(
        key, bed.linear_target, budget, num, NAMES
      ).items()
    }
    for budget in BUDGETS
  }

  @jax.jit
  def of_data(key):
    target_key, search_key = jax.random.split(key)
    target = bed.linear_target(target_key)
    x = mixtures.sample_mixture(target.mixture, search_key, 2000)
    density = mixtures.log_density(target.mixture, x)
    return {'least': density.min(), 'most': target.reward(x).max()}

  return found | {'data': jax.lax.map(of_data, jax.random.split(key, num))}


def outside(data, name, budget=BUDGETS[-1]):
  """Share of results less dense than all of 2000 samples of the data."""
  at = data[str(budget)][name]['log_density']
  return np.mean(at < data['data']['least'])


def mean(data, name, what, budget):
  """Over seeds."""
  return data[str(budget)][name][what].mean()


def curve(name):
  """Reward and density by budget."""

  def say(data):
    points = ', '.join(
      f'{mean(data, name, "reward", b):.2f} '
      f'({mean(data, name, "log_density", b):.0f})'
      for b in BUDGETS
    )
    return f'{name} {points}, outside of the data {outside(data, name):.2f}'

  return say


CLAIM = Claim(
  'Steering by an unbounded reward, density exact',
  '2408.08252',
  'the more SVDD spends, the higher its reward and the lower the density of '
  'what it returns, which ends outside of the data; best-of-N stays inside',
  measure,
  checks=[
    text(
      lambda d: (
        'reward (log density) with 480, 1888 and 7552 calls: '
        + '; '.join(curve(name)(d) for name in NAMES)
      ),
      lambda d: (
        mean(d, 'SVDD', 'reward', 236) > mean(d, 'SVDD', 'reward', 15)
        and mean(d, 'SVDD', 'log_density', 236)
        < mean(d, 'SVDD', 'log_density', 15) - 5
        and outside(d, 'SVDD') > 0.9
      ),
    )
  ],
  controls=[
    text(
      lambda d: (
        f'best-of-N is outside with {outside(d, "best of N"):.2f} of seeds, '
        f'of 2000 samples of the data the best has '
        f'{d["data"]["most"].mean():.2f}'
      ),
      lambda d: outside(d, 'best of N') < 0.1,
    )
  ],
)
