"""The cache of one layer: how it begins, is written, and is attended to.

A dense layer keeps keys and values, a sparse one also a summary of each block
of keys. A summary is made anew of the blocks that a token is written to, from
the tokens that these blocks then have: a row that was cut, copied or given to
another response needs no repair.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.kernels import dispatch
from ttc.kernels.block_topk import split_blocks
from ttc.kernels.partial_attention import Segment, softmax_attention
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


def write(
  cache: LayerCache | None,
  new: Segment,
  index: Int[Array, 'B N T'],
  attention: SparseAttention | None,
) -> LayerCache:
  """Writes `[B, N, K, T, D]` entries at `index`, dropping those at -1.

  Args:
    cache: `[B, N, K, S, D]`, or None: the new entries become the cache.
    new: keys and values.
    index: consecutive from the first on, then -1.
    attention: as for `empty`.

  Returns:
    The cache afterwards.
  """
  if cache is None and attention is None:
    return new
  length = jnp.max(index, axis=-1) + 1  # 0 where nothing is written
  if cache is None:
    summary = _summarise(attention, new.k, length[..., None])
    return Summarised(new.k, new.v, summary)
  k, v = _put(cache.k, new.k, index), _put(cache.v, new.v, index)
  if attention is None:
    return Segment(k, v)
  assert isinstance(cache, Summarised)
  renew = functools.partial(_renew, attention, num_new=index.shape[-1])
  return Summarised(k, v, renew(cache.summary, k, index[..., 0], length))


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
    )
    return output[:, :, None]

  if is_dense is None:
    return sparsely()
  return jax.lax.cond(is_dense, densely, sparsely)


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
  old: Shaped[Array, 'B N K S D'],
  new: Shaped[Array, 'B N K T D'],
  index: Int[Array, 'B N T'],
) -> Shaped[Array, 'B N K S D']:
  """Writes entries at `index`, dropping those at -1."""
  mesh = dispatch.mesh_of((old, new))
  return dispatch.on_each_device(_put_rows, _PUT_AXES, mesh)(old, new, index)


_PUT_AXES = dispatch.Axes(('bnksd', 'bnktd', 'bnt'), 'bnksd')


def _put_rows(old, new, index):
  K, S, D = old.shape[-3:]
  index = jnp.where(index < 0, K * S, index)  # out of range: dropped

  # Rows of one matrix: XLA for a TPU would lay `[K, S, D]` out anew.
  def put(old, new, index):  # of one row of the batch
    at = old.reshape(K * S, D).at[S * jnp.arange(K)[:, None] + index]
    return at.set(new, mode='drop', unique_indices=True).reshape(old.shape)

  return jax.vmap(jax.vmap(put))(old, new, index)


def _summarise(attention, keys, lengths):
  """The summary of all blocks of keys `[..., K, S, D]`."""
  blocks, real = split_blocks(keys, lengths, attention.block_size)
  return attention.rule.summarize(blocks, real)


def _renew(
  attention: SparseAttention,
  summary: Any,
  keys: Shaped[Array, 'B N K S D'],
  first: Int[Array, 'B N'],
  length: Int[Array, 'B N'],
  num_new: int,
) -> Any:
  """Summarises again the blocks that hold tokens `first` to `length - 1`."""
  size = attention.block_size
  S, D = keys.shape[-2:]
  num_blocks = S // size
  count = min(-(-(num_new - 1) // size) + 1, num_blocks)  # may be touched

  def of_row(summary, keys, first, length):
    K = keys.shape[0]  # on this device
    begin = jnp.clip(first // size, 0, num_blocks - count)
    # Rows of one matrix, as in `_put_rows`.
    index = S * jnp.arange(K)[:, None] + begin * size
    touched = keys.reshape(K * S, D)[index + jnp.arange(count * size)]
    fresh = _summarise(attention, touched, length - begin * size)

    def put(old, new):
      kept = jax.lax.dynamic_slice_in_dim(old, begin, count, axis=1)
      new = jnp.where(length > 0, new, kept)
      return jax.lax.dynamic_update_slice_in_dim(old, new, begin, axis=1)

    return jax.tree.map(put, summary, fresh)

  letters = jax.tree.map(lambda x: 'bnk' + 'x' * (x.ndim - 3), summary)
  axes = dispatch.Axes(
    (*jax.tree.leaves(letters), 'bnksd', 'bn', 'bn'), letters
  )
  mesh = dispatch.mesh_of((summary, keys))
  renew = dispatch.on_each_device(jax.vmap(jax.vmap(of_row)), axes, mesh)
  return renew(summary, keys, first, length)
