"""Block-sparse attention on Hopper through Pallas Mosaic GPU.

The loop of `decode_attention.mosaic_gpu` over the chosen blocks, one behind the
other: the tensor memory accelerator is given the address of each from its id,
and with pages, from the page of the id. A tile of 64 tokens is one copy, or as
many as it has blocks. Blocks of -1 are copied and not looked at. Reads
`2 J block_size D` numbers of 2 bytes per query and key/value head.

Opt-in, by `implementation='mosaic_gpu'`: it is compiled for an H200 in the
tests, but neither its numbers nor its speed have been measured on a device yet.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import mosaic_gpu as decode
from ttc.kernels.decode_attention.splits import merge_splits, num_splits
from ttc.kernels.partial_attention import Segment, in_one_batch


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
  B, N, K, G, D = query.shape
  piece = min(block_size, decode.TOKENS)  # that lies together in the cache
  decode.check_supported(query, keys, piece)
  if (
    piece % 8 or decode.TOKENS % piece or block_size % piece or G > decode.ROWS
  ):
    raise NotImplementedError(f'{G} queries, blocks of {block_size} tokens')
  keys, first = in_one_batch(keys, layer)
  query = decode.pad_rows(query)
  chosen = block_ids.shape[-1] * block_size
  splits = num_splits(B * N * K, chosen, G, decode.PROGRAMS)
  tables = () if pages is None else (pages,)
  output, lse = plgpu.kernel(
    functools.partial(
      _kernel, block_size=block_size, splits=splits, paged=pages is not None
    ),
    out_type=[
      jax.ShapeDtypeStruct((splits, *query.shape), jnp.float32),
      jax.ShapeDtypeStruct((splits, B, N, K, decode.ROWS), jnp.float32),
    ],
    scratch_types=[
      decode.buffers(query.dtype, D, copies=decode.TOKENS // piece)
    ],
    grid=(splits, K, N, B),
    grid_names=('split', 'head', 'sample', 'sequence'),
    compiler_params=decode.compiler_params(),
  )(lengths, first, block_ids, *tables, query, *keys)
  return merge_splits(output[..., :G, :], lse[..., :G])


def _kernel(
  lengths,  # [B, N], as all up to the buffers in global memory
  first,  # [1], the first sequence of the layer
  block_ids,  # [B, N, K, J]
  *refs,  # pages [B, M] if paged; query; keys, values; output, lse; buffers
  block_size: int,
  splits: int,
  paged: bool,
):
  """One share of the chosen tokens of one query and head."""
  *tables, query, keys, values, output, lse, buffers = refs
  split, head = lax.axis_index('split'), lax.axis_index('head')
  b, n = lax.axis_index('sequence'), lax.axis_index('sample')
  num_chosen = block_ids.shape[-1] * block_size
  share = decode.TOKENS * pl.cdiv(num_chosen, splits * decode.TOKENS)
  start = split * share
  end = jnp.minimum(start + share, num_chosen)
  piece = min(block_size, decode.TOKENS)
  columns = range(0, decode.TOKENS, piece)

  def find(tile, column):
    """The block of a piece of a tile, and where in the block it begins."""
    chosen = start + tile * decode.TOKENS + column
    block = block_ids[
      b, n, head, lax.div(jnp.minimum(chosen, end - 1), block_size)
    ]
    return jnp.where(chosen < end, block, -1), lax.rem(chosen, block_size)

  def fetch(tile, slot):
    for column in columns:
      block, within = find(tile, column)
      block = jnp.maximum(block, 0)
      if paged:
        place = tables[0][b, block], head, pl.ds(within, piece)
      else:
        place = first[0] + b, head, pl.ds(block * block_size + within, piece)
      there = slot, pl.ds(column, piece)
      plgpu.copy_gmem_to_smem(
        keys.at[place], buffers.keys.at[there], buffers.keys_here.at[slot]
      )
      plgpu.copy_gmem_to_smem(
        values.at[place], buffers.values.at[there], buffers.values_here.at[slot]
      )

  capacity = tables[0].shape[1] * block_size if paged else keys.shape[2]
  length = jnp.minimum(lengths[b, n], capacity)

  def seen(tile):
    is_seen = decode.column() < 0
    for column in columns:
      block, within = find(tile, column)
      token = block * block_size + within + decode.column() - column
      inside = (decode.column() >= column) & (decode.column() < column + piece)
      is_seen |= inside & (block >= 0) & (token < length)
    return is_seen

  decode.fetch_query(query.at[b, n, head], 0, buffers)
  num_tiles = pl.cdiv(end - start, decode.TOKENS)
  decode.attend(buffers, fetch, seen, num_tiles, keys.shape[-1] ** -0.5)
  at = split, b, n, head
  decode.store_results(buffers, output.at[at], lse.at[at], 0)
