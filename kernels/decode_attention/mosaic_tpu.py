"""Decode attention on TPU: an online softmax over tiles of the cache.

The grid is (sequence, head, tile of rows, tile of keys). The pipeline fetches
the next tile of keys and values while this one is attended to, and three
running values per row carry the softmax from tile to tile: the largest logit
`m`, the sum of weights `l` and the weighted sum of values.

The lengths are prefetched as scalars. Beyond the length of a sequence nothing
is computed, and the index map repeats the last tile in need, which the pipeline
does not fetch twice: a head costs `2 length D` numbers from memory, rounded up
to a tile, for each 512 rows. 512 rows do 512 FLOPs for each byte of a bfloat16
cache, about what a TPU needs to be bound by compute (v5e 240, v6e 560).

Unless `D` is a multiple of 128, rows are padded to one. XLA would rather store
such a cache with tokens last; a loop that carries the cache lays it out anew
when it is entered and left, and not in every step.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from ttc.kernels.partial_attention import Segment, in_one_batch

MAX_ROWS = 512
# Of one tile of keys, of its values, and per row of its logits: each exists up
# to three times in some 16 MiB of vector memory.
_TILE_BYTES = 2**19
_LANES = 128


@functools.partial(jax.jit, static_argnames=('interpret',))
def decode_attention(
  query: Float[Array, 'B K M D'],
  keys: Segment,
  lengths: Int[Array, ' B'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret=False,
) -> tuple[Float[Array, 'B K M D'], Float[Array, 'B K M']]:
  """See `api.decode_attention`.

  Args:
    query: rows that share the keys of one head.
    keys: keys and values `[B, K, S, D]`.
    lengths: how many of the `S` are real.
    layer: of keys and values `[L, B, K, S, D]`, if given.
    interpret: for tests: run without a TPU; True, or a `pltpu.InterpretParams`.

  Returns:
    The output and the log-sum-exp, in float32.

  Raises:
    NotImplementedError: if the dtypes are not all bfloat16 or all float32.
  """
  check_dtypes(query, *keys)
  B, K, M, D = query.shape
  S = keys.k.shape[-2]
  rows, tile = tile_sizes(M, S, D, query.dtype)
  keys, first = in_one_batch(keys, layer)
  of_rows = lambda b, k, m, s, *_: (b, k, m, 0)
  of_keys = lambda b, k, m, s, lengths, first: (
    first[0] + b, k, _tile_to_fetch(s, lengths[b], tile), 0,
  )  # fmt: skip
  output, lse = pl.pallas_call(
    functools.partial(_kernel, size=S),
    out_shape=(
      jax.ShapeDtypeStruct((B, K, M, D), jnp.float32),
      jax.ShapeDtypeStruct((B, K, M, 1), jnp.float32),
    ),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=2,
      grid=(B, K, pl.cdiv(M, rows), pl.cdiv(S, tile)),
      in_specs=[
        pl.BlockSpec((None, None, rows, D), of_rows),
        pl.BlockSpec((None, None, tile, D), of_keys),
        pl.BlockSpec((None, None, tile, D), of_keys),
      ],
      out_specs=[
        pl.BlockSpec((None, None, rows, D), of_rows),
        pl.BlockSpec((None, None, rows, 1), of_rows),
      ],
      scratch_shapes=softmax_scratch(rows, D),
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=('parallel', 'parallel', 'parallel', 'arbitrary')
    ),
    interpret=interpret,
  )(jnp.clip(lengths, 0, S).astype(jnp.int32), first, query, *keys)
  return output, lse[..., 0]


def _kernel(lengths, _, query, keys, values, output, lse, *scratch, size):
  tile = keys.shape[0]
  length, step = lengths[pl.program_id(0)], pl.program_id(3)
  first = step * tile

  @pl.when(step == 0)
  def _():
    softmax_init(scratch)

  @pl.when(first < length)
  def _():
    v = values[...]
    if size % tile:  # what sticks out of the cache is garbage, perhaps NaN
      v = jnp.where(_visible((tile, 1), 0, first, length), v, 0)
    visible = _visible((1, tile), 1, first, length)
    softmax_update(scratch, query[...], keys[...], v, visible)

  @pl.when(step == pl.num_programs(3) - 1)
  def _():
    output[...], lse[...] = softmax_result(scratch)


def tile_sizes(M, S, D, dtype):
  """Rows and keys of a tile: all, or a multiple of what the layout needs."""
  rows = min(M, MAX_ROWS)
  key_bytes = pl.cdiv(D, _LANES) * _LANES * dtype.itemsize
  tiles = max(1, _TILE_BYTES // max(rows, key_bytes) // _LANES)
  return rows, min(S, tiles * _LANES)


def _tile_to_fetch(step, length, tile):
  """The tile of this step, or the last one in need."""
  return jnp.minimum(step, jnp.maximum(pl.cdiv(length, tile) - 1, 0))


def _visible(shape, axis, first, length):
  token = first + jax.lax.broadcasted_iota(jnp.int32, shape, axis)
  return token < length


def check_dtypes(*arrays):
  """Raises `NotImplementedError` unless all are bfloat16 or all float32."""
  dtypes = {str(x.dtype) for x in arrays}
  if dtypes not in ({'bfloat16'}, {'float32'}):
    raise NotImplementedError(f'dtypes {sorted(dtypes)}')


def softmax_scratch(rows, D):
  """Memory that carries a softmax over tiles: `m`, `l` and the sum."""
  return [
    pltpu.VMEM((rows, 1), jnp.float32),
    pltpu.VMEM((rows, 1), jnp.float32),
    pltpu.VMEM((rows, D), jnp.float32),
  ]


def softmax_init(scratch):
  """Nothing seen yet."""
  largest, total, weighted = scratch
  largest[...] = jnp.full_like(largest, -jnp.inf)
  total[...] = jnp.zeros_like(total)
  weighted[...] = jnp.zeros_like(weighted)


def softmax_update(scratch, query, keys, values, visible):
  """Attends to a tile: at least one of its keys has to be visible."""
  largest, total, weighted = scratch
  logits = jax.lax.dot_general(
    query,
    keys,
    (((1,), (1,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
  logits = jnp.where(visible, query.shape[-1] ** -0.5 * logits, -jnp.inf)
  before = largest[...]
  now = jnp.maximum(before, jnp.max(logits, axis=-1, keepdims=True))
  weights = jnp.exp(logits - now)
  kept = jnp.exp(before - now)
  largest[...] = now
  total[...] = kept * total[...] + jnp.sum(weights, axis=-1, keepdims=True)
  weighted[...] = kept * weighted[...] + jnp.dot(
    weights.astype(values.dtype), values, preferred_element_type=jnp.float32
  )


def softmax_result(scratch):
  """Output and log-sum-exp; 0 and `-inf` if nothing was seen."""
  largest, total, weighted = (x[...] for x in scratch)
  output = weighted / jnp.where(total > 0, total, 1.0)
  return output, largest + jnp.log(total)
