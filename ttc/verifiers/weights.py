"""Weight maps: from a verifier's scores to the weights of votes.

A map is part of the name of a weighted vote: the same constant added to all
scores may change the winner of one and not of another. Maps take the samples of
one problem, of which `mask` have an answer; the others weigh 0.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# `(scores [N], mask [N]) -> weights [N]`.
WeightFn: TypeAlias = Callable[[Array, Array], Array]


def raw_weights(
  scores: Float[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, ' N']:
  """The scores themselves, which must not be negative (2206.02336).

  With negative scores an answer would lose by being given more often.
  """
  return jnp.where(mask, scores, 0.0)


def softmax_weights(
  scores: Float[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, ' N']:
  """`softmax(score)` over the samples that have an answer.

  Adding a constant changes nothing. For a temperature divide the scores by it.
  """
  return jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), where=mask)


def sigmoid_weights(
  scores: Float[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, ' N']:
  """`sigmoid(score)`: scores that are logits of being right."""
  return jnp.where(mask, jax.nn.sigmoid(scores), 0.0)


def minmax_weights(
  scores: Float[Array, ' N'], mask: Bool[Array, ' N']
) -> Float[Array, ' N']:
  """Scores mapped to [0, 1] by their extremes; all 1 if they are equal.

  The worst sample weighs nothing, so with two samples this is best-of-2
  (2502.07191).
  """
  low = jnp.min(jnp.where(mask, scores, jnp.inf))
  high = jnp.max(jnp.where(mask, scores, -jnp.inf))
  scaled = (scores - low) / jnp.where(high > low, high - low, 1.0)
  return jnp.where(mask, jnp.where(high > low, scaled, 1.0), 0.0)


WEIGHTS: dict[str, WeightFn] = {
  'raw': raw_weights,
  'softmax': softmax_weights,
  'sigmoid': sigmoid_weights,
  'minmax': minmax_weights,
}
