"""Shared-prefix attention on NVIDIA GPUs through Pallas Triton.

A decoding step is short of work for a GPU and long of launches, so one launch
reads prompts and responses. Programs have a share of the tokens of a prompt,
for a tile of the queries of all its samples, or a share of the tokens of one
response; a second launch merges all shares by their log-sum-exps. Queries are
read and results are written where they lie among samples and heads.

Where a sample has many queries of its own, as when tokens are appended, a
program reads the prompt and then the response for a tile of them, and there is
nothing to merge: query `t` sees the response up to its own token, and a tile
ends where its last query does.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import triton as decode
from ttc.kernels.decode_attention.splits import num_splits
from ttc.kernels.partial_attention import Segment, in_one_batch
from ttc.kernels.shared_prefix_attention.cascade import of_all_samples

_OWN_ROWS = 64  # queries of a sample that are worth to read the prompt alone
_SHARES = 32  # that are merged at once


class _Work(NamedTuple):
  """What programs of one kind do; a program is one share of one tile."""

  rows: int  # queries that there are
  tile: int  # of them
  splits: int  # shares of the tokens

  @property
  def tiles(self) -> int:
    return pl.cdiv(self.rows, self.tile)

  @property
  def programs(self) -> int:
    return self.tiles * self.splits


def shared_prefix_attention(
  query: Float[Array, 'B N T K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret: bool = False,
) -> tuple[Float[Array, 'B N T K G D'], Float[Array, 'B N T K G']]:
  """See `api.shared_prefix_attention`; `interpret` runs without a GPU."""
  decode.check_supported(query, *jax.tree.leaves((prefix, suffix)))
  B, N, T, K, G, D = query.shape
  own = T * G >= _OWN_ROWS
  suffix, first_response = in_one_batch(of_all_samples(suffix), layer)
  prompts, first_prompt = (), first_response
  prompt, response = _Work(0, 1, 0), _work(T * G, B * N * K, suffix)
  if prefix is not None:
    prompts, first_prompt = in_one_batch(prefix, layer)
    if not own:
      prompt = _work(N * T * G, B * K, prompts)
  if own:
    response = response._replace(splits=1)
  shares = prompt.splits + response.splits
  programs = prompt.programs + N * response.programs

  whole = lambda x: pl.BlockSpec(
    (x.shape[0], None, *x.shape[2:]), lambda i, k, b: (0, k, 0, 0)
  )
  rows = lambda *shape: pl.BlockSpec(
    (shares, None, N * T, None, *shape),
    lambda i, k, b: (0, b, 0, k, 0, 0)[: 4 + len(shape)],
  )
  outs = query.dtype if shares == 1 else jnp.float32
  output, lse = pl.pallas_call(
    functools.partial(
      _kernel,
      work=(prompt, response),
      num_tokens=T,
      size=decode.token_tile(suffix.k),
      own=own and prefix is not None,
    ),
    grid=(programs, K, B),
    in_specs=[
      pl.BlockSpec((None,), lambda i, k, b: (b,)),
      pl.BlockSpec((None, N), lambda i, k, b: (b, 0)),
      pl.BlockSpec((None,), lambda i, k, b: (0,)),
      pl.BlockSpec((None,), lambda i, k, b: (0,)),
      pl.BlockSpec((None, N * T, None, G, D), lambda i, k, b: (b, 0, k, 0, 0)),
      *(whole(x) for x in (*suffix, *prompts)),
    ],
    out_specs=[rows(G, D), rows(G)],
    out_shape=[
      jax.ShapeDtypeStruct((shares, B, N * T, K, G, D), outs),
      jax.ShapeDtypeStruct((shares, B, N * T, K, G), jnp.float32),
    ],
    compiler_params=decode.compiler_params(max(prompt.tile, response.tile)),
    interpret=interpret,
    name='shared_prefix_attention',
  )(
    prefix_lengths,
    suffix_lengths,
    first_prompt,
    first_response,
    query.reshape(B, N * T, K, G, D),
    *suffix,
    *prompts,
  )
  output, lse = merge(output, lse, query.dtype, interpret)
  return output.reshape(query.shape), lse.reshape(query.shape[:-1])


def _work(rows: int, num_heads: int, keys: Segment) -> _Work:
  """For `rows` queries to the keys of each of so many heads."""
  num_tokens = keys.k.shape[-2]
  tile = decode.rows_of_tile(rows, num_heads, num_tokens)
  splits = num_splits(
    num_heads * pl.cdiv(rows, tile), num_tokens, rows, decode.PROGRAMS
  )
  return _Work(rows, tile, splits)


def _kernel(
  prompt_length_ref,  # []
  lengths_ref,  # [N], before the queries
  first_prompt_ref,  # [], of the layer
  first_response_ref,  # []
  query_ref,  # [N T, G, D]
  *refs,  # keys and values of responses [sequences, S, D], of prompts; results
  work: tuple[_Work, _Work],  # of prompts, and of each response
  num_tokens: int,  # T, of the queries of a sample
  size: int,  # tokens that are loaded at once
  own: bool,
):
  """One share for one tile of queries: of a prompt, or of a response."""
  *caches, output_ref, lse_ref = refs
  to_response, to_prompt = caches[:2], caches[2:]
  N, G = lengths_ref.shape[0], query_ref.shape[1]
  program, b = pl.program_id(0), pl.program_id(2)
  prompt, response = work

  def begin(work, tile, first):
    row = tile * work.tile + jnp.arange(work.tile)
    token, g = _divide(row, G)
    rows = first + token, g, row < work.rows
    query = decode.load_rows(query_ref, rows[:2], rows[2])
    return rows, query, decode.nothing(query)

  def store(share, rows, found):
    token, g, real = rows
    output, lse = decode.result(found)
    output = output.astype(output_ref.dtype)
    decode.store_rows(output_ref, (share, token, g), real, output)
    decode.plgpu.store(lse_ref.at[share, token, g], lse, mask=real)

  def over_prompt(query, found, split, splits):
    length = jnp.minimum(prompt_length_ref[...], to_prompt[0].shape[1])
    tokens = _share(length, split, splits, size)
    sequence = first_prompt_ref[...] + b
    return _over(to_prompt, sequence, tokens, size, None, query, found)

  def of_prompt():
    split, tile = _divide(program, prompt.tiles)
    rows, query, found = begin(prompt, tile, 0)
    store(split, rows, over_prompt(query, found, split, prompt.splits))

  def of_response():
    rest, tile = _divide(program - prompt.programs, response.tiles)
    n, split = _divide(rest, response.splits)
    rows, query, found = begin(response, tile, n * num_tokens)
    if own:
      found = over_prompt(query, found, 0, 1)
    last_row = jnp.minimum((tile + 1) * response.tile, response.rows) - 1
    before = decode.plgpu.load(lengths_ref.at[n])
    seen = before + jax.lax.div(last_row, G) + 1
    seen = jnp.minimum(seen, to_response[0].shape[1])
    tokens = _share(seen, split, response.splits, size)
    sequence = first_response_ref[...] + b * N + n
    last = before + rows[0] - n * num_tokens  # that each query sees
    found = _over(to_response, sequence, tokens, size, last, query, found)
    store(prompt.splits + split, rows, found)

  if prompt.programs:
    jax.lax.cond(program < prompt.programs, of_prompt, of_response)
  else:
    of_response()


def _over(refs, sequence, tokens, size, last, query, found):
  """Goes on with a softmax: a share of the tokens of one sequence.

  Args:
    refs: keys and values `[sequences, S, D]`.
    sequence: which.
    tokens: the first of the share, and the one behind its last.
    size: of a tile.
    last: of each query the last token that it sees; None for all.
    query: `[R, E]`.
    found: the softmax so far.
  """
  start, end = tokens

  def load_tile(tile):
    tokens = start + tile * size + jnp.arange(size)
    inside = tokens < end
    load = functools.partial(
      decode.load_rows, index=(sequence, tokens), mask=inside
    )
    seen = inside[None]
    if last is not None:
      seen = seen & (tokens[None] <= last[:, None])
    return load(refs[0]), load(refs[1]), seen

  num_tiles = pl.cdiv(end - start, size)
  scale = refs[0].shape[-1] ** -0.5
  return decode.attend_more(query, load_tile, num_tiles, scale, found)


def _divide(x, by: int):
  """Quotient and remainder of what is not negative, an instruction each."""
  return jax.lax.div(x, by), jax.lax.rem(x, by)


def _share(length, split, splits: int, size: int):
  """The first token of a share, and the one behind its last."""
  tokens = size * pl.cdiv(length, splits * size)
  start = split * tokens
  return start, jnp.minimum(start + tokens, length)


def merge(
  output: Float[Array, 'P *A D'],
  lse: Float[Array, 'P *A'],
  dtype: Any,
  interpret: bool = False,
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  """`merge_splits` in one launch, and the output in a dtype."""
  shares, *axes, D = output.shape
  if shares == 1:
    return output[0].astype(dtype), lse[0]
  output, lse = output.reshape(shares, -1, D), lse.reshape(shares, -1)
  rows = output.shape[1]
  merged, top = pl.pallas_call(
    _merge_kernel,
    grid=(rows,),
    in_specs=[
      pl.BlockSpec((shares, None, D), lambda i: (0, i, 0)),
      pl.BlockSpec((shares, None), lambda i: (0, i)),
    ],
    out_specs=[
      pl.BlockSpec((None, D), lambda i: (i, 0)),
      pl.BlockSpec((None,), lambda i: (i,)),
    ],
    out_shape=[
      jax.ShapeDtypeStruct((rows, D), dtype),
      jax.ShapeDtypeStruct((rows,), jnp.float32),
    ],
    compiler_params=decode.plgpu.CompilerParams(num_warps=4, num_stages=2),
    interpret=interpret,
    name='merge_shares',
  )(output, lse)
  return merged.reshape(*axes, D), top.reshape(axes)


def _merge_kernel(
  output_ref,  # [shares, D]
  lse_ref,  # [shares]
  merged_ref,  # [D]
  top_ref,  # []
):
  """All shares of one row."""
  shares, D = output_ref.shape
  load_lse = lambda share: decode.plgpu.load(
    lse_ref.at[share], mask=share < shares, other=-jnp.inf
  )
  lse = load_lse(jnp.arange(pl.next_power_of_2(shares)))
  top = jnp.max(lse)
  top = jnp.where(top > -jnp.inf, top, 0.0)
  total = jnp.sum(jnp.exp(lse - top))
  size = min(_SHARES, lse.size)

  def add(i, merged):
    share = i * size + jnp.arange(size)
    parts = decode.load_rows(output_ref, (share,), share < shares)
    weights = jnp.exp(load_lse(share) - top)
    return merged + jnp.sum(weights[:, None] * parts, axis=0)

  column = jnp.arange(decode.padded(D))
  none = jnp.zeros(column.shape, jnp.float32)
  merged = jax.lax.fori_loop(0, pl.cdiv(shares, size), add, none)
  merged = merged / jnp.where(total > 0, total, 1.0)
  decode.plgpu.store(
    merged_ref.at[column], merged.astype(merged_ref.dtype), mask=column < D
  )
  top_ref[...] = jnp.log(total) + top
