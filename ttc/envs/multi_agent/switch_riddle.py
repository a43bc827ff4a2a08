"""The hundred prisoners and a light bulb (Foerster et al., 2016, 1605.06676).

Each day one of `A` prisoners, drawn uniformly, is in a room with a bulb. It
may flip the bulb, and it may tell that all have been in the room: then the
episode ends, with +1 to everybody if that is so and -1 if it is not. Whoever is
not in the room sees nothing and acts to no effect, so the bulb is all the
memory that the prisoners share. After `4 A - 6` days it is over, by the rules:
who has waited so long gets nothing.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from ttc.envs.environment import Environment, Step
from ttc.envs.rendering import AGENT_COLORS, Circle, Picture, Text, rectangle
from ttc.envs.spaces import Box, Discrete, random_index

NOTHING, SWITCH, TELL = range(3)


class SwitchRiddleParams(NamedTuple):
  """What a task may set.

  Attributes:
    max_steps: days; the public games have `4 A - 6`.
    tell_reward: of a right call; a wrong one costs as much.
  """

  max_steps: Int[Array, ''] | int
  tell_reward: float = 1.0


class SwitchRiddleState(NamedTuple):
  """The bulb, who is in the room, who has been there, and the day."""

  bulb: Bool[Array, '']
  in_room: UInt32[Array, '']
  visited: Bool[Array, ' A']
  time: Int[Array, '']


def switch_riddle(num_agents: int = 3) -> Environment:
  """The switch riddle.

  Observations are `[is in the room, bulb is on and is in the room]`.

  Args:
    num_agents: prisoners, at least 3.

  Returns:
    The environment; its params are `SwitchRiddleParams`.

  Raises:
    ValueError: on fewer than 3 prisoners.
  """
  if num_agents < 3:
    raise ValueError(f'switch_riddle: num_agents={num_agents}, expected >= 3')

  def observe(state, params):
    del params
    here = jnp.arange(num_agents) == state.in_room
    return jnp.stack([here, here & state.bulb], axis=-1).astype(jnp.float32)

  def reset(key, params):
    first = random_index(key, (), num_agents, jnp.uint32)
    state = SwitchRiddleState(
      bulb=jnp.zeros((), bool),
      in_room=first,
      visited=jnp.arange(num_agents) == first,
      time=jnp.zeros((), jnp.int32),
    )
    return observe(state, params), state

  def step(key, state, action, params):
    act = action[state.in_room]
    tells = act == TELL
    right = jnp.all(state.visited)
    reward = jnp.where(tells, jnp.where(right, 1.0, -1.0), 0.0)
    following = random_index(key, (), num_agents, jnp.uint32)
    state = SwitchRiddleState(
      bulb=state.bulb ^ (act == SWITCH),
      in_room=following,
      visited=state.visited | (jnp.arange(num_agents) == following),
      time=state.time + 1,
    )
    return Step(
      observe(state, params),
      state,
      jnp.full((num_agents,), reward * params.tell_reward, jnp.float32),
      tells | (state.time >= params.max_steps),
      jnp.zeros((), bool),
      {},
    )

  return Environment(
    name='switch_riddle',
    agents=tuple(f'agent_{i}' for i in range(num_agents)),
    default_params=SwitchRiddleParams(max_steps=4 * num_agents - 6),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(Box((2,), 0.0, 1.0),) * num_agents,
    action_spaces=(Discrete(3),) * num_agents,
    draw=draw,
  )


def draw(state: SwitchRiddleState, params: SwitchRiddleParams) -> Picture:
  """The room above, the prisoners below; a tick over who has been inside."""
  num_agents = len(state.visited)
  bulb = '#ffd700' if state.bulb else '#444444'
  day = f'day {int(state.time)} of {int(params.max_steps)}'
  shapes = [
    rectangle((num_agents / 2 - 1, 1.2), (num_agents / 2 + 1, 3), '#eeeeee'),
    Circle((num_agents / 2 + 0.6, 2.6), 0.2, bulb, '#000000'),
    Text((num_agents / 2, 3.3), day, size=0.06),
  ]
  for agent in range(num_agents):
    inside = agent == int(state.in_room)
    at = (num_agents / 2 - 0.2, 1.7) if inside else (agent + 0.5, 0.5)
    color = AGENT_COLORS[agent % len(AGENT_COLORS)]
    shapes.append(Circle(at, 0.3, color))
    seen = '+' if state.visited[agent] else str(agent)
    shapes.append(Text(at, seen, '#ffffff', 0.06))
  return Picture((0.0, 0.0), (float(max(num_agents, 3)), 3.6), shapes)
