"""What particle games share: a state, actions, and the way to an environment.

A game gives the constants, an observation and a reward; the rest is here.
Actions of who moves are 0 stay, 1 left, 2 right, 3 down, 4 up; who speaks says
one of so many symbols; who does both has `5 * symbol + move`. Continuous ones
are `[_, left, right, down, up]` and the message, all in `[0, 1]`. A message is
heard in the observation that follows. Episodes are truncated after `max_steps`
steps; the public code goes on for one more, which is `max_steps=26`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment, Step
from ttc.envs.multi_agent.mpe import world
from ttc.envs.multi_agent.mpe.drawing import Draw
from ttc.envs.spaces import Box, Discrete

NUM_MOVES = 5
MAX_STEPS = 25


class ParticleState(NamedTuple):
  """State of a game of `A` agents and `L` landmarks.

  Attributes:
    position: of agents.
    velocity: of agents.
    landmarks: where they are, for the whole episode.
    message: what each of the `S` agents that can speak said last.
    goal: of games that have them: numbers of landmarks.
    time: steps so far.
  """

  position: Float[Array, 'A 2']
  velocity: Float[Array, 'A 2']
  landmarks: Float[Array, 'L 2']
  message: Float[Array, 'S C']
  goal: Int[Array, ' G']
  time: Int[Array, '']


class Ability(NamedTuple):
  """What an agent can do: move, say one of some symbols, or both."""

  moves: bool = True
  num_symbols: int = 0


def particle_game(
  name: str,
  *,
  params: Any,
  observe: Callable[[ParticleState, Any], Float[Array, 'A D']],
  reward: Callable[[ParticleState, Any], Float[Array, ' A']],
  observation_sizes: dict[str, int],
  draw: Draw,
  abilities: Sequence[Ability] | None = None,
  agents_collide: bool = False,
  num_solid: int = 0,
  goals: tuple[int, ...] = (),
  continuous: bool = False,
) -> Environment:
  """The environment of a particle game.

  Args:
    name: of the game.
    params: by default; any NamedTuple with `max_steps` and `world`.
    observe: what agents see.
    reward: of the state after a step.
    observation_sizes: by the name of the agent, in order.
    draw: a state's picture.
    abilities: of each agent; those that speak come first. All move if None.
    agents_collide: whether agents are solid.
    num_solid: how many landmarks, the first ones, are.
    goals: how many values each goal has.
    continuous: whether actions are.
  """
  num_agents = len(observation_sizes)
  num_landmarks = len(params.world.landmark_radius)
  if abilities is None:
    abilities = [Ability()] * num_agents
  speakers = [a.num_symbols for a in abilities if a.num_symbols]
  message_shape = (len(speakers), max(speakers, default=0))

  def reset(key: PRNGKeyArray, params):
    state = _start(key, num_agents, num_landmarks, message_shape, goals)
    return observe(state, params), state

  def step(key: PRNGKeyArray, state: ParticleState, action, params):
    del key
    push, message = decode(action)
    position, velocity = state.position, state.velocity
    if any(ability.moves for ability in abilities):
      force = push * params.world.accel[:, None]
      if agents_collide:
        force = force + world.contact_forces(
          position, state.landmarks[:num_solid], params.world
        )
      position, velocity = world.move(position, velocity, force, params.world)
    state = state._replace(
      position=position,
      velocity=velocity,
      message=message,
      time=state.time + 1,
    )
    return Step(
      observe(state, params),
      state,
      reward(state, params),
      jnp.zeros((), bool),
      state.time >= params.max_steps,
      {},
    )

  decode = _decoder(abilities, message_shape, continuous)
  return Environment(
    name=name,
    agents=tuple(observation_sizes),
    default_params=params,
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=tuple(Box((n,)) for n in observation_sizes.values()),
    action_spaces=tuple(_action_space(a, continuous) for a in abilities),
    draw=draw,
  )


def _start(key, num_agents, num_landmarks, message_shape, goals):
  """All at rest, uniform in the square; one draw, as hashes take time."""
  num_points = num_agents + num_landmarks
  draws = jax.random.uniform(key, (2 * num_points + len(goals),), jnp.float32)
  points = 2 * draws[: 2 * num_points].reshape(num_points, 2) - 1
  goal = draws[2 * num_points :] * np.array(goals, np.float32)
  return ParticleState(
    position=points[:num_agents],
    velocity=jnp.zeros((num_agents, 2), jnp.float32),
    landmarks=points[num_agents:],
    message=jnp.zeros(message_shape, jnp.float32),
    goal=goal.astype(jnp.int32),
    time=jnp.zeros((), jnp.int32),
  )


def _action_space(ability: Ability, continuous: bool) -> Discrete | Box:
  moves, num_symbols = ability
  if continuous:
    return Box((NUM_MOVES * moves + num_symbols,), 0.0, 1.0)
  return Discrete((NUM_MOVES if moves else 1) * max(num_symbols, 1))


def _decoder(abilities, message_shape, continuous):
  """`actions -> (push [A, 2], message [S, C])`."""
  moves = np.array([ability.moves for ability in abilities])
  num_speakers, num_symbols = message_shape
  base = np.where(moves, NUM_MOVES, 1)[:num_speakers].astype(np.int32)

  def discrete(action):
    move = action % NUM_MOVES if num_speakers else action
    is_move = lambda n: ((move == n) & moves).astype(jnp.float32)
    push = jnp.stack([is_move(2) - is_move(1), is_move(4) - is_move(3)], -1)
    symbol = action[:num_speakers] // base
    message = symbol[:, None] == jnp.arange(num_symbols)[None]
    return push, message.astype(jnp.float32)

  def boxed(action):
    push = jnp.stack(
      [action[:, 2] - action[:, 1], action[:, 4] - action[:, 3]], -1
    )
    push = push * moves[:, None]
    start = NUM_MOVES if moves[0] else 0
    message = action[:num_speakers, start : start + num_symbols]
    return push.astype(jnp.float32), message.astype(jnp.float32)

  def nobody_moves(action):
    push = jnp.zeros((len(moves), 2), jnp.float32)
    return push, action[:num_speakers, :num_symbols].astype(jnp.float32)

  if continuous:
    return boxed if moves.any() else nobody_moves
  return discrete


def drop_own(pairs: Float[Array, 'A A *n']) -> Float[Array, 'A B *n']:
  """Row `i` without entry `i`; the order of the others is kept."""
  num, rest = pairs.shape[0], pairs.shape[2:]
  flat = pairs.reshape(num * num, *rest)[1:]
  flat = flat.reshape(num - 1, num + 1, *rest)[:, :-1]
  return flat.reshape(num, num - 1, *rest)


def others(values: Float[Array, 'A *n']) -> Float[Array, 'A B *n']:
  """For each agent the values of all others."""
  num = values.shape[0]
  return drop_own(jnp.broadcast_to(values, (num, *values.shape)))


def seen_from(
  position: Float[Array, 'n 2'], points: Float[Array, 'm 2']
) -> Float[Array, 'n k']:
  """Points relative to each position, one after another."""
  return (points[None] - position[:, None]).reshape(position.shape[0], -1)


def others_seen(position: Float[Array, 'A 2']) -> Float[Array, 'A k']:
  """Other agents relative to each, one after another."""
  pairs = drop_own(position[None] - position[:, None])
  return pairs.reshape(position.shape[0], -1)


def join_groups(*groups: Float[Array, '_ _']) -> Float[Array, 'A D']:
  """Observations of groups of agents, padded with zeros to the widest."""
  width = max(group.shape[1] for group in groups)
  return jnp.concatenate(
    [jnp.pad(group, ((0, 0), (0, width - group.shape[1]))) for group in groups]
  )
