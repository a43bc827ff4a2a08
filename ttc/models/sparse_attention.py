"""Sparse decoding: what a query attends to, instead of everything.

  model = models.transformer(config, attention=models.block_topk(budget=256))

samples, forks and scores like any other model. Blocks begin at multiples of the
block size in the prompt and again in the response, so that the blocks of a
prompt are the same for all its samples. Prefilling and appending several tokens
attend to everything; decoding is sparse. A step over `S` cached tokens reads
`S / block_size` summaries and `budget + block_size` tokens of each layer and
key/value head, instead of `S` tokens.
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels import block_topk as selection
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.block_topk import Cached, SelectionRule
from ttc.kernels.partial_attention import Segment, merge_partials
from ttc.kernels.shared_prefix_attention import attend_to_prompt


@dataclasses.dataclass(frozen=True)
class SparseAttention:
  """What a decoding query attends to, instead of everything.

  Attributes:
    rule: how blocks are scored; see `kernels.block_topk`.
    block_size: tokens of a block.
    budget: tokens that a query reads, per layer and key/value head. One block
      is read on top, as the last block of the prompt and of the response are
      seldom full: a budget of the whole context is dense attention.
    sink: the first tokens of the context are always read (StreamingLLM).
    local: and so are the last ones.
    dense_layers: layers that read everything. Kinetics: the first.
    prefix: 'dense' reads the whole prompt, once for all its samples, and spends
      the budget on the response.
  """

  rule: SelectionRule = selection.mean_pool
  block_size: int = 16
  budget: int = 1024
  sink: int = 4
  local: int = 16
  dense_layers: tuple[int, ...] = (0,)
  prefix: Literal['sparse', 'dense'] = 'sparse'

  def __post_init__(self):
    if self.block_size < 1:
      raise ValueError(f'block_size={self.block_size} must be at least 1')
    if self.prefix not in ('sparse', 'dense'):
      raise ValueError(f"prefix={self.prefix!r} is not 'sparse' or 'dense'")
    if self.local < 1 or self.sink < 0:
      raise ValueError(
        f'local={self.local} must be at least 1, that a token sees itself, and '
        f'sink={self.sink} at least 0'
      )
    # The window may begin and end inside a block, and span prompt and response.
    window = -(-(self.local - 1) // self.block_size) + 1
    forced = -(-self.sink // self.block_size) + window
    if self.num_blocks < forced + 1:
      raise ValueError(
        f'budget={self.budget} is less than the {forced * self.block_size} '
        f'tokens of the blocks that sink={self.sink} and local={self.local} '
        f'force at block_size={self.block_size}'
      )

  @property
  def num_blocks(self) -> int:
    """`J`, how many blocks a query reads."""
    return -(-self.budget // self.block_size) + 1


def block_topk(
  block_size: int = 16,
  budget: int = 1024,
  sink: int = 4,
  local: int = 16,
  dense_layers: tuple[int, ...] = (0,),
) -> SparseAttention:
  """The practical method of Kinetics (arXiv 2506.05333, section 4)."""
  return SparseAttention(
    selection.mean_pool, block_size, budget, sink, local, dense_layers
  )


class Summarised(NamedTuple):
  """Keys and values `[..., K, S, D]`, and a summary `[..., K, M, ...]`."""

  k: Float[Array, '*A K S D']
  v: Float[Array, '*A K S D']
  summary: Any


def attend_sparsely(
  attention: SparseAttention,
  query: Float[Array, 'B N K G D'],
  prefix: Summarised | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Summarised,
  suffix_lengths: Int[Array, 'B N'],
  layer: Int[Array, ''] | None = None,
) -> Float[Array, 'B N K G D']:
  """Attends to the best blocks of prompt and response together.

  Args:
    attention: what to read.
    query: one per sample.
    prefix: of the prompts, leaves `[B, ...]`, or None.
    prefix_lengths: real tokens of the prompts.
    suffix: of the responses, leaves `[B, N, ...]`.
    suffix_lengths: their tokens, those of the queries included.
    layer: if given, leaves of prefix and suffix have an axis `[L, ...]` of
      layers in front, and those of this one are read.

  Returns:
    The attention output.
  """
  B, N = query.shape[:2]
  in_prompt = jnp.broadcast_to(prefix_lengths[:, None], (B, N))
  flat = lambda x: x.reshape(B * N, *x.shape[2:])
  in_front = 0 if layer is None else 1
  flat_cache = lambda x: x.reshape(
    *x.shape[:in_front], B * N, *x.shape[in_front + 2 :]
  )
  response = _Part(
    flat(query)[:, None],
    jax.tree.map(flat_cache, suffix),
    flat(suffix_lengths)[:, None],
    layer,
  )
  parts = [(response, in_prompt)]
  partials = []
  if prefix is not None and attention.prefix == 'sparse':
    parts.insert(
      0, (_Part(query, prefix, in_prompt, layer), jnp.zeros_like(in_prompt))
    )
  elif prefix is not None:
    segment = Segment(prefix.k, prefix.v)
    partials.append(
      attend_to_prompt(query, segment, prefix_lengths, layer=layer)
    )

  scored = [
    _score(attention, part, offset, in_prompt + suffix_lengths)
    for part, offset in parts
  ]
  join = functools.partial(jnp.concatenate, axis=-1)
  ids = _choose(attention, *map(join, zip(*scored, strict=True)))
  first = 0
  for (part, _), (scores, _, _) in zip(parts, scored, strict=True):
    num_blocks = scores.shape[-1]
    here = (ids >= first) & (ids < first + num_blocks)
    mine = jnp.sort(jnp.where(here, ids - first, -1), axis=-1, descending=True)
    partials.append(_read(attention, part, mine[..., :num_blocks]))
    first += num_blocks
  output, _ = merge_partials(partials)
  return output.astype(query.dtype)


class _Part(NamedTuple):
  """Prompts, or responses as so many prompts with one sample each."""

  query: Float[Array, 'C M K G D']
  cache: Summarised  # leaves [C, ...]
  lengths: Int[Array, 'C M']
  layer: Int[Array, ''] | None


def _score(attention, part, offset, total):
  """Scores of the blocks of a part; which exist, and which are always read."""
  B, N = total.shape
  size = attention.block_size
  cached = Cached(part.cache.k, part.cache.summary, part.lengths, part.layer)
  scores = attention.rule.score(part.query, cached, size)
  scores = scores.reshape(B, N, *scores.shape[2:])
  start = offset[..., None] + jnp.arange(scores.shape[-1]) * size
  end = offset + part.lengths.reshape(B, N)
  stop = jnp.minimum(start + size, end[..., None])
  forced = selection.always_read(
    start, stop, total[..., None], attention.sink, attention.local
  )
  return scores, start < end[..., None], forced


def _choose(attention, scores, exists, forced):
  """Ids of the blocks to read, `[B, N, K, J]`, or `[B, N, K, G, J]`."""
  exists, forced = (x[:, :, None, None] for x in (exists, forced))
  scores = jnp.where(exists, scores, -jnp.inf)
  if attention.rule.combine is not None:
    scores = attention.rule.combine(scores)
    exists, forced = exists[..., 0, :], forced[..., 0, :]
  return selection.select_blocks(scores, forced, exists, attention.num_blocks)


def _read(attention, part, ids):
  """Attention of a part's queries to its blocks `ids [B, N, K, (G,) J]`."""
  C, M, K, G, D = part.query.shape
  query, lengths, shape = part.query, part.lengths, ids.shape[:2]
  by_head = ids.ndim == 5
  if by_head:  # every head its own blocks: heads as samples
    ids = ids.swapaxes(2, 3).reshape(C, M * G, K, -1)
    query = query.swapaxes(2, 3).reshape(C, M * G, K, 1, D)
    lengths = jnp.repeat(lengths, G, axis=1)
  output, lse = block_sparse_attention(
    query,
    Segment(part.cache.k, part.cache.v),
    lengths,
    ids.reshape(C, -1, K, ids.shape[-1]),
    block_size=attention.block_size,
    layer=part.layer,
  )
  if by_head:
    back = lambda x: x.reshape(C, M, G, K, *x.shape[4:]).swapaxes(2, 3)
    output, lse = back(output), back(lse)
  return output.reshape(*shape, K, G, D), lse.reshape(*shape, K, G)
