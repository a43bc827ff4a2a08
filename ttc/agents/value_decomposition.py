"""IQL, VDN and QMIX: one learner with three mixers (`ttc.agents.mixing`)."""

from typing import Any

from ttc import envs
from ttc.agents import mixing
from ttc.agents.learner import Learner
from ttc.agents.networks import Architecture
from ttc.agents.q_learning import ARCHITECTURE, QLearning, q_learner


def iql(
  env: envs.Environment,
  hyper: QLearning = QLearning(),  # noqa: B008
  architecture: Architecture = ARCHITECTURE,
  *,
  env_params: Any = None,
) -> Learner:
  """Independent Q-learning (Tan, 1993); arguments are those of `q_learner`."""
  return q_learner(
    env, mixing.each_alone(), hyper, architecture, env_params=env_params
  )


def vdn(
  env: envs.Environment,
  hyper: QLearning = QLearning(),  # noqa: B008
  architecture: Architecture = ARCHITECTURE,
  *,
  env_params: Any = None,
) -> Learner:
  """VDN (1706.05296); arguments are those of `q_learner`."""
  return q_learner(
    env, mixing.sum_of_values(), hyper, architecture, env_params=env_params
  )


def qmix(
  env: envs.Environment,
  hyper: QLearning = QLearning(),  # noqa: B008
  architecture: Architecture = ARCHITECTURE,
  *,
  env_params: Any = None,
) -> Learner:
  """QMIX (1803.11485); arguments are those of `q_learner`."""
  return q_learner(
    env, mixing.monotone(), hyper, architecture, env_params=env_params
  )
