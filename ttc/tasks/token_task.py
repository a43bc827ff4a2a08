"""Tasks that live on the device: problems, traces and verifiers as tokens.

A task is a `NamedTuple` of pure functions on ONE problem; `jax.vmap` gives the
batch. Problems are generated from a key, so data sets are never stored, and
every verifier is exact, so pass@k and process rewards have no label noise.

Shapes: `Tp` prompt tokens, `Td` tokens of the reference response (the trace),
`T` tokens of any response, `B` problems, `N` responses to each of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from ttc import types

# Every token task begins its vocabulary with these three words.
PAD_ID, EOS_ID, EQUALS_ID = 0, 1, 2
FIRST_ID = 3  # the first token that means something else
SPECIAL_WORDS = ('<pad>', '<eos>', '=')


class Problem(NamedTuple):
  """One problem; batched by `jax.vmap(task.generate)`."""

  prompt: Int[Array, ' Tp']  # padded on the right
  prompt_length: Int[Array, '']
  trace: Int[Array, ' Td']  # a reference response with its EOS, padded
  trace_length: Int[Array, '']
  answer: Int[Array, '']  # the id of the right answer
  data: Any  # a pytree: what the verifier needs besides


class TokenTask(NamedTuple):
  """A task as pure functions; see `permutation_word_problem` for an example.

  A response is `(tokens [T], length)`; it must contain EOS before `length`, or
  it was truncated and has no answer. Tokens behind the first EOS are ignored.

  Attributes:
    name: what to call it in a report.
    words: the vocabulary as text, `words[token]`; no blanks inside a word.
    prompt_length: the most tokens of a prompt, `Tp`.
    response_length: the tokens of the longest trace including EOS, `Td`.
    generate: `key -> Problem`, the key is consumed.
    answer: `(problem, response, length) -> id` of the answer that the response
      gives, right or wrong; -1 if it gives none. Ids are what majorities count.
    process_rewards: `(problem, response, length) -> [T]`, 1 at each token that
      belongs to a step which is right given the TRUE state before it, else 0.
      What stands behind the first EOS or `length` gets 0.
    consistency_rewards: likewise, given the state that the response itself has
      WRITTEN before the step: a checker of steps which does not know the truth.
  """

  name: str
  words: tuple[str, ...]
  prompt_length: int
  response_length: int
  generate: Callable[[PRNGKeyArray], Problem]
  answer: Callable[[Problem, Array, Array], Array]
  process_rewards: Callable[[Problem, Array, Array], Array]
  consistency_rewards: Callable[[Problem, Array, Array], Array]
  pad_id: int = PAD_ID
  eos_id: int = EOS_ID

  @property
  def vocab_size(self) -> int:
    """The number of tokens, `V`."""
    return len(self.words)

  def reward(
    self,
    problem: Problem,
    response: Int[Array, ' T'],
    length: Int[Array, ''],
  ) -> Float[Array, '']:
    """Returns exactly 1.0 if the response gives the right answer, else 0.0."""
    answer = self.answer(problem, response, length)
    return (answer == problem.answer).astype(jnp.float32)

  def to_text(
    self, tokens: Sequence[int] | Int[Array | np.ndarray, ' T']
  ) -> str:
    """Returns the words of the tokens, joined by blanks (on the host)."""
    return ' '.join(self.words[int(token)] for token in tokens)

  def from_text(self, text: str) -> list[int]:
    """Inverts `to_text`; raises ValueError at a word not in `words`."""
    return [self.words.index(word) for word in text.split()]


def to_prompt(problems: Problem) -> types.Prompt:
  """Returns the prompts of `B` problems as samplers take them."""
  return types.Prompt(problems.prompt, problems.prompt_length)


def answer_fn(task: TokenTask, problems: Problem) -> types.AnswerFn:
  """Returns the `AnswerFn` for `N` responses to each of `B` problems."""

  def answers(prompt: types.Prompt, samples: types.Generation) -> Array:
    del prompt  # the problems know it
    return _over_samples(task.answer)(problems, samples.tokens, samples.lengths)

  return answers


def score_fn(task: TokenTask, problems: Problem) -> types.ScoreFn:
  """Returns the exact outcome verifier as a `ScoreFn`, 0 or 1."""

  def scores(prompt: types.Prompt, samples: types.Generation) -> Array:
    del prompt
    return _over_samples(task.reward)(problems, samples.tokens, samples.lengths)

  return scores


def process_rewards(
  task: TokenTask, problems: Problem, samples: types.Generation
) -> Float[Array, 'B N T']:
  """Returns the exact reward of each token of `N` responses to each problem."""
  rewards = _over_samples(task.process_rewards)
  return rewards(problems, samples.tokens, samples.lengths)


def step_score_fn(task: TokenTask, problems: Problem) -> types.ScoreFn:
  """Returns the exact verifier of the last step as a `ScoreFn`, 0 or 1.

  For tasks whose steps are tokens: the last one must be right, and EOS in its
  place behind one that is. 0 for an empty response.
  """

  def scores(prompt: types.Prompt, samples: types.Generation) -> Array:
    del prompt
    rewards = process_rewards(task, problems, samples)
    at = lambda x, index: jnp.take_along_axis(
      x, jnp.maximum(index, 0)[..., None], axis=-1
    )[..., 0]
    last = samples.lengths - 1
    has_ended = at(samples.tokens, last) == task.eos_id
    before = jnp.where(has_ended, at(rewards, last - 1), 1.0)
    return jnp.where(last >= 0, at(rewards, last) * before, 0.0)

  return scores


class TrainingSequence(NamedTuple):
  """A prompt followed at once by its trace, for next-token prediction."""

  tokens: Int[Array, ' T']  # T = Tp + Td, padded on the right
  length: Int[Array, '']
  is_trace: Bool[Array, ' T']  # True on the tokens to be learned


def training_sequence(problem: Problem) -> TrainingSequence:
  """Joins the prompt and the trace of one problem."""
  position = jnp.arange(problem.prompt.size + problem.trace.size)
  behind = position - problem.prompt_length
  is_trace = (behind >= 0) & (behind < problem.trace_length)
  tokens = jnp.where(
    is_trace,
    problem.trace[jnp.clip(behind, 0, problem.trace.size - 1)],
    problem.prompt[jnp.clip(position, 0, problem.prompt.size - 1)],
  )
  length = problem.prompt_length + problem.trace_length
  tokens = jnp.where(position < length, tokens, PAD_ID)
  return TrainingSequence(tokens, length, is_trace)


def end_of(
  response: Int[Array, ' T'], length: Int[Array, '']
) -> Int[Array, '']:
  """Returns the position of the first EOS before `length`, -1 if none."""
  is_eos = (response == EOS_ID) & (jnp.arange(response.size) < length)
  return jnp.where(jnp.any(is_eos), jnp.argmax(is_eos), -1)


def last_value(
  response: Int[Array, ' T'], length: Int[Array, ''], num_values: int
) -> Int[Array, '']:
  """Returns the value that stands before the first EOS, -1 if none does."""
  end = end_of(response, length)
  value = response[end - 1] - FIRST_ID
  is_value = (end > 0) & (value >= 0) & (value < num_values)
  return jnp.where(is_value, value, -1)


def is_written(
  response: Int[Array, ' T'], length: Int[Array, '']
) -> Bool[Array, ' T']:
  """Returns which tokens belong to the response: up to its EOS or `length`."""
  end = end_of(response, length)
  return jnp.arange(response.size) < jnp.where(end < 0, length, end + 1)


def close(
  tokens: Int[Array, ' T'], length: Int[Array, ''], last_id: int
) -> Int[Array, ' T+1']:
  """Returns `tokens[:length]`, then `last_id`, then padding."""
  position = jnp.arange(tokens.size + 1)
  tokens = jnp.append(tokens, PAD_ID)
  tokens = jnp.where(position < length, tokens, PAD_ID)
  return jnp.where(position == length, last_id, tokens)


def fit(x: Shaped[Array, ' T'], size: int, fill: int) -> Shaped[Array, ' S']:
  """Cuts to, or fills up to, `size` elements."""
  x = x[:size]
  return jnp.pad(x, (0, size - x.size), constant_values=fill)


def _over_samples(fn):
  return jax.vmap(jax.vmap(fn, in_axes=(None, 0, 0)))
