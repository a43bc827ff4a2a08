r"""Standard errors and intervals of a benchmark score.

The unit is the item: average the `K` samples of an item first, because they are
not independent observations. Items that share a passage, a template or a repeat
form a cluster; ignoring that makes intervals far too narrow.

Miller, 2024, "Adding Error Bars to Evals", arXiv 2411.00640.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


class Estimate(NamedTuple):
  """A mean and how well it is known."""

  mean: Float[Array, '']
  standard_error: Float[Array, '']
  degrees_of_freedom: Int[Array, '']  # clusters (or items) less one


class Interval(NamedTuple):
  """Ends of a confidence interval."""

  low: Float[Array, '...']
  high: Float[Array, '...']


class VarianceSplit(NamedTuple):
  """Where the variance of a benchmark score comes from."""

  between: Float[Array, '']  # of the items' expected scores; may be negative
  within: Float[Array, '']  # mean over items of the variance of one sample
  removable: Float[Array, '']  # share of Var(mean) that more samples remove


def mean_and_standard_error(
  scores: Float[Array, ' n'],
  clusters: Int[Array, ' n'] | None = None,
  *,
  finite_correction: bool = True,
) -> Estimate:
  r"""Mean score over items, with a (clustered) standard error.

  .. math:: SE = \frac{1}{n} \sqrt{\frac{C}{C - 1} \sum_c
      \Big(\sum_{i \in c} (s_i - \bar s)\Big)^2}

  Without clusters every item is its own, which gives the usual
  `sd(ddof=1) / sqrt(n)`.

  Args:
    scores: score of each item.
    clusters: cluster of each item, numbered below `n`, as
      `np.unique(labels, return_inverse=True)[1]` does.
    finite_correction: include the factor `C / (C - 1)` (inspect_ai does,
      arXiv 2411.00640 does not).

  Returns:
    An `Estimate` with `C - 1` degrees of freedom.
  """
  num_items = scores.size
  ids = check_clusters(clusters, num_items)
  mean = jnp.mean(scores)
  sums = jax.ops.segment_sum(scores - mean, ids, num_items)
  num_clusters = count_clusters(ids)
  factor = num_clusters / (num_clusters - 1) if finite_correction else 1.0
  standard_error = jnp.sqrt(factor * jnp.sum(sums**2)) / num_items
  return Estimate(mean, standard_error, num_clusters - 1)


def confidence_interval(estimate: Estimate, level: float = 0.95) -> Interval:
  """Symmetric interval from Student's t; runs on the host.

  Args:
    estimate: from `mean_and_standard_error`; leading axes are kept.
    level: coverage.

  Returns:
    An `Interval`, in units of the score.
  """
  from scipy import special

  dof = np.asarray(estimate.degrees_of_freedom, np.float64)
  quantile = special.stdtrit(dof, (1 + level) / 2)
  margin = jnp.asarray(quantile, jnp.float32) * estimate.standard_error
  return Interval(estimate.mean - margin, estimate.mean + margin)


def variance_split(scores: Float[Array, 'n K']) -> VarianceSplit:
  r"""Splits the variance of the mean into items and samples.

  .. math:: \mathrm{Var}(\bar s) = \frac{1}{n} \Big[
      \mathrm{Var}_i(E s_i) + \frac{1}{K} E_i(\mathrm{Var}\, s_{ik}) \Big]

  Both parts are estimated without bias, so `between` can fall below 0.

  Args:
    scores: score of each of `K >= 2` samples of each item.

  Returns:
    A `VarianceSplit`; variances in squared units of the score.
  """
  num_samples = scores.shape[1]
  if num_samples < 2:
    raise ValueError('the variance within an item needs at least 2 samples')
  within = jnp.mean(jnp.var(scores, axis=1, ddof=1))
  of_means = jnp.var(jnp.mean(scores, axis=1), ddof=1)
  removable = within / num_samples / of_means
  return VarianceSplit(of_means - within / num_samples, within, removable)


def wilson_interval(
  num_successes: ArrayLike, num_trials: ArrayLike, level: float = 0.95
) -> Interval:
  r"""Interval of a single proportion; for binary scores with n below 100.

  .. math:: \frac{\hat p + z^2 / 2n \pm z
      \sqrt{\hat p (1 - \hat p) / n + z^2 / 4 n^2}}{1 + z^2 / n}

  Wilson, 1927.

  Args:
    num_successes: successes.
    num_trials: `n`.
    level: coverage.

  Returns:
    An `Interval`.

  Example:
    >>> interval = evaluation.wilson_interval(5, 10)
    >>> round(float(interval.low), 3), round(float(interval.high), 3)
    (0.237, 0.763)
  """
  n = jnp.asarray(num_trials, jnp.float32)
  p = jnp.asarray(num_successes) / n
  z = jax.scipy.special.ndtri((1 + level) / 2)
  centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  spread = jnp.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  margin = z * spread / (1 + z**2 / n)
  return Interval(centre - margin, centre + margin)


def check_clusters(
  clusters: Int[Array, ' n'] | None, num_items: int
) -> Int[Array, ' n']:
  """The clusters, each item its own where none are given.

  Args:
    clusters: cluster of each item, or None.
    num_items: `n`.

  Returns:
    Cluster ids in 0..n-1.

  Raises:
    ValueError: if a concrete id lies outside.
  """
  if clusters is None:
    return jnp.arange(num_items)
  if not isinstance(clusters, Tracer):
    ids = np.asarray(clusters)
    if np.any((ids < 0) | (ids >= num_items)):
      raise ValueError(f'cluster ids must lie in 0..{num_items - 1}')
  return clusters


def count_clusters(clusters: Int[Array, ' n']) -> Int[Array, '']:
  """Number of different clusters, ids in 0..n-1."""
  sizes = jnp.bincount(clusters, length=clusters.size)
  return jnp.sum(sizes > 0)
