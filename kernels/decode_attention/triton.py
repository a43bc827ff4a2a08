"""Decode attention on NVIDIA GPUs through Pallas Triton (flash-decoding).

A decoding step is bound by memory: it has to read `2 K length D` numbers per
sequence and does little with them. So that the whole processor reads at once,
even for one long sequence, the tokens of a head are split: each program runs an
online softmax over its share of them, for one tile of the `M` queries, and XLA
merges the shares by their log-sum-exps (Dao et al., 2023). Shares are of the
length and not of the capacity, so a cache that is being filled keeps all
programs busy. Tiles of queries beyond the first read the keys again, mostly
from the level-2 cache, as they run side by side.

Triton is the portable path; jax means to drop it in favour of Mosaic GPU.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Bool, Float, Int

from ttc.kernels.decode_attention.splits import (
  MIN_TOKENS,
  PROCESSORS,
  merge_splits,
  num_splits,
)
from ttc.kernels.partial_attention import Segment, in_one_batch

try:
  from jax.experimental.pallas import triton as plgpu
except ImportError as error:
  raise NotImplementedError('this jax has no Pallas Triton') from error

PROGRAMS = 4 * PROCESSORS
_MAX_ROWS = 128  # queries of a program
_TILE_BYTES = 16 * 1024  # of keys, and of values, that are loaded at once
_LOG2_E = 1.4426950408889634
_LOWEST = -1e30  # instead of -inf, of which the difference is NaN

# `tile -> (keys [T, E], values [T, E], seen)`; zeros where no query sees.
LoadTile = Callable[[Array], tuple[Array, Array, Bool[Array, '#R T']]]
# An online softmax: the weighted sum, the sum of weights, the largest logit.
Softmax = tuple[Float[Array, 'R E'], Float[Array, ' R'], Float[Array, ' R']]


def decode_attention(
  query: Float[Array, 'B K M D'],
  keys: Segment,
  lengths: Int[Array, ' B'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret: bool = False,
) -> tuple[Float[Array, 'B K M D'], Float[Array, 'B K M']]:
  """See `api.decode_attention`; `interpret` runs without a GPU, slowly."""
  check_supported(query, *keys)
  B, K, M, D = query.shape
  keys, first = in_one_batch(keys, layer)
  sequences, _, S, _ = keys.k.shape
  row_tile = rows_of_tile(M, B * K, S)
  row_tiles = pl.cdiv(M, row_tile)
  splits = num_splits(B * K * row_tiles, S, M, PROGRAMS)
  head = lambda *shape: pl.BlockSpec(
    (None, None, *shape), lambda row, split, k, b: (b, k, 0, 0)
  )
  cache = pl.BlockSpec(
    (sequences, None, S, D), lambda row, split, k, b: (0, k, 0, 0)
  )
  share = lambda *shape: pl.BlockSpec(
    (None, None, None, *shape),
    lambda row, split, k, b: (split, b, k, 0, 0)[: 3 + len(shape)],
  )
  kernel = functools.partial(
    _kernel, row_tile=row_tile, token_tile=token_tile(keys.k), splits=splits
  )
  # The first axis varies fastest: programs with the same keys run together.
  output, lse = pl.pallas_call(
    kernel,
    grid=(row_tiles, splits, K, B),
    in_specs=[
      pl.BlockSpec((None,), lambda row, split, k, b: (b,)),
      pl.BlockSpec((None,), lambda row, split, k, b: (0,)),
      head(M, D),
      cache,
      cache,
    ],
    out_specs=[share(M, D), share(M)],
    out_shape=[
      jax.ShapeDtypeStruct((splits, B, K, M, D), jnp.float32),
      jax.ShapeDtypeStruct((splits, B, K, M), jnp.float32),
    ],
    compiler_params=compiler_params(row_tile),
    interpret=interpret,
    name='decode_attention',
  )(lengths, first, query, *keys)
  return merge_splits(output, lse)


def _kernel(
  length_ref,  # []
  first_ref,  # [], the first sequence of the layer
  query_ref,  # [M, D]
  keys_ref,  # [sequences, S, D]
  values_ref,  # [sequences, S, D]
  output_ref,  # [M, D]
  lse_ref,  # [M]
  *,
  row_tile: int,
  token_tile: int,
  splits: int,
):
  """One tile of queries and one share of the tokens of one head."""
  length = jnp.minimum(length_ref[...], keys_ref.shape[1])
  share = token_tile * pl.cdiv(length, splits * token_tile)
  start = pl.program_id(1) * share
  end = jnp.minimum(start + share, length)
  sequence = first_ref[...] + pl.program_id(3)

  def load_tile(tile):
    tokens = start + tile * token_tile + jnp.arange(token_tile)
    seen = tokens < end
    load = functools.partial(load_rows, index=(sequence, tokens), mask=seen)
    return load(keys_ref), load(values_ref), seen[None]

  rows = pl.program_id(0) * row_tile + jnp.arange(row_tile)
  real = rows < query_ref.shape[0]
  query = load_rows(query_ref, (rows,), real)
  scale = query_ref.shape[-1] ** -0.5
  num_tiles = pl.cdiv(end - start, token_tile)
  output, lse = attend(query, load_tile, num_tiles, scale)
  store_rows(output_ref, (rows,), real, output)
  plgpu.store(lse_ref.at[rows], lse, mask=real)


def attend(
  query: Float[Array, 'R E'],
  load_tile: LoadTile,
  num_tiles: Array,
  scale: float,
) -> tuple[Float[Array, 'R E'], Float[Array, ' R']]:
  """Online softmax over the tiles of one program: output and log-sum-exp."""
  found = attend_more(query, load_tile, num_tiles, scale, nothing(query))
  return result(found)


def nothing(query: Float[Array, 'R E']) -> Softmax:
  """A softmax over no key."""
  R, E = query.shape
  none = jnp.zeros((R, E), jnp.float32), jnp.zeros((R,), jnp.float32)
  return *none, jnp.full((R,), _LOWEST, jnp.float32)


def attend_more(
  query: Float[Array, 'R E'],
  load_tile: LoadTile,
  num_tiles: Array,
  scale: float,
  found: Softmax,
) -> Softmax:
  """Goes on with a softmax over more tiles."""

  def step(tile, carry):
    output, total, top = carry
    keys, values, seen = load_tile(tile)
    logits = scale * _LOG2_E * dot(query, keys.T)  # exp2 is what there is
    logits = jnp.where(seen, logits, _LOWEST)
    new_top = jnp.maximum(top, jnp.max(logits, axis=1))
    weights = jnp.exp2(logits - new_top[:, None])
    weights = jnp.where(seen, weights, 0.0)
    shrink = jnp.exp2(top - new_top)
    output = shrink[:, None] * output + dot(
      weights.astype(values.dtype), values
    )
    return output, shrink * total + jnp.sum(weights, axis=1), new_top

  return jax.lax.fori_loop(0, num_tiles, step, found)


def result(found: Softmax) -> tuple[Float[Array, 'R E'], Float[Array, ' R']]:
  """Output and log-sum-exp; 0 and `-inf` where nothing was seen."""
  output, total, top = found
  safe_total = jnp.where(total > 0, total, 1.0)
  lse = jnp.log(safe_total) + top / _LOG2_E
  return output / safe_total[:, None], jnp.where(total > 0, lse, -jnp.inf)


def dot(x, y):
  """Product in float32: exact of float32, and of half precision anyway."""
  dtype = jnp.promote_types(x.dtype, y.dtype)
  return jnp.dot(
    x.astype(dtype),
    y.astype(dtype),
    preferred_element_type=jnp.float32,
    precision='highest' if dtype == jnp.float32 else None,
  )


def load_rows(ref, index, mask):
  """Rows `ref[*index]`, as long as a power of two; zeros where not `mask`."""
  at, inside = _where(ref, index, mask)
  return plgpu.load(at, mask=inside, other=0.0)


def store_rows(ref, index, mask, rows):
  """Stores what `load_rows` loads."""
  at, inside = _where(ref, index, mask)
  plgpu.store(at, rows, mask=inside)


def _where(ref, index, mask):
  """Where the rows are, and which of their padded elements there are."""
  column = jnp.arange(padded(ref.shape[-1]))
  index = [i[:, None] if i.ndim else i for i in index]
  at = ref.at[(*index, column[None])]
  return at, mask[:, None] & (column < ref.shape[-1])[None]


def padded(size: int) -> int:
  """The next power of two that tensor cores take."""
  return max(16, pl.next_power_of_2(size))


def token_tile(keys: Float[Array, '*A S D']) -> int:
  """Tokens that are loaded at once."""
  return max(16, _TILE_BYTES // (padded(keys.shape[-1]) * keys.dtype.itemsize))


def rows_of_tile(M: int, num_heads: int, num_tokens: int) -> int:
  """Queries of a program: all up to 128, fewer if processors would be idle.

  Tiles side by side read the same keys, from the level-2 cache.
  """
  rows = min(_MAX_ROWS, padded(M))
  shares = max(1, num_tokens // MIN_TOKENS)
  while rows > 16 and num_heads * pl.cdiv(M, rows) * shares < PROCESSORS:
    rows //= 2
  return rows


def compiler_params(row_tile: int) -> plgpu.CompilerParams:
  """64 queries for each group of four warps; three tiles on their way."""
  return plgpu.CompilerParams(num_warps=8 if row_tile > 64 else 4, num_stages=3)


def check_supported(*arrays: Array):
  """Raises `NotImplementedError` for what the reference has to do."""
  for x in arrays:
    if not x.size or x.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
      raise NotImplementedError(f'attention to {x.dtype}{list(x.shape)}')
