"""Benchmarks of MiniManip: which tasks to train and to test on.

Those of Meta-World (Yu et al., 2019, 1910.10897) with our families. Each family
has 50 variations for training, drawn from a seed and never stored. In the ML
modes, which ask for learning about a task from what happens in it, observations
do not show the goal; in MT they do.

  benchmark = envs.ml10()
  env = envs.sample_tasks(envs.minimanip(), benchmark.train.distribution)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ttc.envs.minimanip.families import (
  MORE_FAMILIES,
  TEST_FAMILIES,
  TRAIN_FAMILIES,
  family_number,
  sample_variation,
)
from ttc.envs.minimanip.world import ManipulationParams
from ttc.envs.task_distribution import TaskDistribution, finite_tasks

NUM_VARIATIONS = 50  # of a family


class TaskSet(NamedTuple):
  """Variations of some families.

  Attributes:
    families: their names.
    num_variations: of each.
    task: `(family, variation) -> params`, traced; the family is a number in
      `families`.
    distribution: uniform over all of them.
  """

  families: tuple[str, ...]
  num_variations: int
  task: Callable[[Int[Array, ''], Int[Array, '']], ManipulationParams]
  distribution: TaskDistribution


class Benchmark(NamedTuple):
  """Tasks to train on, and tasks to test on."""

  name: str
  train: TaskSet
  test: TaskSet


def minimanip_tasks(
  family: str = 'reach', goal_visible: bool = False
) -> TaskDistribution:
  """All variations of a family, the params of `minimanip`: a continuum.

  Args:
    family: one of `FAMILIES`.
    goal_visible: whether observations show the goal.

  Raises:
    ValueError: on a family that is not known.
  """
  number = jnp.asarray(family_number(family), jnp.int32)
  return TaskDistribution(
    lambda key: sample_variation(number, key, goal_visible)
  )


def ml1(
  family: str = 'reach',
  seed: int = 0,
  *,
  num_train: int = NUM_VARIATIONS,
  num_test: int = NUM_VARIATIONS,
) -> Benchmark:
  """One family: other variations in the test than in training.

  Args:
    family: one of `FAMILIES`.
    seed: of the training variations; those of the test have `seed + 1`.
    num_train: variations, at most 50.
    num_test: variations, at most 50.

  Raises:
    ValueError: on a family that is not known, or more variations than there
      are.
  """
  for name, number in (('num_train', num_train), ('num_test', num_test)):
    if not 1 <= number <= NUM_VARIATIONS:
      raise ValueError(
        f'ml1: {name}={number}, expected 1 to {NUM_VARIATIONS} variations'
      )
  return Benchmark(
    f'ML1 {family}',
    task_set((family,), seed, num_train),
    task_set((family,), seed + 1, num_test),
  )


def ml10(seed: int = 0) -> Benchmark:
  """Ten families to train on, five others to test on, those of ML10."""
  return Benchmark(
    'ML10', task_set(TRAIN_FAMILIES, seed), task_set(TEST_FAMILIES, seed)
  )


def ml15(seed: int = 0) -> Benchmark:
  """Fifteen families to train on, all that `ml10` does not test; the same test.

  It stands where Meta-World has ML45, which trains on all of its families but
  five; the five that are held out here are those of ML10, not of ML45.
  """
  families = (*TRAIN_FAMILIES, *MORE_FAMILIES)
  return Benchmark(
    'ML15', task_set(families, seed), task_set(TEST_FAMILIES, seed)
  )


def mt10(seed: int = 0) -> Benchmark:
  """The ten families that `ml10` trains on, with visible goals.

  The test is on what was trained on.
  """
  tasks = task_set(TRAIN_FAMILIES, seed, visible=True)
  return Benchmark('MT10', tasks, tasks)


def task_set(
  families: tuple[str, ...],
  seed: int,
  num_variations: int = NUM_VARIATIONS,
  *,
  visible: bool = False,
) -> TaskSet:
  """The first variations of families that a seed gives.

  Variation `i` of family `f` is drawn from the key of the seed with `f` and `i`
  folded in, so it is the same in every set.

  Raises:
    ValueError: on a family that is not known, or none of families or
      variations.
  """
  if not families or num_variations < 1:
    raise ValueError(
      f'task_set: {len(families)} families and {num_variations} variations, '
      'expected at least 1 of each'
    )
  numbers = [family_number(family) for family in families]

  def task(family, variation):
    number = jnp.array(numbers, jnp.int32)[family]
    key = jax.random.fold_in(jax.random.key(seed), number)
    key = jax.random.fold_in(key, variation)
    return sample_variation(number, key, visible)

  flat = lambda i: task(i // num_variations, i % num_variations)
  distribution = finite_tasks(flat, len(families) * num_variations)
  return TaskSet(families, num_variations, task, distribution)
