r"""Bootstrap over items or clusters: percentile and BCa intervals.

A resample is a vector of weights: how often each item was drawn. Statistics
take `(data, weights)`, so items, clusters of any size and the jackknife share
one mechanism, and shapes stay fixed. Points of a scaling curve are correlated:
pass the curve of every item as `data[n, budgets]` and the bands respect it.

Efron, 1987, "Better bootstrap confidence intervals" (BCa).
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from ttc.evaluation.statistics import Interval, check_clusters, count_clusters

# `(data [n, ...], weights [n]) -> statistic [...]`.
Statistic: TypeAlias = Callable[[Array, Array], Array]


def weighted_mean(
  data: Num[Array, 'n *S'], weights: Float[Array, ' n']
) -> Float[Array, '*S']:
  """Mean over items of which `weights` copies are present."""
  return jnp.tensordot(weights, data, axes=1) / jnp.sum(weights)


def bootstrap(
  key: PRNGKeyArray,
  data: Num[Array, 'n *D'],
  statistic: Statistic = weighted_mean,
  num_resamples: int = 10_000,
  *,
  clusters: Int[Array, ' n'] | None = None,
  batch_size: int | None = None,
) -> Float[Array, 'R *S']:
  """Values of a statistic on resampled items.

  Args:
    key: random key, consumed.
    data: one row per item.
    statistic: `(data, weights) -> [*S]`.
    num_resamples: `R`; static.
    clusters: resample these instead of items; see `mean_and_standard_error`.
    batch_size: resamples held in memory at a time; static. By default as many
      as keep their weights below 10 million numbers.

  Returns:
    The statistic of each resample.

  Example:
    >>> right = jnp.array([1.0] * 30 + [0.0] * 10)  # of 40 items
    >>> means = evaluation.bootstrap(jax.random.key(0), right)
    >>> low, high = map(float, evaluation.percentile_interval(means))
    >>> 0.55 < low < 0.68, 0.82 < high < 0.93  # of .75 +- .13
    (True, True)
  """
  num_items = data.shape[0]
  ids = check_clusters(clusters, num_items)
  batch_size = batch_size or max(1, 10**7 // num_items)

  def replicate(key):
    return statistic(data, _draw_weights(key, ids))

  keys = jax.random.split(key, num_resamples)
  return jax.lax.map(replicate, keys, batch_size=min(batch_size, num_resamples))


def percentile_interval(
  replicates: Float[Array, 'R *S'], level: float = 0.95
) -> Interval:
  """Central interval of the bootstrap replicates.

  Args:
    replicates: from `bootstrap` or `stratified_bootstrap`.
    level: coverage.

  Returns:
    An `Interval` with ends `[*S]`.
  """
  tails = jnp.array([(1 - level) / 2, (1 + level) / 2])
  low, high = jnp.quantile(replicates, tails, axis=0)
  return Interval(low, high)


def bca_interval(
  replicates: Float[Array, 'R *S'],
  data: Num[Array, 'n *D'],
  statistic: Statistic = weighted_mean,
  level: float = 0.95,
  *,
  clusters: Int[Array, ' n'] | None = None,
) -> Interval:
  r"""Bias-corrected and accelerated bootstrap interval.

  .. math:: \alpha' = \Phi\Big(z_0
      + \frac{z_0 + z_\alpha}{1 - a (z_0 + z_\alpha)}\Big), \quad
      z_0 = \Phi^{-1}(P(\theta^* < \hat\theta)), \quad
      a = \frac{\sum_c (\bar\theta - \theta_{-c})^3}
          {6 \big[\sum_c (\bar\theta - \theta_{-c})^2\big]^{3/2}}

  with :math:`\theta_{-c}` the statistic without cluster `c`. Replicates equal
  to the estimate count one half in `z_0`. It is the percentile interval where
  the data do not vary.

  Args:
    replicates: what `bootstrap` gave for the same data and statistic.
    data: one row per item.
    statistic: `(data, weights) -> [*S]`.
    level: coverage.
    clusters: those that were resampled.

  Returns:
    An `Interval` with ends `[*S]`.
  """
  num_items = data.shape[0]
  ids = check_clusters(clusters, num_items)
  estimate = statistic(data, jnp.ones(num_items))
  below = jnp.mean(replicates < estimate, axis=0)
  equal = jnp.mean(replicates == estimate, axis=0)
  edge = 0.5 / replicates.shape[0]  # keeps z_0 finite
  ndtri, ndtr = jax.scipy.special.ndtri, jax.scipy.special.ndtr
  bias = ndtri(jnp.clip(below + equal / 2, edge, 1 - edge))

  without = jax.lax.map(
    lambda c: statistic(data, (ids != c).astype(jnp.float32)),
    jnp.arange(num_items),
  )
  present = jnp.bincount(ids, length=num_items) > 0
  present = present.reshape((num_items,) + (1,) * (without.ndim - 1))
  num_clusters = count_clusters(ids)
  centre = jnp.sum(jnp.where(present, without, 0), axis=0) / num_clusters
  gap = jnp.where(present, centre - without, 0)
  spread = jnp.sum(gap**2, axis=0) ** 1.5
  skew = jnp.sum(gap**3, axis=0)
  acceleration = jnp.where(spread > 0, skew / (6 * spread), 0.0)

  def end(tail):
    shifted = bias + ndtri(tail)
    adjusted = ndtr(bias + shifted / (1 - acceleration * shifted))
    return _quantiles(replicates, adjusted)

  return Interval(end((1 - level) / 2), end((1 + level) / 2))


def _draw_weights(
  key: PRNGKeyArray, clusters: Int[Array, ' n']
) -> Float[Array, ' n']:
  """How often each item is present when clusters are drawn with replacement."""
  num_items = clusters.size
  present = jnp.bincount(clusters, length=num_items) > 0
  slots = jnp.argsort(~present)  # the ids in use come first
  num_clusters = jnp.sum(present)
  drawn = jax.random.randint(key, (num_items,), 0, num_clusters)
  counted = jnp.arange(num_items) < num_clusters
  counts = jnp.zeros(num_items).at[slots[drawn]].add(counted)
  return counts[clusters]


def _quantiles(
  replicates: Float[Array, 'R *S'], q: Float[Array, '*S']
) -> Float[Array, '*S']:
  """A quantile of its own for each entry of the statistic."""
  columns = replicates.reshape(replicates.shape[0], -1)
  picked = jax.vmap(jnp.quantile, in_axes=(1, 0))(columns, q.reshape(-1))
  return picked.reshape(q.shape)
