"""Particle games of finding places: `simple` and `simple_spread`."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ttc.envs.environment import Environment
from ttc.envs.multi_agent.mpe import drawing, game
from ttc.envs.multi_agent.mpe.world import (
  WorldParams,
  distances,
  world_params,
)
from ttc.envs.rendering import AGENT_COLORS
from ttc.types import AnyNumber


class SimpleParams(NamedTuple):
  """What a task of `simple` may set."""

  max_steps: Int[AnyNumber, '']
  world: WorldParams


def simple(continuous: bool = False) -> Environment:
  """One agent, one landmark; the reward is minus their squared distance.

  Observations are `[velocity 2, landmark 2]`, the landmark relative to the
  agent.

  Args:
    continuous: whether actions are.

  Returns:
    The environment; its params are `SimpleParams`.
  """

  def observe(state, params):
    del params
    landmark = game.seen_from(state.position, state.landmarks)
    return jnp.concatenate([state.velocity, landmark], axis=-1)

  def reward(state, params):
    del params
    return -jnp.sum((state.position - state.landmarks) ** 2, axis=-1)

  return game.particle_game(
    'simple',
    params=SimpleParams(np.int32(game.MAX_STEPS), world_params([0.15], [0.2])),
    observe=observe,
    reward=reward,
    observation_sizes={'agent_0': 4},
    draw=drawing.particles(AGENT_COLORS[:1], [drawing.LANDMARK]),
    continuous=continuous,
  )


class SpreadParams(NamedTuple):
  """What a task of `simple_spread` may set.

  Attributes:
    max_steps: of an episode.
    local_ratio: share of the reward that is an agent's own.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  local_ratio: Float[AnyNumber, '']
  world: WorldParams


def simple_spread(
  num_agents: int = 3,
  num_landmarks: int | None = None,
  continuous: bool = False,
) -> Environment:
  r"""Agents cover landmarks together and keep out of each other's way.

  .. math:: r_i = \lambda\,(-\#\text{collisions of } i)
    - (1 - \lambda) \sum_l \min_j |p_j - p_l|

  with :math:`\lambda = 1/2`. Observations are `[velocity 2, position 2,
  landmarks 2 L, other agents 2 (A - 1), zeros 2 (A - 1)]`, relative to the
  agent; the zeros are words of agents that cannot speak.

  Args:
    num_agents: agents.
    num_landmarks: landmarks; as many as agents if None.
    continuous: whether actions are.

  Returns:
    The environment; its params are `SpreadParams`.

  Raises:
    ValueError: on fewer than one agent or landmark.
  """
  num_landmarks = num_agents if num_landmarks is None else num_landmarks
  if num_agents < 1 or num_landmarks < 1:
    raise ValueError(
      f'simple_spread: num_agents={num_agents}, num_landmarks={num_landmarks}, '
      'expected at least 1 of each'
    )
  silence = jnp.zeros((num_agents, 2 * (num_agents - 1)), jnp.float32)

  def observe(state, params):
    del params
    position = state.position
    return jnp.concatenate(
      [
        state.velocity,
        position,
        game.seen_from(position, state.landmarks),
        game.others_seen(position),
        silence,
      ],
      axis=-1,
    )

  def reward(state, params):
    position, radius = state.position, params.world.radius
    touching = distances(position, position) < radius[:, None] + radius[None]
    own = 1.0 - jnp.sum(touching, axis=-1, dtype=jnp.float32)  # itself is one
    nearest = jnp.min(distances(state.landmarks, position), axis=-1)
    share = params.local_ratio
    return share * own - (1 - share) * jnp.sum(nearest)

  size = 4 + 2 * num_landmarks + 4 * (num_agents - 1)
  colors = [AGENT_COLORS[i % len(AGENT_COLORS)] for i in range(num_agents)]
  return game.particle_game(
    'simple_spread',
    params=SpreadParams(
      np.int32(game.MAX_STEPS),
      np.float32(0.5),
      world_params([0.15] * num_agents, [0.05] * num_landmarks),
    ),
    observe=observe,
    reward=reward,
    observation_sizes={f'agent_{i}': size for i in range(num_agents)},
    draw=drawing.particles(colors, [drawing.LANDMARK] * num_landmarks),
    agents_collide=True,
    continuous=continuous,
  )
