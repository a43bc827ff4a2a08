"""Sequential revisions: attempts that see the attempts before them.

Snell et al., "Scaling LLM test-time compute optimally", 2408.03314. `N`
attempts are split into chains: those of a chain are written one after another,
each with up to 4 most recent ones in its context, and chains are independent. A
revision may turn a right answer wrong, so the choice is among all attempts of a
chain, then among chains. Costs `N T` generated tokens, `D T` in sequence for
chains of `D`, and `N` calls of the verifier. Needs a policy that was trained to
revise; good where its first attempts are nearly right.

Nothing is read twice while a chain fits the context: a revision goes on from
the row that holds the earlier attempts. In longer chains the row is cut to its
start and reads the recent attempts again, 4 T tokens for each revision; prompts
are never read again.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import empty, first_tokens
from ttc.sampling.state import DecodeState, extend, prefill, truncate
from ttc.sampling.stopping import StopRules
from ttc.search.base import (
  Method,
  as_leaves,
  drawn,
  observe,
  select_each,
  tally,
  winner,
)
from ttc.search.setting import Setting
from ttc.search.step_search import default_width
from ttc.types import Generation, Params, Prompt, Samples, SelectFn, Selection

# `(prompt, attempts [B, N]) -> (tokens [B, N, F], num_tokens [B, N])`: what is
# written behind each attempt to have it revised.
FeedbackFn = Callable[
  [Prompt, Generation], tuple[Int[Array, 'B N F'], Int[Array, 'B N']]
]

# `(prompt, attempts [B, N]) -> [B, N]`: good enough to end their chains.
IsDoneFn = Callable[[Prompt, Generation], Bool[Array, 'B N']]

_NUM_CONTEXT = 4  # earlier attempts that a revision sees (2408.03314)


def revisions(
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_chains: int,
  depth: int,
  feedback_fn: FeedbackFn,
  *,
  model: LanguageModel,
  capacity: int,
  stop: StopRules,
  num_context: int = _NUM_CONTEXT,
  is_done_fn: IsDoneFn | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> Generation:
  """Draws chains of attempts.

  Args:
    params: parameters of the policy.
    keys: `[B]`, one per problem; consumed. The first attempts are the samples
      that `ttc.sampling.generate` draws with these keys.
    prompt: the prompts.
    num_chains: independent chains; static.
    depth: `D`, attempts of a chain; static.
    feedback_fn: what is written behind an attempt, its stop token included,
      before the next one; for a fixed text see `fixed_feedback`.
    model: static.
    capacity: most tokens of an attempt; static.
    stop: what ends an attempt.
    num_context: how many earlier attempts are seen, the most recent ones;
      static.
    is_done_fn: which attempts end their chain; None for none. What would follow
      them is not written: it is empty and cancelled.
    sampling: the law of a draw.

  Returns:
    `num_chains * depth` attempts, chain after chain. What is written between
    them is not generated, and not in it.

  Raises:
    ValueError: if the model has no room for the context.
  """
  B, C, W, T = prompt.tokens.shape[0], num_chains, num_context, capacity
  nothing = empty(B, C, T)
  feedback, _ = jax.eval_shape(feedback_fn, prompt, nothing)
  F = feedback.shape[-1]
  room = _room(model, prompt, min(depth - 1, W) * (T + F) + T)

  draw = functools.partial(
    sample, model, params, keys, stop=stop, sampling=sampling
  )

  def turn(carry, t):
    state, last, window, counts, done = carry
    tokens, num_tokens = feedback_fn(prompt, last)
    num_tokens = jnp.where((t > 0) & ~done, num_tokens, 0)
    segment = _join(last.tokens, last.lengths, tokens)
    window = _newest(window, segment)
    counts = _newest(counts, last.lengths + num_tokens)
    state = jax.lax.cond(
      t <= W,
      lambda: extend(model, params, state, tokens, num_tokens),
      lambda: _reread(model, params, state, window, counts),
    )
    ids = jnp.broadcast_to(t * C + jnp.arange(C), (B, C))
    output = draw(state, active=~done, sample_ids=ids, max_new_tokens=T)
    attempt = first_tokens(output.generation, T)
    if is_done_fn is not None:
      done |= is_done_fn(prompt, attempt)
    return (output.state, attempt, window, counts, done), attempt

  state = prefill(model, params, prompt, C, room)
  window = jnp.zeros((W, B, C, T + F), jnp.int32)
  counts, done = jnp.zeros((W, B, C), jnp.int32), jnp.zeros((B, C), bool)
  carry = (state, nothing, window, counts, done)
  _, attempts = jax.lax.scan(turn, carry, jnp.arange(depth))
  by_chain = lambda x: jnp.moveaxis(x, 0, 2).reshape(B, C * depth, *x.shape[3:])
  return jax.tree.map(by_chain, attempts)


def _newest(window: Int[Array, 'W *A'], new: Int[Array, '*A']):
  """The window with the oldest entry out and a new one in."""
  return jnp.concatenate([window[1:], new[None]])


def _room(model: LanguageModel, prompt: Prompt, room: int) -> int:
  """The tokens behind the prompt, if the model has room for them."""
  if prompt.tokens.shape[1] + room > model.max_length:
    raise ValueError(
      f'a prompt of {prompt.tokens.shape[1]} tokens and {room} for attempts '
      f'exceed the context of the model, max_length={model.max_length}'
    )
  return room


def fixed_feedback(tokens: Sequence[int]) -> FeedbackFn:
  """The same text behind every attempt."""

  def feedback_fn(prompt, attempts):
    del prompt
    shape = attempts.lengths.shape
    written = jnp.broadcast_to(
      jnp.asarray(tokens, jnp.int32), (*shape, len(tokens))
    )
    return written, jnp.full(shape, len(tokens))

  return feedback_fn


def chain_vote(
  depth: int, *, weighted: bool = True, last_only: bool = False
) -> SelectFn:
  """Chooses among the attempts of chains, which follow one another.

  Args:
    depth: `D`; the samples are a multiple of it.
    weighted: each chain gives the answer with the greatest total score in it,
      and this total to a second vote among chains, the two best-of-N weighted
      of 2408.03314; scores must not be negative. Otherwise the majority of all.
    last_only: look at the last attempt of each chain only; a control.

  Returns:
    A method. Its depth in tokens is that of the longest chain.
  """

  def select(samples: Samples, n: Int[Array, '']) -> Selection:
    by_chain = lambda x: x.reshape(-1, depth)
    counted = drawn(samples, n)
    is_last = jnp.arange(samples.answers.size) % depth == depth - 1
    mask = counted & is_last if last_only else counted
    if weighted:
      totals = jax.vmap(tally)(
        by_chain(samples.answers), by_chain(samples.scores), by_chain(mask)
      )
      answers = jax.vmap(winner)(by_chain(samples.answers), totals)
      weights = jnp.max(totals, axis=1)
      across = tally(answers, weights, answers >= 0)
    else:
      answers = samples.answers
      across = tally(answers, jnp.ones(answers.shape), mask)
    lengths = by_chain(jnp.where(counted, samples.lengths, 0))
    return Selection(
      answer=winner(answers, across),
      tokens=jnp.sum(lengths),
      depth=jnp.max(jnp.sum(lengths, axis=1)),
      nan_scores=jnp.sum(counted & jnp.isnan(samples.scores)),
    )

  return select


def decode_chains(
  setting: Setting,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_chains: int,
  depth: int,
  select: SelectFn,
  is_done_fn: IsDoneFn | None = None,
) -> Selection:
  """Draws chains in a setting and chooses among their finished attempts.

  What is written between attempts counts as tokens, as all forced ones do. A
  revision sees as many earlier attempts as the model has room for, up to 4.

  Args:
    setting: what the method runs on.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_chains: independent chains; static.
    depth: `D`; static.
    select: the choice.
    is_done_fn: see `revisions`.

  Returns:
    Answers with their cost; fields `[B]`. Every attempt that was written counts
    as a call of the verifier.

  Raises:
    ValueError: if the policy does not revise.
  """
  if setting.revise is None:
    raise ValueError('setting.revise is None; this method needs its tokens')
  room = setting.model.max_length - prompt.tokens.shape[1]
  attempts_that_fit = room // (setting.capacity + len(setting.revise))
  attempts = revisions(
    setting.params,
    keys,
    prompt,
    num_chains,
    depth,
    fixed_feedback(setting.revise),
    model=setting.model,
    capacity=setting.capacity,
    stop=setting.stop,
    num_context=min(max(attempts_that_fit - 1, 1), _NUM_CONTEXT),
    is_done_fn=is_done_fn,
    sampling=setting.sampling,
  )
  samples = observe(
    prompt, attempts, setting.finished_answer_fn, setting.score_fn
  )
  written = attempts.lengths > 0
  is_revision = written & (jnp.arange(num_chains * depth) % depth > 0)
  samples = samples._replace(
    lengths=samples.lengths + is_revision * len(setting.revise),
  )
  chosen = select_each(select, samples)
  place = jnp.arange(num_chains * depth)
  parents = jnp.where(place % depth > 0, place - 1, -1)
  return chosen._replace(
    verifier_calls=jnp.sum(written, axis=1),
    leaves=as_leaves(attempts, samples.scores, parents),
  )


def _join(
  tokens: Int[Array, 'B N T'],
  lengths: Int[Array, 'B N'],
  more: Int[Array, 'B N F'],
) -> Int[Array, 'B N S']:
  """`more` behind the first `lengths` of `tokens`; `S = T + F`."""
  T, F = tokens.shape[-1], more.shape[-1]
  position = jnp.arange(T + F)
  behind = jnp.clip(position - lengths[..., None], 0, F - 1)
  padded = jnp.pad(tokens, ((0, 0), (0, 0), (0, F)))
  following = jnp.take_along_axis(more, behind, axis=-1)
  return jnp.where(position < lengths[..., None], padded, following)


def _reread(
  model: LanguageModel, params: Params, state: DecodeState, window, counts
) -> DecodeState:
  """Rows that hold the attempts of the window and nothing else."""
  empty = truncate(state, jnp.zeros_like(state.lengths))
  read = lambda state, xs: (extend(model, params, state, *xs), None)
  return jax.lax.scan(read, empty, (window, counts))[0]


def _decode(
  setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
) -> Selection:
  """Chains about as deep as there are chains."""
  depth = default_width(num_samples)
  return decode_chains(
    setting,
    keys,
    prompt,
    num_samples // depth,
    depth,
    chain_vote(depth),
  )


METHOD = Method(
  name='revisions',
  title='revisions',
  file='search/revisions.py',
  paper='2408.03314',
  cost='N T',
  what='hybrid',
  how=('stimulation', 'verification', 'aggregation'),
  decode=_decode,
  needs='revise',
)
