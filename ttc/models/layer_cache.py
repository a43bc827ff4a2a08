"""The cache of one layer: how it begins, is written, and is attended to.

A dense layer keeps keys and values, a sparse one also a summary of each block
of keys. A summary is made anew of the blocks that a token is written to, from
the tokens that these blocks then have: a row that was cut, copied or given to
another response needs no repair.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.kernels import dispatch
from ttc.kernels.block_topk import split_blocks
from ttc.kernels.causal_attention import causal_attention
from ttc.kernels.partial_attention import (
  Segment,
  of_layer,
  softmax_attention,
)
from ttc.kernels.shared_prefix_attention import shared_prefix_attention
from ttc.models.sparse_attention import (
  SparseAttention,
  Summarised,
  attend_sparsely,
)

LayerCache = Segment | Summarised


def empty(
  shape: tuple[int, ...], dtype: Any, attention: SparseAttention | None
) -> LayerCache:
  """A cache `[..., K, S, D]` of zeros.

  Args:
    shape: of the keys. A sparse cache has room for whole blocks.
    dtype: of keys and values.
    attention: None for a cache without summary.

  Returns:
    The cache.
  """
  zeros = lambda x: jnp.zeros(x.shape, x.dtype)
  if attention is None:
    return Segment(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))
  capacity = -(-shape[-2] // attention.block_size) * attention.block_size
  shape = (*shape[:-2], capacity, shape[-1])
  keys = jax.ShapeDtypeStruct(shape, dtype)
  like = jax.eval_shape(lambda k: _summarise(attention, k, 0), keys)
  return Summarised(zeros(keys), zeros(keys), jax.tree.map(zeros, like))


def summarise_prefix(
  prefix: list[LayerCache],
  lengths: Int[Array, ' B'],
  attention: SparseAttention | None,
) -> list[LayerCache]:
  """What prompts that were read densely are to a model with `attention`.

  So that one prefill serves many ways of reading it.

  Args:
    prefix: the layers of a cache, one entry each (not stacked).
    lengths: tokens of the prompts.
    attention: None for dense.

  Returns:
    The layers as `attention` wants them.
  """
  layers = [Segment(cache.k, cache.v) for cache in prefix]
  if attention is None:
    return [*layers]
  return [
    cache
    if i in attention.dense_layers
    else Summarised(
      cache.k, cache.v, _summarise(attention, cache.k, lengths[:, None])
    )
    for i, cache in enumerate(layers)
  ]


def join(
  prefix: LayerCache,
  more: LayerCache,
  lengths: Int[Array, ' B'],
  attention: SparseAttention | None,
) -> LayerCache:
  """The cache of prompts and of what was read behind them as one.

  Args:
    prefix: of one layer or of a stack, `[..., B, K, P, D]`, full.
    more: `[..., B, K, T, D]`.
    lengths: tokens of both together.
    attention: as for `empty`.

  Returns:
    The cache `[..., B, K, P + T, D]`.
  """
  behind = lambda a, b: jnp.concatenate([a, b], axis=-2)
  k, v = behind(prefix.k, more.k), behind(prefix.v, more.v)
  if attention is None:
    return Segment(k, v)
  return Summarised(k, v, _summarise(attention, k, lengths[:, None]))


def write(
  cache: LayerCache | None,
  new: Segment,
  index: Int[Array, 'B N T'],
  attention: SparseAttention | None,
  layer: Int[Array, ''] | None = None,
) -> LayerCache:
  """Writes `[B, N, K, T, D]` entries at `index`, dropping those at -1.

  Args:
    cache: `[B, N, K, S, D]`, or None: the new entries become the cache.
    new: keys and values.
    index: consecutive from the first on, then -1.
    attention: as for `empty`.
    layer: if given, the cache is `[L, B, N, K, S, D]`, that of all layers, and
      the entries are of this one.

  Returns:
    The cache afterwards.
  """
  if cache is None and attention is None:
    return new
  length = jnp.max(index, axis=-1) + 1  # 0 where nothing is written
  if cache is None:
    summary = _summarise(attention, new.k, length[..., None])
    return Summarised(new.k, new.v, summary)
  k = _put(cache.k, new.k, index, layer)
  v = _put(cache.v, new.v, index, layer)
  if attention is None:
    return Segment(k, v)
  assert isinstance(cache, Summarised)
  renew = functools.partial(_renew, attention, num_new=index.shape[-1])
  summary = renew(cache.summary, k, index[..., 0], length, layer)
  return Summarised(k, v, summary)


def where_it_lies(
  write_and_read: Callable[..., tuple[Any, LayerCache]],
  prefix: LayerCache | None,
  suffix: LayerCache | None,
  layer: Int[Array, ''] | None,
) -> tuple[Any, LayerCache]:
  """Calls a function of caches: of one layer, or of a stack as it is.

  XLA for a CPU copies a stack to write in it, so there the layer is taken out
  and put back, which costs two of its caches.

  Args:
    write_and_read: `(prefix, suffix, layer) -> (output, suffix)`.
    prefix: of the prompts.
    suffix: of the responses.
    layer: of stacks, if they are.

  Returns:
    What the function does.
  """
  if layer is None:
    return write_and_read(prefix, suffix, None)

  def taken_out(prefix, suffix, layer):
    output, written = write_and_read(
      of_layer(prefix, layer), of_layer(suffix, layer), None
    )
    put = lambda old, new: jax.lax.dynamic_update_index_in_dim(
      old, new, layer, 0
    )
    return output, jax.tree.map(put, suffix, written)

  return jax.lax.platform_dependent(
    prefix, suffix, layer, cpu=taken_out, default=write_and_read
  )


def attend(
  query: Float[Array, 'B N T K G D'],
  prefix: LayerCache | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: LayerCache,
  suffix_lengths: Int[Array, 'B N'],
  window: Int[Array, ''] | int | None,
  attention: SparseAttention | None,
  is_dense: Bool[Array, ''] | None = None,
  softcap: float | None = None,
  layer: Int[Array, ''] | None = None,
) -> Float[Array, 'B N T K G D']:
  """Attention of new queries; arguments as of `shared_prefix_attention`.

  `is_dense` overrides `attention` where that is known only at run time.
  """

  def densely():
    output, _ = shared_prefix_attention(
      query,
      None if prefix is None else Segment(prefix.k, prefix.v),
      prefix_lengths,
      Segment(suffix.k, suffix.v),
      suffix_lengths,
      window=window,
      softcap=softcap,
      layer=layer,
    )
    return output

  if attention is None or query.shape[2] > 1:
    return densely()
  assert isinstance(suffix, Summarised) and not isinstance(prefix, Segment)

  def sparsely():
    output = attend_sparsely(
      attention,
      query[:, :, 0],
      prefix,
      prefix_lengths,
      suffix,
      suffix_lengths + 1,
      layer,
    )
    return output[:, :, None]

  if is_dense is None:
    return sparsely()
  return jax.lax.cond(is_dense, densely, sparsely)


def attend_to_past(
  query: Float[Array, 'B N T K G D'],
  new: Segment,
  window: Int[Array, ''] | int | None,
  softcap: float | None = None,
) -> Float[Array, 'B N T K G D']:
  """Attention of sequences that begin here, each token to those up to it."""
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  output = causal_attention(
    flat(query), jax.tree.map(flat, new), window=window, softcap=softcap
  )
  return output.reshape(query.shape)


def attend_to_all(
  query: Float[Array, 'B N T K G D'],
  new: Segment,
  num_tokens: Int[Array, 'B N'],
  softcap: float | None = None,
) -> Float[Array, 'B N T K G D']:
  """Attention of all tokens of sequences to all of their `num_tokens`."""
  real = jnp.arange(new.k.shape[-2]) < num_tokens[..., None]
  output, _ = softmax_attention(
    query.transpose(0, 1, 3, 2, 4, 5),  # [B, N, K, (T, G), D]
    new,
    real[:, :, None, None, None],
    softcap,
  )
  return output.transpose(0, 1, 3, 2, 4, 5).astype(query.dtype)


def _put(
  old: Shaped[Array, '*L B N K S D'],
  new: Shaped[Array, 'B N K T D'],
  index: Int[Array, 'B N T'],
  layer: Int[Array, ''] | None,
) -> Shaped[Array, '*L B N K S D']:
  """Writes entries at `index`, dropping those at -1."""
  mesh = dispatch.mesh_of((old, new))
  axes = _PUT_AXES if layer is None else _PUT_STACKED_AXES
  put = dispatch.on_each_device(_put_rows, axes, mesh)
  return put(old, new, index, layer)


_PUT_AXES = dispatch.Axes(('bnksd', 'bnktd', 'bnt'), 'bnksd')
_PUT_STACKED_AXES = dispatch.Axes(('lbnksd', 'bnktd', 'bnt', ''), 'lbnksd')


def _put_rows(old, new, index, layer):
  K, S, _ = old.shape[-3:]
  matrix = _matrix(old, old.ndim - 1)
  rows = _rows(K, S, index, layer)
  rows = jnp.where(index[:, :, None] < 0, len(matrix), rows)  # dropped
  put = matrix.at[rows].set(new, mode='drop', unique_indices=True)
  return put.reshape(old.shape)


def _matrix(x: Shaped[Array, '*A'], num_axes: int) -> Shaped[Array, '*B']:
  """The first axes as one.

  XLA for a TPU would lay `[K, S, D]` out anew, and of a stack of layers copy
  the one that is written to.
  """
  return x.reshape(-1, *x.shape[num_axes:])


def _rows(
  K: int, S: int, index: Int[Array, 'B N T'], layer: Int[Array, ''] | None
) -> Int[Array, 'B N K T']:
  """Where entries `index` of all heads are in the matrix of a cache."""
  B, N, _ = index.shape
  sequence = jnp.arange(B * N) + (0 if layer is None else layer * (B * N))
  head = sequence[:, None] * K + jnp.arange(K)
  return head.reshape(B, N, K, 1) * S + index[:, :, None]


def _summarise(attention, keys, lengths):
  """The summary of all blocks of keys `[..., K, S, D]`."""
  blocks, real = split_blocks(keys, lengths, attention.block_size)
  return attention.rule.summarize(blocks, real)


def _renew(
  attention: SparseAttention,
  summary: Any,
  keys: Shaped[Array, '*L B N K S D'],
  first: Int[Array, 'B N'],
  length: Int[Array, 'B N'],
  layer: Int[Array, ''] | None,
  num_new: int,
) -> Any:
  """Summarises again the blocks that hold tokens `first` to `length - 1`."""
  size = attention.block_size
  num_blocks = keys.shape[-2] // size
  count = min(-(-(num_new - 1) // size) + 1, num_blocks)  # may be touched

  def renew(summary, keys, first, length, layer):
    K = keys.shape[-3]  # on this device
    begin = jnp.clip(first // size, 0, num_blocks - count)[..., None]
    blocks = _rows(K, num_blocks, begin + jnp.arange(count), layer)
    tokens = begin * size + jnp.arange(count * size)
    touched = _matrix(keys, keys.ndim - 1)[
      _rows(K, keys.shape[-2], tokens, layer)
    ]
    fresh = _summarise(attention, touched, length[..., None] - begin * size)

    def put(old, new):
      matrix = _matrix(old, old.ndim - (new.ndim - 4))
      some = (length > 0)[..., None, None]
      rows = jnp.where(some, blocks, len(matrix))  # else dropped
      put = matrix.at[rows].set(new, mode='drop', unique_indices=True)
      return put.reshape(old.shape)

    return jax.tree.map(put, summary, fresh)

  stacked = layer is not None
  letters = jax.tree.map(
    lambda x: stacked * 'l' + 'bnk' + 'x' * (x.ndim - 3 - stacked), summary
  )
  axes = dispatch.Axes(
    (
      *jax.tree.leaves(letters),
      stacked * 'l' + 'bnksd',
      'bn',
      'bn',
      *(stacked * ('',)),
    ),
    letters,
  )
  mesh = dispatch.mesh_of((summary, keys))
  renew = dispatch.on_each_device(renew, axes, mesh)
  return renew(summary, keys, first, length, layer)
