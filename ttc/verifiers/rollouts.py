r"""Monte-Carlo values of steps: how often the policy goes on to a right answer.

Wang et al., "Math-Shepherd", 2312.08935; Snell et al., 2408.03314, with 16
rollouts. For a prefix `s` of a response to `x`,

.. math:: \hat V(x, s) = \frac1K \sum_{k \le K} r(x, s \, y_k),
   \quad y_k \sim \pi(\cdot | x, s),

which has mean `V` and standard error :math:`\sqrt{V (1 - V) / K}` for rewards
of 0 and 1. No human labels. Costs at most `K` responses per step, and one pass
over each response: prompts and prefixes are forked, never read again.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import empty
from ttc.sampling.state import DecodeState, extend, fork, prefill
from ttc.sampling.stopping import StopRules, advance
from ttc.types import Params, Prompt, ScoreFn


def rollout_values(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  state: DecodeState,
  reward_fn: ScoreFn,
  stop: StopRules,
  num_rollouts: int,
  *,
  running: Bool[Array, 'B R'] | None = None,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> Float[Array, 'B R']:
  """The mean reward of `K` continuations of each row of a state.

  Args:
    model: the policy; static.
    params: its parameters.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    state: `R` prefixes of responses to each; not changed.
    reward_fn: `(prompt, whole responses) -> [B, R K]`.
    stop: what ends a response.
    num_rollouts: `K`; static.
    running: rows to continue; the others are rewarded as they are. All if None.
    sampling: temperature and filters; the value is that of this policy.

  Returns:
    The values.
  """
  B, R, capacity = state.tokens.shape
  each = lambda x: jnp.repeat(x, num_rollouts, axis=1)
  rows = each(jnp.broadcast_to(jnp.arange(R), (B, R)))
  running = jnp.ones((B, R), bool) if running is None else running
  prefixes = fork(model, state, rows)
  output = sample(
    model,
    params,
    keys,
    prefixes,
    stop,
    sampling=sampling,
    active=each(running),
  )
  whole, lengths = output.state.tokens, output.state.lengths
  written = jnp.arange(capacity) < lengths[..., None]
  responses = empty(
    B, R * num_rollouts, capacity, output.generation.finish_reasons
  )._replace(tokens=jnp.where(written, whole, 0), lengths=lengths)
  rewards = reward_fn(prompt, responses).reshape(B, R, num_rollouts)
  return jnp.mean(rewards, axis=-1)


def step_values(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  tokens: Int[Array, 'B N T'],
  lengths: Int[Array, 'B N'],
  ends: Bool[Array, 'B N T'],
  reward_fn: ScoreFn,
  stop: StopRules,
  num_rollouts: int,
  *,
  capacity: int,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> Float[Array, 'B N T']:
  """The value of each step of given responses, at its last token; else 0.

  Every position has a row of the batch, but only those of `ends` are continued.

  Args:
    model: the policy; static.
    params: its parameters.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    tokens: of the responses.
    lengths: of the responses.
    ends: the last tokens of steps.
    reward_fn: `(prompt, whole responses) -> [B, N T K]`.
    stop: what ends a response; behind a stop nothing is drawn.
    num_rollouts: `K`; static.
    capacity: most tokens in a response, `T` or more; static.
    sampling: temperature and filters.

  Returns:
    The soft targets of `process_loss`.
  """
  B, N, T = tokens.shape
  state = prefill(model, params, prompt, N, capacity)
  state = extend(model, params, state, tokens, lengths)
  to_rows = lambda x: jnp.broadcast_to(x, (B, N, T)).reshape(B, N * T)
  prefixes = fork(
    model,
    state,
    to_rows(jnp.arange(N)[:, None]),
    to_rows(jnp.arange(T) + 1),
  )
  has_ended = _has_ended(stop, tokens)
  values = rollout_values(
    model,
    params,
    keys,
    prompt,
    prefixes,
    reward_fn,
    stop,
    num_rollouts,
    running=to_rows(ends & ~has_ended),
    sampling=sampling,
  )
  return jnp.where(ends, values.reshape(B, N, T), 0.0)


def _has_ended(
  stop: StopRules, tokens: Int[Array, 'B N T']
) -> Bool[Array, 'B N T']:
  """Whether a response that has been read so far has come to a stop."""

  def step(state, xs):
    state, stopped = advance(stop, state, *xs)
    return state, stopped

  positions = jnp.broadcast_to(jnp.arange(tokens.shape[-1]), tokens.shape)
  xs = jnp.moveaxis(tokens, -1, 0), jnp.moveaxis(positions, -1, 0)
  first = jnp.zeros(tokens.shape[:-1], jnp.int32)
  _, stopped = jax.lax.scan(step, first, xs)
  return jnp.moveaxis(stopped, 0, -1)
