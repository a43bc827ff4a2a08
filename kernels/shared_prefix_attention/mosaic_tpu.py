"""Shared-prefix attention on TPU.

Decoding is two decode attentions, merged. Where a sample has `T > 1` queries,
the grid is (response, head, tile of queries, tile of keys), and the softmax of
decode attention goes on from the tiles of the prompt to those of the response:
query `t` sees that up to its own token, and what no query of a tile sees is
neither fetched nor computed. A tile of 512 queries does 512 FLOPs for each byte
of a bfloat16 cache. Few queries leave the prompt to decode attention, which
reads it once for all samples.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import mosaic_tpu as decode
from ttc.kernels.partial_attention import (
  Segment,
  in_one_batch,
  merge_partials,
)
from ttc.kernels.shared_prefix_attention.cascade import (
  of_all_samples,
  shared_prefix_decode,
  to_prompt,
)

_OWN_ROWS = 128  # queries of a sample that are worth to read the prompt alone


@functools.partial(jax.jit, static_argnames=('interpret',))
def shared_prefix_attention(
  query: Float[Array, 'B N T K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret=False,
) -> tuple[Float[Array, 'B N T K G D'], Float[Array, 'B N T K G']]:
  """See `api.shared_prefix_attention`; `interpret` as in `decode_attention`.

  Raises:
    NotImplementedError: if the dtypes are not all bfloat16 or all float32.
  """
  decode.check_dtypes(query, *jax.tree.leaves((prefix, suffix)))
  B, N, T, K, G, D = query.shape
  by = functools.partial(decode.decode_attention, interpret=interpret)
  rest = prefix_lengths, suffix, suffix_lengths, layer
  if T == 1:
    return shared_prefix_decode(by, query, prefix, *rest)
  if prefix is None or T * G >= _OWN_ROWS:
    output, lse = _read(query, prefix, *rest, query.dtype, interpret)
    return output, lse
  own = _read(query, None, *rest, jnp.float32, interpret)
  samples = query.reshape(B, N * T, K, G, D)
  output, lse = to_prompt(by, samples, prefix, prefix_lengths, layer)
  shared = output.reshape(query.shape), lse.reshape(query.shape[:-1])
  output, lse = merge_partials([own, shared])
  return output.astype(query.dtype), lse


class _Cache(NamedTuple):
  """Keys and values that the grid goes along, tile by tile."""

  keys: Segment  # [sequences, K, S, D]
  first: Int[Array, ' 1']  # sequence of the layer
  size: int  # S
  tile: int
  steps: int


def _cache(keys, layer, num_rows, dtype) -> _Cache:
  keys, first = in_one_batch(keys, layer)
  size, D = keys.k.shape[-2:]
  _, tile = decode.tile_sizes(num_rows, size, D, dtype)
  return _Cache(keys, first, size, tile, pl.cdiv(size, tile))


def _read(
  query, prefix, prefix_lengths, suffix, suffix_lengths, layer, dtype, interpret
):
  """To the prompt, if there is one, and to each sample's own keys."""
  B, N, T, K, G, D = query.shape
  M = T * G
  caches = [
    _cache(keys, layer, M, query.dtype)
    for keys in (prefix, of_all_samples(suffix))
    if keys is not None
  ]
  *prompt, own = caches
  prompt_tile, prompt_steps = prompt[0][-2:] if prompt else (1, 0)
  rows = min(M, decode.MAX_ROWS)

  def of_prompt(b, k, m, s, prompts, responses, firsts):
    sequence = jax.lax.div(b, N)
    last = jnp.maximum(pl.cdiv(prompts[sequence], prompt_tile) - 1, 0)
    return firsts[0] + sequence, k, jnp.minimum(s, last), 0

  def of_response(b, k, m, s, prompts, responses, firsts):
    last = jax.lax.div(_last_seen(responses[b], m, rows, M, G), own.tile)
    step = jnp.clip(s - prompt_steps, 0, jnp.minimum(last, own.steps - 1))
    return firsts[-1] + b, k, step, 0

  of_rows = lambda b, k, m, s, *_: (b, k, m, 0)
  block = lambda size, D, index: pl.BlockSpec((None, None, size, D), index)
  shape = jax.ShapeDtypeStruct
  output, lse = pl.pallas_call(
    functools.partial(
      _kernel,
      num_rows=M,
      group=G,
      samples=N,
      sizes=[cache.size for cache in caches],
      prompt_steps=prompt_steps,
    ),
    out_shape=(
      shape((B * N, K, M, D), dtype),
      shape((B * N, K, M, 1), jnp.float32),
    ),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=3,
      grid=(B * N, K, pl.cdiv(M, rows), prompt_steps + own.steps),
      in_specs=[
        block(rows, D, of_rows),
        *(2 * len(prompt) * [block(prompt_tile, D, of_prompt)]),
        *(2 * [block(own.tile, D, of_response)]),
      ],
      out_specs=[block(rows, D, of_rows), block(rows, 1, of_rows)],
      scratch_shapes=decode.softmax_scratch(rows, D),
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=('parallel', 'parallel', 'parallel', 'arbitrary')
    ),
    interpret=interpret,
  )(
    prefix_lengths.astype(jnp.int32),
    suffix_lengths.reshape(B * N).astype(jnp.int32),
    jnp.concatenate([cache.first for cache in caches]),
    query.transpose(0, 1, 3, 2, 4, 5).reshape(B * N, K, M, D),
    *(x for cache in caches for x in cache.keys),
  )
  back = lambda x: x.reshape(B, N, K, T, G, -1).transpose(0, 1, 3, 2, 4, 5)
  return back(output), back(lse)[..., 0]


