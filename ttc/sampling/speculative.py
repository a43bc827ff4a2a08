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

Costs, for `g` drafted tokens a round and an acceptance rate `a` that is the same
everywhere: one call of the target, with `g + 1` tokens a row, and `g + 1` of the
draft for :math:`(1 - a^{g+1}) / (1 - a)` tokens on average.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.models.base import Cache, LanguageModel
from ttc.sampling import logits as logits_lib
from ttc.sampling.draw import draw, log_prob_of
from ttc.sampling.logits import Preset, SamplingParams
from ttc.sampling.state import DecodeState, prefill
from ttc.sampling.stopping import StopRules, ends_with
from ttc.types import FinishReason, Generation, Params, Prompt


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
  preset: Preset = 'hf',
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
    target_state: with `N` rows, which may be of different lengths.
    draft_state: the same rows, as the draft remembers them.
    stop: what ends a response.
    num_drafted: `g`, tokens drafted in a round beyond the one that every round
      yields; static. Holds `2 (g + 1) V` floats for each row.
    sampling: temperature and filters of both models; fields broadcast to
      `[B, N]`.
    preset: order of the filters; static.
    max_new_tokens: limit of each response, broadcasts to `[B, N]`.
    active: rows to continue, broadcasts to `[B, N]`; the others are returned
      empty and cancelled.
    sample_ids: what identifies each response of a problem, by default
      `0..N-1`, broadcasts to `[B, N]`.

  Returns:
    A `SpeculativeOutput`. `generation` holds what this call wrote, with both
    log-probabilities those of the target.

  Raises:
    ValueError: if the vocabularies or the shapes of the states differ, or the
      preset is not known.
  """
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
  spread = lambda x: jnp.broadcast_to(jnp.asarray(x), (B, N))
  ids = spread(jnp.arange(N) if sample_ids is None else sample_ids)
  row_keys = jax.vmap(lambda key, ids: jax.vmap(_fold, (None, 0))(key, ids))
  plan = _Plan(
    num_tokens=num_drafted + 1,
    keys=row_keys(keys, ids),
    start=target_state.lengths,
    stop=stop,
    sampling=SamplingParams(*map(spread, sampling)),
    preset=preset,
    limits=spread(capacity if max_new_tokens is None else max_new_tokens),
  )
  active = spread(True if active is None else active)
  zeros = jnp.zeros((B, N, capacity), jnp.float32)
  none = jnp.zeros((B, N), jnp.int32)
  reasons = jnp.where(active, FinishReason.RUNNING, FinishReason.CANCELLED)
  out = Generation(zeros.astype(jnp.int32), none, zeros, zeros, reasons)
  counters = SpeculativeCounters(jnp.int32(0), none, none, none, none)
  rows = target_state.tokens, target_state.lengths
  loop = _Loop(*rows, target_state.suffix, draft_state.suffix, out, counters)

  def one_round(loop):
    running = loop.out.finish_reasons == FinishReason.RUNNING
    drafts, draft_logits, draft_suffix = _propose(
      plan, draft, draft_params, loop.resume(draft_state), running
    )
    logits, target_suffix = _read(
      target, target_params, loop.resume(target_state), drafts, running
    )
    block = _accept(plan, loop.lengths, drafts, draft_logits, logits)
    loop = loop._replace(target=target_suffix, draft=draft_suffix)
    return _write(plan, loop, block, running)

  unfinished = lambda loop: jnp.any(
    loop.out.finish_reasons == FinishReason.RUNNING
  )
  loop = jax.lax.while_loop(unfinished, one_round, loop)
  return SpeculativeOutput(
    loop.out,
    loop.resume(target_state)._replace(suffix=loop.target),
    loop.resume(draft_state)._replace(suffix=loop.draft),
    loop.counters,
  )


def speculative_generate(
  params: tuple[Params, Params],
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
  *,
  target: LanguageModel,
  draft: LanguageModel,
  capacity: int,
  stop: StopRules,
  num_drafted: int,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  preset: Preset = 'hf',
  max_new_tokens: Int[Array, '*A'] | int | None = None,
  active: Bool[Array, '*A'] | None = None,
  sample_ids: Int[Array, '*A'] | None = None,
) -> Generation:
  """Prefills both models and samples: the `SampleFn` of a pair of models.

  Args:
    params: of the target and of the draft.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_samples: `N`; static.
    target: this and what follows, see `speculative_sample`.
    draft: static.
    capacity: most tokens in a response; static.
    stop: what ends a response.
    num_drafted: `g`; static.
    sampling: temperature and filters.
    preset: order of the filters.
    max_new_tokens: limit of each response.
    active: responses to draw.
    sample_ids: what identifies each response.

  Returns:
    The responses.
  """
  return speculative_sample(
    target,
    draft,
    *params,
    keys,
    prefill(target, params[0], prompt, num_samples, capacity),
    prefill(draft, params[1], prompt, num_samples, capacity),
    stop,
    num_drafted,
    sampling=sampling,
    preset=preset,
    max_new_tokens=max_new_tokens,
    active=active,
    sample_ids=sample_ids,
  ).generation


class _Plan(NamedTuple):
  """What does not change in the loop."""

  num_tokens: int  # W, drafted in a round
  keys: Key[Array, 'B N']
  start: Int[Array, 'B N']  # length at which the row's response begins
  stop: StopRules
  sampling: SamplingParams  # fields [B, N]
  preset: Preset
  limits: Int[Array, 'B N']


class _Loop(NamedTuple):
  """What does."""

  tokens: Int[Array, 'B N S']
  lengths: Int[Array, 'B N']
  target: Any  # its memory of each row
  draft: Any
  out: Generation
  counters: SpeculativeCounters

  def resume(self, state: DecodeState) -> DecodeState:
    """The state with the rows as they are now, but for the cache."""
    return state._replace(tokens=self.tokens, lengths=self.lengths)


class _Block(NamedTuple):
  """What a round offers to each row, before it is cut at a stop or a limit."""

  tokens: Int[Array, 'B N W']
  size: Int[Array, 'B N']  # tokens that count, 1 to W
  accepted: Bool[Array, 'B N W']
  log_probs: Float[Array, 'B N W']
  sampling_log_probs: Float[Array, 'B N W']
