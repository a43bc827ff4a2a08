r"""Search over steps: draw a step of every beam, score, keep some, fork them.

The loop that beam search, DVTS and lookahead search have in common. `N` beams
are split into equal subtrees that never exchange anything. In each round the
best of the unfinished beams of a subtree are kept, one in `M`, and the freed
places are forked from them; then every unfinished beam draws one step.

A beam that has ended is a leaf: it keeps its place, is never copied and never
competes with unfinished ones, so no vote counts a copy. Costs `N T` generated
tokens for responses of `T` tokens, discarded ones included, and one call of the
verifier per step and beam; prompts and kept steps are never read again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import empty, join
from ttc.sampling.state import DecodeState, fork, prefill
from ttc.sampling.stopping import (
  StopRules,
  has_ended,
  read_tokens,
  stop_rules,
)
from ttc.search.base import observe, select_each
from ttc.search.weighted_best_of_n import weighted_best_of_n
from ttc.types import (
  AnswerFn,
  FinishReason,
  Generation,
  Leaves,
  Params,
  Prompt,
  ScoreFn,
  SelectFn,
  Selection,
)
from ttc.verifiers.aggregate import aggregate_steps

Aggregate = Literal['last', 'min', 'mean', 'prod', 'max']


class StepSampler(NamedTuple):
  """What draws steps; static but for `stop` and `sampling`.

  Attributes:
    model: the policy.
    stop: what ends a step: the delimiters, and the tokens that end a response.
    eos_ids: those of the latter; a response that ends in one is finished.
    capacity: most tokens in a response.
    max_steps: most steps in a response.
    max_step_tokens: where a step without delimiter is cut; None for nowhere.
    sampling: the law of a draw.
    end: what ends a response, where texts do; None for `eos_ids`.
  """

  model: LanguageModel
  stop: StopRules
  eos_ids: Sequence[int]
  capacity: int
  max_steps: int
  max_step_tokens: int | None = None
  sampling: SamplingParams = SamplingParams()
  end: StopRules | None = None


class Beams(NamedTuple):
  """`N` responses to each of `B` prompts, between two steps."""

  state: DecodeState
  responses: Generation  # so far; `RUNNING` if not ended
  streams: Int[Array, 'B N']  # of random numbers, none used by two beams


class StepSearchOutput(NamedTuple):
  """What a search over steps returns for `B` prompts and `N` beams."""

  leaves: Generation  # finished, or cut by a limit
  step_scores: Float[Array, 'B N S']
  is_step: Bool[Array, 'B N S']  # which of them exist
  tokens: Int[Array, ' B']  # generated in total, discarded ones included
  depth: Int[Array, ' B']  # generated one after another
  verifier_calls: Int[Array, ' B']
  nan_scores: Int[Array, ' B']  # calls that said NaN: such a step is kept last
  nodes: Int[Array, 'B N S'] | None = None  # the steps, as `Leaves` has them
  ends: Int[Array, 'B N S'] | None = None  # tokens of a response up to each

  def as_leaves(self) -> Leaves | None:
    """The leaves with the steps that they are made of; None if unknown."""
    if self.nodes is None or self.ends is None:
      return None
    last = jnp.sum(self.is_step, axis=-1, keepdims=True) - 1
    before = jnp.take_along_axis(self.nodes, jnp.maximum(last - 1, 0), axis=-1)
    return Leaves(
      tokens=self.leaves.tokens,
      lengths=self.leaves.lengths,
      log_probs=jnp.sum(self.leaves.log_probs, axis=-1),
      finish_reasons=self.leaves.finish_reasons,
      parents=jnp.where(last > 0, before, -1)[..., 0],
      nodes=jnp.where(self.is_step, self.nodes, -1),
      scores=jnp.where(self.is_step, self.step_scores, 0.0),
      ends=jnp.where(self.is_step, self.ends, 0),
    )


# `beams -> (score of the last step [B, N], tokens drawn to find it [B, N])`.
ValueFn = Callable[[Beams], tuple[Float[Array, 'B N'], Int[Array, 'B N']]]


def step_search(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  steps: StepSampler,
  value_fn: ValueFn,
  num_beams: int,
  width: int,
  num_subtrees: int = 1,
  *,
  aggregate: Aggregate = 'last',
) -> StepSearchOutput:
  """Searches for responses whose steps the verifier likes.

  Args:
    params: parameters of the policy.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    steps: what draws steps.
    value_fn: scores the last step of every beam.
    num_beams: `N`; static.
    width: `M`, continuations of a kept beam; static.
    num_subtrees: how many subtrees search on their own; static.
    aggregate: makes of the scores of its steps the one a beam is kept for.

  Returns:
    The leaves, the scores of their steps and what they cost.

  Raises:
    ValueError: if the beams do not divide into subtrees, or these by the width.
  """
  if num_beams % (num_subtrees * width):
    raise ValueError(
      f'num_beams={num_beams} is not a multiple of width={width} times '
      f'num_subtrees={num_subtrees}'
    )
  B, N, S = prompt.tokens.shape[0], num_beams, steps.max_steps
  search = _Search(
    beams=plant(params, prompt, steps, N),
    step_scores=jnp.zeros((B, N, S), jnp.float32),
    is_step=jnp.zeros((B, N, S), bool),
    nodes=jnp.zeros((B, N, S), jnp.int32),
    ends=jnp.zeros((B, N, S), jnp.int32),
    tokens=jnp.zeros((B,), jnp.int32),
    depth=jnp.zeros((B,), jnp.int32),
    verifier_calls=jnp.zeros((B,), jnp.int32),
    nan_scores=jnp.zeros((B,), jnp.int32),
    round=jnp.int32(0),
  )

  def body(search):
    values = aggregate_steps(search.step_scores, search.is_step, aggregate)
    kept = jnp.where(search.round == 0, 1, width)  # at first all of them
    search = _expand(steps.model, search, values, kept, num_subtrees)
    beams, drawn = take_step(params, keys, steps, search.beams)
    scores, looked = value_fn(beams)
    put = lambda x, new: x.at[:, :, search.round].set(new)
    count = lambda asked: jnp.sum(asked, axis=1, dtype=jnp.int32)
    places = search.round * N + jnp.arange(N, dtype=jnp.int32)
    return _Search(
      beams=beams,
      step_scores=put(search.step_scores, jnp.where(drawn > 0, scores, 0.0)),
      is_step=put(search.is_step, drawn > 0),
      nodes=put(search.nodes, places),
      ends=put(search.ends, beams.responses.lengths),
      tokens=search.tokens + count(drawn + looked),
      depth=search.depth + jnp.max(drawn + looked, axis=1),
      verifier_calls=search.verifier_calls + count(drawn > 0),
      nan_scores=search.nan_scores + count((drawn > 0) & jnp.isnan(scores)),
      round=search.round + 1,
    )

  unfinished = lambda s: (s.round < S) & jnp.any(_is_running(s.beams))
  search = jax.lax.while_loop(unfinished, body, search)
  leaves = search.beams.responses
  reasons = jnp.where(
    _is_running(search.beams), FinishReason.LENGTH, leaves.finish_reasons
  )
  leaves = leaves._replace(finish_reasons=reasons)
  return StepSearchOutput(leaves, *search[1:-1])


def score_responses(score_fn: ScoreFn, prompt: Prompt) -> ValueFn:
  """The value of a step by what has been written, without drawing more."""

  def value_fn(beams):
    scores = score_fn(prompt, beams.responses)
    return scores, jnp.zeros(scores.shape, jnp.int32)

  return value_fn


def select_leaf(
  output: StepSearchOutput,
  prompt: Prompt,
  answer_fn: AnswerFn,
  vote: SelectFn = weighted_best_of_n,
  aggregate: Aggregate = 'last',
) -> Selection:
  """The answer that the leaves of a search vote for; fields `[B]`.

  Args:
    output: of the search.
    prompt: the prompts.
    answer_fn: the id of the answer of each leaf; unfinished leaves have none.
    vote: one of `VOTE_RULES`.
    aggregate: makes of the scores of its steps the score of a leaf.

  Returns:
    The selection, with the cost of the whole search.
  """
  scores = aggregate_steps(output.step_scores, output.is_step, aggregate)
  samples = observe(prompt, output.leaves, answer_fn, lambda *_: scores)
  answers = jnp.where(samples.finished, samples.answers, -1)
  chosen = select_each(vote, samples._replace(answers=answers))
  return chosen._replace(
    tokens=output.tokens,
    depth=output.depth,
    verifier_calls=output.verifier_calls,
    nan_scores=output.nan_scores,
    leaves=output.as_leaves(),
  )


def default_width(num_beams: int) -> int:
  """The greatest divisor of `N` up to its square root (2408.03314)."""
  divisors = range(1, math.isqrt(num_beams) + 1)
  return max(d for d in divisors if num_beams % d == 0)


def plant(
  params: Params, prompt: Prompt, steps: StepSampler, num_beams: int
) -> Beams:
  """`N` empty beams for each prompt, which is run once."""
  B, N = prompt.tokens.shape[0], num_beams
  return Beams(
    prefill(steps.model, params, prompt, N, steps.capacity),
    empty(B, N, steps.capacity),
    jnp.broadcast_to(jnp.arange(N, dtype=jnp.int32), (B, N)),
  )


def take_step(
  params: Params, keys: Key[Array, ' B'], steps: StepSampler, beams: Beams
) -> tuple[Beams, Int[Array, 'B N']]:
  """Draws one step of every unfinished beam; also returns its tokens."""
  old = beams.responses
  output = sample(
    steps.model,
    params,
    keys,
    beams.state,
    steps.stop,
    sampling=steps.sampling,
    max_new_tokens=steps.max_step_tokens,
    active=_is_running(beams),
    sample_ids=beams.streams,
    stop_states=read_tokens(steps.stop, old.tokens, old.lengths),
  )
  new = output.generation
  responses = join(old, new)
  lengths = responses.lengths
  end = steps.end or stop_rules(steps.model.vocab_size, steps.eos_ids)
  is_end = has_ended(end, responses.tokens, lengths)
  reasons = jnp.where(
    lengths >= steps.capacity, FinishReason.LENGTH, FinishReason.RUNNING
  )
  reasons = jnp.where(is_end, FinishReason.STOP, reasons)
  invalid = new.finish_reasons == FinishReason.INVALID
  reasons = jnp.where(invalid, FinishReason.INVALID, reasons)
  responses = responses._replace(
    finish_reasons=jnp.where(_is_running(beams), reasons, old.finish_reasons)
  )
  return Beams(output.state, responses, beams.streams), new.lengths


def expand(
  values: Float[Array, ' N'],
  running: Bool[Array, ' N'],
  width: Int[Array, ''] | int,
) -> tuple[Int[Array, ' N'], Bool[Array, ' N']]:
  """Which beam each place of one subtree continues.

  Of `A` unfinished beams the best `ceil(A / M)` are kept, the first on ties,
  and share the `A` places evenly, so this is right for any number of them.

  Args:
    values: of the beams, higher is better.
    running: which are unfinished.
    width: `M`; 1 keeps every beam in its place.

  Returns:
    The parent of each place, and whether it is its parent's first child. A
    finished beam is its own parent and only child.
  """
  num_running = jnp.sum(running)
  num_kept = -(-num_running // width)
  values = jnp.where(jnp.isnan(values), -jnp.inf, values)
  rank = jnp.argsort(jnp.lexsort((-values, ~running)))
  kept = jnp.argsort(~(running & (rank < num_kept)), stable=True)
  place = jnp.cumsum(running) - 1  # among the unfinished
  parent = lambda place: place * num_kept // jnp.maximum(num_running, 1)
  is_first = parent(place) != parent(place - 1)
  itself = jnp.arange(values.size)
  parents = jnp.where(running, kept[parent(place)], itself)
  return parents, is_first | ~running


class _Search(NamedTuple):
  """What a round changes."""

  beams: Beams
  step_scores: Float[Array, 'B N S']
  is_step: Bool[Array, 'B N S']
  tokens: Int[Array, ' B']
  depth: Int[Array, ' B']
  verifier_calls: Int[Array, ' B']
  nan_scores: Int[Array, ' B']
  nodes: Int[Array, 'B N S']
  ends: Int[Array, 'B N S']
  round: Int[Array, '']


def _expand(
  model: LanguageModel, search: _Search, values, width, num_subtrees: int
) -> _Search:
  """Forks the kept beams into the places of the others.

  A first child goes on with the random numbers of its parent; the other
  children take up streams that no beam has used.
  """
  B, N = values.shape
  beams = search.beams
  by_subtree = lambda x: x.reshape(B, num_subtrees, -1)
  parents, is_first = jax.vmap(jax.vmap(lambda v, r: expand(v, r, width)))(
    by_subtree(values), by_subtree(_is_running(beams))
  )
  offset = jnp.arange(num_subtrees)[:, None] * (N // num_subtrees)
  parents = (parents + offset).reshape(B, N)
  take = jax.vmap(lambda leaf, index: leaf[index])
  inherit = lambda tree: jax.tree.map(lambda leaf: take(leaf, parents), tree)
  fresh = search.round * N + jnp.arange(N, dtype=jnp.int32)
  return search._replace(
    beams=Beams(
      fork(model, beams.state, parents),
      inherit(beams.responses),
      jnp.where(is_first.reshape(B, N), inherit(beams.streams), fresh),
    ),
    step_scores=inherit(search.step_scores),
    is_step=inherit(search.is_step),
    nodes=inherit(search.nodes),
    ends=inherit(search.ends),
  )


def _is_running(beams: Beams) -> Bool[Array, 'B N']:
  return beams.responses.finish_reasons == FinishReason.RUNNING
