"""Particle games of predator and prey: `simple_tag` and `simple_world_comm`.

The prey is faster, obstacles are solid, and leaving the square costs the prey.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ttc.envs.environment import Environment
from ttc.envs.multi_agent.mpe import drawing, game
from ttc.envs.multi_agent.mpe.world import (
  WorldParams,
  distances,
  out_of_bounds,
  world_params,
)
from ttc.types import AnyNumber


class TagParams(NamedTuple):
  """What a task of `simple_tag` may set.

  Attributes:
    max_steps: of an episode.
    catch_reward: of every adversary for every touch; the prey loses it.
    bounds_penalty: weight of what leaving the square costs the prey.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  catch_reward: Float[AnyNumber, '']
  bounds_penalty: Float[AnyNumber, '']
  world: WorldParams


def simple_tag(
  num_good: int = 1,
  num_adversaries: int = 3,
  num_obstacles: int = 2,
  continuous: bool = False,
) -> Environment:
  """Slow adversaries hunt fast prey among obstacles.

  Observations are `[velocity 2, position 2, obstacles, other agents,
  velocities of other good agents]`, relative to the agent. All adversaries get
  10 for each touch of any of them; the touched one loses 10.

  Args:
    num_good: prey.
    num_adversaries: hunters, the first agents.
    num_obstacles: solid landmarks.
    continuous: whether actions are.

  Returns:
    The environment; its params are `TagParams`.

  Raises:
    ValueError: without prey or hunters, or on a negative number.
  """
  if min(num_good, num_adversaries) < 1 or num_obstacles < 0:
    raise ValueError(
      f'simple_tag: num_good={num_good}, num_adversaries={num_adversaries}, '
      f'num_obstacles={num_obstacles}, expected at least 1, 1 and 0'
    )
  num_agents = num_good + num_adversaries

  def observe(state, params):
    del params
    position, prey = state.position, state.velocity[num_adversaries:]
    seen = jnp.concatenate(
      [
        state.velocity,
        position,
        game.seen_from(position, state.landmarks),
        game.others_seen(position),
      ],
      axis=-1,
    )
    return _with_prey_velocities(seen, prey, num_adversaries)

  size = 4 + 2 * num_obstacles + 2 * (num_agents - 1)
  hunters = {
    f'adversary_{i}': size + 2 * num_good for i in range(num_adversaries)
  }
  prey = {f'agent_{i}': size + 2 * (num_good - 1) for i in range(num_good)}
  many = lambda a, b: [a] * num_adversaries + [b] * num_good
  return game.particle_game(
    'simple_tag',
    params=TagParams(
      np.int32(game.MAX_STEPS),
      np.float32(10.0),
      np.float32(1.0),
      world_params(
        many(0.075, 0.05),
        [0.2] * num_obstacles,
        accel=many(3.0, 4.0),
        max_speed=many(1.0, 1.3),
      ),
    ),
    observe=observe,
    reward=functools.partial(_tag_reward, num_adversaries),
    observation_sizes={**hunters, **prey},
    draw=drawing.particles(
      many(drawing.ADVERSARY, drawing.GOOD),
      [drawing.LANDMARK] * num_obstacles,
    ),
    agents_collide=True,
    num_solid=num_obstacles,
    continuous=continuous,
  )


def _tag_reward(num_adversaries, state, params):
  position, radius = state.position, params.world.radius
  hunters, prey = position[:num_adversaries], position[num_adversaries:]
  reach = radius[num_adversaries:, None] + radius[None, :num_adversaries]
  touches = jnp.sum(
    distances(prey, hunters) < reach, axis=-1, dtype=jnp.float32
  )
  caught = params.catch_reward * touches
  good = -caught - params.bounds_penalty * out_of_bounds(prey)
  return jnp.concatenate(
    [jnp.broadcast_to(jnp.sum(caught), (num_adversaries,)), good]
  )


def _with_prey_velocities(seen, prey, num_adversaries):
  """Adds velocities of the prey that an agent is not itself; pads."""
  hunted = jnp.broadcast_to(
    prey.reshape(-1), (num_adversaries, 2 * prey.shape[0])
  )
  fellows = game.others(prey).reshape(prey.shape[0], -1)
  return game.join_groups(
    jnp.concatenate([seen[:num_adversaries], hunted], axis=-1),
    jnp.concatenate([seen[num_adversaries:], fellows], axis=-1),
  )


FOOD, FORESTS = slice(1, 3), slice(3, 5)  # of the landmarks


