r"""Scores over runs and tasks, aggregated as reinforcement learning does.

Agarwal et al., 2021, "Deep RL at the Edge of the Statistical Precipice",
arXiv 2108.13264. Scores are `[runs, tasks]`, normalised so that 1 is the target
(human, expert) score. Intervals resample runs inside each task.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def interquartile_mean(scores: Float[Array, 'runs tasks']) -> Float[Array, '']:
  """Mean of the middle half of all run-task scores (IQM).

  Cuts `int(0.25 N)` entries at each end of the `N = runs * tasks` scores.
  """
  ordered = jnp.sort(scores.ravel())
  cut = ordered.size // 4
  return jnp.mean(ordered[cut : ordered.size - cut])


def median_of_task_means(
  scores: Float[Array, 'runs tasks'],
) -> Float[Array, '']:
  """Median over tasks of the mean over runs."""
  return jnp.median(jnp.mean(scores, axis=0))


def optimality_gap(
  scores: Float[Array, 'runs tasks'], target: float = 1.0
) -> Float[Array, '']:
  r"""How far scores fall short of the target on average.

  .. math:: \gamma - \mathrm{mean}(\min(x, \gamma))

  Args:
    scores: score of each run on each task.
    target: `gamma`; scores beyond it earn nothing.

  Returns:
    The gap, in units of the score; lower is better.
  """
  return target - jnp.mean(jnp.minimum(scores, target))


def probability_of_improvement(
  scores_x: Float[Array, 'runs_x tasks'], scores_y: Float[Array, 'runs_y tasks']
) -> Float[Array, '']:
  r"""Chance that a run of X beats a run of Y on a task drawn at random.

  .. math:: \mathrm{mean}_{\text{tasks}} \; \mathrm{mean}_{i, j} \big(
      1[x_i > y_j] + \tfrac12 1[x_i = y_j] \big)

  which is the Mann-Whitney U statistic over the number of pairs.
  """
  x, y = scores_x[:, None], scores_y[None, :]
  return jnp.mean((x > y) + 0.5 * (x == y))


def run_score_profile(
  scores: Float[Array, 'runs tasks'], thresholds: Float[Array, ' taus']
) -> Float[Array, ' taus']:
  """Fraction of all run-task scores above each threshold."""
  return jnp.mean(scores.ravel() > thresholds[:, None], axis=1)


def mean_score_profile(
  scores: Float[Array, 'runs tasks'], thresholds: Float[Array, ' taus']
) -> Float[Array, ' taus']:
  """Fraction of tasks whose mean over runs is above each threshold."""
  return jnp.mean(jnp.mean(scores, axis=0) > thresholds[:, None], axis=1)


def stratified_bootstrap(
  key: PRNGKeyArray,
  scores: Any,
  statistic: Callable[[Any], Array],
  num_resamples: int = 50_000,
  *,
  batch_size: int | None = None,
) -> Float[Array, 'R ...']:
  """Values of a statistic with runs resampled independently in each task.

  Use 50 000 resamples for numbers and 2 000 for profiles; the ends come from
  `percentile_interval`.

  Args:
    key: random key, consumed.
    scores: `[runs, tasks]`, or a tuple or dict of them (one per algorithm).
    statistic: takes what `scores` is.
    num_resamples: `R`; static.
    batch_size: resamples held in memory at a time; static. By default as many
      as keep them below 10 million numbers.

  Returns:
    The statistic of each resample.
  """
  leaves, structure = jax.tree.flatten(scores)
  size = sum(leaf.size for leaf in leaves)
  batch_size = batch_size or max(1, 10**7 // size)

  def resample(key, leaf):
    rows = jax.random.randint(key, leaf.shape, 0, leaf.shape[0])
    return jnp.take_along_axis(leaf, rows, axis=0)

  def replicate(key):
    keys = jax.random.split(key, len(leaves))
    drawn = [resample(k, leaf) for k, leaf in zip(keys, leaves, strict=True)]
    return statistic(jax.tree.unflatten(structure, drawn))

  keys = jax.random.split(key, num_resamples)
  return jax.lax.map(replicate, keys, batch_size=min(batch_size, num_resamples))
