"""Shared-prefix attention in plain XLA: the definition, and the CPU path."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Prefills longer than this are done in query blocks of this many tokens, so
# that the logits of one block exist at a time and not `[T, T]` of them.
_QUERY_BLOCK = 512


class Segment(NamedTuple):
  """Keys and values `[..., K, S, D]` of a stretch of tokens."""

  k: Float[Array, '*A K S D']
  v: Float[Array, '*A K S D']


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


def merge_partials(
  partials: Sequence[tuple[Float[Array, '*A D'], Float[Array, '*A']]],
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  """Merges `(output, lse)` over disjoint sets of keys into that over all.

  Associative and commutative; a set that is wholly masked has `lse = -inf` and
  takes no part. If all are, the output is 0 and the log-sum-exp `-inf`.
  """
  top = _finite(functools.reduce(jnp.maximum, [lse for _, lse in partials]))
  weights = [jnp.exp(lse - top) for _, lse in partials]
  total = sum(weights)
  safe_total = jnp.where(total > 0, total, 1.0)
  # Without the barrier XLA may recompute the exponentials per element of D.
  weights = jax.lax.optimization_barrier([w / safe_total for w in weights])
  output = sum(
    w[..., None] * output
    for w, (output, _) in zip(weights, partials, strict=True)
  )
  return output, jnp.log(total) + top


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
  output, lse = _softmax_attention(
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
    output, lse = _softmax_attention(
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


def _softmax_attention(
  query: Float[Array, '*A D'], keys: Segment, mask: Bool[Array, '*#M']
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  """Masked softmax attention with its log-sum-exp, both in float32.

  The axes of `query` between those of `keys` and `D` are rows of one matrix
  product; `mask` broadcasts to `[*A, S]`.
  """
  scale = query.shape[-1] ** -0.5
  rows = query.reshape(*keys.k.shape[:-2], -1, query.shape[-1])
  logits = scale * jnp.einsum(
    '...md,...sd->...ms', rows, keys.k, preferred_element_type=jnp.float32
  )
  logits = logits.reshape(*query.shape[:-1], -1)
  logits = jnp.where(mask, logits, -jnp.inf)
  top = _finite(jnp.max(logits, axis=-1, keepdims=True))
  weights = jnp.exp(logits - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  output = jnp.einsum(
    '...ms,...sd->...md',
    weights.reshape(*rows.shape[:-1], -1).astype(keys.v.dtype),
    keys.v,
    preferred_element_type=jnp.float32,
  ).reshape(query.shape)
  output = output / jnp.where(total > 0, total, 1.0)
  return output, (jnp.log(total) + top)[..., 0]


def _finite(x: Float[Array, '*A']) -> Float[Array, '*A']:
  """Replaces `-inf` by 0, so that `-inf - x` stays `-inf` and not NaN."""
  return jnp.where(jnp.isfinite(x), x, 0.0)
