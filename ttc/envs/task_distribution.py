"""Distributions of tasks: parameters of an environment, drawn from a key."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Int, PRNGKeyArray

from ttc.envs.spaces import random_index


class TaskDistribution(NamedTuple):
  """Where the params of an environment come from.

  Attributes:
    sample: `key -> params`; the key is consumed.
    num_tasks: how many there are, None for a continuum.
  """

  sample: Callable[[PRNGKeyArray], Any]
  num_tasks: int | None = None


def finite_tasks(
  task: Callable[[Int[Array, '']], Any], num_tasks: int
) -> TaskDistribution:
  """The uniform law over tasks that are known by a number.

  Args:
    task: `index -> params`, traced.
    num_tasks: indices are `0 .. num_tasks - 1`.

  Raises:
    ValueError: on no tasks.
  """
  if num_tasks < 1:
    raise ValueError(f'finite_tasks: num_tasks={num_tasks}, expected >= 1')
  return TaskDistribution(
    lambda key: task(random_index(key, (), num_tasks)), num_tasks
  )


def split_tasks(
  tasks: TaskDistribution,
  key: PRNGKeyArray,
  num_train: int,
  num_test: int,
) -> tuple[TaskDistribution, TaskDistribution]:
  """Two finite sets of tasks drawn from a distribution, never stored.

  Task `i` of the whole is `sample(fold_in(key, i))`; training has the first
  `num_train` of them, testing the following ones. Tasks of a continuum differ
  almost surely. To split a finite one without overlap, split its indices.

  Args:
    tasks: what both are drawn from.
    key: of the split.
    num_train: size of the first.
    num_test: size of the second.

  Returns:
    Training and test tasks.

  Raises:
    ValueError: on a set without tasks.
  """
  if min(num_train, num_test) < 1:
    raise ValueError(
      f'split_tasks: {num_train} train and {num_test} test tasks, expected at '
      'least 1 of each'
    )
  task = lambda i: tasks.sample(jax.random.fold_in(key, i))
  return (
    finite_tasks(task, num_train),
    finite_tasks(lambda i: task(num_train + i), num_test),
  )
