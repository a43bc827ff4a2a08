r"""A car too weak for the hill must first go the other way (Moore, 1990).

On a track of the height :math:`\sin 3x`, with a push :math:`a` of -1, 0 or 1:

.. math::
  \dot x &\leftarrow \mathrm{clip}(\dot x + a F - g \cos 3x, \pm v_{\max}) \\
  x &\leftarrow \mathrm{clip}(x + \dot x, x_{\min}, x_{\max})

and the car stands still where it hits the left end. Every step pays -1. The
rules end the episode at the goal, `max_steps` truncates it. Constants are those
of Gymnasium's MountainCar-v0.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Line, Picture, Polygon, Text
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete


class MountainCarParams(NamedTuple):
  """What a task may set; a step is the unit of time.

  Attributes:
    min_position: left end of the track.
    max_position: right end.
    max_speed: a step.
    goal_position: at which the episode ends.
    goal_velocity: that the car must have there at least.
    force: of a push, that is what it adds to the velocity.
    gravity: what a vertical slope would add.
    start_low: the car starts uniform from here.
    start_high: to here, at rest.
    max_steps: before truncation.
  """

  min_position: Float[Array, ''] | float = -1.2
  max_position: Float[Array, ''] | float = 0.6
  max_speed: Float[Array, ''] | float = 0.07
  goal_position: Float[Array, ''] | float = 0.5
  goal_velocity: Float[Array, ''] | float = 0.0
  force: Float[Array, ''] | float = 0.001
  gravity: Float[Array, ''] | float = 0.0025
  start_low: Float[Array, ''] | float = -0.6
  start_high: Float[Array, ''] | float = -0.4
  max_steps: Int[Array, ''] | int = 200


class MountainCarState(NamedTuple):
  """Where the car is, how fast, and the step."""

  position: Float[Array, '']
  velocity: Float[Array, '']
  time: Int[Array, '']


def mountain_car() -> Environment:
  """The car in the valley; actions are pushes: left, none, right.

  Observations are position and velocity.

  Returns:
    The environment; its params are `MountainCarParams`.
  """
  return single_agent(
    'mountain_car',
    MountainCarParams(),
    _reset,
    _step,
    _observe,
    Box((2,)),
    Discrete(3),
    draw,
  )


def _observe(state, params):
  del params
  return jnp.stack([state.position, state.velocity])


def _reset(key, params):
  share = jax.random.uniform(key, (), jnp.float32)
  start = params.start_low + share * (params.start_high - params.start_low)
  return MountainCarState(
    start, jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
  )


def _step(key, state, action, params):
  del key
  push = (action - 1).astype(jnp.float32) * params.force
  pull = params.gravity * jnp.cos(3 * state.position)
  velocity = state.velocity + push - pull
  velocity = jnp.clip(velocity, -params.max_speed, params.max_speed)
  position = jnp.clip(
    state.position + velocity, params.min_position, params.max_position
  )
  stopped = (position <= params.min_position) & (velocity < 0)
  velocity = jnp.where(stopped, 0.0, velocity)
  state = MountainCarState(position, velocity, state.time + 1)
  terminated = (position >= params.goal_position) & (
    velocity >= params.goal_velocity
  )
  truncated = state.time >= params.max_steps
  return state, jnp.full((), -1.0), terminated, truncated, {}


def draw(state: MountainCarState, params: MountainCarParams) -> Picture:
  """The valley, the car and the flag."""
  left, right = float(params.min_position), float(params.max_position)
  height = lambda x: 0.45 * math.sin(3 * x) + 0.55
  slope = [(x, height(x)) for x in np.linspace(left, right, 60)]
  x, goal = float(state.position), float(params.goal_position)
  foot = height(goal)
  shapes = [
    Polygon([(left, 0.0), *slope, (right, 0.0)], '#dfe8d8'),
    Line(slope, '#5b7f4a', 0.008),
    Line(((goal, foot), (goal, foot + 0.22)), '#333333', 0.006),
    Polygon(
      ((goal, foot + 0.22), (goal, foot + 0.12), (goal - 0.12, foot + 0.17)),
      '#d55e00',
    ),
    Circle((x, height(x) + 0.05), 0.055, '#0072b2', '#003b5c'),
    Text(((left + right) / 2, 1.15), f'step {int(state.time)}', size=0.045),
  ]
  return Picture((left, 0.0), (right, 1.27), shapes)
