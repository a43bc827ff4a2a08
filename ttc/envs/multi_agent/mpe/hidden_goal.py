"""Particle games of a goal that one side hides: `simple_adversary`, `_push`."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ttc.envs.environment import Environment
from ttc.envs.multi_agent.mpe import drawing, game
from ttc.envs.multi_agent.mpe.world import WorldParams, norm, world_params
from ttc.types import AnyNumber


class HiddenGoalParams(NamedTuple):
  """What a task may set.

  Attributes:
    max_steps: of an episode.
    approach_weight: of an agent's own distance to the goal.
    defence_weight: of the opponents' distance to the goal.
    world: constants of the physics.
  """

  max_steps: Int[AnyNumber, '']
  approach_weight: Float[AnyNumber, '']
  defence_weight: Float[AnyNumber, '']
  world: WorldParams


def simple_adversary(
  num_good: int = 2,
  num_adversaries: int = 1,
  num_landmarks: int = 2,
  continuous: bool = False,
) -> Environment:
  """Good agents know the goal and must not lead the adversary to it.

  An adversary gets minus its distance to the goal; every good agent minus the
  distance of the nearest of them plus the sum of the adversaries'. Nobody
  collides. Observations are `[landmarks, other agents]`, relative to the agent,
  and before them the goal for the good ones.

  Args:
    num_good: good agents.
    num_adversaries: adversaries, the first agents.
    num_landmarks: landmarks; one is the goal.
    continuous: whether actions are.

  Returns:
    The environment; its params are `HiddenGoalParams`.

  Raises:
    ValueError: on fewer than one of a kind.
  """
  if min(num_good, num_adversaries, num_landmarks) < 1:
    raise ValueError(
      f'simple_adversary: num_good={num_good}, '
      f'num_adversaries={num_adversaries}, num_landmarks={num_landmarks}, '
      'expected at least 1 of each'
    )
  num_agents = num_good + num_adversaries

  def observe(state, params):
    del params
    position, landmarks = state.position, state.landmarks
    seen = jnp.concatenate(
      [game.seen_from(position, landmarks), game.others_seen(position)], -1
    )
    goal = landmarks[state.goal[0]][None] - position[num_adversaries:]
    return game.join_groups(
      seen[:num_adversaries],
      jnp.concatenate([goal, seen[num_adversaries:]], axis=-1),
    )

  def reward(state, params):
    away = norm(state.position - state.landmarks[state.goal[0]][None])
    bad, good = away[:num_adversaries], away[num_adversaries:]
    team = params.defence_weight * jnp.sum(bad)
    team = team - params.approach_weight * jnp.min(good)
    return jnp.concatenate(
      [-params.approach_weight * bad, jnp.broadcast_to(team, (num_good,))]
    )

  size = 2 * num_landmarks + 2 * (num_agents - 1)
  return game.particle_game(
    'simple_adversary',
    params=HiddenGoalParams(
      np.int32(game.MAX_STEPS),
      approach_weight=np.float32(1.0),
      defence_weight=np.float32(1.0),
      world=world_params([0.15] * num_agents, [0.08] * num_landmarks),
    ),
    observe=observe,
    reward=reward,
    observation_sizes={
      **{f'adversary_{i}': size for i in range(num_adversaries)},
      **{f'agent_{i}': size + 2 for i in range(num_good)},
    },
    draw=drawing.particles(
      [drawing.ADVERSARY] * num_adversaries + [drawing.GOOD] * num_good,
      [drawing.LANDMARK] * num_landmarks,
      goal_owners=[drawing.GOOD],
    ),
    goals=(num_landmarks,),
    continuous=continuous,
  )


def simple_push(continuous: bool = False) -> Environment:
  """An adversary keeps a good agent, who knows the goal, away from it.

  The good agent gets minus its distance to the goal; the adversary the good
  one's distance minus its own. Observations are, for the adversary, `[velocity
  2, landmarks 4, other agent 2]`, and for the good agent `[velocity 2, goal 2,
  own colour 3, landmarks 4, their colours 6, other agent 2]`; the own colour is
  that of the goal.

  Args:
    continuous: whether actions are.

  Returns:
    The environment; its params are `HiddenGoalParams`.
  """
  landmark_colors = jnp.array([[0.1, 0.9, 0.1, 0.1, 0.1, 0.9]], jnp.float32)

  def observe(state, params):
    del params
    position, landmarks, goal = state.position, state.landmarks, state.goal[0]
    velocity = state.velocity
    seen = game.seen_from(position, landmarks)
    other = game.others_seen(position)
    own_color = jnp.where(jnp.arange(3) == goal + 1, 0.75, 0.25)
    own_color = own_color[None].astype(jnp.float32)
    good = [
      velocity[1:],
      landmarks[goal][None] - position[1:],
      own_color,
      seen[1:],
      landmark_colors,
      other[1:],
    ]
    return game.join_groups(
      jnp.concatenate([velocity[:1], seen[:1], other[:1]], axis=-1),
      jnp.concatenate(good, axis=-1),
    )

  def reward(state, params):
    away = norm(state.position - state.landmarks[state.goal[0]][None])
    own = -params.approach_weight * away
    return own + jnp.stack(
      [params.defence_weight * away[1], jnp.zeros((), jnp.float32)]
    )

  return game.particle_game(
    'simple_push',
    params=HiddenGoalParams(
      np.int32(game.MAX_STEPS),
      approach_weight=np.float32(1.0),
      defence_weight=np.float32(1.0),
      world=world_params([0.05] * 2, [0.2] * 2),
    ),
    observe=observe,
    reward=reward,
    observation_sizes={'adversary_0': 8, 'agent_0': 19},
    draw=drawing.particles(
      [drawing.ADVERSARY, drawing.GOOD],
      ['#a6d8a6', '#a6a6d8'],
      goal_owners=[drawing.GOOD],
    ),
    agents_collide=True,
    goals=(2,),
    continuous=continuous,
  )
