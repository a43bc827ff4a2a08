"""Scores of blocks on NVIDIA GPUs through Pallas Triton.

A program holds the mean query of a tile of samples and reads one tile of the
pooled keys, once for all of them: `M D` numbers per sequence and key/value head
in all. The best are then taken by `jax.lax.top_k`, whose input is small.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import triton as decode
from ttc.kernels.partial_attention import in_one_batch

_MAX_ROWS = 64  # samples of a program


def block_scores(
  query: Float[Array, 'B N K G D'],
  pooled: Float[Array, '*L B K M D'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret: bool = False,
) -> Float[Array, 'B N K M']:
  """See `api.block_scores`; `interpret` runs without a GPU, slowly."""
  decode.check_supported(query, pooled)
  B, N, K, G, D = query.shape
  pooled, first = in_one_batch(pooled, layer)
  sequences, _, M, _ = pooled.shape
  row_tile = min(_MAX_ROWS, decode.padded(N))
  block_tile = decode.token_tile(pooled)
  return pl.pallas_call(
    functools.partial(_kernel, row_tile=row_tile, block_tile=block_tile),
    grid=(pl.cdiv(N, row_tile), pl.cdiv(M, block_tile), K, B),
    in_specs=[
      pl.BlockSpec((None,), lambda row, tile, k, b: (0,)),
      pl.BlockSpec(
        (None, N, None, G, D), lambda row, tile, k, b: (b, 0, k, 0, 0)
      ),
      pl.BlockSpec(
        (sequences, None, M, D), lambda row, tile, k, b: (0, k, 0, 0)
      ),
    ],
    out_specs=pl.BlockSpec(
      (None, N, None, M), lambda row, tile, k, b: (b, 0, k, 0)
    ),
    out_shape=jax.ShapeDtypeStruct((B, N, K, M), jnp.float32),
    compiler_params=decode.compiler_params(row_tile),
    interpret=interpret,
    name='block_scores',
  )(first, query, pooled)


def _kernel(
  first_ref,  # [], the first sequence of the layer
  query_ref,  # [N, G, D]
  pooled_ref,  # [sequences, M, D]
  scores_ref,  # [N, M]
  *,
  row_tile: int,
  block_tile: int,
):
  """One tile of samples and one tile of blocks."""
  N, G, D = query_ref.shape
  rows = pl.program_id(0) * row_tile + jnp.arange(row_tile)
  of_head = lambda g: decode.load_rows(
    query_ref, (rows, jnp.full_like(rows, g)), rows < N
  ).astype(jnp.float32)
  mean = sum(map(of_head, range(G))) / G
  blocks = pl.program_id(1) * block_tile + jnp.arange(block_tile)
  real = blocks < pooled_ref.shape[1]
  sequence = first_ref[...] + pl.program_id(3)
  pooled = decode.load_rows(pooled_ref, (sequence, blocks), real)
  scores = D**-0.5 * decode.dot(mean.astype(query_ref.dtype), pooled.T)
  decode.plgpu.store(
    scores_ref.at[rows[:, None], blocks[None]],
    scores,
    mask=(rows < N)[:, None] & real[None],
  )
