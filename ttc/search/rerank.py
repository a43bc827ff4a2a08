r"""Test-time reranking: a second look at what a retriever returned.

"Test-time reranking for generative retrieval", 2508.18132: a generative
retriever proposes `K` items, and a language model is asked of each whether it
answers the query, with

.. math:: s = \frac{p(\text{yes})}{p(\text{yes}) + p(\text{no})}

from `verifiers.yes_score`. The final score mixes it with the retriever's own,

.. math:: \alpha \log p + (1 - \alpha) \log s.

(The mixture's form is ours: the paper's was not checked.) Costs `K` calls of
the reranker. It permutes the `K` items, so recall@K is what the retriever made
it, whatever the reranker says.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


class Ranking(NamedTuple):
  """Items of `B` queries, best first."""

  items: Int[Array, 'B K']  # -1 for a place that is not filled
  scores: Float[Array, 'B K']  # `-inf` there


def rerank(
  items: Int[Array, 'B K'],
  log_probs: Float[Array, 'B K'],
  relevance: Float[Array, 'B K'],
  alpha: Float[ArrayLike, ''] = 0.0,
) -> Ranking:
  """Orders retrieved items by a mixture of two scores.

  Args:
    items: from a retriever; -1 for a place that is not filled.
    log_probs: what the retriever said of them.
    relevance: what the reranker says, in [0, 1].
    alpha: weight of the retriever: 0 for the reranker alone, 1 for none.

  Returns:
    The same items; those of equal scores in the order they came, and those
    whose score is NaN last, at `-inf`.
  """
  tiny = jnp.finfo(relevance.dtype).tiny
  own = jnp.where(items >= 0, log_probs, 0.0)
  scores = alpha * own + (1 - alpha) * jnp.log(jnp.maximum(relevance, tiny))
  known = (items >= 0) & ~jnp.isnan(scores)
  scores = jnp.where(known, scores, -jnp.inf)
  scores, order = jax.lax.top_k(scores, items.shape[1])
  return Ranking(jnp.take_along_axis(items, order, axis=1), scores)
