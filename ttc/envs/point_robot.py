r"""A point in the plane that has to find out where it is wanted.

The navigation of meta-RL (Finn et al., 2017, 1703.03400; Rakelly et al., 2019,
1903.08254): an episode has 20 steps, nobody tells the robot its task, and the
reward is how far it is from what the task asks of it. An action :math:`a` in
the plane moves it by

.. math::
  v = g \ell \, R(\phi) \, a / \max(1, |a|)

and it pays :math:`-e`, after the step, with :math:`e = |x - x^*|` from a goal
on a half circle or :math:`e = |v - v^*|` from a velocity. Where rewards are
sparse it pays :math:`1 - e` near what is asked and 0 elsewhere. Tasks of one
family differ in the goal, the velocity, or the dynamics :math:`\phi, g`; all of
it is in `params`.

Straight ahead is best at every step at once, so the best return has a closed
form, `point_robot_optimum`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Line, Picture, Shape, Text
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box
from ttc.envs.task_distribution import TaskDistribution
from ttc.types import AnyArray, AnyNumber

FAMILIES = ('goals', 'velocities', 'dynamics')
_PAIR = 'the smaller and the larger number '


class PointRobotParams(NamedTuple):
  """What a task may set; a step is the unit of time.

  Attributes:
    angle: of the goal on the circle, radians.
    radius: of the circle.
    centre: of the circle; the robot starts at the origin.
    velocity: that is asked for instead of the goal where `by_velocity`.
    by_velocity: whether it is.
    rotation: of what an action does, radians.
    gain: of what an action does.
    step_length: of the longest action, before the gain.
    reward_radius: how near pays; infinite for dense rewards.
    max_steps: before truncation.
  """

  angle: Float[AnyNumber, ''] | float = math.pi / 2
  radius: Float[AnyNumber, ''] | float = 1.0
  centre: Float[AnyArray, '2'] = np.zeros(2, np.float32)
  velocity: Float[AnyArray, '2'] = np.zeros(2, np.float32)
  by_velocity: Bool[AnyNumber, ''] | bool = False
  rotation: Float[AnyNumber, ''] | float = 0.0
  gain: Float[AnyNumber, ''] | float = 1.0
  step_length: Float[AnyNumber, ''] | float = 0.1
  reward_radius: Float[AnyNumber, ''] | float = math.inf
  max_steps: Int[AnyNumber, ''] | int = 20


class PointRobotState(NamedTuple):
  """Where the robot is, its last step, and the time."""

  position: Float[Array, '2']
  velocity: Float[Array, '2']
  time: Int[Array, '']


def point_robot() -> Environment:
  """The robot in the plane; actions are directions, at most of length 1.

  Observations are its position: what it is to do it learns from rewards.
  `info` has `error`, the distance from what is asked.

  Returns:
    The environment; its params are `PointRobotParams`.
  """
  return single_agent(
    'point_robot',
    PointRobotParams(),
    _reset,
    _step,
    lambda state, params: state.position,
    Box((2,)),
    Box((2,), -1.0, 1.0),
    draw,
  )


def _reset(key, params):
  del key, params
  zeros = jnp.zeros((2,), jnp.float32)
  return PointRobotState(zeros, zeros, jnp.zeros((), jnp.int32))


def _step(key, state, action, params):
  del key
  x, y = action / jnp.maximum(1.0, jnp.linalg.norm(action))
  cos, sin = jnp.cos(params.rotation), jnp.sin(params.rotation)
  velocity = jnp.stack([cos * x - sin * y, sin * x + cos * y])
  velocity = (params.gain * params.step_length * velocity).astype(jnp.float32)
  state = PointRobotState(state.position + velocity, velocity, state.time + 1)
  miss = jnp.where(
    params.by_velocity,
    velocity - jnp.asarray(params.velocity, jnp.float32),
    state.position - goal_of(params),
  )
  error = jnp.linalg.norm(miss)
  reward = jnp.where(
    jnp.isinf(params.reward_radius),
    -error,
    jnp.where(error <= params.reward_radius, 1.0 - error, 0.0),
  )
  truncated = state.time >= params.max_steps
  return state, reward, jnp.zeros((), bool), truncated, {'error': error}


def goal_of(params: PointRobotParams) -> Float[Array, '2']:
  """Where the goal is."""
  angle = jnp.asarray(params.angle, jnp.float32)
  toward = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
  return jnp.asarray(params.centre, jnp.float32) + params.radius * toward


def point_robot_optimum(params: PointRobotParams) -> Float[Array, '']:
  r"""The return of who knows the task, and goes straight.

  With the distance :math:`d` to the goal and steps of length :math:`s` the
  error after :math:`t` steps is at best :math:`\max(0, d - t s)`, whatever else
  was done before, so with :math:`n = \min(T, \lfloor d / s \rfloor)`

  .. math::
    R^* = -\sum_{t=1}^{T} \max(0, d - t s) = -(n d - s n (n + 1) / 2)

  Sparse rewards begin with the first step :math:`k` whose error is within the
  reward radius: :math:`R^* = T - k + 1 - \sum_{t=k}^{T} \max(0, d - t s)`.
  Velocities can be had from the first step on, as near as steps are long.

  Args:
    params: of the task.

  Returns:
    The undiscounted return of an episode.
  """
  most = params.gain * params.step_length
  steps = jnp.asarray(params.max_steps, jnp.float32)
  velocity = jnp.linalg.norm(jnp.asarray(params.velocity, jnp.float32))
  start = jnp.where(
    params.by_velocity,
    jnp.maximum(velocity - most, 0.0),
    jnp.linalg.norm(goal_of(params)),
  )
  pace = jnp.where(params.by_velocity, 0.0, most)

  def errors_until(count):
    """Of that many steps, summed."""
    on_the_way = jnp.where(pace > 0, jnp.floor(start / most), count)
    n = jnp.minimum(count, on_the_way)
    return n * start - pace * n * (n + 1) / 2

  # Steps before the first one that pays, if there is one.
  far = jnp.ceil((start - params.reward_radius) / most) - 1
  never = jnp.where(start > params.reward_radius, steps, 0.0)
  before = jnp.where(pace > 0, jnp.clip(far, 0.0, steps), never)
  before = jnp.where(jnp.isinf(params.reward_radius), 0.0, before)
  errors = errors_until(steps) - errors_until(before)
  bonus = jnp.where(jnp.isinf(params.reward_radius), 0.0, steps - before)
  return (bonus - errors).astype(jnp.float32)


def point_robot_tasks(
  family: str = 'goals',
  *,
  angles: tuple[float, float] = (0.0, math.pi),
  radius: float = 1.0,
  speeds: tuple[float, float] = (0.02, 0.1),
  gains: tuple[float, float] = (0.5, 1.5),
  step_length: float = 0.1,
  reward_radius: float = math.inf,
  max_steps: int = 20,
) -> TaskDistribution:
  """Tasks of one family, uniform in what they differ in.

  Args:
    family: `'goals'`: angles on the circle around the start; `'velocities'`:
      directions from `angles` and `speeds`; `'dynamics'`: rotations of up to a
      quarter turn to either side and `gains`, with one goal, in the middle of
      `angles`.
    angles: in radians, from the first to the second.
    radius: of the circle of goals.
    speeds: of velocities, lengths of steps.
    gains: of dynamics.
    step_length: of the longest action.
    reward_radius: how near pays 1 less the error, at most 1; infinite for dense
      rewards.
    max_steps: of an episode.

  Returns:
    The distribution, a continuum.

  Raises:
    ValueError: on a family that is not known, and on numbers that make no task,
      such as goals out of reach.
  """
  gains = gains if family == 'dynamics' else (1.0, 1.0)
  speeds = speeds if family == 'velocities' else (0.0, 0.0)
  _check(
    family, angles, radius, speeds, gains, step_length, reward_radius, max_steps
  )

  def between(key, ends):
    share = jax.random.uniform(key, (), jnp.float32)
    return (ends[0] + share * (ends[1] - ends[0])).astype(jnp.float32)

  real = lambda x: np.asarray(x, np.float32)
  middle, zeros = sum(angles) / 2, np.zeros((2,), np.float32)
  base = PointRobotParams(
    real(middle),
    real(radius),
    zeros,
    zeros,
    np.asarray(family == 'velocities'),
    real(0.0),
    real(1.0),
    real(step_length),
    real(reward_radius),
    np.asarray(max_steps, np.int32),
  )

  def sample(key):
    first, second = jax.random.split(key)
    if family == 'dynamics':
      turn = between(first, (-math.pi / 2, math.pi / 2))
      return base._replace(rotation=turn, gain=between(second, gains))
    angle = between(first, angles)
    if family == 'goals':
      return base._replace(angle=angle)
    toward = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    return base._replace(velocity=between(second, speeds) * toward)

  return TaskDistribution(sample)


def _check(
  family, angles, radius, speeds, gains, step_length, reward_radius, max_steps
):
  """See `point_robot_tasks`."""
  reach = max_steps * step_length * gains[0]
  for name, value, fine, expected in (
    ('family', family, family in FAMILIES, f'one of {", ".join(FAMILIES)}'),
    ('max_steps', max_steps, max_steps >= 1, '>= 1'),
    ('step_length', step_length, 0 < step_length < math.inf, 'above 0'),
    ('gains', gains, 0 < gains[0] <= gains[1] < math.inf, _PAIR + 'above 0'),
    (
      'angles',
      angles,
      -2 * math.pi <= angles[0] <= angles[1] <= 2 * math.pi,
      _PAIR + 'from -2 pi to 2 pi',
    ),
    (
      'radius',
      radius,
      0 < radius <= reach * (1 + 1e-6),
      f'above 0 and at most {reach:g}, as far as {max_steps} steps lead',
    ),
    (
      'speeds',
      speeds,
      0 <= speeds[0] <= speeds[1] <= step_length,
      _PAIR + f'from 0 to step_length={step_length:g}',
    ),
    (
      'reward_radius',
      reward_radius,
      0 < reward_radius <= 1 or reward_radius == math.inf,
      'above 0 and at most 1, or infinite',
    ),
  ):
    if not fine:
      raise ValueError(
        f'point_robot_tasks: {name}={value!r}, expected {expected}'
      )


_ROBOT, _GOAL, _GREY = '#0072b2', '#d55e00', '#c8c8c8'


def draw(state: PointRobotState, params: PointRobotParams) -> Picture:
  """The task and the robot; a needle shows where an action to the right leads.

  Goals are on a half circle, in a disc where rewards are sparse; velocities are
  arrows of ten steps, the one that is asked for and the robot's, in a window
  that goes with it.
  """
  x, y = (float(c) for c in state.position)
  cx, cy = (float(c) for c in params.centre)
  if params.by_velocity:
    cx, cy = x, y
  r, turn = float(params.radius), float(params.rotation)
  ahead = lambda v: (x + 10 * float(v[0]), y + 10 * float(v[1]))
  needle = 0.25 * r * float(params.gain)
  end = (x + needle * math.cos(turn), y + needle * math.sin(turn))
  shapes: list[Shape] = [Line(((x, y), end), _GREY, 0.008)]
  if params.by_velocity:
    shapes += _arrow((x, y), ahead(params.velocity), _GOAL)
    shapes += _arrow((x, y), ahead(state.velocity), _ROBOT)
  else:
    gx, gy = (float(c) for c in goal_of(params))
    angles = np.linspace(0.0, math.pi, 41)
    arc = [(cx + r * math.cos(a), cy + r * math.sin(a)) for a in angles]
    shapes = [Line(arc, _GREY), *shapes, Circle((gx, gy), 0.06 * r, _GOAL)]
    if math.isfinite(near := float(params.reward_radius)):
      shapes.insert(0, Circle((gx, gy), near, '#fbe3d3'))
  shapes.append(Circle((x, y), 0.06 * r, _ROBOT, '#003b5c'))
  words = f'step {int(state.time)}'
  shapes.append(Text((cx, cy + 1.55 * r), words, size=0.045))
  return Picture(
    (cx - 1.4 * r, cy - 0.6 * r), (cx + 1.4 * r, cy + 1.7 * r), shapes
  )


def _arrow(start, end, color):
  """A line with a head."""
  angle = math.atan2(end[1] - start[1], end[0] - start[0])
  size = 0.25 * math.dist(start, end)
  left, right = (
    (end[0] - size * math.cos(angle + s), end[1] - size * math.sin(angle + s))
    for s in (-0.5, 0.5)
  )
  return [
    Line((start, end), color, 0.01),
    Line((left, end, right), color, 0.01),
  ]
