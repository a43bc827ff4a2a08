"""Rules that choose what a decoding query attends to, behind one interface.

A rule scores the blocks of a cache; `select_blocks` takes the best of them and
`block_sparse_attention` attends. Tokens are blocks of size 1. Rules differ in
what they keep of each block, their *summary*, and in what a score reads:

  mean_pool          mean key                       S / block_size keys
  quest              channelwise largest, smallest  2 S / block_size keys
  moba               mean key, per query head       S / block_size keys
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


class Cached(NamedTuple):
  """What a rule may look at: keys `[B, K, S, D]` and their summary."""

  keys: Float[Array, 'B K S D']
  summary: Any  # leaves [B, K, M, ...] for M blocks
  lengths: Int[Array, 'B N']  # keys that each query sees


class SelectionRule(NamedTuple):
  """A way to score blocks: two pure functions; hashable.

  Attributes:
    summarize: `(blocks [*A, M, R, D], real [*A, M, R]) -> leaves [*A, M, ...]`,
      of each block by itself.
    score: `(query [B, N, K, G, D], cached, block_size) -> [B, N, K, M]`.
    per_head: choose for each query head by itself. The group then reads up to
      `G` times the budget.
  """

  summarize: Callable[[Array, Array], Any]
  score: Callable[[Array, Cached, int], Array]
  per_head: bool = False


def _no_summary(blocks, real):
  del blocks, real
  return ()


def _mean_scores(query, cached, block_size):
  del block_size
  return block_scores(query, cached.summary)


# Block top-k of Kinetics (arXiv 2506.05333): the mean key of each block.
mean_pool = SelectionRule(mean_of_blocks, _mean_scores)

# MoBA (arXiv 2502.13189): the same for each query head by itself. The paper has
# blocks of 512 and chooses 3, the current one included.
moba = SelectionRule(mean_of_blocks, _mean_scores, per_head=True)


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
  # max(q M, q m) is q M for positive q and q m for negative: two products.
  above = block_scores(jnp.maximum(query, 0), cached.summary.largest)
  below = block_scores(jnp.minimum(query, 0), cached.summary.smallest)
  return above + below


# Quest (arXiv 2406.10774): sum over channels of max(q M, q m), at least the
# score of every key in the block. The original has blocks of 16, chooses for
# each query head by itself (`quest._replace(per_head=True)`) and leaves the
# first two layers dense.
quest = SelectionRule(_bounds, _quest_scores)


def _by_token(
  scores: Float[Array, 'B N K S'], lengths, block_size, empty
) -> Float[Array, 'B N K M R']:
  """Scores of tokens as `M` blocks of `R`; `empty` where there is no token."""
  scores, real = split_blocks(
    scores[..., None], lengths[:, :, None], block_size
  )
  return jnp.where(real, scores[..., 0], empty)


def _group_logits(query, cached):
  scale = query.shape[-1] ** -0.5
  return scale * jnp.einsum(
    'bnkgd,bksd->bnkgs', query, cached.keys, preferred_element_type=jnp.float32
  )


def _oracle_scores(query, cached, block_size):
  if block_size == 1:
    return jnp.mean(_group_logits(query, cached), axis=-2)
  seen = jnp.arange(cached.keys.shape[-2]) < cached.lengths[..., None]
  logits = jnp.where(
    seen[:, :, None, None], _group_logits(query, cached), -jnp.inf
  )
  mass = jnp.mean(jax.nn.softmax(logits, axis=-1), axis=-2)
  return jnp.sum(_by_token(mass, cached.lengths, block_size, 0.0), axis=-1)


# The upper bound of Kinetics: tokens by exact logits averaged over the group,
# blocks by their exact share of the attention.
oracle = SelectionRule(_no_summary, _oracle_scores)


def _no_scores(query, cached, block_size):
  num_blocks = -(-cached.keys.shape[-2] // block_size)
  return jnp.full((*query.shape[:3], num_blocks), -jnp.inf)


# StreamingLLM (arXiv 2309.17453): nothing but what is forced. Positions are
# those of the text, as nothing is evicted from the cache.
sink_window = SelectionRule(_no_summary, _no_scores)


def _random_scores(query, cached, block_size):
  num_blocks = -(-cached.keys.shape[-2] // block_size)
  base = jax.random.key(0)

  def of_query(length):  # the same for every sample at the same length
    key = jax.random.fold_in(base, length)
    return jax.random.uniform(key, (query.shape[2], num_blocks))

  return jax.vmap(jax.vmap(of_query))(cached.lengths)


# Uniform blocks: what any rule has to beat.
random_blocks = SelectionRule(_no_summary, _random_scores)


_NSA_WINDOW, _NSA_STRIDE = 32, 16


def _nsa_scores(query, cached, block_size):
  if block_size % _NSA_STRIDE:
    raise ValueError(
      f'block_size={block_size} is not a multiple of {_NSA_STRIDE}, the stride '
      f'of the compressed keys of NSA'
    )
  longest = jnp.max(cached.lengths, axis=1)[:, None]
  halves, real = split_blocks(cached.keys, longest, _NSA_STRIDE)
  real = jnp.broadcast_to(real[..., None], (*halves.shape[:-1], 1))
  kept = jnp.where(real, halves, 0)
  totals = jnp.sum(jnp.concatenate([kept, real], axis=-1), axis=-2)
  following = jnp.pad(totals[:, :, 1:], [(0, 0), (0, 0), (0, 1), (0, 0)])
  totals += following  # a window is two strides long
  compressed = totals[..., :-1] / jnp.maximum(totals[..., -1:], 1)
  start = jnp.arange(compressed.shape[-2]) * _NSA_STRIDE
  seen = start < cached.lengths[:, :, None, None, None]
  logits = _group_logits(query, cached._replace(keys=compressed))
  weights = jax.nn.softmax(jnp.where(seen, logits, -jnp.inf), axis=-1)
  mass = jnp.sum(weights, axis=-2)  # over the group
  blocks, _ = split_blocks(
    mass[..., None], mass.shape[-1], block_size // _NSA_STRIDE
  )
  return jnp.sum(blocks[..., 0], axis=-1)


# NSA (arXiv 2502.11089): softmax over compressed keys, summed over the group
# and over the windows that begin in a block. Compression is the mean, for want
# of a trained one; the paper has blocks of 64 and chooses 16, the first and the
# last two forced.
nsa = SelectionRule(_no_summary, _nsa_scores)


def _indexer_scores(query, cached, block_size):
  # Weights of 1 and the attention's own keys stand in for a trained indexer.
  relu = jax.nn.relu(_group_logits(query, cached))
  scores = _by_token(
    jnp.sum(relu, axis=-2), cached.lengths, block_size, -jnp.inf
  )
  return jnp.max(scores, axis=-1)


# The lightning indexer of DeepSeek-V3.2: sum over heads of w_j ReLU(q_j k_s).
# Chooses tokens; a block counts as its best one.
lightning_indexer = SelectionRule(_no_summary, _indexer_scores)


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
