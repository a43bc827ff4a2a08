r"""Linear responses to unit vectors: tasks whose best learner is known exactly.

A task is a vector w, its examples are

.. math:: e \sim \mathrm{Unif}(S^{d-1}), \quad \beta = \langle w, e \rangle +
   \sigma \epsilon, \quad w = A z, \quad z \sim N(0, I_r)

as a voxel responds to embeddings of images (BraInCoRL, 2505.15813, stage 1).
With A = tau I the responses are isotropic; with A of rank r < d all voxels live
on a subspace that only who has seen many of them knows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class LinearTasks(NamedTuple):
  """A distribution of tasks; arrays, so that one program serves many."""

  root: Float[Array, 'd r']  # A: the covariance of w is A A^T
  noise: Float[Array, '']  # sigma


class Contexts(NamedTuple):
  """`B` tasks: what is shown of them, and what is asked."""

  x: Float[Array, '*B S d']
  y: Float[Array, '*B S']
  lengths: Int[Array, '*B']  # examples that are shown; the others are 0
  query_x: Float[Array, '*B Q d']
  query_y: Float[Array, '*B Q']


def isotropic_tasks(
  num_features: int = 16,
  *,
  scale: float | Float[Array, ''] = 1.0,
  noise: float | Float[Array, ''] = 0.5,
) -> LinearTasks:
  """Tasks with w from N(0, scale^2 I).

  Args:
    num_features: `d`.
    scale: tau, the standard deviation of responses without noise.
    noise: sigma.
  """
  root = scale * jnp.eye(num_features, dtype=jnp.float32)
  return LinearTasks(root, jnp.float32(noise))


def subspace_tasks(
  key: PRNGKeyArray,
  num_features: int = 16,
  rank: int = 4,
  *,
  scale: float | Float[Array, ''] = 1.0,
  noise: float | Float[Array, ''] = 0.5,
) -> LinearTasks:
  """Tasks with w on a random subspace that all share.

  Args:
    key: of the subspace; consumed.
    num_features: `d`.
    rank: `r`.
    scale: standard deviation of responses without noise, on average.
    noise: sigma.

  Raises:
    ValueError: if the rank is not from 1 to d.
  """
  if not 1 <= rank <= num_features:
    raise ValueError(f'rank={rank} must be from 1 to {num_features}')
  root = jax.random.normal(key, (num_features, rank), jnp.float32)
  return LinearTasks(scale * rank**-0.5 * root, jnp.float32(noise))


def draw_contexts(
  tasks: LinearTasks,
  key: PRNGKeyArray,
  lengths: Int[Array, ' B'],
  max_length: int,
  num_queries: int,
) -> Contexts:
  """Tasks with so many examples each, and queries.

  Task b depends on the key and on b alone; a longer context begins with the
  shorter one.

  Args:
    tasks: to draw from.
    key: consumed.
    lengths: examples of each task, at most `max_length`.
    max_length: `S`; static.
    num_queries: `Q`.
  """
  d, r = tasks.root.shape

  def draw(b, length):
    keys = jax.random.split(jax.random.fold_in(key, b), 3)
    w = tasks.root @ jax.random.normal(keys[0], (r,), jnp.float32)

    def examples(key, count):
      number = lambda i: jax.random.normal(
        jax.random.fold_in(key, i), (d + 1,), jnp.float32
      )
      numbers = jax.vmap(number)(jnp.arange(count, dtype=jnp.int32))
      x = numbers[:, :d]
      x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
      return x, x @ w + tasks.noise * numbers[:, d]

    x, y = examples(keys[1], max_length)
    shown = jnp.arange(max_length) < length
    return Contexts(
      jnp.where(shown[:, None], x, 0.0),
      jnp.where(shown, y, 0.0),
      length,
      *examples(keys[2], num_queries),
    )

  numbers = jnp.arange(lengths.shape[0], dtype=jnp.int32)
  return jax.vmap(draw)(numbers, lengths)
