"""Rules learned on bandits, and what agents that live by them end with.

Twenty arms, lives of 10 to 100 updates of four pulls each: too few to try every
arm twice in a short life, enough to find the best one in a long life. So how
long to explore depends on how long life is, and that is all there is to learn.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ttc import envs, metarl
from ttc.metarl import MetaGradients, UpdateRule
from ttc.types import Params

ENV = envs.bandit(20)
LEVELS = envs.bandit_tasks(20, noise_std=0.3)
AGENT = metarl.tabular_agent(4, 1, actor_rate=4.0, max_grad_norm=1e6)
LOW, HIGH = 10, 100
TASK = metarl.MetaTask(ENV, LEVELS, LOW, HIGH, AGENT, 256, 1)


class Lived(NamedTuple):
  """What became of agents, means over lives.

  Attributes:
    regret: the best arm's mean less that of the final policy.
    entropy: of the policy before the first, the middle and the last update.
  """

  regret: Float[Array, '']
  entropy: Float[Array, ' 3']


def rule_of(name: str) -> UpdateRule:
  """'lpg' or 'ta_lpg', small."""
  return metarl.make_rule(name, {'width': 16, 'num_predictions': 8})
