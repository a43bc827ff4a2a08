"""ATTS: a small model thinks in turns, a large one takes over the worst.

"Asynchronous test-time scaling via conformal prediction", 2509.15148. Each of
`K` chains goes through turns of three stages: the draft writes up to `T`
tokens; the target reads them, and their perplexity is compared with a stored
calibration (`conformal.py`); if it is rejected, the target writes up to `T`
tokens behind them, or in their place. A chain ends where either model stops.
No chain looks at another one, so there is no barrier; see
`ttc.scaling.makespan` for what that is worth. The paper's main run writes
behind what is rejected, which helps a target that can take an error back; where
it cannot, the error stays.

Costs, with `R` turns that reject at rate `r`: `K R T` tokens written by the
draft, which the target reads in parallel, and `r K R T` written by the target.
The paper's code runs 15 turns of 500 tokens in 16 chains at temperature 0.8,
rejecting at a rank of 0.6.
"""

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import empty, join
from ttc.sampling.state import DecodeState, extend, prefill, score, truncate
from ttc.sampling.stopping import StopRules
from ttc.search import conformal
from ttc.search.base import Method
from ttc.search.conformal import Calibration
from ttc.types import FinishReason, Generation, Params, Prompt

OnReject = Literal['continue', 'replace']
Online = Literal['none', 'accepted', 'all']


class Turns(NamedTuple):
  """What happened in each of `R` turns of each chain."""

  scores: Float[Array, 'R B K']  # perplexity of the draft's tokens, 1 for none
  tested: Bool[Array, 'R B K']  # the draft wrote, and did not end the chain
  taken_over: Bool[Array, 'R B K']  # rejected, and the target wrote
  draft_tokens: Int[Array, 'R B K']  # written by the draft, read by the target
  target_tokens: Int[Array, 'R B K']  # written by the target


class AttsOutput(NamedTuple):
  """The chains, their turns, and the calibration after them."""

  generation: Generation  # `N = K`; `log_probs` are those of the target
  turns: Turns
  calibration: Calibration  # leaves `[B, Q, C]`


class _Chains(NamedTuple):
  """The chains between two turns: both states hold the same tokens."""

  draft: DecodeState
  target: DecodeState
  generation: Generation
  calibration: Calibration
  num_takeovers: Int[Array, ' B']


