r"""How good a ranking is: reciprocal rank, nDCG and recall.

Each takes the relevance of what was returned, best first, for one query or
many; the unit of a standard error is the query. nDCG: Järvelin and Kekäläinen,
2002, with linear gains,

.. math:: \mathrm{nDCG@}k = \frac{\sum_{i \le k} r_i / \log_2 (i + 1)}
    {\sum_{i \le k} r^*_i / \log_2 (i + 1)}

where :math:`r^*` is the best order of all there is, returned or not.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.evaluation.statistics import Estimate, mean_and_standard_error


class RankingSummary(NamedTuple):
  """Means over queries."""

  mrr: Estimate  # mean reciprocal rank
  ndcg: Estimate  # at k
  recall: Estimate  # at k


def reciprocal_rank(relevance: Float[Array, '*A K']) -> Float[Array, '*A']:
  """`1 / rank` of the first relevant result, 0 where none was returned."""
  found = relevance > 0
  rank = jnp.argmax(found, axis=-1) + 1
  return jnp.where(jnp.any(found, axis=-1), 1.0 / rank, 0.0)


def ndcg(
  relevance: Float[Array, '*A K'], corpus: Float[Array, '*A I'], k: int
) -> Float[Array, '*A']:
  """Discounted gain of the first `k` results as a share of the greatest.

  Args:
    relevance: of the results, best first; 0 for a place that is not filled.
    corpus: relevance of all items, in any order.
    k: results that count; static.

  Returns:
    A number in [0, 1]; 0 for a query to which nothing is relevant.
  """
  best = -jnp.sort(-corpus, axis=-1)
  ideal = _discounted_gain(best, k)
  gain = _discounted_gain(relevance, k)
  return jnp.where(ideal > 0, gain / jnp.where(ideal > 0, ideal, 1.0), 0.0)


def recall(
  relevance: Float[Array, '*A K'], corpus: Float[Array, '*A I'], k: int
) -> Float[Array, '*A']:
  """Share of the relevant items that are among the first `k` results.

  Args:
    relevance: of the results, best first.
    corpus: relevance of all items, in any order.
    k: results that count; static.

  Returns:
    A number in [0, 1]; 0 for a query to which nothing is relevant.
  """
  found = jnp.sum(relevance[..., :k] > 0, axis=-1)
  return found / jnp.maximum(jnp.sum(corpus > 0, axis=-1), 1)


def summarize_ranking(
  relevance: Float[Array, 'n K'], corpus: Float[Array, 'n I'], k: int
) -> RankingSummary:
  """All three over `n` queries, with standard errors."""
  return RankingSummary(
    mean_and_standard_error(reciprocal_rank(relevance)),
    mean_and_standard_error(ndcg(relevance, corpus, k)),
    mean_and_standard_error(recall(relevance, corpus, k)),
  )


def _discounted_gain(
  relevance: Float[Array, '*A K'], k: int
) -> Float[Array, '*A']:
  top = relevance[..., :k]
  return jnp.sum(top / jnp.log2(jnp.arange(top.shape[-1]) + 2.0), axis=-1)
