"""Evolution finds rules that know how long life is (2402.05828)."""

import jax.numpy as jnp
import numpy as np

from ttc.claims.by_horizon import Horizons
from ttc.claims.claim import Claim, text
from ttc.testbeds import learned_objectives

TRAINED, UNSEEN = (10, 30, 100), (5, 200)
by = Horizons((*TRAINED, *UNSEEN))


def measure(seed, size, cache):
  """Regrets of rules at each horizon."""
  del cache
  return learned_objectives.compare(
    learned_objectives.BANDITS,
    seed,
    by.horizons,
    size.problems(512),
    size.steps(800),
    best=lambda env_params: jnp.max(env_params.means),
  )


def entropies(data):
  """Of agents that live 100 updates, before the first, middle and last."""
  return by.at(data, 'entropy', 100).mean(axis=0)


CLAIM = Claim(
  'TA-LPG on bandits',
  '2402.05828',
  'regret at the end of life: TA-LPG by evolution less than LPG by evolution '
  'at every trained horizon, and than TA-LPG by truncated meta-gradients at '
  'N = 30 and 100',
  measure,
  checks=[
    text(
      lambda d: f'TA-LPG by evolution {by.say("ta_lpg")(d)}',
      by.below('ta_lpg', 'lpg', TRAINED),
    ),
    text(lambda d: f'LPG by evolution {by.say("lpg")(d)}'),
    text(
      lambda d: f'TA-LPG by meta-gradients {by.say("truncated")(d)}',
      by.below('ta_lpg', 'truncated', (30, 100)),
    ),
  ],
  controls=[
    text(
      lambda d: f'told wrong horizons {by.say("misled")(d)}',
      by.below('ta_lpg', 'misled', (10, 100)),
    ),
    text(
      lambda d: (
        'entropy at N = 100, first, middle, last: '
        + ', '.join(f'{x:.2f}' for x in entropies(d))
      ),
      lambda d: np.all(np.diff(entropies(d)) < 0),
    ),
    text(
      lambda d: f'evolution that counts wins {by.say("pair_wins")(d)}',
      by.below('ta_lpg', 'pair_wins', (30, 100)),
    ),
  ],
  seeds=range(3),
)
