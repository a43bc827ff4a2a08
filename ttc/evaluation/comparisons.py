r"""Is one run better than another on the same items?

Differences are taken item by item, which removes the variance of the items'
difficulty. Miller, 2024, arXiv 2411.00640, section 4; McNemar, 1947; Fisher,
1935 (sign flips); Holm, 1979.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.evaluation.statistics import (
  Estimate,
  check_clusters,
  mean_and_standard_error,
)


class PairedDifference(NamedTuple):
  """Run A less run B on the same items."""

  difference: Estimate
  correlation: Float[Array, '']  # of the two score vectors; NaN if one is flat


def paired_difference(
  scores_a: Float[Array, ' n'],
  scores_b: Float[Array, ' n'],
  clusters: Int[Array, ' n'] | None = None,
  *,
  finite_correction: bool = True,
) -> PairedDifference:
  r"""Mean of :math:`d_i = s_i^A - s_i^B` with its standard error.

  Args:
    scores_a: score of each item in run A.
    scores_b: score of the same items in run B.
    clusters: see `mean_and_standard_error`.
    finite_correction: see `mean_and_standard_error`.

  Returns:
    A `PairedDifference`. The higher the correlation, the more pairing gained:
    `Var(d) = Var(A) + Var(B) - 2 rho sd(A) sd(B)`.
  """
  estimate = mean_and_standard_error(
    scores_a - scores_b, clusters, finite_correction=finite_correction
  )
  return PairedDifference(estimate, jnp.corrcoef(scores_a, scores_b)[0, 1])


def mcnemar_test(num_only_a: int, num_only_b: int) -> float:
  r"""Exact two-sided McNemar test of two binary runs.

  .. math:: p = \min\Big(1, 2 \sum_{i \le \min(b, c)}
      \binom{b + c}{i} 2^{-(b + c)}\Big)

  Args:
    num_only_a: `b`, items that only run A solved.
    num_only_b: `c`, items that only run B solved.

  Returns:
    The p-value.

  Example:
    >>> evaluation.mcnemar_test(num_only_a=5, num_only_b=0)
    0.0625
  """
  num_discordant = num_only_a + num_only_b
  fewer = min(num_only_a, num_only_b)
  tail = sum(math.comb(num_discordant, i) for i in range(fewer + 1))
  return min(1.0, 2 * tail / 2**num_discordant)


def sign_flip_test(
  key: PRNGKeyArray,
  differences: Float[Array, ' n'],
  num_permutations: int = 10_000,
  *,
  clusters: Int[Array, ' n'] | None = None,
  batch_size: int = 1000,
) -> Float[Array, '']:
  r"""Paired permutation test: flips the sign of each difference at random.

  .. math:: p = \frac{1 + \#\{|T^*| \ge |T|\}}{1 + R}, \quad
      T = \sum_i d_i

  Clustered differences are flipped together. Sums that agree up to rounding
  count as equal.

  Args:
    key: random key, consumed.
    differences: `d`, run A less run B on each item.
    num_permutations: `R`; static.
    clusters: see `mean_and_standard_error`.
    batch_size: permutations held in memory at a time; static.

  Returns:
    The two-sided p-value.
  """
  num_items = differences.size
  ids = check_clusters(clusters, num_items)
  sums = jax.ops.segment_sum(differences, ids, num_items)
  observed = jnp.abs(jnp.sum(sums))
  rounding = 1e-5 * jnp.sum(jnp.abs(sums))

  def as_extreme(key):
    signs = jax.random.rademacher(key, (num_items,), sums.dtype)
    return jnp.abs(jnp.dot(signs, sums)) >= observed - rounding

  keys = jax.random.split(key, num_permutations)
  hits = jax.lax.map(as_extreme, keys, batch_size=batch_size)
  return (1 + jnp.sum(hits)) / (1 + num_permutations)


def holm(p_values: Float[Array, ' m']) -> Float[Array, ' m']:
  r"""Holm's adjusted p-values; reject where they fall below the level.

  .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) p_{(j)})

  Args:
    p_values: of `m` tests, in any order.

  Returns:
    Adjusted p-values in the same order.

  Example:
    >>> adjusted = evaluation.holm(jnp.array([0.01, 0.04, 0.03]))
    >>> [round(p, 3) for p in adjusted.tolist()]
    [0.03, 0.06, 0.06]
  """
  m = p_values.size
  order = jnp.argsort(p_values)
  scaled = jnp.minimum(p_values[order] * (m - jnp.arange(m)), 1.0)
  return jnp.zeros_like(scaled).at[order].set(jax.lax.cummax(scaled))


def required_items(
  effect: ArrayLike,
  variance: ArrayLike,
  *,
  significance: float = 0.05,
  power: float = 0.8,
) -> Float[Array, '*B']:
  r"""Items needed to find a paired difference of size `effect`.

  .. math:: n = (z_{\alpha/2} + z_\beta)^2 \, \omega^2 / \delta^2

  Miller, 2024, arXiv 2411.00640, eq. 9.

  Args:
    effect: `delta`, the true mean difference.
    variance: `omega^2`, variance of the items' differences.
    significance: `alpha`, two-sided.
    power: `1 - beta`.

  Returns:
    Number of items, not rounded.
  """
  return _z_sum(significance, power) ** 2 * variance / jnp.square(effect)


def minimum_detectable_effect(
  num_items: ArrayLike,
  variance: ArrayLike,
  *,
  significance: float = 0.05,
  power: float = 0.8,
) -> Float[Array, '*B']:
  r"""Smallest paired difference that `num_items` items find.

  .. math:: \delta = (z_{\alpha/2} + z_\beta) \, \omega / \sqrt n

  Print it next to every comparison. Arguments are those of `required_items`.
  """
  return _z_sum(significance, power) * jnp.sqrt(variance / num_items)


def _z_sum(significance, power):
  ndtri = jax.scipy.special.ndtri
  return ndtri(1 - significance / 2) + ndtri(power)
