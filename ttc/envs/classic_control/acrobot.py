r"""Two links that hang from a bar, swung up by the joint between them.

Sutton (1996); the equations are those of Sutton and Barto's book. With the
mass :math:`m_i`, length :math:`l_i`, distance to the centre of mass
:math:`c_i` and moment of inertia :math:`I_i` of each link, both angles zero
where it hangs, the second one relative to the first:

.. math::
  d_1 &= m_1 c_1^2 + m_2 (l_1^2 + c_2^2 + 2 l_1 c_2 \cos\theta_2) + I_1 + I_2 \\
  d_2 &= m_2 (c_2^2 + l_1 c_2 \cos\theta_2) + I_2 \\
  \phi_2 &= m_2 c_2 g \sin(\theta_1 + \theta_2) \\
  \phi_1 &= -m_2 l_1 c_2 \dot\theta_2 (\dot\theta_2 + 2 \dot\theta_1)
    \sin\theta_2 + (m_1 c_1 + m_2 l_1) g \sin\theta_1 + \phi_2 \\
  \ddot\theta_2 &= \frac{\tau + \phi_1 d_2 / d_1 - m_2 l_1 c_2 \dot\theta_1^2
    \sin\theta_2 - \phi_2}{m_2 c_2^2 + I_2 - d_2^2 / d_1} \\
  \ddot\theta_1 &= -(d_2 \ddot\theta_2 + \phi_1) / d_1

One Runge-Kutta step of fourth order each action. Every step pays -1, that which
brings the tip higher than `goal_height` above the bar pays 0 and ends the
episode; `max_steps` truncates it. Constants are Gymnasium's, Acrobot-v1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Line, Picture, Text
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete


class AcrobotParams(NamedTuple):
  """What a task may set, of both links where there are two.

  Attributes:
    gravity: metres per second squared.
    length: metres.
    mass: kilograms.
    centre: distance of the centre of mass from the upper joint, metres.
    inertia: around the centre of mass, kilogram square metres.
    max_velocity: radians a second; larger ones are cut.
    torque: of the last action, newton metres; the first one has the negative.
    torque_noise: uniform within plus and minus this, newton metres.
    time_step: seconds.
    goal_height: of the tip above the bar, metres.
    start_range: all four numbers start uniform within plus and minus this.
    max_steps: before truncation.
  """

  gravity: Float[Array, ''] | float = 9.8
  length: tuple[Float[Array, ''] | float, ...] = (1.0, 1.0)
  mass: tuple[Float[Array, ''] | float, ...] = (1.0, 1.0)
  centre: tuple[Float[Array, ''] | float, ...] = (0.5, 0.5)
  inertia: tuple[Float[Array, ''] | float, ...] = (1.0, 1.0)
  max_velocity: tuple[Float[Array, ''] | float, ...] = (
    4 * math.pi,
    9 * math.pi,
  )
  torque: Float[Array, ''] | float = 1.0
  torque_noise: Float[Array, ''] | float = 0.0
  time_step: Float[Array, ''] | float = 0.2
  goal_height: Float[Array, ''] | float = 1.0
  start_range: Float[Array, ''] | float = 0.1
  max_steps: Int[Array, ''] | int = 500


class AcrobotState(NamedTuple):
  """Angles from -pi to pi, radians a second, steps."""

  angle: Float[Array, '2']
  velocity: Float[Array, '2']
  time: Int[Array, '']


def acrobot() -> Environment:
  """The two links; actions are torques: negative, none, positive.

  Observations are the cosine and the sine of the first angle, those of the
  second one, and both velocities.

  Returns:
    The environment; its params are `AcrobotParams`.
  """
  return single_agent(
    'acrobot',
    AcrobotParams(),
    _reset,
    _step,
    _observe,
    Box((6,)),
    Discrete(3),
    draw,
  )


def _observe(state, params):
  del params
  first, second = state.angle
  circle = [jnp.cos(first), jnp.sin(first), jnp.cos(second), jnp.sin(second)]
  return jnp.stack([*circle, *state.velocity])


def _reset(key, params):
  numbers = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0)
  numbers = numbers * params.start_range
  return AcrobotState(numbers[:2], numbers[2:], jnp.zeros((), jnp.int32))


def _step(key, state, action, params):
  noise = jax.random.uniform(key, (), jnp.float32, -1.0, 1.0)
  push = (action - 1).astype(jnp.float32)
  # Where a constant says never, no random number is drawn.
  noise = jnp.where(params.torque_noise > 0, noise * params.torque_noise, 0.0)
  torque = push * params.torque + noise.astype(jnp.float32)
  h = params.time_step
  y = (*state.angle, *state.velocity)
  ahead = lambda k, h: jax.tree.map(lambda a, b: a + h * b, y, k)
  k1 = _slope(y, torque, params)
  k2 = _slope(ahead(k1, h / 2), torque, params)
  k3 = _slope(ahead(k2, h / 2), torque, params)
  k4 = _slope(ahead(k3, h), torque, params)
  mean = lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6
  y = ahead(jax.tree.map(mean, k1, k2, k3, k4), h)
  turn = 2 * math.pi
  angle = [a - turn * jnp.floor((a + math.pi) / turn) for a in y[:2]]
  most = params.max_velocity
  velocity = [jnp.clip(y[2 + i], -most[i], most[i]) for i in range(2)]
  state = AcrobotState(jnp.stack(angle), jnp.stack(velocity), state.time + 1)
  l1, l2 = params.length
  height = -l1 * jnp.cos(angle[0]) - l2 * jnp.cos(angle[0] + angle[1])
  terminated = height > params.goal_height
  truncated = state.time >= params.max_steps
  return state, jnp.where(terminated, 0.0, -1.0), terminated, truncated, {}


def _slope(y, torque, params):
  """Velocities and accelerations of both angles."""
  angle, bend, v1, v2 = y
  m1, m2 = params.mass
  c1, c2 = params.centre
  i1, i2 = params.inertia
  l1, g = params.length[0], params.gravity
  sin, cos = jnp.sin(bend), jnp.cos(bend)
  d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos) + i1 + i2
  d2 = m2 * (c2**2 + l1 * c2 * cos) + i2
  phi2 = m2 * c2 * g * jnp.sin(angle + bend)
  phi1 = (m1 * c1 + m2 * l1) * g * jnp.sin(angle) + phi2
  phi1 = phi1 - m2 * l1 * c2 * v2 * (v2 + 2 * v1) * sin
  a2 = torque + phi1 * d2 / d1 - m2 * l1 * c2 * v1**2 * sin - phi2
  a2 = a2 / (m2 * c2**2 + i2 - d2**2 / d1)
  return v1, v2, -(d2 * a2 + phi1) / d1, a2


def draw(state: AcrobotState, params: AcrobotParams) -> Picture:
  """The bar, the links, and the line that the tip has to reach."""
  first, second = (float(a) for a in state.angle)
  l1, l2 = (float(a) for a in params.length)
  elbow = (l1 * math.sin(first), -l1 * math.cos(first))
  both = first + second
  tip = (elbow[0] + l2 * math.sin(both), elbow[1] - l2 * math.cos(both))
  goal, reach = float(params.goal_height), l1 + l2 + 0.2
  shapes = [
    Line(((-reach, goal), (reach, goal)), '#009e73', 0.008),
    Line(((0.0, 0.0), elbow), '#0072b2', 0.035),
    Line((elbow, tip), '#56b4e9', 0.035),
    *(Circle(at, 0.09, '#333333') for at in ((0.0, 0.0), elbow)),
    Circle(tip, 0.1, '#d55e00'),
    Text((0.0, reach - 0.1), f'step {int(state.time)}', size=0.045),
  ]
  return Picture((-reach, -reach), (reach, reach), shapes)
