"""Causal attention on TPU by the splash attention that ships with jax.

Tiles of keys that no query of a tile sees are neither fetched nor computed, and
the mask of the others is made from positions in the kernel. Query heads of a
group share the tiles of their key/value head. It knows nothing of `sqrt(D)`, so
queries are scaled before, which rounds them once more.

Sequences are padded to whole tiles. Tiles of 512 queries and 512 keys do 512
FLOPs for each byte of bfloat16 keys and values, twice what a v5e needs to be
bound by compute.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention
from jaxtyping import Array, Float

from ttc.kernels.decode_attention.mosaic_tpu import check_dtypes
from ttc.kernels.partial_attention import Segment

_TILE = 512  # queries, and keys
_LANES = 128


@functools.partial(jax.jit, static_argnames=('window', 'softcap', 'interpret'))
def causal_attention(
  query: Float[Array, 'B T K G D'],
  keys: Segment,
  *,
  window: int | None,
  softcap: float | None,
  interpret: bool = False,
) -> Float[Array, 'B T K G D']:
  """See `api.causal_attention`; `interpret` is for tests.

  Raises:
    NotImplementedError: if the dtypes are not all bfloat16 or all float32.
  """
  check_dtypes(query, *keys)
  B, T, K, G, D = query.shape
  tile = min(_TILE, _round_up(T, _LANES))
  size = _round_up(T, tile)
  whole_tiles = lambda x: jnp.pad(x, [(0, 0), (0, 0), (0, size - T), (0, 0)])
  scaled = query.astype(jnp.float32) * D**-0.5
  heads = scaled.astype(query.dtype).transpose(0, 2, 3, 1, 4)
  kernel = _kernel(size, tile, K * G, window, softcap, interpret)
  output = jax.vmap(kernel)(
    whole_tiles(heads.reshape(B, K * G, T, D)), *map(whole_tiles, keys)
  )
  output = output[:, :, :T].reshape(B, K, G, T, D)
  return output.transpose(0, 3, 1, 2, 4)


def _kernel(
  size, tile, num_heads, window, softcap, interpret
) -> Callable[..., Any]:
  """A function of queries `[H, T, D]`, keys and values `[K, T, D]`."""
  if window is None:
    mask = splash_attention.CausalMask((size, size))
  else:
    mask = splash_attention.LocalMask((size, size), (window - 1, 0), 0)
  return splash_attention.make_splash_mha(
    splash_attention.MultiHeadMask([mask] * num_heads),
    block_sizes=splash_attention.BlockSizes(tile, tile),
    attn_logits_soft_cap=softcap,
    head_shards=1,
    q_seq_shards=1,
    interpret=interpret,
  )


def _round_up(x: int, to: int) -> int:
  return -(-x // to) * to
