"""Block-sparse attention on TPU: chosen blocks copied to an online softmax.

Blocks are small (16 keys of 128 bfloat16 are 4 KiB) and lie anywhere, so the
kernel copies them itself: a step attends to 512 tokens of one head while the
blocks of the next step arrive. Where each block begins and how many of its
tokens are seen are worked out before and prefetched as scalars; an unchosen
block, or one beyond the length, is not read. With pages only the addresses
differ.

The steps run in two streams, as some TPUs have two cores (v4, v5p); only the
first copy of a stream is waited for in full. A row `(sequence, sample, head)`
costs `2 J block_size D` numbers from memory. Scalar memory holds the addresses
of 2^16 blocks; more are done in several calls.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention.mosaic_tpu import (
  check_dtypes,
  softmax_init,
  softmax_result,
  softmax_scratch,
  softmax_update,
)
from ttc.kernels.partial_attention import Segment, in_one_batch

_TOKENS_PER_STEP = 512
_MAX_BLOCK_SIZE = 2048  # two of keys and two of values fit in vector memory
_MAX_BLOCKS = 2**16  # of one call: two integers each, in 1 MiB of memory


@functools.partial(jax.jit, static_argnames=('block_size', 'interpret'))
def block_sparse_attention(
  query: Float[Array, 'B N K G D'],
  keys: Segment,
  lengths: Int[Array, 'B N'],
  block_ids: Int[Array, 'B N K J'],
  pages: Int[Array, 'B M'] | None = None,
  layer: Int[Array, ''] | None = None,
  *,
  block_size: int,
  interpret=False,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """See `api.block_sparse_attention`.

  Args:
    query: one query per sample and head.
    keys: keys and values `[B, K, S, D]`; with `pages` a pool
      `[num_pages, K, block_size, D]`.
    lengths: tokens from here on are not seen.
    block_ids: distinct blocks in any order; -1 for none.
    pages: page of the pool that holds each block of each sequence.
    layer: of keys and values `[L, B, K, S, D]`, if given.
    block_size: static.
    interpret: for tests: run without a TPU; True, or a `pltpu.InterpretParams`.

  Returns:
    The output and the log-sum-exp, in float32.

  Raises:
    NotImplementedError: if the dtypes are not all bfloat16 or all float32,
      blocks are not a multiple of 8 tokens or are of more than 2048, the cache
      is not a whole number of blocks, or a sample has more than 2^16 of them.
  """
  check_dtypes(query, *keys)
  _, _, K, G, D = query.shape
  J, S = block_ids.shape[-1], keys.k.shape[-2]
  if block_size % 8 or block_size > _MAX_BLOCK_SIZE or S % block_size:
    raise NotImplementedError(f'blocks of {block_size} in a cache of {S}')
  per_step = min(J, max(1, _TOKENS_PER_STEP // block_size))
  padded = pl.cdiv(J, per_step) * per_step
  rows_per_call = _MAX_BLOCKS // (K * padded) * K
  if not rows_per_call:
    raise NotImplementedError(f'{J} blocks for each of {K} heads')

  keys, first_sequence = in_one_batch(keys, layer)
  address, count = (
    jnp.pad(x.reshape(-1, J), [(0, 0), (0, padded - J)])
    for x in _locate(lengths, block_ids, pages, first_sequence, S, block_size)
  )
  rows = query.reshape(-1, G, D)
  parts = [
    _attend(
      rows[first : first + rows_per_call],
      keys,
      address[first : first + rows_per_call],
      count[first : first + rows_per_call],
      per_step=per_step,
      block_size=block_size,
      interpret=interpret,
    )
    for first in range(0, len(rows), rows_per_call)
  ]
  output, lse = (jnp.concatenate(x) for x in zip(*parts, strict=True))
  return output.reshape(query.shape), lse.reshape(query.shape[:-1])


def _locate(lengths, block_ids, pages, first, S, block_size):
  """First token of each block among all sequences; how many are seen."""
  capacity = S if pages is None else pages.shape[1] * block_size
  lengths = jnp.minimum(lengths, capacity)[..., None, None]
  count = jnp.clip(lengths - block_ids * block_size, 0, block_size)
  count = jnp.where(block_ids >= 0, count, 0)
  sequence = jnp.arange(len(block_ids))[:, None, None, None]
  block = jnp.where(count > 0, block_ids, 0)
  if pages is None:
    address = (first + sequence) * S + block * block_size
  else:
    address = pages[sequence, block] * block_size
  return address.astype(jnp.int32), count.astype(jnp.int32)


def _attend(query, keys, address, count, *, per_step, block_size, interpret):
  """Attention of rows `[R, G, D]`; their heads are `0 .. K - 1` in turn."""
  R, G, D = query.shape
  streams = 2 if R % 2 == 0 else 1
  rows = R // streams
  of_row = lambda stream, row, step, *_: (stream * rows + row, 0, 0)
  output, lse = pl.pallas_call(
    _kernel,
    out_shape=(
      jax.ShapeDtypeStruct((R, G, D), jnp.float32),
      jax.ShapeDtypeStruct((R, G, 1), jnp.float32),
    ),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=2,
      grid=(streams, rows, address.shape[1] // per_step),
      in_specs=[
        pl.BlockSpec((None, G, D), of_row),
        pl.BlockSpec(memory_space=pl.ANY),
        pl.BlockSpec(memory_space=pl.ANY),
      ],
      out_specs=[
        pl.BlockSpec((None, G, D), of_row),
        pl.BlockSpec((None, G, 1), of_row),
      ],
      scratch_shapes=[
        *(2 * [pltpu.VMEM((2, per_step, block_size, D), keys.k.dtype)]),
        pltpu.SemaphoreType.DMA((2,)),
        *softmax_scratch(G, D),
      ],
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=('parallel', 'arbitrary', 'arbitrary')
    ),
    interpret=interpret,
  )(address.reshape(-1), count.reshape(-1), query, *keys)
  return output, lse[..., 0]


def _kernel(
  address, count, query, keys, values, output, lse,
  key_tiles, value_tiles, arrived, *scratch,
):  # fmt: skip
  _, per_step, block_size, D = key_tiles.shape
  row_steps = pl.num_programs(2)
  num_steps = pl.num_programs(1) * row_steps
  step = pl.program_id(1) * row_steps + pl.program_id(2)  # of this stream
  first_step = pl.program_id(0) * num_steps

  def seen_of(step, i):
    return count[(first_step + step) * per_step + i]

  def copies(step, i):
    """Of keys and values of the `i`-th block of a step."""
    row = jax.lax.div(first_step + step, row_steps)
    block = _block_at(
      address[(first_step + step) * per_step + i],
      jax.lax.rem(row, keys.shape[1]),
      keys.shape[2],
      block_size,
    )
    slot = _slot(step)
    return [
      pltpu.make_async_copy(
        cache.at[block], tiles.at[slot, i], arrived.at[slot]
      )
      for cache, tiles in ((keys, key_tiles), (values, value_tiles))
    ]

  def fetch(step):
    @pl.loop(0, per_step)
    def _(i):
      @pl.when(seen_of(step, i) > 0)
      def _():
        for copy in copies(step, i):
          copy.start()

      @pl.when(seen_of(step, i) == 0)
      def _():  # what an earlier step left there may be NaN, and 0 NaN is NaN
        value_tiles[_slot(step), i] = jnp.zeros_like(value_tiles[0, 0])

  @pl.when(step == 0)
  def _():
    fetch(step)

  @pl.when(step + 1 < num_steps)
  def _():
    fetch(step + 1)

  @pl.when(pl.program_id(2) == 0)
  def _():
    softmax_init(scratch)

  seen = [seen_of(step, i) for i in range(per_step)]

  @pl.when(sum(seen) > 0)
  def _():
    slot = _slot(step)
    whole = [
      pltpu.make_async_copy(x.at[slot], x.at[slot], arrived.at[slot])
      for x in (key_tiles, value_tiles)
    ]
    _wait(whole, lambda i: copies(step, i), lambda i: seen_of(step, i), seen)
    tile = lambda tiles: tiles[_slot(step)].reshape(-1, D)
    visible = _visible(seen, block_size)
    softmax_update(
      scratch, query[...], tile(key_tiles), tile(value_tiles), visible
    )

  @pl.when(pl.program_id(2) == row_steps - 1)
  def _():
    output[...], lse[...] = softmax_result(scratch)


def _wait(whole, copies, seen_of, seen):
  """For the blocks of a step; for as many bytes at once if none is missing."""
  is_full = functools.reduce(jnp.logical_and, [number > 0 for number in seen])

  @pl.when(is_full)
  def _():
    for copy in whole:
      copy.wait()

  @pl.when(jnp.logical_not(is_full))
  def _():
    @pl.loop(0, len(seen))
    def _(i):
      @pl.when(seen_of(i) > 0)
      def _():
        for copy in copies(i):
          copy.wait()


def _slot(step):
  """The half of the tiles that a step uses; the other is being filled."""
  return jax.lax.rem(step, 2)


def _block_at(address, head, S, block_size):
  """The index of a block in a cache `[B, K, S, D]`, given its first token."""
  start = pl.multiple_of(jax.lax.rem(address, S), block_size)
  return jax.lax.div(address, S), head, pl.ds(start, block_size)


def _visible(seen, block_size):
  """Mask `[1, tokens]` of the first `seen[i]` tokens of each block `i`."""
  shape = (1, len(seen) * block_size)
  token = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
  inside = [
    (token >= i * block_size) & (token < i * block_size + number)
    for i, number in enumerate(seen)
  ]
  return functools.reduce(jnp.logical_or, inside)
