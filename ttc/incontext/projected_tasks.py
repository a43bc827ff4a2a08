r"""Tasks made of one data set: projected at random, labels permuted.

General-Purpose In-Context Learning (Kirsch et al., 2212.04458), section 3.
Task k is a random matrix and a permutation of the classes,

.. math:: x' = M_k x, \quad y' = \rho_k(y), \qquad (M_k)_{ij} \sim N(0, 1/d)

and a sequence of it is examples of the data set, seen through both. A task is
drawn from its number whenever it is needed and never stored, so that there can
be one or sixteen million.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

MAX_TASKS = 2**24
_FIRST_UNSEEN = 2**30  # far behind the tasks of any training


class Labelled(NamedTuple):
  """A data set of `n` examples."""

  x: Float[Array, 'n d']
  labels: Int[Array, ' n']


class ProjectedTasks(NamedTuple):
  """A set of tasks of a data set; arrays, so that one program serves many.

  Attributes:
    data: that tasks are made of.
    key: that they are drawn from.
    num_tasks: K.
    first: number of the first one.
    unpermuted: share of the sequences whose labels are left as they are, an
      easier start (section 4.3).
  """

  data: Labelled
  key: PRNGKeyArray
  num_tasks: Int[Array, '']
  first: Int[Array, '']
  unpermuted: Float[Array, '']


class Sequences(NamedTuple):
  """`B` sequences of `T` examples."""

  x: Float[Array, '*B T F']
  labels: Int[Array, '*B T']
  unprojected: Float[Array, '*B T d']  # x of the data set


def normalised(
  x: Float[ArrayLike, 'n d'], labels: Int[ArrayLike, ' n']
) -> Labelled:
  """A data set whose features have mean 0 and, all together, variance 1."""
  x = jnp.asarray(x, jnp.float32)
  x = x - jnp.mean(x, axis=0)
  return Labelled(x / jnp.std(x), jnp.asarray(labels, jnp.int32))


def gaussian_templates(
  key: PRNGKeyArray,
  num_examples: int = 4096,
  *,
  num_features: int = 16,
  num_classes: int = 10,
  noise: float = 0.5,
) -> Labelled:
  """A data set without a download: points around one template per class.

  Args:
    key: of the templates and the examples; consumed.
    num_examples: `n`.
    num_features: `d`, of templates from N(0, I).
    num_classes: templates.
    noise: standard deviation around them.
  """
  template_key, label_key, noise_key = jax.random.split(key, 3)
  templates = _normal(template_key, (num_classes, num_features))
  labels = _randint(label_key, (num_examples,), num_classes)
  x = templates[labels]
  x += noise * _normal(noise_key, (num_examples, num_features))
  return normalised(x, labels)


def projected_tasks(
  data: Labelled,
  key: PRNGKeyArray,
  num_tasks: int | Int[Array, ''],
  *,
  unpermuted: float | Float[Array, ''] = 0.0,
) -> ProjectedTasks:
  """The first tasks of a key.

  Args:
    data: normalised.
    key: of the tasks.
    num_tasks: K, from 1 to 2^24.
    unpermuted: share of the sequences whose labels are left as they are.

  Raises:
    ValueError: for a number of tasks or a share out of range.
  """
  if isinstance(num_tasks, int) and not 1 <= num_tasks <= MAX_TASKS:
    raise ValueError(f'num_tasks={num_tasks} must be from 1 to {MAX_TASKS}')
  if isinstance(unpermuted, float) and not 0 <= unpermuted <= 1:
    raise ValueError(f'unpermuted={unpermuted} must be from 0 to 1')
  return ProjectedTasks(
    data,
    key,
    jnp.int32(num_tasks),
    jnp.int32(0),
    jnp.float32(unpermuted),
  )


def unseen(
  tasks: ProjectedTasks, data: Labelled | None = None
) -> ProjectedTasks:
  """Tasks that are not among any training's; of another data set if given."""
  return tasks._replace(
    data=tasks.data if data is None else data,
    num_tasks=jnp.int32(MAX_TASKS),
    first=jnp.int32(_FIRST_UNSEEN),
    unpermuted=jnp.float32(0),
  )


def draw_sequences(
  tasks: ProjectedTasks,
  key: PRNGKeyArray,
  num_sequences: int,
  length: int,
  *,
  num_features: int = 16,
  num_classes: int = 10,
) -> Sequences:
  """Sequences, each of a task of its own.

  Sequence b depends on the key and on b, not on how many there are.

  Args:
    tasks: to draw from.
    key: consumed.
    num_sequences: `B`.
    length: `T`.
    num_features: `F`, rows of the projections.
    num_classes: of the data set.
  """

  def draw(b):
    task_key, share_key, example_key = jax.random.split(
      jax.random.fold_in(key, b), 3
    )
    k = _randint(task_key, (), tasks.num_tasks)
    matrix, permutation = task_of(
      tasks, tasks.first + k, num_features, num_classes
    )
    plain = jax.random.uniform(share_key, (), jnp.float32) < tasks.unpermuted
    permutation = jnp.where(plain, _classes(num_classes), permutation)
    n = tasks.data.labels.shape[0]
    chosen = _randint(example_key, (length,), n)
    x = tasks.data.x[chosen]
    return Sequences(x @ matrix.T, permutation[tasks.data.labels[chosen]], x)

  return jax.vmap(draw)(jnp.arange(num_sequences, dtype=jnp.int32))


def task_of(
  tasks: ProjectedTasks,
  k: Int[Array, ''] | int,
  num_features: int,
  num_classes: int,
) -> tuple[Float[Array, 'F d'], Int[Array, ' C']]:
  """Task k: its projection, and the new label of each class."""
  matrix_key, label_key = jax.random.split(jax.random.fold_in(tasks.key, k))
  d = tasks.data.x.shape[1]
  matrix = d**-0.5 * _normal(matrix_key, (num_features, d))
  return matrix, jax.random.permutation(label_key, _classes(num_classes))


def _normal(key, shape):
  return jax.random.normal(key, shape, jnp.float32)


def _randint(key, shape, end):
  return jax.random.randint(key, shape, 0, end, jnp.int32)


def _classes(num_classes):
  return jnp.arange(num_classes, dtype=jnp.int32)
