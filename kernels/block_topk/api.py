r"""The front door of block top-k: pooled keys, scores, and the choice.

Kinetics (arXiv 2506.05333, section 4) splits the keys into blocks, keeps the
mean :math:`\bar k_i` of each, and lets all query heads of a group attend to the
`J` blocks of the highest mean score. The mean over the group commutes with the
product, so one query row per key/value head is enough:

.. math:: s_i = \frac1G \sum_g \frac{q_g \cdot \bar k_i}{\sqrt D}
       = \frac{(\frac1G \sum_g q_g) \cdot \bar k_i}{\sqrt D}

A step reads `S / block_size` pooled keys and then `J block_size` keys and
values, where dense attention reads `S` of both.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.block_topk import reference
from ttc.kernels.dispatch import Implementation


def block_topk(
  query: Float[Array, 'B N K G D'],
  pooled: Float[Array, 'B K M D'],
  lengths: Int[Array, 'B N'],
  *,
  block_size: int,
  num_blocks: int,
  sink: int = 4,
  local: int = 1,
  implementation: Implementation | None = None,
) -> Int[Array, 'B N K J']:
  """The `num_blocks` best blocks for each query and key/value head.

  Blocks begin at multiples of `block_size`. Those with the first `sink` or the
  last `local` tokens are always among the chosen and count as such. (The
  paper's evaluation code instead begins the blocks behind the sink and attends
  to sink and window on top: `rules.paper_block_topk_mask`.)

  Args:
    query: one query per sample and head.
    pooled: mean of the keys of each of `M` blocks, from `pool_keys`.
    lengths: number of keys that each query sees.
    block_size: static.
    num_blocks: `J`, static; the budget is `J block_size` tokens.
    sink: attention sinks (StreamingLLM, arXiv 2309.17453).
    local: the last tokens; at least 1, so that the query sees itself.
    implementation: of the scores; see `dispatch.call`.

  Returns:
    Block ids, best first; -1 where there are fewer than `J` blocks.
  """
  start = jnp.arange(pooled.shape[2]) * block_size
  length = lengths[..., None]
  forced = always_read(start, start + block_size, length, sink, local)
  scores = block_scores(query, pooled, implementation=implementation)
  return select_blocks(
    scores,
    forced[:, :, None],
    jnp.broadcast_to(start < length, forced.shape)[:, :, None],
    num_blocks,
  )


def always_read(
  start: Int[Array, '*#A'],
  stop: Int[Array, '*#A'],
  length: Int[Array, '*#A'],
  sink: int,
  local: int,
) -> Bool[Array, '*#A']:
  """Whether a block `start..stop - 1` has one of the first or last tokens.

  Args:
    start: of the blocks, in the context.
    stop: of the blocks; what is beyond the context does not matter.
    length: of the context.
    sink: how many first tokens.
    local: how many last tokens.

  Returns:
    True where one of the first `sink` or of the last `local` is in the block.
  """
  return (start < sink) | (stop > length - local)


def pool_keys(
  keys: Float[Array, '*A S D'],
  lengths: Int[Array, '*#L'] | int,
  block_size: int,
) -> Float[Array, '*A M D']:
  """Mean key of each block of `block_size`, over the tokens it really has.

  Args:
    keys: after the rotation by position; `S` of any size.
    lengths: number of keys that are real; broadcasts to `*A`.
    block_size: static.

  Returns:
    `ceil(S / block_size)` pooled keys; 0 for blocks without a token.
  """
  blocks, real = split_blocks(keys, lengths, block_size)
  return mean_of_blocks(blocks, real)


def split_blocks(
  keys: Float[Array, '*A S D'],
  lengths: Int[Array, '*#L'] | int,
  block_size: int,
) -> tuple[Float[Array, '*A M R D'], Bool[Array, '*#C M R']]:
  """Keys `[M blocks, R each]`, and which of them are real."""
  num_blocks = -(-keys.shape[-2] // block_size)
  missing = num_blocks * block_size - keys.shape[-2]
  pad = [(0, 0)] * (keys.ndim - 2) + [(0, missing), (0, 0)]
  shape = (*keys.shape[:-2], num_blocks, block_size, keys.shape[-1])
  index = jnp.arange(num_blocks * block_size).reshape(num_blocks, block_size)
  real = index < jnp.asarray(lengths)[..., None, None]
  return jnp.pad(keys, pad).reshape(shape), real


def mean_of_blocks(
  blocks: Float[Array, '*A M R D'], real: Bool[Array, '*#C M R']
) -> Float[Array, '*A M D']:
  """Mean over the real tokens of each block, in float32 and then rounded."""
  count = jnp.maximum(jnp.sum(real, axis=-1), 1)[..., None]
  kept = jnp.where(real[..., None], blocks, 0)
  mean = jnp.sum(kept, axis=-2, dtype=jnp.float32) / count
  return mean.astype(blocks.dtype)


def block_scores(
  query: Float[Array, 'B N K G D'],
  pooled: Float[Array, '*L B K M D'],
  *,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> Float[Array, 'B N K M']:
  """Mean over the group of the scaled products with each pooled key.

  Args:
    query: one query per sample and head.
    pooled: one key per block.
    layer: if given, pooled keys are `[L, B, K, M, D]`, those of all layers, and
      this one is read where it lies.
    implementation: see `dispatch.call`.

  Returns:
    Scores in float32, of blocks without tokens too.
  """
  return dispatch.call(
    implementation, reference.block_scores, _KERNELS, _fold,
    _AXES if layer is None else _STACKED_AXES, query, pooled, layer,
  )  # fmt: skip


def select_blocks(
  scores: Float[Array, '*A M'],
  forced: Bool[Array, '*#C M'],
  valid: Bool[Array, '*#C M'],
  num_blocks: int,
) -> Int[Array, '*A J']:
  """The forced blocks and the best of the others, `num_blocks` in all.

  Args:
    scores: higher is better; `-inf` is never chosen unless forced.
    forced: chosen before the others, the first of them first.
    valid: only these can be chosen.
    num_blocks: `J`, static; more than `M` means all.

  Returns:
    Block ids, best first, `min(J, M)` of them; -1 if there are fewer.
  """
  scores = jnp.where(valid, jnp.where(forced, jnp.inf, scores), -jnp.inf)
  top, ids = jax.lax.top_k(scores, min(num_blocks, scores.shape[-1]))
  return jnp.where(top == -jnp.inf, -1, ids)


_AXES = dispatch.Axes(('bnkgd', 'bkmd'), 'bnkm')
_STACKED_AXES = dispatch.Axes(('bnkgd', 'lbkmd', ''), 'bnkm')


# Pallas is imported when an operation is first traced, not before.
def _mosaic_tpu(*args, interpret=False):
  from ttc.kernels.block_topk import mosaic_tpu

  return mosaic_tpu.block_scores(*args, interpret=interpret)


def _triton(*args):
  from ttc.kernels.block_topk import triton

  return triton.block_scores(*args)


_KERNELS: dispatch.Kernels = {
  'triton': _triton,
  'mosaic_tpu': _mosaic_tpu,
  'interpret': functools.partial(_mosaic_tpu, interpret=True),
}


def _fold(axis_size, is_mapped, query, pooled, layer):
  """A mapped axis becomes samples if it shares the keys, else sequences."""
  if is_mapped[1]:
    return dispatch.fold_into_batch(
      axis_size, is_mapped, query, pooled, layer=layer
    )
  query = jnp.moveaxis(query, 0, 1)
  folded = query.reshape(query.shape[0], -1, *query.shape[3:])
  split = lambda x: jnp.moveaxis(
    x.reshape(x.shape[0], axis_size, -1, *x.shape[2:]), 1, 0
  )
  return (folded, pooled, layer), lambda out: jax.tree.map(split, out)
