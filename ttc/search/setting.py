"""What every method can be run on: a policy, a verifier, a reader of answers.

Methods that choose among samples need nothing but `Samples`; those that steer
decoding need the model. A `Setting` holds what any of them may ask for, so that
all can be run side by side, at equal cost, on problems that are given once.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from ttc.models.base import LanguageModel
from ttc.models.sharding import on_auto_axes
from ttc.sampling.controllers import Controller
from ttc.sampling.generate import generate
from ttc.sampling.logits import SamplingParams
from ttc.sampling.stopping import StopRules, stop_rules
from ttc.search.base import Method, as_leaves, observe, select_each
from ttc.search.question_graph import Atoms
from ttc.search.self_consistency import majority_vote
from ttc.search.step_search import (
  StepSampler,
  StepSearchOutput,
  default_width,
  select_leaf,
)
from ttc.types import (
  AnswerFn,
  FinishReason,
  Generation,
  Params,
  Prompt,
  SampleFn,
  ScoreFn,
  Selection,
)
from ttc.verifiers.generative import Question


class Thinking(NamedTuple):
  """How a response thinks; token sequences, static.

  Attributes:
    end_id: the token by which the model proposes to end its thinking.
    end: what is written when it does so, `[end_id]` if nothing is added.
    wait: what is written in its place to go on.
    answer_tokens: room for what follows `end`, the end of the response
      included.
  """

  end_id: int
  end: Sequence[int]
  wait: Sequence[int]
  answer_tokens: int = 0


class TextEnds(NamedTuple):
  """What ends responses and steps where texts do; see `stop_at_texts`."""

  response: StopRules
  step: StopRules  # what ends a response included


class Setting(NamedTuple):
  """A policy, `B` problems' verifier and reader, and how responses are built.

  Attributes:
    model: the policy.
    params: its parameters.
    answer_fn: the id of the answer of each response, -1 for none.
    score_fn: what the verifier says of whole responses, and of the last step
      of unfinished ones; higher is better, and not negative.
    eos_ids: tokens that end a response.
    capacity: most tokens in a response.
    max_steps: most steps in a response.
    delimiter_ids: tokens that end a step, besides `eos_ids`.
    max_step_tokens: where a step without delimiter is cut; None for nowhere.
    sampling: the law of a draw.
    thinking: for methods that prolong or cut thinking; None if responses have
      no such part.
    revise: what is written behind a response to have the policy revise it; None
      if it was not trained to.
    question: what the policy is asked about a response, to have it verified;
      None if it was not trained to.
    atoms: how prompts are taken apart into smaller ones; None if they are not.
    text_ends: what ends responses and steps, in place of `eos_ids` and
      `delimiter_ids`; None where these say it.
  """

  model: LanguageModel
  params: Params
  answer_fn: AnswerFn
  score_fn: ScoreFn
  eos_ids: Sequence[int]
  capacity: int
  max_steps: int
  delimiter_ids: Sequence[int] = ()
  max_step_tokens: int | None = None
  sampling: SamplingParams = SamplingParams()
  thinking: Thinking | None = None
  revise: Sequence[int] | None = None
  question: Question | None = None
  atoms: Atoms | None = None
  text_ends: TextEnds | None = None

  def serves(self, method: Method) -> bool:
    """Whether a method finds what it cannot do without."""
    return method.needs is None or getattr(self, method.needs) is not None

  @property
  def finished_answer_fn(self) -> AnswerFn:
    """`answer_fn`, and -1 for a response that did not end by itself."""

    def answers(prompt: Prompt, responses: Generation) -> Int[Array, 'B N']:
      finished = responses.finish_reasons == FinishReason.STOP
      return jnp.where(finished, self.answer_fn(prompt, responses), -1)

    return answers

  @property
  def stop(self) -> StopRules:
    """What ends a response."""
    if self.text_ends is not None:
      return self.text_ends.response
    return stop_rules(self.model.vocab_size, self.eos_ids)

  @property
  def steps(self) -> StepSampler:
    """What draws the steps of a response."""
    ends = sorted({*self.eos_ids, *self.delimiter_ids})
    texts = self.text_ends
    return StepSampler(
      model=self.model,
      stop=stop_rules(self.model.vocab_size, ends)
      if texts is None
      else texts.step,
      eos_ids=self.eos_ids,
      capacity=self.capacity,
      max_steps=self.max_steps,
      max_step_tokens=self.max_step_tokens,
      sampling=self.sampling,
      end=None if texts is None else texts.response,
    )

  @property
  def sample_fn(self) -> SampleFn:
    """Draws whole responses."""
    return functools.partial(
      generate,
      model=self.model,
      capacity=self.capacity,
      stop=self.stop,
      sampling=self.sampling,
    )


@on_auto_axes
def solve(
  method: Method,
  setting: Setting,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
  *,
  with_leaves: bool = False,
) -> Selection:
  """Answers `B` problems by any method, for about `N T` generated tokens.

  Responses that did not end by themselves give no answer.

  Args:
    method: one of `ttc.search.METHODS`.
    setting: what it runs on.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_samples: `N`, the budget in whole responses; static.
    with_leaves: also return what was written on the way; static.

  Returns:
    Answers with their cost; fields `[B]`.

  Example:
    >>> model = models.table_model(4)
    >>> setting = search.Setting(
    ...   model, jnp.zeros((4, 4)), lambda prompt, drawn: drawn.tokens[..., 1],
    ...   lambda prompt, drawn: drawn.tokens.max(-1).astype(jnp.float32),
    ...   eos_ids=[0], capacity=2, max_steps=2, max_step_tokens=1)
    >>> methods = {method.name: method for method in search.METHODS}
    >>> prompt = Prompt(jnp.array([[1]]), jnp.array([1]))
    >>> solve = jax.jit(lambda keys: search.solve(
    ...   methods['best_of_n'], setting, keys, prompt, num_samples=16))
    >>> solve(jax.random.key(0)[None]).verifier_calls.tolist()
    [16]
  """
  chosen = _solve(method, setting, keys, prompt, num_samples)
  return chosen if with_leaves else chosen._replace(leaves=None)


def _solve(
  method: Method,
  setting: Setting,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_samples: int,
) -> Selection:
  """The answers and the leaves."""
  if method.decode is not None:
    return method.decode(setting, keys, prompt, num_samples)
  if method.select is None:
    raise ValueError(f'{method.name} has neither select nor decode')
  generation = setting.sample_fn(setting.params, keys, prompt, num_samples)
  samples = observe(
    prompt, generation, setting.finished_answer_fn, setting.score_fn
  )
  chosen = select_each(method.select, samples)
  calls = num_samples if 'verification' in method.how else 0
  return chosen._replace(
    verifier_calls=jnp.full_like(chosen.tokens, calls),
    leaves=as_leaves(generation, samples.scores),
  )


def vote_of_leaves(
  search_fn: Callable[..., StepSearchOutput],
) -> Callable[..., Selection]:
  """The `decode` of a search over steps: as wide as usual, its leaves vote.

  Args:
    search_fn: `(params, keys, prompt, steps, score_fn, N, width)`.

  Returns:
    A function as `Method.decode` asks for.
  """

  def decode(
    setting: Setting, keys: Key[Array, ' B'], prompt: Prompt, num_samples: int
  ) -> Selection:
    output = search_fn(
      setting.params,
      keys,
      prompt,
      setting.steps,
      setting.score_fn,
      num_samples,
      default_width(num_samples),
    )
    return select_leaf(output, prompt, setting.finished_answer_fn)

  return decode


def think(
  setting: Setting,
  keys: Key[Array, ' B'],
  prompt: Prompt,
  num_thoughts: int,
  controller_fn: Callable[[Thinking, int, int], Controller],
) -> Selection:
  """Spends `N` responses on the thinking of few, which then vote.

  A response holds as many thoughts as the model has room for, `k` of `N`, each
  of up to `capacity` tokens; `N / k` such responses are drawn. With one thought
  in each these are plain samples.

  Args:
    setting: what the method runs on.
    keys: `[B]`, one per problem; consumed.
    prompt: the prompts.
    num_thoughts: `N`, the budget in whole responses; static.
    controller_fn: `(thinking, k, budget) -> Controller` that has a response
      think `k` times; `budget` is all its room for thinking, in tokens.

  Returns:
    Answers with their cost; fields `[B]`.

  Raises:
    ValueError: if the setting has no thinking.
  """
  thinking = setting.thinking
  if thinking is None:
    raise ValueError('setting.thinking is None; this method needs a Thinking')
  room = setting.model.max_length - prompt.tokens.shape[1]
  in_each = max(1, min(num_thoughts, room // setting.capacity))
  capacity = in_each * setting.capacity
  budget = capacity - len(thinking.end) - thinking.answer_tokens
  generation = setting.sample_fn(
    setting.params,
    keys,
    prompt,
    num_thoughts // in_each,
    capacity=capacity,
    controller=controller_fn(thinking, in_each, budget)
    if in_each > 1
    else None,
  )
  samples = observe(prompt, generation, setting.finished_answer_fn)
  chosen = select_each(majority_vote, samples)
  unread = jnp.zeros_like(samples.scores)
  return chosen._replace(leaves=as_leaves(generation, unread))
