"""Drifts learned on CartPole, and where they are tried.

An agent lives for 5 to 40 updates of 8 x 32 steps, so the longest life is ten
thousand steps: at its end PPO balances the pole for a while and could for
longer, at the end of a short one it has hardly begun.
"""

from typing import NamedTuple

import numpy as np

from ttc import agents, envs, metarl
from ttc.metarl import Agent, MetaTask
from ttc.testbeds.learned_objectives import by_evolution, lived

RULES = ('ppo', 'dpo', 'lpo', 'ta_lpo')
VECTORS = Agent(
  agents.PPO(8, 32, num_epochs=4, num_minibatches=4, learning_rate=2.5e-3),
  agents.Architecture((32,), activation='relu'),
)
IMAGES = Agent(
  agents.PPO(64, 32, num_epochs=2, num_minibatches=4, learning_rate=2.5e-3),
  agents.Architecture((64,), activation='relu'),
)
CART_POLE = MetaTask(envs.cart_pole(), None, 5, 40, VECTORS, 8, 500)


class Trial(NamedTuple):
  """Where rules are compared."""

  task: MetaTask
  horizon: int


TRIALS = (
  *(Trial(CART_POLE, N) for N in (10, 40, 80)),
  *(
    Trial(MetaTask(envs.catch(), None, 1, 1, VECTORS, 32, 9), N)
    for N in (10, 40, 80)
  ),
  *(
    Trial(MetaTask(env, None, 1, 1, IMAGES, 8, 500), 30)
    for env in (envs.breakout(), envs.space_invaders())
  ),
)


def returns(
  seed: int, num_generations: int, num_lives: int, width: int = 32
) -> dict[str, np.ndarray]:
  """Of agents at the ends of their lives, by rule, `[1, lives, trials]`.

  Args:
    seed: of what is learned, by evolution on CartPole, and of the lives.
    num_generations: of 16 pairs.
    num_lives: of each rule in each trial.
    width: of the drift's network.
  """
  found = {}
  for name in RULES:
    learned = name in ('lpo', 'ta_lpo')
    rule = getattr(metarl, name)(**({'width': width} if learned else {}))
    meta = {}
    if learned:
      meta = by_evolution(CART_POLE, rule, seed, num_generations, num_pairs=16)
    columns = [
      lived(trial.task, rule, meta, trial.horizon, 1000 + seed, num_lives)[
        'return'
      ]
      for trial in TRIALS
    ]
    found[name] = np.stack(columns, axis=1)[None]
  return found
