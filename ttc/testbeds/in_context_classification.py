"""Classifiers that learn in context, trained on few tasks or on many.

Ten Gaussian templates in 16 dimensions, seen through random projections and
permuted labels (2212.04458). How many tasks there were in training decides what
a transformer becomes: one that remembers the task, one that finds out which of
its tasks this is, or one that learns. It is asked on tasks it has seen, on new
ones of the same data, and on new ones of data it has never seen.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import incontext, models
from ttc.incontext import Labelled, Memory, ProjectedTasks
from ttc.tasks import images
from ttc.testbeds import train
from ttc.testbeds.train import Directory, Recipe
from ttc.testbeds.world import Size
from ttc.types import Params

NUM_FEATURES = 16
LENGTH = 50
BATCH = 32
# First nine of ten sequences keep their labels, then none: the plateau that
# training begins on is left in hundreds of steps instead of thousands.
UNPERMUTED = 0.9
RECIPE = Recipe((700, 1300), weight_decay=1e-4, b2=0.98, clip=1.0)


MEMORIES = {
  'transformer': functools.partial(
    incontext.transformer_memory, num_heads=2, max_length=LENGTH
  ),
  'lstm': incontext.lstm_memory,
  'fast_weights': incontext.fast_weights_memory,
}


def tasks_of(seed: int, num_tasks: int) -> tuple[ProjectedTasks, Labelled]:
  """Tasks of a seed's own templates, and a data set of other templates."""
  data_key, other_key, task_key = jax.random.split(jax.random.key(seed), 3)
  tasks = incontext.projected_tasks(
    incontext.gaussian_templates(data_key), task_key, num_tasks
  )
  return tasks, incontext.gaussian_templates(other_key)


def learned(
  kind: str,
  width: int,
  num_tasks: int,
  seed: int,
  cache: Directory,
  recipe: Recipe = RECIPE,
) -> Params:
  """What a memory has become on some number of tasks.

  Args:
    kind: of memory, one of `MEMORIES`.
    width: of it.
    num_tasks: K.
    seed: of templates, tasks and training.
    cache: directory.
    recipe: of two stages, the first with most labels as they are.
  """
  memory = MEMORIES[kind](width=width)
  tasks, _ = tasks_of(seed, num_tasks)
  easy = tasks._replace(unpermuted=jnp.float32(UNPERMUTED))
  draw = lambda tasks: functools.partial(
    incontext.draw_sequences, tasks, num_sequences=BATCH, length=LENGTH
  )
  parts = (kind, width, num_tasks, recipe, LENGTH, BATCH, UNPERMUTED)
  return train.trained_params(
    f'incontext-{kind}{width}-{train.digest(*parts)}',
    seed,
    cache,
    lambda: memory.init(jax.random.key(0)),
    lambda: train.train(
      functools.partial(incontext.classification_loss, memory),
      memory.init,
      recipe,
      [draw(easy), draw(tasks)],
      jax.random.fold_in(jax.random.key(seed), num_tasks),
    ),
  )


def measure(
  kind: str,
  width: int,
  num_tasks: int,
  seed: int,
  size: Size,
  cache: Directory,
  num_sequences: int,
  others: Mapping[str, Labelled] | None = None,
) -> dict[str, np.ndarray]:
  """Trains a memory and measures it, on other templates if on nothing else.

  Args:
    kind: of memory.
    width: of it.
    num_tasks: K.
    seed: of everything.
    size: of the training.
    cache: directory.
    num_sequences: of each kind, in the test.
    others: data sets that it was not trained on.

  Returns:
    See `accuracies`, each `[1, T]`; and `state`, `params` and `num_sequences`,
    numbers.
  """
  memory = MEMORIES[kind](width=width)
  recipe = RECIPE._replace(steps=tuple(map(size.steps, RECIPE.steps)))
  params = learned(kind, width, num_tasks, seed, cache, recipe)
  tasks, other = tasks_of(seed, num_tasks)
  found = jax.jit(
    lambda params, tasks, others: accuracies(
      memory, params, tasks, others, _test_key(seed), num_sequences
    )
  )(params, tasks, others or {'other data': other})
  return {
    **{name: np.asarray(x)[None] for name, x in found.items()},
    'state': np.array(memory.state_size(LENGTH)),
    'params': np.array(models.num_params(params)),
    'num_sequences': np.array(num_sequences),
  }


