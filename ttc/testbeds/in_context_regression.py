"""Regressors written in context, beside the best that there can be.

Unit vectors in 16 dimensions and linear responses (2505.15813), whose weights
are isotropic, so that ridge regression is the best there is, or lie on a
subspace of 4 dimensions, which only who has met many tasks can know of.
Contexts of 4 to 64 examples in training, of up to 128 in the test.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import incontext
from ttc.incontext import Contexts, LinearTasks, Regressor
from ttc.testbeds import train
from ttc.testbeds.train import Directory, Recipe
from ttc.types import Params

Kind = Literal['isotropic', 'subspace']
KINDS: tuple[Kind, ...] = ('isotropic', 'subspace')

NUM_FEATURES = 16
NOISE = 1.0  # half of the variance of a response
LOW, HIGH, MAX_LENGTH = 4, 64, 128
BATCH, NUM_QUERIES = 32, 96
RECIPE = Recipe((3000,), warmup=200, b2=0.98, clip=1.0)


def small_regressor() -> Regressor:
  """Three layers of width 64."""
  return incontext.in_context_regressor(NUM_FEATURES, max_length=MAX_LENGTH)


def tasks_of(
  kind: Kind, key: PRNGKeyArray, noise: float = NOISE
) -> LinearTasks:
  """Responses of variance 1 and noise; the key is of the subspace."""
  if kind == 'isotropic':
    return incontext.isotropic_tasks(NUM_FEATURES, noise=noise)
  return incontext.subspace_tasks(key, NUM_FEATURES, noise=noise)


def seed_tasks(kind: Kind, seed: int) -> LinearTasks:
  """The tasks of a seed, with a subspace of its own."""
  return tasks_of(kind, jax.random.fold_in(jax.random.key(seed), 1))


def draw(
  tasks: LinearTasks,
  key: PRNGKeyArray,
  num_tasks: int = BATCH,
  low: int = LOW,
  high: int = HIGH,
) -> Contexts:
  """Tasks with contexts of all lengths from low to high, equally often."""
  length_key, key = jax.random.split(key)
  of_task = lambda b: jax.random.randint(
    jax.random.fold_in(length_key, b), (), low, high + 1
  )
  lengths = jax.vmap(of_task)(jnp.arange(num_tasks))
  return incontext.draw_contexts(tasks, key, lengths, high, NUM_QUERIES)


def learned(
  kind: Kind, seed: int, cache: Directory, recipe: Recipe = RECIPE
) -> Params:
  """A trained regressor.

  Args:
    kind: of tasks.
    seed: of tasks and training.
    cache: directory.
    recipe: of one stage.
  """
  regressor = small_regressor()
  parts = (recipe, LOW, HIGH, BATCH, NUM_QUERIES)
  return train.trained_params(
    f'incontext-{kind}-{train.digest(*parts)}',
    seed,
    cache,
    lambda: regressor.init(jax.random.key(0)),
    lambda: train.train(
      functools.partial(incontext.regression_loss, regressor),
      regressor.init,
      recipe,
      [functools.partial(draw, seed_tasks(kind, seed))],
      jax.random.key(seed),
    ),
  )


def errors(
  regressor: Regressor,
  params: Params,
  tasks: LinearTasks,
  lengths: Sequence[int],
  key: PRNGKeyArray,
  num_tasks: int,
  num_queries: int = 64,
) -> dict[str, Float[Array, 'lengths B']]:
  """Mean squared errors of new tasks, by the length of their contexts.

  Args:
    regressor: that was trained.
    params: its own.
    tasks: to draw from; all lengths have the same ones.
    lengths: of contexts.
    key: consumed.
    num_tasks: `B`.
    num_queries: of a task.

  Returns:
    Those of 'in context', of 'Bayes', the posterior mean under the law that
    tasks are drawn from, and of 'ridge', whose penalty is cross-validated.
  """
  longest = max(lengths)

  def of_length(length):
    contexts = incontext.draw_contexts(
      tasks, key, jnp.full(num_tasks, length), longest, num_queries
    )
    error = lambda weights: incontext.squared_error(
      weights, contexts.query_x, contexts.query_y
    )
    bayes = jax.vmap(
      lambda x, y: incontext.posterior_mean(x, y, tasks.root, tasks.noise)
    )
    ridge = jax.vmap(incontext.cross_validated_ridge)
    return {
      'in context': incontext.regression_errors(regressor, params, contexts),
      'Bayes': error(bayes(contexts.x, contexts.y)),
      'ridge': error(ridge(contexts.x, contexts.y)),
    }

  return jax.lax.map(of_length, jnp.array(lengths, jnp.int32))
