"""Rules that choose what a decoding query attends to, behind one interface.

A rule scores the blocks of a cache; `select_blocks` takes the best of them and
`block_sparse_attention` attends. Tokens are blocks of size 1. Rules differ in
what they keep of each block, their *summary*, and in what a score reads:

  mean_pool          mean key                       S / block_size keys
  moba               mean key, per query head       S / block_size keys
  quest              channelwise largest, smallest  2 S / block_size keys
  nsa                nothing (mean windows of 32)   S keys
  oracle             nothing                        S keys: the upper bound
  lightning_indexer  nothing                        S keys
  sink_window        nothing                        nothing
  random_blocks      nothing                        nothing: the control
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.kernels.block_topk.api import (
  block_scores,
  mean_of_blocks,
  select_blocks,
  split_blocks,
)
from ttc.kernels.partial_attention import of_layer


class Cached(NamedTuple):
  """What a rule may look at: keys `[B, K, S, D]` and their summary.

  With a `layer`, both have an axis of layers in front, so that a rule that
  needs one of them alone does not copy the other; see `of_layer`.
  """

  keys: Float[Array, '*L B K S D']
  summary: Any  # leaves [B, K, M, ...] for M blocks
  lengths: Int[Array, 'B N']  # keys that each query sees
  layer: Int[Array, ''] | None = None


class SelectionRule(NamedTuple):
  """A way to score blocks, as pure functions; hashable.

  Attributes:
    summarize: `(blocks [*A, M, R, D], real [*A, M, R]) -> leaves [*A, M, ...]`,
      of each block by itself.
    score: `(query [B, N, K, G, D], cached, block_size) -> [B, N, K, G, M]`, or
      1 instead of `G` where the mean over the group is taken first.
    combine: `[..., G, M] -> [..., M]`: one score for all heads of a group, from
      the scores of all blocks of a context, `-inf` for those that do not exist.
      None lets each query head choose by itself; the group then reads up to `G`
      times the budget.
  """

  summarize: Callable[[Array, Array], Any]
  score: Callable[[Array, Cached, int], Array]
  combine: Callable[[Array], Array] | None


def mean_over_group(scores: Float[Array, '*A G M']) -> Float[Array, '*A M']:
  """The usual way to combine the scores of the heads of a group."""
  return jnp.mean(scores, axis=-2)


def _scores_by_head(query, pooled, layer):
  """`block_scores` of each query head by itself."""
  B, N, K, G, D = query.shape
  apart = query.swapaxes(2, 3).reshape(B, N * G, K, 1, D)
  scores = block_scores(apart, pooled, layer=layer)
  return scores.reshape(B, N, G, K, -1).swapaxes(2, 3)


def _mean_scores(query, cached, block_size):
  del block_size
  scores = block_scores(query, cached.summary, layer=cached.layer)
  return scores[..., None, :]


# Block top-k of Kinetics (arXiv 2506.05333): the mean key of each block.
mean_pool = SelectionRule(mean_of_blocks, _mean_scores, mean_over_group)


def _moba_scores(query, cached, block_size):
  del block_size
  return _scores_by_head(query, cached.summary, cached.layer)


# MoBA (arXiv 2502.13189): the same for each query head by itself. The paper has
# blocks of 512 and chooses 3, the current one included.
moba = SelectionRule(mean_of_blocks, _moba_scores, None)


class Bounds(NamedTuple):
  """Channelwise extremes of the keys of each block."""

  largest: Float[Array, '*A M D']
  smallest: Float[Array, '*A M D']


def _bounds(blocks, real):
  infinity = jnp.asarray(jnp.inf, blocks.dtype)
  real = real[..., None]
  largest = jnp.max(jnp.where(real, blocks, -infinity), axis=-2)
  smallest = jnp.min(jnp.where(real, blocks, infinity), axis=-2)
  some = jnp.any(real, axis=-2)
  return Bounds(jnp.where(some, largest, 0), jnp.where(some, smallest, 0))


def _quest_scores(query, cached, block_size):
  del block_size
  # max(q M, q m) is q M for positive q and q m for negative: two products, each
  # linear in what it is given, so the mean over the group is taken first.
  largest, smallest = cached.summary
  above = block_scores(jnp.maximum(query, 0), largest, layer=cached.layer)
  below = block_scores(jnp.minimum(query, 0), smallest, layer=cached.layer)
  return (above + below)[..., None, :]


# Quest (arXiv 2406.10774): sum over channels of max(q M, q m), at least the
# score of every key in the block; averaged over the group, where the original
# lets each query head choose. Its blocks have 16 tokens, its first two layers
# are dense.
quest = SelectionRule(_bounds, _quest_scores, mean_over_group)


def _no_summary(blocks, real):
  del blocks, real
  return ()


def _logits_by_block(query, cached, block_size) -> Float[Array, 'B N K G M R']:
  """Exact logits as `M` blocks of `R` tokens, `-inf` where there is none."""
  scale = query.shape[-1] ** -0.5
  keys = of_layer(cached.keys, cached.layer)
  logits = scale * jnp.einsum(
    'bnkgd,bksd->bnkgs', query, keys, preferred_element_type=jnp.float32
  )
  blocks, real = split_blocks(
    logits[..., None], cached.lengths[:, :, None, None], block_size
  )
  return jnp.where(real, blocks[..., 0], -jnp.inf)


def _oracle_scores(query, cached, block_size):
  logits = _logits_by_block(query, cached, block_size)
  return jax.nn.logsumexp(logits, axis=-1)


def _sum_of_softmaxes(scores):
  return jnp.sum(jax.nn.softmax(scores, axis=-1), axis=-2)


# The upper bound: blocks by the exact share of the attention that the heads of
# the group give them. Kinetics averages the logits of tokens instead, which is
# `oracle._replace(combine=mean_over_group)`. Costed as if it were free.
oracle = SelectionRule(_no_summary, _oracle_scores, _sum_of_softmaxes)


def _indexer_scores(query, cached, block_size):
  logits = _logits_by_block(query, cached, block_size)
  relu = jnp.where(logits == -jnp.inf, -jnp.inf, jax.nn.relu(logits))
  return jnp.max(jnp.sum(relu, axis=-3, keepdims=True), axis=-1)


# The lightning indexer of DeepSeek-V3.2: sum over heads of w_j ReLU(q_j k_s).
# Weights of 1 and the attention's own keys stand in for a trained indexer; it
# chooses tokens, and a block counts as its best one.
lightning_indexer = SelectionRule(_no_summary, _indexer_scores, mean_over_group)


def _no_scores(query, cached, block_size):
  num_blocks = -(-cached.keys.shape[-2] // block_size)
  return jnp.full((*query.shape[:3], 1, num_blocks), -jnp.inf)


# StreamingLLM (arXiv 2309.17453): nothing but what is forced. Positions are
# those of the text, as nothing is evicted from the cache.
sink_window = SelectionRule(_no_summary, _no_scores, mean_over_group)


def _random_scores(query, cached, block_size):
  num_blocks = -(-cached.keys.shape[-2] // block_size)
  base = jax.random.key(0)

  def of_query(length):  # the same for every sample at the same length
    key = jax.random.fold_in(base, length)
    return jax.random.uniform(key, (query.shape[2], 1, num_blocks))

  return jax.vmap(jax.vmap(of_query))(cached.lengths)


# Uniform blocks: what any rule has to beat.
random_blocks = SelectionRule(_no_summary, _random_scores, mean_over_group)


_NSA_STRIDE = 16  # half a window


def _nsa_scores(query, cached, block_size):
  if block_size % _NSA_STRIDE:
    raise ValueError(
      f'block_size={block_size} is not a multiple of {_NSA_STRIDE}, the stride '
      f'of the compressed keys of NSA'
    )
  longest = jnp.max(cached.lengths, axis=1)[:, None]
  keys = of_layer(cached.keys, cached.layer)
  parts, real = split_blocks(keys, longest, _NSA_STRIDE)
  real = jnp.broadcast_to(real[..., None], (*parts.shape[:-1], 1))
  kept = jnp.where(real, parts, 0)
  totals = jnp.sum(jnp.concatenate([kept, real], axis=-1), axis=-2)
  # A window is two strides long.
  totals += jnp.pad(totals[:, :, 1:], [(0, 0), (0, 0), (0, 1), (0, 0)])
  compressed = totals[..., :-1] / jnp.maximum(totals[..., -1:], 1)
  windows = cached._replace(
    keys=compressed, lengths=-(-cached.lengths // _NSA_STRIDE), layer=None
  )
  return _oracle_scores(query, windows, block_size // _NSA_STRIDE)


# NSA (arXiv 2502.11089): softmax over compressed keys, windows of 32 at stride
# 16, summed over the windows that begin in a block and over the group.
# Compression is the mean, for want of a trained one; the paper has blocks of 64
# and chooses 16, the first and the last two forced.
nsa = SelectionRule(_no_summary, _nsa_scores, _sum_of_softmaxes)


def paper_block_topk_mask(
  query: Float[Array, 'B N K G D'],
  keys: Float[Array, 'B K S D'],
  lengths: Int[Array, 'B N'],
  *,
  block_size: int = 16,
  num_blocks: int,
  sink: int = 4,
  local: int = 16,
) -> Bool[Array, 'B N K S']:
  """The tokens that the paper's evaluation code attends to; a definition.

  Blocks begin behind the `sink` tokens and end before the `local` ones; what
  does not fill a block joins the window. Sink and window come on top of the
  `num_blocks`, and nothing is left out of a context no longer than all of them.
  """
  S = keys.shape[-2]
  token = jnp.arange(S)
  length = lengths[..., None]
  complete = jnp.maximum((length - local - sink) // block_size, 0)
  blocks = keys[:, :, sink:]
  blocks, real = split_blocks(blocks, blocks.shape[-2], block_size)
  pooled = mean_of_blocks(blocks, real)
  valid = jnp.arange(pooled.shape[-2]) < complete  # [B, N, M]
  scores = block_scores(query, pooled, implementation='xla')
  valid = valid[:, :, None]
  ids = select_blocks(scores, jnp.zeros_like(valid), valid, num_blocks)
  block = (token - sink) // block_size  # negative in the sink
  chosen = jnp.any(ids[..., None] == block, axis=-2) & (token >= sink)
  always = (token < sink) | (token >= sink + complete * block_size)
  return (chosen | always[:, :, None]) & (token < length)[:, :, None]
