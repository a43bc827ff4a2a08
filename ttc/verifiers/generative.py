r"""Generative verification: ask a language model whether a response is right.

Zhang et al., "Generative verifiers", 2408.15240; Singhi et al., "When to solve,
when to verify", 2504.01005. A question is appended to a response, and the score
is the probability of a yes,

.. math:: r(x, y) = \frac{p(\text{yes} | x, y, q)}
    {p(\text{yes} | x, y, q) + p(\text{no} | x, y, q)},

or the mean of `V` verdicts, each sampled at the end of a chain of thought of
its own. `S` solutions with `V` verifications each cost `S (1 + lambda V)`
solutions, where a verification is `lambda` times as long: compare at equal
cost, not at equal `S`. A response is read once, whatever `V`; where the policy
is its own verifier, its decode state can be asked and nothing is read again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ttc.models.base import LanguageModel
from ttc.sampling.decode import sample
from ttc.sampling.logits import SamplingParams
from ttc.sampling.state import DecodeState, extend, fork, prefill, score
from ttc.sampling.stopping import stop_rules
from ttc.types import Generation, Params, Prompt

_MAX_VERDICTS = 2**16  # of one response; names its streams of random numbers


class Question(NamedTuple):
  """How a verifier is asked, and the words of its verdict; static.

  Attributes:
    tokens: what is appended to a response, "Is this right?".
    yes_id: the token that says so.
    no_id: the token that denies it.
    eos_ids: tokens that end a verification without a verdict.
  """

  tokens: Sequence[int]
  yes_id: int
  no_id: int
  eos_ids: Sequence[int] = ()


def read_responses(
  model: LanguageModel,
  params: Params,
  prompt: Prompt,
  responses: Generation,
  extra: int,
) -> DecodeState:
  """A state in which the verifier has read each response to its end.

  Args:
    model: static.
    params: its parameters.
    prompt: as the verifier is to see the problem; each is run once.
    responses: to be verified.
    extra: room for the question and a verification, in tokens; static.

  Returns:
    A state with a row for each response.
  """
  N, T = responses.tokens.shape[1:]
  state = prefill(model, params, prompt, N, T + extra)
  return extend(model, params, state, responses.tokens, responses.lengths)


def ask(
  model: LanguageModel, params: Params, state: DecodeState, question: Question
) -> DecodeState:
  """Appends the question to every row; costs its tokens per row."""
  B, R, _ = state.tokens.shape
  tokens = jnp.asarray(question.tokens, jnp.int32)
  count = jnp.full((B, R), tokens.size)
  tokens = jnp.broadcast_to(tokens, (B, R, tokens.size))
  return extend(model, params, state, tokens, count)


def yes_probability(
  model: LanguageModel, params: Params, state: DecodeState, question: Question
) -> Float[Array, 'B R']:
  """Probability of a yes against a no as the next token of each row.

  The softmax over the two logits. An interface that gives the likeliest tokens
  only may lack one of the two, and is then helped with `1 - p(no)`; with both
  logits there is no such case.

  Args:
    model: static.
    params: its parameters.
    state: rows end where the verdict is due, with room for it.
    question: whose verdict it is.

  Returns:
    Probabilities.
  """
  B, R, _ = state.tokens.shape
  one = jnp.ones((B, R), jnp.int32)
  log_prob = lambda token: score(
    model, params, state, token * one[..., None], one
  )[..., 0]
  return jax.nn.sigmoid(log_prob(question.yes_id) - log_prob(question.no_id))


def sample_verdicts(
  model: LanguageModel,
  params: Params,
  keys: Key[Array, ' B'],
  state: DecodeState,
  question: Question,
  num_verdicts: int,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
  max_new_tokens: Int[Array, ''] | int | None = None,
) -> tuple[Float[Array, 'B R V'], Int[Array, 'B R V']]:
  """Draws `V` verifications of each row, each up to its verdict.

  Args:
    model: static.
    params: its parameters.
    keys: `[B]`, one per problem, others than those of the responses; consumed.
      Verdict `v` of a row is the same whatever their numbers.
    state: rows that have been asked.
    question: a verification ends with the first yes or no that is drawn.
    num_verdicts: `V`; static.
    sampling: temperature and filters.
    max_new_tokens: limit of a verification; the room in the state if None.

  Returns:
    1 for a yes, 0 for a no, NaN where none was reached; and the tokens drawn.
  """
  B, R, _ = state.tokens.shape
  rows, verdicts = jnp.arange(R)[:, None], jnp.arange(num_verdicts)
  to_rows = lambda x: jnp.broadcast_to(x, (B, R, num_verdicts)).reshape(B, -1)
  ends = (question.yes_id, question.no_id, *question.eos_ids)
  drawn = sample(
    model,
    params,
    keys,
    fork(model, state, to_rows(rows)),
    stop_rules(model.vocab_size, ends),
    sampling=sampling,
    max_new_tokens=max_new_tokens,
    sample_ids=to_rows(rows * _MAX_VERDICTS + verdicts),
  ).generation
  last = jnp.maximum(drawn.lengths - 1, 0)[..., None]
  last = jnp.take_along_axis(drawn.tokens, last, axis=-1)[..., 0]
  says = lambda token: (last == token) & (drawn.lengths > 0)
  yes, no = says(question.yes_id), says(question.no_id)
  verdict = jnp.where(yes, 1.0, jnp.where(no, 0.0, jnp.nan))
  by_row = lambda x: x.reshape(B, R, num_verdicts)
  return by_row(verdict), by_row(drawn.lengths)


def mean_verdicts(verdicts: Float[Array, '*B V']) -> Float[Array, '*B']:
  """The score of a response: the mean of its verdicts, NaN for a missing one.

  Args:
    verdicts: 0 or 1, or the probability of a yes.

  Returns:
    Scores in [0, 1]; 0 where no verdict is available.
  """
  given = ~jnp.isnan(verdicts)
  total = jnp.sum(jnp.where(given, verdicts, 0.0), axis=-1)
  return total / jnp.maximum(jnp.sum(given, axis=-1), 1)


def yes_score(
  model: LanguageModel,
  params: Params,
  question: Question,
  prompt: Prompt,
  responses: Generation,
) -> Float[Array, 'B N']:
  """The probability of a yes at once after the question, without thinking.

  With the first three arguments given by `functools.partial` it is a `ScoreFn`.
  Costs one pass over each response and no generated token.
  """
  room = len(question.tokens) + 1
  state = read_responses(model, params, prompt, responses, room)
  state = ask(model, params, state, question)
  yes = yes_probability(model, params, state, question)
  return jnp.where(responses.lengths > 0, yes, 0.0)


def verdict_score(
  model: LanguageModel,
  params: Params,
  question: Question,
  keys: Key[Array, ' B'],
  num_verdicts: int,
  max_new_tokens: int,
  prompt: Prompt,
  responses: Generation,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> Float[Array, 'B N']:
  """The mean of `V` sampled verdicts, after a chain of thought each.

  With all but the last two arguments given by `functools.partial` it is a
  `ScoreFn`; a response without any verdict scores 0.

  Args:
    model: static.
    params: its parameters.
    question: static.
    keys: `[B]`, one per problem; consumed.
    num_verdicts: `V`; static.
    max_new_tokens: limit of a verification, verdict included; static.
    prompt: the prompts.
    responses: to be verified.
    sampling: temperature and filters.

  Returns:
    Scores in [0, 1].
  """
  room = len(question.tokens) + max_new_tokens
  state = read_responses(model, params, prompt, responses, room)
  verdicts, _ = sample_verdicts(
    model,
    params,
    keys,
    ask(model, params, state, question),
    question,
    num_verdicts,
    sampling=sampling,
    max_new_tokens=max_new_tokens,
  )
  return jnp.where(responses.lengths > 0, mean_verdicts(verdicts), 0.0)
