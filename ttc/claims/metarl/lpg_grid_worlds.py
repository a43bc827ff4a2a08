"""Rules for grid worlds that know how long life is (2402.05828)."""

import numpy as np

from ttc.claims.by_horizon import Horizons
from ttc.claims.claim import Claim, text
from ttc.envs.grid_worlds.dynamic_programming import optimal_return
from ttc.testbeds import learned_objectives

TRAINED, UNSEEN = (5, 15, 50), (100,)
by = Horizons((*TRAINED, *UNSEEN))


def measure(seed, size, cache):
  """Returns below the best ones, which dynamic programming knows."""
  del cache
  task = learned_objectives.grid_worlds()
  return learned_objectives.compare(
    task,
    seed,
    by.horizons,
    size.problems(256),
    size.steps(150),
    num_pairs=32,
    num_agents=64,
    count_wins=False,
    best=lambda level: optimal_return(level, 1.0, task.max_episode_steps),
  )


def entropies(data):
  """Of agents that live 50 updates, before the first, middle and last."""
  return by.at(data, 'entropy', 50).mean(axis=0)


CLAIM = Claim(
  'TA-LPG on grid worlds',
  '2402.05828',
  'return below the optimum at the end of life: TA-LPG by evolution less than '
  'LPG by evolution and than TA-LPG by truncated meta-gradients, at the '
  'shortest and the longest trained horizon',
  measure,
  checks=[
    text(
      lambda d: f'TA-LPG by evolution {by.say("ta_lpg")(d)}',
      by.below('ta_lpg', 'lpg', (5, 50)),
    ),
    text(lambda d: f'LPG by evolution {by.say("lpg")(d)}'),
    text(
      lambda d: f'TA-LPG by meta-gradients {by.say("truncated")(d)}',
      by.below('ta_lpg', 'truncated', (5, 50)),
    ),
  ],
  controls=[
    text(
      lambda d: f'told wrong horizons {by.say("misled")(d)}',
      by.below('ta_lpg', 'misled', (5, 100)),
    ),
    text(
      lambda d: (
        'entropy at N = 50, first, middle, last: '
        + ', '.join(f'{x:.2f}' for x in entropies(d))
      ),
      lambda d: np.all(np.diff(entropies(d)) < 0),
    ),
  ],
  seeds=range(3),
  because=(
    'in the generations of an hour evolution has not learned to use the '
    'clock: told wrong horizons the rule ends as well, and the one without '
    'a clock ends better at all four'
  ),
)
