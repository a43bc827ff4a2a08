"""One draw from a categorical law over the vocabulary, by inversion.

A Gumbel draw costs one random number per token of the vocabulary; inversion
costs one per draw. The cumulative sum is taken over blocks first and then
inside one block, so that only the exponentials touch the whole row.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

_BLOCK = 256


def draw(
  key: PRNGKeyArray, logits: Float[Array, ' V']
) -> tuple[Int[Array, ''], Float[Array, '']]:
  """Draws a token from `softmax(logits)`.

  Args:
    key: consumed; one uniform number in [0, 1) with 23 random bits, so events
      rarer than 1e-7 are as good as impossible.
    logits: `-inf` for tokens that must not be drawn.

  Returns:
    The token and its log-probability; -1 and NaN if the logits have no softmax:
    one of them is NaN or infinite, or all are `-inf`.
  """
  top = jnp.max(logits)
  weights = jnp.exp(logits - top)
  blocks = jnp.pad(weights, (0, -weights.size % _BLOCK)).reshape(-1, _BLOCK)
  masses = jnp.sum(blocks, axis=1)
  total = jnp.sum(masses)
  target = jax.random.uniform(key, dtype=total.dtype) * total
  block = 0
  if masses.size > 1:
    block, target = _invert(masses, target)
  offset, _ = _invert(blocks[block], target)
  token = jnp.where(jnp.isfinite(total), block * _BLOCK + offset, -1)
  log_prob = logits[token] - top - jnp.log(total)
  return token.astype(jnp.int32), log_prob


def log_prob_of(
  logits: Float[Array, ' V'], token: Int[Array, '']
) -> Float[Array, '']:
  """`log softmax(logits)[token]`."""
  return logits[token] - jax.nn.logsumexp(logits)


def _invert(
  masses: Float[Array, ' M'], target: Float[Array, '']
) -> tuple[Int[Array, ''], Float[Array, '']]:
  """The first index whose cumulative mass exceeds `target`, and the remainder.

  If rounding puts `target` at or above the whole mass, it is the last index
  with any mass. An index without mass is never returned.
  """
  cumulative = jnp.cumsum(masses)
  above = (cumulative > target) & (masses > 0)
  last = masses.size - 1 - jnp.argmax(masses[::-1] > 0)
  index = jnp.where(jnp.any(above), jnp.argmax(above), last)
  return index, target - (cumulative[index] - masses[index])
