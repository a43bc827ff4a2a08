"""Decode attention on Hopper through Pallas Mosaic GPU (flash-decoding).

The same plan as `triton`: programs share the tokens of a head, and XLA merges
what they make of them. Here the copies are explicit: the tensor memory
accelerator brings tiles of keys and values into a ring of buffers, while one
warpgroup multiplies those that have arrived. Its matrix product has 64 rows, so
the queries of a head are padded, in shared memory; more than 64 are tiles that
read the keys again, mostly from the level-2 cache, as they run side by side.

Reads `2 K length D` numbers per sequence. Dtypes of 2 bytes, and head sizes of
64, 128 and 256; the rest is for the reference.

Opt-in, by `implementation='mosaic_gpu'`: it is compiled for an H200 in the
tests, but there is no interpreter for these products, and neither its numbers
nor its speed have been measured on a device yet.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention.splits import (
  PROCESSORS,
  merge_splits,
  num_splits,
)
from ttc.kernels.partial_attention import Segment, in_one_batch

ROWS = 64  # of a matrix product of one warpgroup
TOKENS = 64  # of a tile
PROGRAMS = 2 * PROCESSORS
_RING_BYTES = 128 * 1024  # of shared memory, for keys and values
_LOG2_E = 1.4426950408889634
_LOWEST = -1e30  # instead of -inf, of which the difference is NaN


class Buffers(NamedTuple):
  """Shared memory of a program, and the barriers that tell what has arrived."""

  query: Any  # [ROWS, D]
  keys: Any  # [stages, TOKENS, D]
  values: Any  # [stages, TOKENS, D]
  output: Any  # [ROWS, D]
  lse: Any  # [ROWS]
  query_here: Any
  keys_here: Any  # [stages]
  values_here: Any  # [stages]


def decode_attention(
  query: Float[Array, 'B K M D'],
  keys: Segment,
  lengths: Int[Array, ' B'],
  layer: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'B K M D'], Float[Array, 'B K M']]:
  """See `api.decode_attention`."""
  check_supported(query, keys)
  B, K, M, D = query.shape
  keys, first = in_one_batch(keys, layer)
  S = keys.k.shape[-2]
  query = pad_rows(query)
  row_tiles = pl.cdiv(M, ROWS)
  splits = num_splits(B * K * row_tiles, S, M, PROGRAMS)
  output, lse = plgpu.kernel(
    functools.partial(_kernel, splits=splits),
    out_type=[
      jax.ShapeDtypeStruct((splits, *query.shape), jnp.float32),
      jax.ShapeDtypeStruct((splits, B, K, row_tiles * ROWS), jnp.float32),
    ],
    scratch_types=[buffers(query.dtype, D)],
    grid=(row_tiles, splits, K, B),
    grid_names=('row_tile', 'split', 'head', 'sequence'),
    compiler_params=compiler_params(),
  )(lengths, first, query, *keys)
  return merge_splits(output[..., :M, :], lse[..., :M])


def _kernel(
  lengths,  # [B], as all up to the buffers in global memory
  first,  # [1], the first sequence of the layer
  query,  # [B, K, M, D], M padded to 8
  keys,  # [sequences, K, S, D]
  values,  # [sequences, K, S, D]
  output,  # [splits, B, K, M, D], M padded to 8
  lse,  # [splits, B, K, M], M padded to ROWS
  buffers,
  *,
  splits: int,
):
  """One tile of queries and one share of the tokens of one head."""
  split, head = lax.axis_index('split'), lax.axis_index('head')
  b, row = lax.axis_index('sequence'), ROWS * lax.axis_index('row_tile')
  length = jnp.minimum(lengths[b], keys.shape[2])
  share = TOKENS * pl.cdiv(length, splits * TOKENS)
  start = split * share
  end = jnp.minimum(start + share, length)

  def fetch(tile, slot):
    tokens = pl.ds(start + tile * TOKENS, TOKENS)
    at = first[0] + b, head, tokens
    plgpu.copy_gmem_to_smem(
      keys.at[at], buffers.keys.at[slot], buffers.keys_here.at[slot]
    )
    plgpu.copy_gmem_to_smem(
      values.at[at], buffers.values.at[slot], buffers.values_here.at[slot]
    )

  seen = lambda tile: start + tile * TOKENS + column() < end
  fetch_query(query.at[b, head], row, buffers)
  num_tiles = pl.cdiv(end - start, TOKENS)
  attend(buffers, fetch, seen, num_tiles, keys.shape[-1] ** -0.5)
  store_results(buffers, output.at[split, b, head], lse.at[split, b, head], row)


def attend(
  buffers: Buffers,
  fetch: Callable[[Any, Any], None],
  seen: Callable[[Array], Array],
  num_tiles: Array,
  scale: float,
):
  """Online softmax over the tiles of one program, into its buffers.

  Args:
    buffers: the query is on its way there.
    fetch: `(tile, slot)`, begins to copy a tile into a slot of the ring.
    seen: `tile -> [ROWS, TOKENS]`, which of its tokens count.
    num_tiles: how many tiles there are.
    scale: of the logits.
  """
  stages, _, D = buffers.keys.shape
  for slot in range(stages):
    pl.when(slot < num_tiles)(functools.partial(fetch, slot, slot))
  plgpu.barrier_wait(buffers.query_here)

  def step(tile, carry):
    output, total, top = carry
    slot = lax.rem(tile, stages)
    keys = buffers.keys.at[slot].transpose((1, 0))

    def multiply(logits):
      plgpu.wgmma(logits, buffers.query, keys)
      return logits[...]

    plgpu.barrier_wait(buffers.keys_here.at[slot])
    logits = pl.run_scoped(multiply, plgpu.ACC((ROWS, TOKENS), jnp.float32))  # pyright: ignore[reportPrivateImportUsage]  # stub lacks it
    is_seen = seen(tile)
    logits = jnp.where(is_seen, scale * _LOG2_E * logits, _LOWEST)
    new_top = jnp.maximum(top, jnp.max(logits, axis=1))
    weights = jnp.exp2(logits - across(new_top, TOKENS))
    weights = jnp.where(is_seen, weights, 0.0)
    shrink = jnp.exp2(top - new_top)
    total = shrink * total + jnp.sum(weights, axis=1)
    weights = weights.astype(buffers.values.dtype)

    plgpu.barrier_wait(buffers.values_here.at[slot])
    output = pl.run_state(
      lambda sum_: plgpu.wgmma(sum_, weights, buffers.values.at[slot])
    )(plgpu.ACC.init(output * across(shrink, D)))  # pyright: ignore[reportPrivateImportUsage]  # stub lacks it
    ahead = tile + stages
    pl.when(ahead < num_tiles)(functools.partial(fetch, ahead, slot))
    return output, total, new_top

  rows = lambda x: plgpu.layout_cast(
    jnp.full((ROWS,), x, jnp.float32), plgpu.Layout.WGMMA.reduce(1)
  )
  zeros = plgpu.layout_cast(
    jnp.zeros((ROWS, D), jnp.float32), plgpu.Layout.WGMMA
  )
  output, total, top = lax.fori_loop(
    0, num_tiles, step, (zeros, rows(0.0), rows(_LOWEST))
  )
  some = total > 0
  safe_total = jnp.where(some, total, 1.0)
  buffers.output[...] = output / across(safe_total, D)
  buffers.lse[...] = jnp.where(
    some, jnp.log(safe_total) + top / _LOG2_E, -jnp.inf
  )


def across(rows, size: int):
  """`[ROWS]` repeated along a second axis."""
  return lax.broadcast_in_dim(rows, (ROWS, size), [0])


def column():
  """Index of each column of the logits."""
  return plgpu.broadcasted_iota(
    jnp.int32, (ROWS, TOKENS), 1, layout=plgpu.Layout.WGMMA
  )


def fetch_query(query, row, buffers: Buffers):
  """Copies a tile of queries `[M, D]`; rows beyond them stay what they are."""
  rows = min(ROWS, query.shape[0])
  plgpu.copy_gmem_to_smem(
    query.at[pl.ds(row, rows)],
    buffers.query.at[pl.ds(0, rows)],
    buffers.query_here,
  )


def store_results(buffers: Buffers, output, lse, row):
  """Copies the results to `output [M, D]` and `lse [M padded to ROWS]`."""
  rows = min(ROWS, output.shape[0])
  plgpu.commit_smem()
  plgpu.copy_smem_to_gmem(
    buffers.output.at[pl.ds(0, rows)], output.at[pl.ds(row, rows)]
  )
  plgpu.copy_smem_to_gmem(buffers.lse, lse.at[pl.ds(row, ROWS)])
  plgpu.wait_smem_to_gmem(0)


def buffers(dtype, D: int, copies: int = 1) -> Buffers:
  """Types of the buffers, with `copies` for each tile of keys or values."""
  tiled = (plgpu.TilingTransform((8, 64)), plgpu.SwizzleTransform(128))
  stages = _RING_BYTES // (2 * TOKENS * D * dtype.itemsize)
  ring = plgpu.SMEM((stages, TOKENS, D), dtype, transforms=tiled)
  arrivals = plgpu.Barrier(num_arrivals=copies, num_barriers=stages)
  return Buffers(
    query=plgpu.SMEM((ROWS, D), dtype, transforms=tiled),
    keys=ring,
    values=ring,
    output=plgpu.SMEM((ROWS, D), jnp.float32),
    lse=plgpu.SMEM((ROWS,), jnp.float32),
    query_here=plgpu.Barrier(),
    keys_here=arrivals,
    values_here=arrivals,
  )


def compiler_params() -> plgpu.CompilerParams:
  """With little scratch: rows are reduced within a few threads."""
  return plgpu.CompilerParams(approx_math=True, reduction_scratch_bytes=1024)


def pad_rows(query: Float[Array, '*A M D']) -> Float[Array, '*A R D']:
  """Pads to a multiple of 8 queries, the unit in which they are copied."""
  none = [(0, 0)] * (query.ndim - 2)
  return jnp.pad(query, [*none, (0, -query.shape[-2] % 8), (0, 0)])


def check_supported(query: Array, keys: Segment, tokens: int = TOKENS):
  """Raises `NotImplementedError` for what the reference has to do.

  Args:
    query: `[..., D]`.
    keys: `[..., S, D]`.
    tokens: that are copied at once.
  """
  dtypes = {str(x.dtype) for x in (query, *keys)}
  if dtypes != {'bfloat16'} and dtypes != {'float16'}:
    raise NotImplementedError(f'attention in {dtypes}; one dtype of 2 bytes')
  S, D = keys.k.shape[-2:]
  if D not in (64, 128, 256) or S % 8 or S < tokens or not query.size:
    raise NotImplementedError(f'attention to keys {list(keys.k.shape)}')