def atts(
  params: tuple[Params, Params],
  keys: Key[Array, ' B'],
  prompt: Prompt,
  calibration: Calibration,
  num_chains: int,
  num_turns: int,
  turn_tokens: int,
  *,
  target: LanguageModel,
  draft: LanguageModel,
  stop: StopRules,
  tau: ArrayLike = 0.6,
  max_takeovers: ArrayLike | None = None,
  on_reject: OnReject = 'continue',
  online: Online = 'none',
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> AttsOutput:
  """Runs `K` chains on each of `B` problems.

  Args:
    params: of the target and of the draft.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    calibration: leaves `[Q, C]`, or `[B, Q, C]` for one per problem. Turn `r`
      is tested by entry `min(r, Q - 1)`. Scores drift with the turn, so the
      rate is right only with one for each; `atts` with `tau > 1` gives the
      scores of chains that were never taken over.
    num_chains: `K`; static.
    num_turns: `R`; static.
    turn_tokens: `T`, most tokens of either model in a turn; static.
    target: this and what follows, see `sample`.
    draft: a cheaper model with the same vocabulary; static.
    stop: what ends a chain.
    tau: rank at which a turn is rejected; 0 always, above 1 never. Traced.
    max_takeovers: of all chains of a problem together, first come by turn, then
      by chain; None for no limit.
    on_reject: whether the target writes behind a rejected turn, or in its
      place; static.
    online: which tested scores to append after each turn; static. The paper's
      choice, the accepted ones, lets the rate of rejection drift upwards.
    sampling: the law of a draw, for both models; broadcasts to `[B, K]`.

  Returns:
    An `AttsOutput`; responses have room for `2 R T` tokens.

  Raises:
    ValueError: if the vocabularies differ, or for an unknown `on_reject`.
  """
  if on_reject not in get_args(OnReject):
    raise ValueError(f'{on_reject=} is not one of {get_args(OnReject)}')
  if target.vocab_size != draft.vocab_size:
    raise ValueError(
      f'the target has {target.vocab_size} tokens, the draft '
      f'{draft.vocab_size}; they must share a vocabulary'
    )
  both = jax.vmap(jax.random.split)(keys)
  run = _Run(
    draft=_Writer(draft, params[1], both[:, 1]),
    target=_Writer(target, params[0], both[:, 0]),
    stop=stop,
    sampling=sampling,
    turn_tokens=turn_tokens,
    tau=tau,
    limit=num_chains * num_turns if max_takeovers is None else max_takeovers,
    on_reject=on_reject,
    online=online,
  )
  capacity = 2 * num_turns * turn_tokens
  chains = _begin(run, prompt, calibration, num_chains, capacity)
  turn = functools.partial(_turn, run)
  chains, turns = jax.lax.scan(turn, chains, jnp.arange(num_turns))
  return AttsOutput(chains.generation, turns, chains.calibration)


class _Writer(NamedTuple):
  """One of the two models."""

  model: LanguageModel
  params: Params
  keys: Key[Array, ' B']


class _Run(NamedTuple):
  """What is the same in all turns; see `atts`."""

  draft: _Writer
  target: _Writer
  stop: StopRules
  sampling: SamplingParams
  turn_tokens: int
  tau: ArrayLike
  limit: ArrayLike  # of takeovers
  on_reject: OnReject
  online: Online


def _begin(
  run: _Run,
  prompt: Prompt,
  calibration: Calibration,
  num_chains: int,
  capacity: int,
) -> _Chains:
  """Chains of which nothing is written."""
  B = prompt.tokens.shape[0]
  draft, target = (
    prefill(writer.model, writer.params, prompt, num_chains, capacity)
    for writer in (run.draft, run.target)
  )
  of_each = lambda x: jnp.broadcast_to(x, (B, *x.shape[-2:]))
  return _Chains(
    draft,
    target,
    empty(B, num_chains, capacity),
    jax.tree.map(of_each, calibration),
    jnp.zeros((B,), jnp.int32),
  )


def _turn(
  run: _Run, chains: _Chains, index: Int[Array, '']
) -> tuple[_Chains, Turns]:
  """The draft writes, the target reads it, and takes over what it rejects."""
  active = chains.generation.finish_reasons != FinishReason.STOP
  drafted, draft_state = _write(run, run.draft, chains.draft, active)

  # Compiled, the two verbs are one pass of the model.
  model, params, _ = run.target
  new = drafted.tokens, drafted.lengths
  log_probs = score(model, params, chains.target, *new)
  target_state = extend(model, params, chains.target, *new)
  scores = turn_perplexity(log_probs, drafted.lengths)
  tested = active & (drafted.finish_reasons != FinishReason.STOP)
  rejected, calibration = _test(run, chains.calibration, index, scores, tested)

  # As far as the budget goes.
  rank = chains.num_takeovers[:, None] + jnp.cumsum(rejected, axis=1)
  taken = rejected & (rank <= run.limit)
  generation = join(chains.generation, drafted._replace(log_probs=log_probs))
  kept = generation.lengths
  if run.on_reject == 'replace':
    kept = jnp.where(taken, chains.generation.lengths, kept)
    draft_state = truncate(draft_state, kept)
    target_state = truncate(target_state, kept)
  written, target_state = _write(run, run.target, target_state, taken)
  draft_state = extend(
    *run.draft[:2], draft_state, written.tokens, written.lengths
  )
  chains = _Chains(
    draft_state,
    target_state,
    join(generation, written, kept),
    calibration,
    chains.num_takeovers + jnp.sum(taken, axis=1, dtype=jnp.int32),
  )
  told = Turns(scores, tested, taken, drafted.lengths, written.lengths)
  return chains, told


def _write(
  run: _Run, writer: _Writer, state: DecodeState, active: Bool[Array, 'B K']
) -> tuple[Generation, DecodeState]:
  """Up to `T` tokens behind the active chains."""
  out = sample(
    *writer,
    state,
    run.stop,
    sampling=run.sampling,
    max_new_tokens=run.turn_tokens,
    active=active,
  )
  cut = lambda x: x[..., : run.turn_tokens] if x.ndim == 3 else x
  return jax.tree.map(cut, out.generation), out.state


def _test(
  run: _Run,
  calibration: Calibration,
  index: Int[Array, ''],
  scores: Float[Array, 'B K'],
  tested: Bool[Array, 'B K'],
) -> tuple[Bool[Array, 'B K'], Calibration]:
  """Which chains are rejected in a turn, and the calibration after it."""
  place = jnp.minimum(index, calibration.scores.shape[1] - 1)
  here = jax.tree.map(lambda x: x[:, place], calibration)
  rank_test = jax.vmap(conformal.rank_test, in_axes=(0, 0, None))
  rejected = tested & rank_test(here, scores, run.tau)
  if run.online == 'none':
    return rejected, calibration
  keep = tested if run.online == 'all' else tested & ~rejected
  after = jax.vmap(conformal.append_scores)(here, scores, keep)
  put = lambda x, new: x.at[:, place].set(new)
  return rejected, jax.tree.map(put, calibration, after)


def turn_perplexity(
  log_probs: Float[Array, '*A T'], num_tokens: Int[Array, '*A']
) -> Float[Array, '*A']:
  """`exp(-mean log p)` over the tokens of one turn; 1 if it has none.

  Args:
    log_probs: under the model that judges, 0 beyond `num_tokens`.
    num_tokens: of the turn.

  Returns:
    Perplexity, at least 1; higher is worse.
  """
  return jnp.exp(-jnp.sum(log_probs, axis=-1) / jnp.maximum(num_tokens, 1))


METHOD = Method(
  name='atts',
  title='ATTS',
  file='search/atts.py',
  paper='2509.15148',
  cost='N T_draft + N T_target',
  what='hybrid',
  how=('verification',),
)
