"""Shared-prefix attention in plain XLA: the definition, and the CPU path.

Where all logits at once would be too many, queries and keys are taken in blocks
whose partial softmaxes merge: memory is linear in both, blocks of keys that no
query of a block sees are skipped, and a gradient computes each block again.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.kernels.partial_attention import (
  Segment,
  merge_partials,
  of_layer,
  softmax_attention,
)

# Whether keys come in blocks depends on one row alone, so that the last bits of
# a result do not depend on how many rows there are.
_MOST_LOGITS_OF_ROW = 2**22
_MOST_LOGITS = 2**26  # of all rows at once
_LOGITS_OF_BLOCK = 2**24
_BLOCK = 512  # keys; of queries at most as many
_UNSEEN = 2**30  # the index of a key behind every query


def shared_prefix_attention(
  query: Float[Array, 'B N T K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  *,
  window: Int[Array, ''] | int | None = None,
  softcap: float | None = None,
  layer: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'B N T K G D'], Float[Array, 'B N T K G']]:
  """See `api.shared_prefix_attention`."""
  B, N, T, K, G, _ = query.shape
  num_keys = [keys.k.shape[-2] for keys in (suffix, prefix) if keys is not None]
  of_row = T * K * G * max(num_keys)
  is_small = of_row <= _MOST_LOGITS_OF_ROW
  if T == 1 or (is_small and B * N * of_row <= _MOST_LOGITS):
    position = _positions(prefix_lengths, suffix_lengths, T)
    partials = [
      attend(
        query,
        of_layer(keys, layer),
        jnp.arange(size),
        prefix_lengths,
        position,
        window,
        softcap,
      )
      for attend, keys, size in zip(
        (_to_suffix, _to_prefix), (suffix, prefix), num_keys, strict=False
      )
    ]
    output, lse = merge_partials(partials)
    return output.astype(query.dtype), lse

  # As many queries at a time as may meet one block of keys.
  key_block = max(num_keys) if is_small else _BLOCK
  size = _LOGITS_OF_BLOCK // (B * N * K * G * min(key_block, max(num_keys)))
  size = min(max(size, 1), _BLOCK, T)
  num_blocks = -(-T // size)
  padding = [(0, 0)] * query.ndim
  padding[2] = 0, num_blocks * size - T
  padded = jnp.pad(query, padding)

  @jax.checkpoint
  def block(start):
    some = jax.lax.dynamic_slice_in_dim(padded, start, size, axis=2)
    output, lse = _in_key_blocks(
      some,
      prefix,
      prefix_lengths,
      suffix,
      suffix_lengths + start,
      window,
      softcap,
      layer,
      key_block,
    )
    return output.astype(query.dtype), lse

  outputs, lses = jax.lax.map(block, size * jnp.arange(num_blocks))
  whole = lambda x: jnp.moveaxis(x, 0, 2).reshape(B, N, -1, *x.shape[4:])[
    :, :, :T
  ]
  return whole(outputs), whole(lses)


def _in_key_blocks(
  query,
  prefix,
  prefix_lengths,
  suffix,
  suffix_lengths,
  window,
  softcap,
  layer,
  key_block,
):
  """Attention of one block of queries, key block by key block."""
  position = _positions(prefix_lengths, suffix_lengths, query.shape[2])
  nothing = (
    jnp.zeros(query.shape, jnp.float32),
    jnp.full(query.shape[:-1], -jnp.inf, jnp.float32),
  )

  def over(attend, keys, last, first, found):
    """`found` and what the keys from `first` to `last` add to it."""
    num_keys = keys.k.shape[-2]
    size = min(key_block, num_keys)

    def add(found, start):
      # The last block begins earlier, and hides what the one before had.
      begin = jnp.minimum(start, num_keys - size)
      index = begin + jnp.arange(size)
      some = _some_rows(keys, layer, begin, size)
      index = jnp.where(index < start, _UNSEEN, index)
      new = attend(
        query, some, index, prefix_lengths, position, window, softcap
      )
      return merge_partials([found, new])

    def step(found, start):
      is_seen = (start <= last) & (start + size > first)
      keep = lambda found, start: found
      return jax.lax.cond(is_seen, add, keep, found, start), None

    starts = size * jnp.arange(-(-num_keys // size))
    return jax.lax.scan(jax.checkpoint(step), found, starts)[0]

  reach = _UNSEEN if window is None else window
  last = jnp.max(suffix_lengths) + query.shape[2] - 1
  found = over(
    _to_suffix, suffix, last, jnp.min(suffix_lengths) - reach + 1, nothing
  )
  if prefix is None:
    return found
  last, first = jnp.max(prefix_lengths) - 1, jnp.min(position) - reach + 1
  return over(_to_prefix, prefix, last, first, found)


def _some_rows(keys, layer, begin, size) -> Segment:
  """`size` keys and values from `begin` on, of one layer if that is given."""

  def take(x):
    if layer is None:
      return jax.lax.dynamic_slice_in_dim(x, begin, size, axis=-2)
    zero = jnp.zeros_like(begin)
    start = (layer.astype(begin.dtype), *[zero] * (x.ndim - 3), begin, zero)
    shape = (1, *x.shape[1:-2], size, x.shape[-1])
    return jax.lax.dynamic_slice(x, start, shape)[0]

  return jax.tree.map(take, keys)


def _positions(prefix_lengths, suffix_lengths, T) -> Int[Array, 'B N T']:
  """Those of new queries."""
  position = prefix_lengths[:, None] + suffix_lengths
  return position[:, :, None] + jnp.arange(T)


def _to_suffix(
  query, keys, key_index, prefix_lengths, position, window, softcap
):
  """Each sample's queries to its own keys, of which these are `key_index`."""
  key_position = prefix_lengths[:, None] + key_index  # [B, S]
  distance = position[..., None] - key_position[:, None, None]  # [B, N, T, S]
  output, lse = softmax_attention(
    query.transpose(0, 1, 3, 2, 4, 5),  # [B, N, K, (T, G), D]
    keys,
    _visible(distance, window)[:, :, None, :, None],
    softcap,
  )
  return output.transpose(0, 1, 3, 2, 4, 5), lse.transpose(0, 1, 3, 2, 4)


def _to_prefix(
  query, keys, key_index, prefix_lengths, position, window, softcap
):
  """All samples' queries are rows of one matrix product per head."""
  real = (key_index < prefix_lengths[:, None])[:, None, None, None, None]
  if window is not None:
    distance = position[:, None, :, :, None, None] - key_index
    real &= _visible(distance, window)
  output, lse = softmax_attention(
    query.transpose(0, 3, 1, 2, 4, 5),  # [B, K, (N, T, G), D]
    keys,
    real,
    softcap,
  )
  return output.transpose(0, 2, 3, 1, 4, 5), lse.transpose(0, 2, 3, 1, 4)


def _visible(distance: Int[Array, '*A'], window) -> Bool[Array, '*A']:
  """Whether a key that lies `distance` tokens back is attended to."""
  causal = distance >= 0
  return causal if window is None else causal & (distance < window)
