r"""Physics of the multi-agent particle environments (Lowe et al., 2017).

Discs in the plane, moved by forces, damped, and pushed apart where they
overlap. With `p`, `v` and `F` of the state before the step (1706.02275, in the
form of the public code):

.. math::
  p' = p + v\,\Delta t, \quad
  v' = (1 - d)\,v + \tfrac{F}{m}\,\Delta t, \quad
  F_{ij} = c\,\frac{p_i - p_j}{|p_i - p_j|}\,
    k \log\!\big(1 + e^{(r_i + r_j - |p_i - p_j|) / k}\big)

and `v'` shortened to the greatest speed. Landmarks do not move; those that are
solid push. Costs `A (A - 1) / 2 + A S` pairs a step, none where nothing is
solid.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc.types import AnyArray, AnyNumber


class WorldParams(NamedTuple):
  """Constants of the physics, for `A` agents and `L` landmarks.

  Attributes:
    radius: of agents.
    landmark_radius: of landmarks.
    mass: of agents.
    accel: force of an agent that pushes with all its might.
    max_speed: of agents; negative for no limit.
    dt: seconds of a step.
    damping: share of the velocity that is lost in a step.
    contact_force: `c`.
    contact_margin: `k`, how soft surfaces are.
  """

  radius: Float[AnyArray, ' A']
  landmark_radius: Float[AnyArray, ' L']
  mass: Float[AnyArray, ' A']
  accel: Float[AnyArray, ' A']
  max_speed: Float[AnyArray, ' A']
  dt: Float[AnyNumber, '']
  damping: Float[AnyNumber, '']
  contact_force: Float[AnyNumber, '']
  contact_margin: Float[AnyNumber, '']


def world_params(
  radius: list[float],
  landmark_radius: list[float],
  accel: list[float] | None = None,
  max_speed: list[float] | None = None,
) -> WorldParams:
  """The constants of the public games.

  Args:
    radius: of each agent.
    landmark_radius: of each landmark.
    accel: of each agent; 5 if None.
    max_speed: of each agent; without limit if None.
  """
  num_agents = len(radius)
  return WorldParams(
    radius=np.array(radius, np.float32),
    landmark_radius=np.array(landmark_radius, np.float32),
    mass=np.ones(num_agents, np.float32),
    accel=np.array(accel or [5.0] * num_agents, np.float32),
    max_speed=np.array(max_speed or [-1.0] * num_agents, np.float32),
    dt=np.float32(0.1),
    damping=np.float32(0.25),
    contact_force=np.float32(100.0),
    contact_margin=np.float32(1e-3),
  )


def norm(vectors: Float[Array, '*n 2']) -> Float[Array, '*n']:
  """Euclidean length; its gradient at zero is zero, not NaN."""
  squares = vectors[..., 0] ** 2 + vectors[..., 1] ** 2
  positive = squares > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


def contact_forces(
  position: Float[Array, 'A 2'],
  landmarks: Float[Array, 'S 2'],
  params: WorldParams,
) -> Float[Array, 'A 2']:
  """What agents feel of each other and of solid landmarks.

  Two bodies at one point do not push: there is no direction.

  Args:
    position: of agents.
    landmarks: the solid ones, the first of all; maybe none.
    params: of the world.

  Returns:
    The sum of the forces on each agent.
  """
  num_agents, num_solid = position.shape[0], landmarks.shape[0]
  bodies = jnp.concatenate([position, landmarks])
  radius = jnp.concatenate([params.radius, params.landmark_radius[:num_solid]])
  pairs = _pairs(num_agents, num_solid)
  delta_x, delta_y = _dot(pairs, bodies[:, 0]), _dot(pairs, bodies[:, 1])
  squares = delta_x**2 + delta_y**2
  apart = squares > 0
  dist = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
  overlap = _dot(np.abs(pairs), radius) - dist
  margin = params.contact_margin
  penetration = margin * _softplus(overlap / margin)
  force = params.contact_force * jnp.where(
    apart, penetration / jnp.where(apart, dist, 1.0), 0.0
  )
  of_agents = pairs[:, :num_agents].T
  return jnp.stack(
    [_dot(of_agents, force * delta_x), _dot(of_agents, force * delta_y)], -1
  )


def _pairs(num_agents: int, num_solid: int) -> Float[np.ndarray, 'P n']:
  """For each pair of bodies that may touch 1 at the first, -1 at the second."""
  first, second = np.triu_indices(num_agents + num_solid, 1)
  keep = first < num_agents
  first, second = first[keep], second[keep]
  rows = np.arange(len(first))
  pairs = np.zeros((len(first), num_agents + num_solid), np.float32)
  pairs[rows, first], pairs[rows, second] = 1.0, -1.0
  return pairs


def _softplus(x):
  """`log(1 + exp(x))`; jax's own minds NaNs and is not vectorised on CPU."""
  return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


def _dot(matrix, vector):
  """A product in full precision.

  With the matrix on the left, `vmap` puts the axis of the batch last, where a
  CPU works on many environments at once: forces took a tenth of the time.
  """
  return jnp.dot(matrix, vector, precision=jax.lax.Precision.HIGHEST)


def move(
  position: Float[Array, 'A 2'],
  velocity: Float[Array, 'A 2'],
  force: Float[Array, 'A 2'],
  params: WorldParams,
) -> tuple[Float[Array, 'A 2'], Float[Array, 'A 2']]:
  """One step of agents.

  Args:
    position: of agents.
    velocity: of agents, in units a second.
    force: on agents, their own and that of contacts.
    params: of the world.

  Returns:
    Position and velocity after `dt`. The position follows the old velocity.
  """
  position = position + velocity * params.dt
  velocity = (
    velocity * (1 - params.damping) + force / params.mass[:, None] * params.dt
  )
  speed = norm(velocity)
  fast = (params.max_speed >= 0) & (speed > params.max_speed)
  ratio = jnp.where(fast, params.max_speed / jnp.where(fast, speed, 1.0), 1.0)
  return position, velocity * ratio[:, None]


def distances(
  a: Float[Array, 'n 2'], b: Float[Array, 'm 2']
) -> Float[Array, 'n m']:
  """Between all points of two sets."""
  return norm(a[:, None] - b[None])


def out_of_bounds(position: Float[Array, '*n 2']) -> Float[Array, '*n']:
  """What leaving the square `[-1, 1]^2` costs, summed over both axes.

  Nothing up to 0.9, then linearly up to 1 at the border, then `exp(2x - 2)` up
  to 10.
  """
  x = jnp.abs(position)
  outside = jnp.minimum(jnp.exp(2 * x - 2), 10.0)
  cost = jnp.where(x < 1.0, (x - 0.9) * 10, outside)
  return jnp.sum(jnp.where(x < 0.9, 0.0, cost), axis=-1)