def _last_seen(length, tile, rows, num_rows, group):
  """The last key that a query of a tile of rows sees."""
  last_row = jnp.minimum((tile + 1) * rows, num_rows) - 1
  return length + jax.lax.div(last_row, group)


def _kernel(
  prompts,  # [B]
  responses,  # [B N], before the queries
  _,
  query,  # [rows, D]
  *refs,  # keys and values of the prompt, of the response; results; scratch
  num_rows: int,
  group: int,
  samples: int,
  sizes: list[int],
  prompt_steps: int,
):
  *caches, output, lse, largest, total, weighted = refs
  scratch = largest, total, weighted
  b, m, step = pl.program_id(0), pl.program_id(2), pl.program_id(3)
  rows = query.shape[0]

  @pl.when(step == 0)
  def _():
    decode.softmax_init(scratch)

  def attend(keys, values, first, size, visible):
    tile, v = keys.shape[0], values[...]
    if size % tile:  # what sticks out of the cache is garbage, perhaps NaN
      v = jnp.where(first + _iota((tile, 1), 0) < size, v, 0)
    decode.softmax_update(scratch, query[...], keys[...], v, visible)

  if prompt_steps:
    keys, values = caches[:2]
    length = jnp.minimum(prompts[jax.lax.div(b, samples)], sizes[0])
    first_of_prompt = step * keys.shape[0]

    @pl.when((step < prompt_steps) & (first_of_prompt < length))
    def _():
      token = first_of_prompt + _iota((1, keys.shape[0]), 1)
      attend(keys, values, first_of_prompt, sizes[0], token < length)

  own_keys, own_values = caches[-2:]
  tile = own_keys.shape[0]
  first = (step - prompt_steps) * tile
  length_of_own = responses[b]
  last = _last_seen(length_of_own, m, rows, num_rows, group)

  @pl.when((step >= prompt_steps) & (first <= last) & (first < sizes[-1]))
  def _():
    token = first + _iota((rows, tile), 1)
    row = m * rows + _iota((rows, tile), 0)
    seen = group * (token - length_of_own) <= row  # row // group is its time
    attend(own_keys, own_values, first, sizes[-1], seen & (token < sizes[-1]))

  @pl.when(step == pl.num_programs(3) - 1)
  def _():
    result, lse[...] = decode.softmax_result(scratch)
    output[...] = result.astype(output.dtype)


def _iota(shape, axis):
  return jax.lax.broadcasted_iota(jnp.int32, shape, axis)
