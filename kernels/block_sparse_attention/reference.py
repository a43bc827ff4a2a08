"""Block-sparse attention in plain XLA: the definition, and the CPU path."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels.partial_attention import (
  Segment,
  of_layer,
  softmax_attention,
)


def block_sparse_attention(
  query: Float[Array, 'B N K G D'],
  keys: Segment,
  lengths: Int[Array, 'B N'],
  block_ids: Int[Array, 'B N K J'],
  pages: Int[Array, 'B M'] | None = None,
  layer: Int[Array, ''] | None = None,
  *,
  block_size: int,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """See `api.block_sparse_attention`."""
  keys = of_layer(keys, layer)
  first = jnp.maximum(block_ids, 0) * block_size  # token of each block
  if pages is None:
    # The last block may stick out: read as many tokens, beginning earlier.
    size = min(block_size, keys.k.shape[-2])
    start = jnp.minimum(first, keys.k.shape[-2] - size)
    take = functools.partial(_take_blocks, start=start, size=size)
  else:
    size, start = block_size, first
    page = jax.vmap(lambda table, block: table[block])(
      pages, jnp.maximum(block_ids, 0)
    )
    head = jnp.arange(keys.k.shape[1])[:, None]
    take = lambda pool: pool[page, head]
  token = start[..., None] + jnp.arange(size)  # [B, N, K, J, size]
  seen = (token >= first[..., None]) & (token < lengths[..., None, None, None])
  seen &= (block_ids >= 0)[..., None]
  chosen = Segment(*(_join(take(leaf)) for leaf in keys))
  return softmax_attention(
    query, chosen, _join(seen[..., None])[..., None, :, 0]
  )


def _take_blocks(keys, start, size):
  """`[B, K, S, D]` at `start [B, N, K, J]`: `[B, N, K, J, size, D]`."""
  block = lambda head, begin: jax.lax.dynamic_slice_in_dim(head, begin, size)
  of_head = jax.vmap(block, (None, 0))  # over J
  of_query = jax.vmap(of_head)  # over K
  return jax.vmap(jax.vmap(of_query, (None, 0)))(keys, start)


def _join(x):
  """Blocks one behind the other: `[..., J, size, D] -> [..., J size, D]`."""
  return x.reshape(*x.shape[:-3], -1, x.shape[-1])
