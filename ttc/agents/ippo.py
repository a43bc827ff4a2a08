"""Independent PPO (de Witt et al., 2020, 2011.09533).

Every agent learns from its own observations, as if it were alone, and so does
its critic. With one agent this is PPO. Costs: see `ttc.agents.ppo`.
"""

from typing import Any

from ttc import envs
from ttc.agents import actors, networks
from ttc.agents.learner import Learner
from ttc.agents.networks import Architecture
from ttc.agents.ppo import PPO, Surrogate, ppo


def ippo(
  env: envs.Environment,
  hyper: PPO = PPO(),  # noqa: B008
  architecture: Architecture = Architecture(),  # noqa: B008
  *,
  surrogate: Surrogate | None = None,
  env_params: Any = None,
) -> Learner:
  """PPO of every agent on its own.

  Args:
    env: without `auto_reset`.
    hyper: numbers.
    architecture: of actor and critic.
    surrogate: what is maximised of ratio and advantage; None for PPO's.
    env_params: of the environment; None for the default.

  Returns:
    The learner; the policy's params are the actor's.

  Raises:
    ValueError: for numbers that do not go together.
  """
  actor, critic = (
    networks.for_agents(
      architecture,
      num_outputs,
      env.num_agents,
      env.observation_shape,
      head_scale=scale,
    )
    for num_outputs, scale in ((actors.num_logits(env), 0.01), (1, 1.0))
  )
  return ppo(
    env,
    actor,
    critic,
    lambda state, obs, params: obs,
    hyper,
    surrogate=surrogate,
    env_params=env_params,
  )
