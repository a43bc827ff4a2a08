"""Shares of a long cache: how many, and how their outputs become one."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PROCESSORS = 132  # of an H100 or H200
# Of a share; a shorter one takes longer to start than to read.
MIN_TOKENS = 256


def num_splits(
  num_programs: int, num_tokens: int, num_rows: int, target: int
) -> int:
  """Shares that make `target` programs of `num_programs`, if worth the merge.

  A share of `t` tokens reads `2 t D` numbers, mostly of 2 bytes, and has its
  `num_rows D` float32 outputs written and read again. With `t >= 8 num_rows`
  that adds half at most, and next to nothing for the few rows of decoding. Of
  many rows, which keep a processor busy with products, shares are shorter as
  long as processors are idle.
  """
  longest = num_tokens // max(MIN_TOKENS, 8 * num_rows)
  to_fill = min(-(-PROCESSORS // num_programs), num_tokens // MIN_TOKENS)
  return max(1, min(-(-target // num_programs), longest), to_fill)


def merge_splits(
  output: Float[Array, 'P *A D'], lse: Float[Array, 'P *A']
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  """`merge_partials` of shares along the first axis, however many they are."""
  if len(output) == 1:
    return output[0], lse[0]
  top = jnp.max(lse, axis=0)
  top = jnp.where(top > -jnp.inf, top, 0.0)
  weights = jnp.exp(lse - top)
  total = jnp.sum(weights, axis=0)
  weights = weights / jnp.where(total > 0, total, 1.0)
  # Without the barrier XLA may recompute the exponentials per element of D.
  weights = jax.lax.optimization_barrier(weights)
  return jnp.sum(weights[..., None] * output, axis=0), jnp.log(total) + top