class WorldCommParams(NamedTuple):
  """What a task of `simple_world_comm` may set.

  Attributes:
    max_steps: of an episode.
    catch_reward: of every adversary for every touch; the prey loses it.
    bounds_penalty: weight of what leaving the square costs the prey.
    food_reward: of the prey for being at food.
    food_distance_penalty: weight of the prey's distance to the nearest food.
    chase_penalty: weight of a hunter's distance to the nearest prey.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  catch_reward: Float[AnyNumber, '']
  bounds_penalty: Float[AnyNumber, '']
  food_reward: Float[AnyNumber, '']
  food_distance_penalty: Float[AnyNumber, '']
  chase_penalty: Float[AnyNumber, '']
  world: WorldParams


def simple_world_comm(
  num_good: int = 2,
  num_adversaries: int = 4,
  continuous: bool = False,
) -> Environment:
  """Tag with food, two forests to hide in, and a leader who sees and speaks.

  Landmarks are an obstacle, two places of food and two forests. An agent sees
  another one, and the velocity of another one, only if both are in one forest
  or both in none; the leader, the first adversary, sees all, and says one of 4
  symbols that adversaries hear.

  Observations are `[velocity 2, position 2, landmarks 10, other agents]`, then
  for adversaries `[velocities of prey, in forest 2, message 4]`, for the prey
  `[in forest 2, velocities of other prey]`; in a forest is 1, not is -1.

  Args:
    num_good: prey.
    num_adversaries: hunters, the first agents, the leader included.
    continuous: whether actions are.

  Returns:
    The environment; its params are `WorldCommParams`.

  Raises:
    ValueError: without prey or hunters.
  """
  if min(num_good, num_adversaries) < 1:
    raise ValueError(
      f'simple_world_comm: num_good={num_good}, '
      f'num_adversaries={num_adversaries}, expected at least 1 of each'
    )
  num_agents = num_good + num_adversaries
  size = 4 + 10 + 2 * (num_agents - 1) + 2
  names = ['leadadversary_0']
  names += [f'adversary_{i}' for i in range(num_adversaries - 1)]
  hunters = dict.fromkeys(names, size + 2 * num_good + 4)
  prey = {f'agent_{i}': size + 2 * (num_good - 1) for i in range(num_good)}
  many = lambda a, b: [a] * num_adversaries + [b] * num_good
  return game.particle_game(
    'simple_world_comm',
    params=WorldCommParams(
      np.int32(game.MAX_STEPS),
      catch_reward=np.float32(5.0),
      bounds_penalty=np.float32(2.0),
      food_reward=np.float32(2.0),
      food_distance_penalty=np.float32(0.05),
      chase_penalty=np.float32(0.1),
      world=world_params(
        many(0.075, 0.045),
        [0.2, 0.03, 0.03, 0.3, 0.3],
        accel=many(3.0, 4.0),
        max_speed=many(1.0, 1.3),
      ),
    ),
    observe=functools.partial(_world_comm_observations, num_adversaries),
    reward=functools.partial(_world_comm_reward, num_adversaries),
    observation_sizes={**hunters, **prey},
    draw=drawing.particles(
      [drawing.LEADER, *many(drawing.ADVERSARY, drawing.GOOD)[1:]],
      [drawing.LANDMARK, *[drawing.FOOD] * 2, *[drawing.FOREST] * 2],
    ),
    abilities=[game.Ability(True, 4)] + [game.Ability()] * (num_agents - 1),
    agents_collide=True,
    num_solid=1,
    continuous=continuous,
  )


def _world_comm_observations(num_adversaries, state, params):
  position, radius = state.position, params.world.radius
  num_agents = position.shape[0]
  trees = state.landmarks[FORESTS]
  inside = distances(position, trees) < (
    radius[:, None] + params.world.landmark_radius[None, FORESTS]
  )
  outside = ~jnp.any(inside, axis=-1)
  together = jnp.any(inside[:, None] & inside[None], axis=-1)
  sees = together | (outside[:, None] & outside[None])
  sees = sees | (jnp.arange(num_agents) == 0)[:, None]
  sees = sees[..., None].astype(jnp.float32)
  others = game.drop_own((position[None] - position[:, None]) * sees)
  seen = jnp.concatenate(
    [
      state.velocity,
      position,
      game.seen_from(position, state.landmarks),
      others.reshape(num_agents, -1),
    ],
    axis=-1,
  )
  velocity = state.velocity[None] * sees
  fellows = game.drop_own(velocity[num_adversaries:, num_adversaries:])
  hunted = velocity[:num_adversaries, num_adversaries:]
  heard = jnp.broadcast_to(state.message[0], (num_adversaries, 4))
  forest = jnp.where(inside, 1.0, -1.0).astype(jnp.float32)
  hunters, prey = slice(num_adversaries), slice(num_adversaries, None)
  return game.join_groups(
    jnp.concatenate(
      [
        seen[hunters],
        hunted.reshape(num_adversaries, -1),
        forest[hunters],
        heard,
      ],
      axis=-1,
    ),
    jnp.concatenate(
      [
        seen[prey],
        forest[prey],
        fellows.reshape(fellows.shape[0], -1),
      ],
      axis=-1,
    ),
  )


def _world_comm_reward(num_adversaries, state, params):
  position, radius = state.position, params.world.radius
  hunters, prey = position[:num_adversaries], position[num_adversaries:]
  size = radius[num_adversaries:, None]
  apart = distances(prey, hunters)
  count = lambda near: jnp.sum(near, axis=-1, dtype=jnp.float32)
  caught = params.catch_reward * count(
    apart < size + radius[None, :num_adversaries]
  )
  away = distances(prey, state.landmarks[FOOD])
  eaten = count(away < size + params.world.landmark_radius[None, FOOD])
  good = (
    -caught
    - params.bounds_penalty * out_of_bounds(prey)
    + params.food_reward * eaten
    - params.food_distance_penalty * jnp.min(away, axis=-1)
  )
  bad = jnp.sum(caught) - params.chase_penalty * jnp.min(apart, axis=0)
  return jnp.concatenate([bad, good])
