r"""ARISE: does each item get better with more compute, and at what price?

.. math:: \text{ARISE}_i = \sum_{j=1}^{J} \Delta_{ij}
    \Big(\frac{t_{i,j-1}}{t_{ij}}\Big)^{\operatorname{sign} \Delta_{ij}}, \quad
    \Delta_{ij} = a_{ij} - a_{i,j-1}

over levels of effort `j`, with accuracy `a` and tokens `t` of item `i`. A gain
that takes four times the tokens is worth a quarter; a loss that takes four
times the tokens counts four times. The slope of the mean curve sees neither an
item that was solved and is lost, nor one that paid too much.

Levels are in the order of their intended effort, and tokens may still fall. The
sum is not linear in the accuracies: with `K` runs of a cell, chance alone makes
gains and losses, and losses weigh more, so ARISE of noise is negative. That is
what drawing more runs where runs disagree is for.

Yin et al., 2025, arXiv 2510.06014. No code is public; the formula is that of
summaries of the paper, the constants of the sampler (3, 10, 0.5) from memory.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

# `key -> (accuracy, tokens)` of one run of one item at one level.
RunFn = Callable[[PRNGKeyArray], tuple[Array, Array]]


class RunMeans(NamedTuple):
  """Means over the runs of one item at one level."""

  accuracy: Float[Array, '']
  tokens: Float[Array, '']
  num_runs: Int[Array, '']


def arise(
  accuracies: Float[Array, 'items levels'], tokens: Num[Array, 'items levels']
) -> Float[Array, ' items']:
  """ARISE of each item; the metric is their mean.

  Args:
    accuracies: in 0..1, means over the runs of a cell.
    tokens: means likewise. A step from or to a cell without tokens counts 0.

  Returns:
    A row of data for `bootstrap`; at most the total gain where tokens grow.
  """
  gain = jnp.diff(accuracies, axis=1)
  before, after = tokens[:, :-1], tokens[:, 1:]
  known = (before > 0) & (after > 0)
  ratio = jnp.where(known, before, 1.0) / jnp.where(known, after, 1.0)
  terms = gain * jnp.where(gain > 0, ratio, 1 / ratio)
  return jnp.sum(jnp.where(known, terms, 0.0), axis=1)


def accuracy_slope(
  accuracies: Float[Array, 'items levels'], tokens: Num[Array, 'items levels']
) -> Float[Array, '']:
  """Accuracy gained per token from the first level to the last, on means.

  What ARISE is compared with.

  Args:
    accuracies: in 0..1.
    tokens: mean tokens of a cell.

  Returns:
    The slope; 0 if tokens do not grow.
  """
  accuracy, cost = jnp.mean(accuracies, axis=0), jnp.mean(tokens, axis=0)
  more = cost[-1] - cost[0]
  slope = (accuracy[-1] - accuracy[0]) / jnp.where(more > 0, more, 1.0)
  return jnp.where(more > 0, slope, 0.0)


def variation(
  values: Num[Array, '... runs'], num_runs: Int[ArrayLike, '...']
) -> Float[Array, '...']:
  """Coefficient of variation of the first `num_runs` values.

  The standard deviation is that of the population. It is 0 where all runs fail
  and explodes where few succeed.
  """
  used = jnp.arange(values.shape[-1]) < jnp.asarray(num_runs)[..., None]
  mean = _mean(values, used)
  spread = jnp.sqrt(_mean((values - mean[..., None]) ** 2, used))
  return spread / (mean + 1e-8)


def adaptive_runs(
  key: PRNGKeyArray,
  run_fn: RunFn,
  *,
  min_runs: int = 3,
  max_runs: int = 10,
  threshold: float | Float[Array, ''] = 0.5,
) -> RunMeans:
  """Repeats one item at one level until its runs agree.

  One more run is drawn while the variations of accuracy and of tokens together
  exceed the threshold. Run `k` has the same key whatever the other runs gave.
  Map over items and levels with `vmap`. Runs that agree by chance end the
  sampling, which is a bias of its own: the claim `arise` measures it.

  Args:
    key: random key, consumed.
    run_fn: one run, `key -> (accuracy, tokens)`.
    min_runs: drawn in any case; static.
    max_runs: drawn at most; static.
    threshold: sum of coefficients of variation that is small enough.

  Returns:
    Means over the runs that were drawn.
  """
  draw = lambda k: jnp.stack(
    [jnp.asarray(x, jnp.float32) for x in run_fn(jax.random.fold_in(key, k))]
  )
  first = jax.vmap(draw, out_axes=1)(jnp.arange(min_runs))
  values = jnp.zeros((2, max_runs)).at[:, :min_runs].set(first)

  def undecided(state):
    values, num_runs = state
    unsure = jnp.sum(variation(values, num_runs)) > threshold
    return unsure & (num_runs < max_runs)

  def draw_one_more(state):
    values, num_runs = state
    return values.at[:, num_runs].set(draw(num_runs)), num_runs + 1

  values, num_runs = jax.lax.while_loop(
    undecided, draw_one_more, (values, jnp.int32(min_runs))
  )
  accuracy, tokens = _mean(values, jnp.arange(max_runs) < num_runs)
  return RunMeans(accuracy, tokens, num_runs)


def allocate_runs(
  variations: Float[Array, '*cells'],
  budget: Int[ArrayLike, ''],
  *,
  min_runs: int = 3,
  max_runs: int = 10,
) -> Int[Array, '*cells']:
  """Runs of each cell when all of them together may be `budget`.

  What is left after `min_runs` of each goes in proportion to the variations,
  rounded down, and what a cell has beyond `max_runs` is not given to others.

  Args:
    variations: of accuracy and tokens together, from the first runs.
    budget: total number of runs.
    min_runs: that each cell has had.
    max_runs: that a cell may have.

  Returns:
    Total runs of each cell.
  """
  left = jnp.maximum(budget - variations.size * min_runs, 0)
  total = jnp.sum(variations)
  share = variations / jnp.where(total > 0, total, 1.0)
  extra = jnp.floor(left * share).astype(jnp.int32)
  return jnp.minimum(min_runs + extra, max_runs)


def _mean(values: Array, used: Array) -> Array:
  """Mean over the last axis of what is used."""
  return jnp.sum(jnp.where(used, values, 0.0), -1) / jnp.sum(used, -1)