def measure_references(
  num_tasks: int, seed: int, num_sequences: int, data: Labelled | None = None
) -> dict[str, np.ndarray]:
  """What `references` reach on the sequences of `measure`, each `[1, T]`."""
  tasks, other = tasks_of(seed, num_tasks)
  found = jax.jit(
    lambda tasks, data: references(tasks, data, _test_key(seed), num_sequences)
  )(tasks, other if data is None else data)
  return {name: np.asarray(x)[None] for name, x in found.items()}


def _test_key(seed):
  return jax.random.key(1000 + seed)


def of_images(data: images.Images) -> Labelled:
  """The first principal components of images, as many as templates have."""
  x = data.images.reshape(len(data.images), -1) / np.float32(255)
  x = x - x.mean(axis=0)
  _, axes = np.linalg.eigh(x.T @ x)
  return incontext.normalised(x @ axes[:, ::-1][:, :NUM_FEATURES], data.labels)


def accuracies(
  memory: Memory,
  params: Params,
  tasks: ProjectedTasks,
  others: Mapping[str, Labelled],
  key: PRNGKeyArray,
  num_sequences: int,
  length: int = LENGTH,
) -> dict[str, Float[Array, ' T']]:
  """Accuracy at each position.

  Args:
    memory: that was trained.
    params: its own.
    tasks: that it was trained on.
    others: data sets that it was not trained on, by name.
    key: of the sequences; consumed.
    num_sequences: of each kind.
    length: of a sequence.

  Returns:
    On 'seen' tasks, on 'unseen' ones of the same data, on 'random' labels, and
    on unseen tasks of the other data sets.
  """
  sequence_key, label_key = jax.random.split(key)
  kinds = {'seen': tasks, 'unseen': incontext.unseen(tasks)}
  kinds |= {k: incontext.unseen(tasks, data) for k, data in others.items()}
  drawn = {
    name: incontext.draw_sequences(kind, sequence_key, num_sequences, length)
    for name, kind in kinds.items()
  }
  drawn['random'] = incontext.with_random_labels(
    label_key, drawn['seen'], memory.num_classes
  )
  return {
    name: jnp.mean(incontext.hits(memory, params, x), axis=0)
    for name, x in drawn.items()
  }


def references(
  tasks: ProjectedTasks,
  data: Labelled,
  key: PRNGKeyArray,
  num_sequences: int,
  length: int = LENGTH,
) -> dict[str, Float[Array, ' T']]:
  """Accuracy of classifiers fitted to each prefix, on a data set's new tasks.

  Args:
    tasks: whose key new tasks are of.
    data: that they are made of.
    key: of the sequences, those of `accuracies`; consumed.
    num_sequences: how many.
    length: of a sequence.

  Returns:
    'nearest mean', which sees examples as they were before the projection, and
    'linear', a linear classifier trained by gradient descent, which sees them
    as the memory does.
  """
  drawn = incontext.draw_sequences(
    incontext.unseen(tasks, data),
    jax.random.split(key)[0],
    num_sequences,
    length,
  )
  nearest = functools.partial(incontext.nearest_class_mean, num_classes=10)
  linear = functools.partial(incontext.linear_softmax, num_classes=10)
  found = {
    'nearest mean': jax.vmap(nearest)(drawn.unprojected, drawn.labels),
    'linear': jax.vmap(linear)(drawn.x, drawn.labels),
  }
  right = lambda labels: jnp.mean(labels == drawn.labels, axis=0)
  return jax.tree.map(right, found)
