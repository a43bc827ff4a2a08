"""The front door of block-sparse attention."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.block_sparse_attention import reference
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment


def block_sparse_attention(
  query: Float[Array, 'B N K G D'],
  keys: Segment,
  lengths: Int[Array, 'B N'],
  block_ids: Int[Array, 'B N K J'],
  pages: Int[Array, 'B M'] | None = None,
  *,
  block_size: int,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """Attends to the tokens of `J` chosen blocks of `block_size` keys.

  Block `i` holds tokens `i block_size` to `(i + 1) block_size - 1`. All query
  heads of a group share one choice, so a step reads `2 J block_size D` numbers
  per key/value head (Kinetics, arXiv 2506.05333, section 4). `N` queries may
  share one cache and differ in their choices: the samples of one prompt.

  Args:
    query: one query per sample and head.
    keys: keys and values `[B, K, S, D]`, `S` of any size; with `pages` a pool
      `[num_pages, K, block_size, D]`.
    lengths: tokens from here on are not seen.
    block_ids: distinct blocks in any order; -1 for none. A block that occurs
      twice counts twice.
    pages: page of the pool that holds each block of each sequence.
    block_size: static.
    layer: if given, keys and values are `[L, B, K, S, D]`, those of all layers,
      and this one is read where it lies; without `pages`.
    implementation: see `dispatch.call`.

  Returns:
    The output and the log-sum-exp of the scaled logits, both in float32, to be
    merged with those over other keys; 0 and `-inf` where nothing is seen.
  """
  if pages is not None and layer is not None:
    raise ValueError('a pool of pages has no layers: layer is not None')
  axes = _AXES if layer is None else _STACKED_AXES
  return dispatch.call(
    implementation,
    *_with_block_size(block_size),
    _fold,
    axes if pages is None else _PAGED_AXES,
    *(query, keys, lengths, block_ids, pages, layer),
  )


@functools.cache
def _with_block_size(block_size):
  """Reference and kernels; the same objects for the same size."""
  sized = lambda fn: functools.partial(fn, block_size=block_size)
  kernels = {name: sized(kernel) for name, kernel in _KERNELS.items()}
  return sized(reference.block_sparse_attention), kernels


_AXES = dispatch.Axes(
  ('bnkgd', 'bksd', 'bksd', 'bn', 'bnkj'), ('bnkgd', 'bnkg')
)
_STACKED_AXES = dispatch.Axes(
  ('bnkgd', 'lbksd', 'lbksd', 'bn', 'bnkj', ''), ('bnkgd', 'bnkg')
)
# A pool is no sequence's own: every device has all its pages.
_PAGED_AXES = dispatch.Axes(
  ('bnkgd', 'pksd', 'pksd', 'bn', 'bnkj', 'bm'), ('bnkgd', 'bnkg')
)


# Pallas is imported when an operation is first traced, not before.
def _mosaic_tpu(*args, block_size, interpret=False):
  from ttc.kernels.block_sparse_attention import mosaic_tpu

  return mosaic_tpu.block_sparse_attention(
    *args, block_size=block_size, interpret=interpret
  )


def _triton(*args, block_size):
  from ttc.kernels.block_sparse_attention import triton

  return triton.block_sparse_attention(*args, block_size=block_size)


def _mosaic_gpu(*args, block_size):
  from ttc.kernels.block_sparse_attention import mosaic_gpu

  return mosaic_gpu.block_sparse_attention(*args, block_size=block_size)


_KERNELS: dispatch.Kernels = {
  'triton': _triton,
  'mosaic_gpu': _mosaic_gpu,
  'mosaic_tpu': _mosaic_tpu,
  'interpret': functools.partial(_mosaic_tpu, interpret=True),
}


def _fold(axis_size, is_mapped, query, keys, lengths, block_ids, pages, layer):
  """A mapped axis becomes samples if it shares the keys, else sequences."""
  if not any(jax.tree.leaves((is_mapped[1], is_mapped[4:]))):

    def flatten(mapped, x):
      x = x if mapped else jnp.broadcast_to(x, (axis_size, *x.shape))
      x = jnp.moveaxis(x, 0, 1)  # [B, A, N, ...]
      return x.reshape(x.shape[0], -1, *x.shape[3:])

    split = lambda x: jnp.moveaxis(
      x.reshape(x.shape[0], axis_size, -1, *x.shape[2:]), 1, 0
    )
    query, lengths, block_ids = (
      flatten(is_mapped[i], x)
      for i, x in ((0, query), (2, lengths), (3, block_ids))
    )
    folded = (query, keys, lengths, block_ids, pages, layer)
    return folded, lambda out: jax.tree.map(split, out)

  if pages is None:
    return dispatch.fold_into_batch(
      axis_size, is_mapped, query, keys, lengths, block_ids, None, layer=layer
    )
  if any(jax.tree.leaves(is_mapped[1])):
    raise NotImplementedError('vmap over a pool of pages; share one pool')
  # The pool stays one.
  (query, _, lengths, block_ids, pages, _), unfold = dispatch.fold_into_batch(
    axis_size,
    (is_mapped[0], None, *is_mapped[2:]),
    *(query, None, lengths, block_ids, pages),
  )
  return (query, keys, lengths, block_ids, pages, None), unfold
