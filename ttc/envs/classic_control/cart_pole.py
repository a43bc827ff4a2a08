r"""A pole on a cart, kept upright by pushes (Barto, Sutton and Anderson, 1983).

The cart of mass :math:`M` at :math:`x` is pushed by a force :math:`\pm F`; the
pole of mass :math:`m` and half length :math:`l` leans by :math:`\theta` to the
right:

.. math::
  u &= (\pm F + m l \dot\theta^2 \sin\theta) / (M + m) \\
  \ddot\theta &= \frac{g \sin\theta - u \cos\theta}
    {l (4/3 - m \cos^2\theta / (M + m))} \\
  \ddot x &= u - m l \ddot\theta \cos\theta / (M + m)

One explicit step of Euler each action. Every step pays 1, the last one too; the
rules end the episode when the pole leans too far or the cart leaves the track,
`max_steps` truncates it. Constants are those of Gymnasium's CartPole-v1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Line, Picture, Text, rectangle
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete

LEFT, RIGHT = range(2)


class CartPoleParams(NamedTuple):
  """What a task may set.

  Attributes:
    gravity: metres per second squared.
    cart_mass: kilograms.
    pole_mass: kilograms.
    half_length: of the pole, metres.
    force: of a push, newtons.
    time_step: seconds.
    max_angle: that the pole may lean, radians.
    max_position: that the cart may be from the middle, metres.
    start_range: all four numbers start uniform within plus and minus this.
    max_steps: before truncation.
  """

  gravity: Float[Array, ''] | float = 9.8
  cart_mass: Float[Array, ''] | float = 1.0
  pole_mass: Float[Array, ''] | float = 0.1
  half_length: Float[Array, ''] | float = 0.5
  force: Float[Array, ''] | float = 10.0
  time_step: Float[Array, ''] | float = 0.02
  max_angle: Float[Array, ''] | float = 12 * math.pi / 180
  max_position: Float[Array, ''] | float = 2.4
  start_range: Float[Array, ''] | float = 0.05
  max_steps: Int[Array, ''] | int = 500


class CartPoleState(NamedTuple):
  """Metres, metres a second, radians, radians a second, steps."""

  position: Float[Array, '']
  velocity: Float[Array, '']
  angle: Float[Array, '']
  angular_velocity: Float[Array, '']
  time: Int[Array, '']


def cart_pole() -> Environment:
  """The cart and the pole; actions are `LEFT` and `RIGHT`.

  Observations are position, velocity, angle and angular velocity.

  Returns:
    The environment; its params are `CartPoleParams`.
  """
  return single_agent(
    'cart_pole',
    CartPoleParams(),
    _reset,
    _step,
    _observe,
    Box((4,)),
    Discrete(2),
    draw,
  )


def _observe(state, params):
  del params
  return jnp.stack(state[:4])


def _reset(key, params):
  numbers = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0)
  return CartPoleState(
    *(numbers * params.start_range), time=jnp.zeros((), jnp.int32)
  )


def _step(key, state, action, params):
  del key
  x, v, angle, omega, time = state
  total = params.cart_mass + params.pole_mass
  moment = params.pole_mass * params.half_length
  force = jnp.where(action == RIGHT, params.force, -params.force)
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  push = (force.astype(jnp.float32) + moment * omega**2 * sin) / total
  angular = (params.gravity * sin - push * cos) / (
    params.half_length * (4 / 3 - params.pole_mass * cos**2 / total)
  )
  linear = push - moment * angular * cos / total
  state = CartPoleState(
    x + params.time_step * v,
    v + params.time_step * linear,
    angle + params.time_step * omega,
    omega + params.time_step * angular,
    time + 1,
  )
  terminated = (jnp.abs(state.position) > params.max_position) | (
    jnp.abs(state.angle) > params.max_angle
  )
  truncated = state.time >= params.max_steps
  return state, jnp.ones((), jnp.float32), terminated, truncated, {}


def draw(state: CartPoleState, params: CartPoleParams) -> Picture:
  """The track with its ends, the cart and the pole, to scale."""
  x, angle = float(state.position), float(state.angle)
  end, length = float(params.max_position), 2 * float(params.half_length)
  tip = (x + length * math.sin(angle), 0.2 + length * math.cos(angle))
  height = length + 0.6
  shapes = [
    Line(((-end, -0.1), (end, -0.1)), '#888888'),
    *(Line(((s, -0.1), (s, 0.1)), '#d55e00', 0.008) for s in (-end, end)),
    rectangle((x - 0.25, -0.04), (x + 0.25, 0.2), '#0072b2', '#003b5c'),
    *(Circle((x + s, -0.04), 0.06, '#333333') for s in (-0.15, 0.15)),
    Line(((x, 0.2), tip), '#e69f00', 0.016),
    Circle((x, 0.2), 0.05, '#333333'),
    Text((0.0, height - 0.1), f'step {int(state.time)}', size=0.035),
  ]
  return Picture((-end - 0.3, -0.25), (end + 0.3, height), shapes)
