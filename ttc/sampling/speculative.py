r"""Speculative sampling: a small model drafts, a large one reads many at once.

Leviathan et al., "Fast inference from transformers via speculative decoding",
2211.17192; Chen et al., "Accelerating large language model decoding with
speculative sampling", 2302.01318. The draft `q` proposes tokens one by one; the
target `p` reads them in one call, keeps each with probability
:math:`\min(1, p/q)` and draws the first that it refuses anew from
:math:`(p - q)_+`, normalised. What comes out has the law of the target exactly.

The papers draw the last token of a round, which the draft did not propose, from
`p`. Here the draft proposes it like the others, since it has to read the token
before it anyway. The law is the same, and no token depends on where a round
begins: like `sample`, token `t` of sample `i` of problem `p` is a function of
`fold_in(fold_in(key of the problem, sample id), t)` and of what precedes it, so
that responses are the same whatever the number of drafted tokens, the rows, the
batch, or where a response was interrupted. With the target as its own draft
they are those of `sample`.

Costs, for `g` drafted tokens a round and an acceptance rate `a` that is the
same everywhere: one call of the target, with `g + 1` tokens a row, and `g + 1`
of the draft for :math:`(1 - a^{g+1}) / (1 - a)` tokens on average.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from ttc.models.base import LanguageModel
from ttc.sampling import responses
from ttc.sampling.acceptance import accept, redraw
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import (
  SamplingParams,
  check_sampling_params,
  law,
  without_idle_filters,
)
from ttc.sampling.state import DecodeState
from ttc.sampling.stopping import StopRules, advance, forbid_early_stops
from ttc.types import FinishReason, Generation, Params


class SpeculativeCounters(NamedTuple):
  """What speculation did, exactly; fields but the first by row.

  Every token is either a draft that was accepted or was drawn in its place, so
  the acceptance rate is `accepted / tokens`.
  """

  rounds: Int[Array, '']  # calls of the target, with all rows in one
  target_calls: Int[Array, 'B N']  # rounds in which the row was not finished
  drafted: Int[Array, 'B N']  # tokens that the draft proposed
  accepted: Int[Array, 'B N']  # of them in the response
  tokens: Int[Array, 'B N']  # in the response


class SpeculativeOutput(NamedTuple):
  """Responses, the states of both models after them, and counters."""

  generation: Generation
  target_state: DecodeState
  draft_state: DecodeState
  counters: SpeculativeCounters


def speculative_sample(
  target: LanguageModel,
  draft: LanguageModel,
  target_params: Params,
  draft_params: Params,
  keys: Key[Array, ' B'],
  target_state: DecodeState,
  draft_state: DecodeState,
  stop: StopRules,
  num_drafted: int,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
) -> SpeculativeOutput:
  """Continues every row by the law of the target, with fewer calls of it.

  Args:
    target: the model whose law is sampled; static.
    draft: a cheaper one with the same vocabulary; static.
    target_params: parameters of the target.
    draft_params: of the draft.
    keys: `[B]`, one per problem; consumed.
    target_state: with `N` rows, which may be of different lengths. Each model
      reads under the routes of its own state.
    draft_state: the same rows, as the draft remembers them.
    stop: what ends a response.
    num_drafted: `g`, tokens drafted in a round beyond the one that every round
      yields; static. Holds `2 (g + 1) V` floats for each row.
    sampling: the law of a draw, for both models; fields broadcast to `[B, N]`.
    max_new_tokens: limit of each response, broadcasts to `[B, N]`. A response
      without room is empty and draws nothing.
    active: rows to continue, broadcasts to `[B, N]`; the others are returned
      empty and cancelled.
    sample_ids: what identifies each response of a problem, by default
      `0..N-1`, broadcasts to `[B, N]`.

  Returns:
    A `SpeculativeOutput`. `generation` holds what this call wrote, with both
    log-probabilities those of the target.

  Raises:
    ValueError: if the vocabularies or the shapes of the states differ, a state
      holds embeddings in place of tokens, or values of `sampling` mean nothing.
  """
  check_sampling_params(sampling)
  if target.vocab_size != draft.vocab_size:
    raise ValueError(
      f'the target has {target.vocab_size} tokens, the draft '
      f'{draft.vocab_size}; they must share a vocabulary'
    )
  B, N, capacity = target_state.tokens.shape
  if draft_state.tokens.shape != (B, N, capacity):
    raise ValueError(
      f'the states hold {(B, N, capacity)} and {draft_state.tokens.shape} '
      'problems, rows and tokens; they must be of the same shape'
    )
  if target_state.soft is not None or draft_state.soft is not None:
    raise ValueError(
      'a state holds embeddings in place of tokens, which drafts are not made '
      'from; use sample'
    )
  return _speculate(
    _Static(target, draft, num_drafted),
    (target_params, draft_params),
    keys,
    (target_state, draft_state),
    stop,
    without_idle_filters(sampling),
    max_new_tokens,
    active,
    sample_ids,
  )


class _Static(NamedTuple):
  """What a compiled program is made for."""

  target: LanguageModel
  draft: LanguageModel
  num_drafted: int


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _speculate(
  static: _Static,
  params: tuple[Params, Params],
  keys: Key[Array, ' B'],
  states: tuple[DecodeState, DecodeState],
  stop: StopRules,
  sampling: SamplingParams,
  max_new_tokens: Array | int | None,
  active: Array | bool | None,
  sample_ids: Array | None,
) -> SpeculativeOutput:
  """`speculative_sample`, compiled once for all calls of one kind."""
  target, draft, num_drafted = static
  target_params, draft_params = params
  target_state, draft_state = states
  B, N, capacity = target_state.tokens.shape
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (B, N))
  ids = spread(jnp.arange(N) if sample_ids is None else sample_ids)
  plan = _Plan(
    num_tokens=num_drafted + 1,
    keys=_fold_in(jnp.broadcast_to(keys[:, None], (B, N)), ids),
    start=target_state.lengths,
    stop=stop,
    sampling=jax.tree.map(spread, sampling),
    limits=spread(capacity if max_new_tokens is None else max_new_tokens),
    context=jnp.minimum(
      capacity, target.max_length - target_state.prefix_lengths
    )[:, None],
  )
  active = spread(True if active is None else active)
  has_room = jnp.minimum(plan.limits, plan.context - plan.start) > 0
  none = jnp.zeros((B, N), jnp.int32)
  reasons = jnp.where(has_room, FinishReason.RUNNING, FinishReason.LENGTH)
  reasons = jnp.where(active, reasons, FinishReason.CANCELLED)
  loop = _Loop(
    tokens=target_state.tokens,
    lengths=target_state.lengths,
    target=target_state.suffix,
    draft=draft_state.suffix,
    stop_state=none,
    out=responses.empty(B, N, capacity, reasons),
    counters=SpeculativeCounters(jnp.int32(0), none, none, none, none),
  )

  def one_round(loop):
    running = _running(loop)
    proposal = _propose(
      plan, draft, draft_params, loop.resume(draft_state, loop.draft), running
    )
    logits, suffix = _read(
      target,
      target_params,
      loop.resume(target_state, loop.target),
      proposal.tokens,
      running,
    )
    block = _judge(plan, loop.lengths, proposal, logits)
    loop = loop._replace(target=suffix, draft=proposal.suffix)
    return _write(plan, loop, block, running)

  loop = jax.lax.while_loop(
    lambda loop: jnp.any(_running(loop)), one_round, loop
  )
  return SpeculativeOutput(
    loop.out,
    loop.resume(target_state, loop.target),
    loop.resume(draft_state, loop.draft),
    loop.counters,
  )


class _Plan(NamedTuple):
  """What does not change in the loop."""

  num_tokens: int  # W, drafted in a round
  keys: Key[Array, 'B N']
  start: Int[Array, 'B N']  # length at which the row's response begins
  stop: StopRules
  sampling: SamplingParams  # fields [B, N]
  limits: Int[Array, 'B N']
  context: Int[Array, 'B 1']  # most tokens in a row that the target can read


class _Loop(NamedTuple):
  """What does."""

  tokens: Int[Array, 'B N S']
  lengths: Int[Array, 'B N']
  target: Any  # its memory of each row
  draft: Any
  stop_state: Int[Array, 'B N']  # of the stop rules, after the response so far
  out: Generation
  counters: SpeculativeCounters

  def resume(self, state: DecodeState, suffix: Any) -> DecodeState:
    """The state of a model, with the rows as they are now."""
    return state._replace(
      suffix=suffix, tokens=self.tokens, lengths=self.lengths
    )


class _Proposal(NamedTuple):
  """What the draft says of the next `W` tokens of each row."""

  tokens: Int[Array, 'B N W']
  logits: Float[Array, 'B N W V']  # tempered and filtered
  suffix: Any


class _Block(NamedTuple):
  """What a round offers to each row, before it is cut at a stop or a limit."""

  tokens: Int[Array, 'B N W']  # -1 where there is nothing to draw
  size: Int[Array, 'B N']  # of them to take, 1 to W
  accepted: Bool[Array, 'B N W']
  log_probs: Float[Array, 'B N W']
  sampling_log_probs: Float[Array, 'B N W']


def _running(loop: _Loop) -> Bool[Array, 'B N']:
  return loop.out.finish_reasons == FinishReason.RUNNING


def _propose(
  plan: _Plan,
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  running: Bool[Array, 'B N'],
) -> _Proposal:
  """Draws `W` tokens, reading one before each: the pending one first."""
  capacity = state.tokens.shape[-1]
  pending = _take(state.tokens, state.cache_lengths)

  def step(carry, offset):
    suffix, pending = carry
    lengths = state.lengths + offset
    reads = running & (lengths > 0) & (lengths <= capacity)
    cached = jnp.clip(lengths - 1, 0, capacity)
    features, cache = model.features(
      params,
      pending[..., None],
      reads.astype(jnp.int32),
      state.cache._replace(suffix=suffix, suffix_lengths=cached),
    )
    logits = jnp.where(
      (lengths == 0)[..., None],
      state.prefix_logits[:, None],
      model.logits(params, features[:, :, 0]),
    )
    logits = _law(plan, lengths, logits)
    keys = _fold_in(plan.keys, lengths)
    token, _ = _by_row(draw)(keys, logits)
    token = jnp.maximum(token, 0)  # without a law: the target will refuse it
    return (cache.suffix, token), (token, logits)

  offsets = jnp.arange(plan.num_tokens)
  (suffix, _), drawn = jax.lax.scan(step, (state.suffix, pending), offsets)
  tokens, logits = (jnp.moveaxis(x, 0, 2) for x in drawn)
  return _Proposal(tokens, logits, suffix)


def _read(
  model: LanguageModel,
  params: Params,
  state: DecodeState,
  drafts: Int[Array, 'B N W'],
  running: Bool[Array, 'B N'],
) -> tuple[Float[Array, 'B N W V'], Any]:
  """Logits of each of the next `W` tokens, in one call, and the memory after.

  A row with a pending token reads that and all drafts but the last, an empty
  one has its first logits from the prompt.
  """
  empty = state.lengths == 0
  pending = _take(state.tokens, state.cache_lengths)[..., None]
  unread = jnp.concatenate([pending, drafts[..., :-1]], axis=-1)
  unread = jnp.where(empty[..., None], drafts, unread)
  room = state.tokens.shape[-1] - state.cache_lengths
  count = jnp.minimum(drafts.shape[-1] - empty.astype(jnp.int32), room)
  features, cache = model.features(
    params, unread, jnp.where(running, count, 0), state.cache
  )
  steps = jnp.arange(drafts.shape[-1])
  index = jnp.maximum(steps - empty[..., None].astype(jnp.int32), 0)
  features = jnp.take_along_axis(features, index[..., None], axis=2)
  from_prompt = (empty[..., None] & (steps == 0))[..., None]
  logits = jnp.where(
    from_prompt,
    state.prefix_logits[:, None, None],
    model.logits(params, features),
  )
  return logits, cache.suffix


def _judge(
  plan: _Plan, lengths: Int[Array, 'B N'], proposal: _Proposal, logits
) -> _Block:
  """Accepts drafts from the first on, and replaces the one that is refused."""
  offsets = jnp.arange(plan.num_tokens, dtype=jnp.int32)
  positions = lengths[..., None] + offsets
  target = jax.vmap(functools.partial(_law, plan), in_axes=2, out_axes=2)(
    positions, logits
  )
  fold_in = jax.vmap(_fold_in, in_axes=(None, 2), out_axes=2)
  keys = _by_token(_accept_and_redraw_keys)(fold_in(plan.keys, positions))
  accepted = _by_token(accept)(
    keys[..., 0], proposal.tokens, proposal.logits, target
  )
  num_kept = jnp.sum(jnp.cumprod(accepted, axis=-1), axis=-1)
  refused = jnp.minimum(num_kept, plan.num_tokens - 1)  # or none was
  other = _by_row(lambda i, keys, q, p: redraw(keys[i, 1], q[i], p[i]))(
    refused, keys, proposal.logits, target
  )
  is_kept = offsets < num_kept[..., None]
  tokens = jnp.where(is_kept, proposal.tokens, other[..., None])
  return _Block(
    tokens=tokens,
    size=refused + 1,
    accepted=is_kept,
    log_probs=_by_token(log_prob_of)(logits, tokens),
    sampling_log_probs=_by_token(log_prob_of)(target, tokens),
  )


def _accept_and_redraw_keys(key):
  """Of a token that was drafted with `key` itself."""
  return jax.random.split(jax.random.fold_in(key, 1))


def _law(
  plan: _Plan, lengths: Int[Array, 'B N'], logits: Float[Array, 'B N V']
) -> Float[Array, 'B N V']:
  """Logits of the law that the next token of each row is to have."""
  logits = forbid_early_stops(plan.stop, logits, lengths - plan.start)
  return law(logits, plan.sampling)


def _write(
  plan: _Plan, loop: _Loop, block: _Block, running: Bool[Array, 'B N']
) -> _Loop:
  """Takes the block of each running row up to where its response ends."""
  capacity = loop.tokens.shape[-1]
  offsets = jnp.arange(plan.num_tokens)
  index = loop.lengths[..., None] + offsets
  position = index - plan.start[..., None]
  # What lies beyond the length of a row does not count: write first, cut then.
  put = _by_row(lambda row, i, x: row.at[i].set(x, mode='drop'))
  tokens = put(
    loop.tokens, jnp.where(running[..., None], index, capacity), block.tokens
  )
  cut = (position + 1 >= plan.limits[..., None]) | (
    index + 1 >= plan.context[..., None]
  )
  reasons = jnp.where(cut, FinishReason.LENGTH, FinishReason.RUNNING)
  stop_states, stopped = _read_block(plan, loop.stop_state, position, block)
  reasons = jnp.where(stopped, FinishReason.STOP, reasons)
  invalid = block.tokens < 0
  reasons = jnp.where(invalid, FinishReason.INVALID, reasons)
  ended = reasons != FinishReason.RUNNING
  until_end = jnp.where(
    jnp.any(ended, axis=-1), jnp.argmax(ended, axis=-1) + 1, plan.num_tokens
  )
  size = jnp.where(running, jnp.minimum(block.size, until_end), 0)
  size = size.astype(jnp.int32)
  last = jnp.maximum(size - 1, 0)
  reason = _take(reasons, last)
  size -= running & _take(invalid, last)  # that token is none
  taken = offsets < size[..., None]
  at = jnp.where(taken, position, capacity)
  out = Generation(
    tokens=put(loop.out.tokens, at, block.tokens),
    lengths=loop.out.lengths + size,
    log_probs=put(loop.out.log_probs, at, block.log_probs),
    sampling_log_probs=put(
      loop.out.sampling_log_probs, at, block.sampling_log_probs
    ),
    finish_reasons=jnp.where(running, reason, loop.out.finish_reasons),
  )
  did = SpeculativeCounters(
    rounds=jnp.int32(1),
    target_calls=running.astype(jnp.int32),
    drafted=running * jnp.int32(plan.num_tokens),
    accepted=jnp.sum(block.accepted & taken, axis=-1, dtype=jnp.int32),
    tokens=size,
  )
  return loop._replace(
    tokens=tokens,
    lengths=loop.lengths + size,
    stop_state=jnp.where(running, _take(stop_states, last), loop.stop_state),
    out=out,
    counters=jax.tree.map(jnp.add, loop.counters, did),
  )


def _read_block(
  plan: _Plan, state: Int[Array, 'B N'], position, block: _Block
) -> tuple[Int[Array, 'B N W'], Bool[Array, 'B N W']]:
  """State of the stop rules after each token, and whether it is the last."""

  def step(state, xs):
    state, stopped = advance(plan.stop, state, *xs)
    return state, (state, stopped)

  by_token = lambda x: jnp.moveaxis(x, -1, 0)
  xs = by_token(jnp.maximum(block.tokens, 0)), by_token(position)
  _, read = jax.lax.scan(step, state, xs)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), read)


def _take(x: Shaped[Array, 'B N S'], index: Int[Array, 'B N']):
  """One entry of each row."""
  return jnp.take_along_axis(x, index[..., None], axis=-1)[..., 0]


def _by_row(fn: Callable[..., Any]) -> Callable[..., Any]:
  """Maps a function of one row over `[B, N]`."""
  return jax.vmap(jax.vmap(fn))


def _by_token(fn):
  """Maps a function of one token over `[B, N, W]`."""
  return _by_row(jax.vmap(fn))


_fold_in = _by_row(jax.random.fold_in)
