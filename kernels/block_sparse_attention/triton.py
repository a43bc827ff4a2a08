"""Block-sparse attention on NVIDIA GPUs through Pallas Triton.

The chosen blocks, one behind the other, are a list of `J block_size` tokens. A
program walks along its share of the list with the online softmax of decode
attention, and looks up where in the cache each token is: at its place in its
block, and with pages, in the page of the block. So any `block_size` will do,
and several small blocks are loaded at once. Reads `2 J block_size D` numbers
per query and key/value head; tokens that are not seen, those of block -1
included, are not read, and the list ends with its last block that is not -1.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import triton as decode
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
  interpret: bool = False,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """See `api.block_sparse_attention`; `interpret` runs without a GPU."""
  decode.check_supported(query, *keys)
  B, N, K, G, D = query.shape
  J = block_ids.shape[-1]
  splits = num_splits(B * N * K, J * block_size, G, decode.PROGRAMS)
  of_query = lambda *shape: pl.BlockSpec(
    (None, None, None, *shape),
    lambda split, k, n, b: (b, n, k, 0, 0)[: 3 + len(shape)],
  )
  share = lambda *shape: pl.BlockSpec(
    (None, None, None, None, *shape),
    lambda split, k, n, b: (split, b, n, k, 0, 0)[: 4 + len(shape)],
  )
  keys, first = in_one_batch(keys, layer)
  pool_size, _, *page = keys.k.shape  # without pages, each sequence is one
  cache = pl.BlockSpec(
    (pool_size, None, *page), lambda split, k, n, b: (0, k, 0, 0)
  )
  tables, table_specs = (), ()
  if pages is not None:
    tables = (pages,)
    table_specs = (
      pl.BlockSpec((None, pages.shape[1]), lambda split, k, n, b: (b, 0)),
    )
  output, lse = pl.pallas_call(
    functools.partial(
      _kernel,
      block_size=block_size,
      token_tile=decode.token_tile(keys.k),
      splits=splits,
    ),
    grid=(splits, K, N, B),
    in_specs=[
      pl.BlockSpec((None, None), lambda split, k, n, b: (b, n)),
      pl.BlockSpec((None,), lambda split, k, n, b: (0,)),
      of_query(J),
      *table_specs,
      of_query(G, D),
      cache,
      cache,
    ],
    out_specs=[share(G, D), share(G)],
    out_shape=[
      jax.ShapeDtypeStruct((splits, B, N, K, G, D), jnp.float32),
      jax.ShapeDtypeStruct((splits, B, N, K, G), jnp.float32),
    ],
    compiler_params=decode.compiler_params(decode.padded(G)),
    interpret=interpret,
    name='block_sparse_attention',
  )(lengths, first, block_ids, *tables, query, *keys)
  return merge_splits(output, lse)


def _kernel(
  length_ref,  # []
  first_ref,  # [], the first sequence of the layer
  ids_ref,  # [J]
  *refs,  # pages [M] if any; query [G, D]; keys, values [P, S, D]; output, lse
  block_size: int,
  token_tile: int,
  splits: int,
):
  """One share of the chosen tokens of one query and head."""
  *tables, query_ref, keys_ref, values_ref, output_ref, lse_ref = refs
  slots = jnp.arange(pl.next_power_of_2(ids_ref.shape[0]))
  is_chosen = 0 <= decode.plgpu.load(
    ids_ref.at[slots], mask=slots < ids_ref.shape[0], other=-1
  )
  num_chosen = jnp.max(jnp.where(is_chosen, slots + 1, 0)) * block_size
  share = token_tile * pl.cdiv(num_chosen, splits * token_tile)
  start = pl.program_id(0) * share
  end = jnp.minimum(start + share, num_chosen)
  capacity = tables[0].shape[0] * block_size if tables else keys_ref.shape[1]
  length = jnp.minimum(length_ref[...], capacity)
  sequence = first_ref[...] + pl.program_id(3)

  def load_tile(tile):
    chosen = start + tile * token_tile + jnp.arange(token_tile)
    which, within = chosen // block_size, chosen % block_size
    block = decode.plgpu.load(ids_ref.at[which], mask=chosen < end, other=-1)
    seen = (block >= 0) & (block * block_size + within < length)
    if tables:
      page = decode.plgpu.load(tables[0].at[block], mask=seen, other=0)
      index = page, within
    else:
      index = sequence, block * block_size + within
    load = functools.partial(decode.load_rows, index=index, mask=seen)
    return load(keys_ref), load(values_ref), seen[None]

  rows = jnp.arange(decode.padded(query_ref.shape[0]))
  real = rows < query_ref.shape[0]
  query = decode.load_rows(query_ref, (rows,), real)
  scale = query_ref.shape[-1] ** -0.5
  num_tiles = pl.cdiv(end - start, token_tile)
  output, lse = decode.attend(query, load_tile, num_tiles, scale)
  decode.store_rows(output_ref, (rows,), real, output)
  decode.plgpu.store(lse_ref.at[rows], lse, mask=real)
