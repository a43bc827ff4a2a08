"""Multi-agent PPO (Yu et al., 2021, 2103.01955).

Actors see their own observations, the critic the state of the world and whose
value is asked for, which it may since it is used in training only. Costs: see
`ttc.agents.ppo`.
"""

from typing import Any

import jax.numpy as jnp

from ttc import envs
from ttc.agents import actors, networks
from ttc.agents.learner import Learner
from ttc.agents.networks import Architecture
from ttc.agents.ppo import PPO, Surrogate, ppo


def mappo(
  env: envs.Environment,
  hyper: PPO = PPO(),  # noqa: B008
  architecture: Architecture = Architecture(),  # noqa: B008
  *,
  surrogate: Surrogate | None = None,
  env_params: Any = None,
) -> Learner:
  """PPO with a centralised critic.

  Args:
    env: without `auto_reset`; `env.world_state` is what the critic sees.
    hyper: numbers.
    architecture: of actor and critic; the critic knows whom it judges in any
      case.
    surrogate: what is maximised of ratio and advantage; None for PPO's.
    env_params: of the environment; None for the default.

  Returns:
    The learner; the policy's params are the actor's.

  Raises:
    ValueError: for numbers that do not go together.
  """
  actor = networks.for_agents(
    architecture,
    actors.num_logits(env),
    env.num_agents,
    env.observation_shape,
    head_scale=0.01,
  )
  critic = networks.for_agents(
    architecture._replace(agent_ids=True),
    1,
    env.num_agents,
    env.world_shape(env_params),
  )

  def see_world(state, obs, params):
    world = env.world_state(state, params)
    return jnp.broadcast_to(world, (obs.shape[0], *world.shape))

  return ppo(
    env,
    actor,
    critic,
    see_world,
    hyper,
    surrogate=surrogate,
    env_params=env_params,
  )
