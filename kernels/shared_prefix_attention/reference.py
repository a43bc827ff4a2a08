"""Shared-prefix attention in plain XLA: the definition, and the CPU path."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.kernels.partial_attention import (
  Segment,
  merge_partials,
  softmax_attention,
)

# Prefills longer than this are done in query blocks of this many tokens, so
# that the logits of one block exist at a time and not `[T, T]` of them.
_QUERY_BLOCK = 512


def shared_prefix_attention(
  query: Float[Array, 'B N T K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  *,
  window: Int[Array, ''] | int | None = None,
) -> tuple[Float[Array, 'B N T K G D'], Float[Array, 'B N T K G']]:
  """See `api.shared_prefix_attention`."""
  num_queries = query.shape[2]
  if num_queries <= _QUERY_BLOCK or num_queries % _QUERY_BLOCK:
    return _attend_block(
      query, prefix, prefix_lengths, suffix, suffix_lengths, window
    )

  def block(start):
    return _attend_block(
      jax.lax.dynamic_slice_in_dim(query, start, _QUERY_BLOCK, axis=2),
      prefix,
      prefix_lengths,
      suffix,
      suffix_lengths + start,
      window,
    )

  outputs, lses = jax.lax.map(block, jnp.arange(0, num_queries, _QUERY_BLOCK))
  output = jnp.moveaxis(outputs, 0, 2).reshape(query.shape)
  lse = jnp.moveaxis(lses, 0, 2).reshape(query.shape[:-1])
  return output, lse


def _attend_block(
  query, prefix, prefix_lengths, suffix, suffix_lengths, window
):
  position = prefix_lengths[:, None] + suffix_lengths
  position = position[:, :, None] + jnp.arange(
    query.shape[2]
  )  # [B, N, T], of the queries

  # Suffix: each sample's queries against its own keys.
  key_index = jnp.arange(suffix.k.shape[-2])
  key_position = prefix_lengths[:, None] + key_index  # [B, S]
  distance = position[..., None] - key_position[:, None, None]  # [B, N, T, S]
  output, lse = softmax_attention(
    query.transpose(0, 1, 3, 2, 4, 5),  # [B, N, K, (T, G), D]
    suffix,
    _visible(distance, window)[:, :, None, :, None],
  )
  partials = [
    (output.transpose(0, 1, 3, 2, 4, 5), lse.transpose(0, 1, 3, 2, 4))
  ]

  if prefix is not None:
    # Prefix: all samples' queries are rows of one matrix product per head.
    key_index = jnp.arange(prefix.k.shape[-2])
    real = (key_index < prefix_lengths[:, None])[:, None, None, None, None]
    if window is not None:
      distance = position[:, None, :, :, None, None] - key_index
      real &= _visible(distance, window)
    output, lse = softmax_attention(
      query.transpose(0, 3, 1, 2, 4, 5),  # [B, K, (N, T, G), D]
      prefix,
      real,
    )
    partials.append(
      (output.transpose(0, 2, 3, 1, 4, 5), lse.transpose(0, 2, 3, 1, 4))
    )
  output, lse = merge_partials(partials)
  return output.astype(query.dtype), lse


def _visible(distance: Int[Array, '*A'], window) -> Bool[Array, '*A']:
  """Whether a key that lies `distance` tokens back is attended to."""
  causal = distance >= 0
  return causal if window is None else causal & (distance < window)
