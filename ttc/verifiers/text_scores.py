"""Scores of texts, and of a policy's responses in another vocabulary.

Verifier and policy may have different tokenizers: between them goes text. What
turns the policy's tokens into the verifier's runs on the host, as Python over
NumPy alone; the verifier itself is part of the program that asks, so a search
may call it inside of a compiled loop. A problem's prompt, and with it all that
its responses have in common, is read once for all of them.

Costs a forward pass over each response and one over each prompt.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ttc.sampling.logits import SamplingParams
from ttc.sampling.responses import empty
from ttc.sampling.stop_texts import TextCodec, response_text
from ttc.types import FinishReason, Generation, Prompt, ScoreFn
from ttc.verifiers.aggregate import aggregate_steps
from ttc.verifiers.generative import Question, verdict_score
from ttc.verifiers.kinds import Aggregate
from ttc.verifiers.public import Verifier, one_token, step_scores_of
from ttc.verifiers.written import Reading, Written, arrange

# The tokens of a prompt -> the problem as the verifier is to see it.
QuestionFn = Callable[[Sequence[int]], str]


def step_scores_of_texts(
  verifier: Verifier,
  problems: Sequence[str],
  responses: Sequence[Sequence[str]],
) -> list[list[np.ndarray]]:
  """The score of every step of every response.

  Args:
    verifier: from `load_verifier`.
    problems: as the verifier is to see them.
    responses: to each of them.

  Returns:
    For each problem and response, an array over its steps.

  Raises:
    ValueError: if a response does not fit into the verifier's context.
  """
  found = []
  for problem, texts in zip(problems, responses, strict=True):
    written = _write(verifier, problem, texts)
    scores = np.asarray(step_scores_of(verifier, _arranged(written)))[0]
    found.append([scores[n, : len(w.reads)] for n, w in enumerate(written)])
  return found


def _write(
  verifier: Verifier, problem: str, texts: Sequence[str]
) -> list[Written]:
  """Responses as the verifier reads them; refused where it has no room."""
  written = [verifier.write(problem, text) for text in texts]
  for w in written:
    if len(w.tokens) > verifier.model.max_length:
      raise ValueError(
        f'a response with its problem has {len(w.tokens)} tokens; the context '
        f'of {verifier.name} has {verifier.model.max_length}'
      )
  if not written:
    raise ValueError('a problem has no response to be scored')
  return written


def _arranged(written: list[Written]) -> Reading:
  """Of one problem; filled up with copies, so that few shapes are compiled."""
  filled = written + [written[0]] * (-len(written) % 8)
  return jax.tree.map(jnp.asarray, arrange([filled]))


def score_texts(
  verifier: Verifier,
  problems: Sequence[str],
  responses: Sequence[Sequence[str]],
  aggregate: Aggregate | None = None,
) -> list[np.ndarray]:
  """One score for every response.

  Args:
    verifier: from `load_verifier`.
    problems: as the verifier is to see them.
    responses: to each of them.
    aggregate: from steps to one score; the authors' way if None.

  Returns:
    For each problem an array over its responses. Rewards of a `raw` kind are
    the unbounded ones that were trained.
  """
  how = aggregate or verifier.kind.aggregate
  one = lambda x: float(
    aggregate_steps(jnp.asarray(x), jnp.full(x.shape, True), how)
  )
  return [
    np.array([one(x) for x in row])
    for row in step_scores_of_texts(verifier, problems, responses)
  ]


def verdicts_of_texts(
  verifier: Verifier,
  keys: Key[Array, ' B'],
  problems: Sequence[str],
  responses: Sequence[Sequence[str]],
  num_verdicts: int,
  max_new_tokens: int,
  *,
  sampling: SamplingParams = SamplingParams(),  # noqa: B008
) -> list[Float[np.ndarray, ' N']]:
  """The mean of sampled verdicts, each after a chain of thought.

  Args:
    verifier: of a kind with `words`, which end a verification.
    keys: `[B]`, one per problem; consumed.
    problems: as the verifier is to see them.
    responses: to each of them.
    num_verdicts: of each response.
    max_new_tokens: limit of a verification.
    sampling: temperature and filters.

  Returns:
    For each problem an array over its responses, in [0, 1].

  Raises:
    ValueError: if the kind has no words.
  """
  if not verifier.kind.words:
    raise ValueError(f'{verifier.name} has no words for a verdict')
  tokenizer = verifier.write.tokenizer
  good, bad = (
    one_token(tokenizer, w, verifier.name) for w in verifier.kind.words
  )
  question = Question((), good, bad, tuple(tokenizer.eos_ids))
  run = jax.jit(
    lambda params, key, reading: verdict_score(
      verifier.model,
      params,
      question,
      key[None],
      num_verdicts,
      max_new_tokens,
      reading.prompt,
      empty(*reading.tokens.shape)._replace(
        tokens=reading.tokens, lengths=reading.lengths
      ),
      sampling=sampling,
    )[0]
  )
  found = []
  for key, problem, texts in zip(keys, problems, responses, strict=True):
    written = _write(verifier, problem, texts)
    scores = run(verifier.params['model'], key, _arranged(written))
    found.append(np.asarray(scores)[: len(texts)])
  return found


def questions(
  prompts: Sequence[Sequence[int]], problems: Sequence[str]
) -> QuestionFn:
  """Which problem a prompt asks, from a table of all that will be asked.

  Raises:
    ValueError: when it is called with another prompt.
  """
  table: Mapping[tuple[int, ...], str] = {
    tuple(map(int, prompt)): problem
    for prompt, problem in zip(prompts, problems, strict=True)
  }

  def question_of(prompt: Sequence[int]) -> str:
    found = table.get(tuple(map(int, prompt)))
    if found is None:
      raise ValueError(
        f'a prompt of {len(prompt)} tokens is none of the {len(table)} whose '
        'problems the verifier knows'
      )
    return found

  return question_of


def room_for(
  verifier: Verifier, problems: Sequence[str], max_tokens: int, max_steps: int
) -> tuple[int, int, int]:
  """The `room` of `text_score_fn` for responses of a known length.

  Args:
    verifier: from `load_verifier`.
    problems: all that will be asked.
    max_tokens: of a response, in the verifier's vocabulary and without what is
      put around its steps.
    max_steps: of a response.

  Returns:
    Most tokens of a prompt, most tokens behind it, most steps.
  """
  blank = [verifier.write(problem, '') for problem in problems]
  one, two = (
    len(verifier.write('', verifier.kind.split.join(['a'] * n)).tokens)
    for n in (1, 2)
  )
  around = max(len(w.tokens) - w.start for w in blank)
  return (
    max(w.start for w in blank),
    around + max_tokens + max_steps * (two - one),
    max_steps,
  )


def text_score_fn(
  verifier: Verifier,
  tokenizer: TextCodec,
  question_of: QuestionFn,
  *,
  room: tuple[int, int, int],
  stop: Sequence[str] = (),
  aggregate: Aggregate | None = None,
) -> ScoreFn:
  """A verifier as a `ScoreFn` in the policy's vocabulary.

  Whole responses get one score for all their steps, others that of their last
  step so far; a response without a token scores 0. Scores are in [0, 1]: raw
  rewards pass a sigmoid, which keeps their order.

  Args:
    verifier: from `load_verifier`.
    tokenizer: of the policy.
    question_of: which problem a prompt asks, see `questions`.
    room: most tokens of a prompt that responses share, most tokens of a
      response behind it, and most steps, all of the verifier; static, see
      `room_for`. A shared prompt that is longer is read again for each
      response; for the others there must be room.
    stop: texts that end a response and are no part of it.
    aggregate: from steps to one score; the authors' way if None.

  Returns:
    The function; may be compiled, and called inside of compiled loops.
  """
  how = aggregate or verifier.kind.aggregate

  def score_fn(prompt: Prompt, responses: Generation) -> Float[Array, 'B N']:
    B, N = responses.lengths.shape
    retell = functools.partial(
      _retell, verifier, tokenizer, question_of, room, tuple(stop)
    )
    reading = jax.pure_callback(
      retell,
      _shapes(B, N, room),
      prompt.tokens,
      prompt.lengths,
      responses.tokens,
      responses.lengths,
      responses.finish_reasons,
      vmap_method='sequential',
    )
    steps = step_scores_of(verifier, reading)
    steps = steps.astype(jnp.float32)
    if verifier.kind.link == 'raw':
      steps = jax.nn.sigmoid(steps)
    whole = responses.finish_reasons == FinishReason.STOP
    scores = jnp.where(
      whole,
      aggregate_steps(steps, reading.is_step, how),
      aggregate_steps(steps, reading.is_step, 'last'),
    )
    return jnp.where(responses.lengths > 0, scores, 0.0)

  return score_fn


def _retell(
  verifier: Verifier,
  tokenizer: TextCodec,
  question_of: QuestionFn,
  room: tuple[int, int, int],
  stop: Sequence[str],
  prompts,
  prompt_lengths,
  tokens,
  lengths,
  reasons,
) -> Reading:
  """The policy's tokens as the verifier's; on the host, without jax."""
  prompts, prompt_lengths, tokens, lengths, reasons = map(
    np.asarray, (prompts, prompt_lengths, tokens, lengths, reasons)
  )
  split = verifier.kind.split
  written = []
  for b, length in enumerate(prompt_lengths):
    problem = question_of(prompts[b, :length].tolist())
    row = []
    for n, size in enumerate(lengths[b]):
      reason = reasons[b, n]
      text = response_text(tokenizer, tokens[b, n, :size], reason, stop)
      if split and reason != FinishReason.STOP:
        text = text.removesuffix(split)  # its step has ended, no other begun
      row.append(verifier.write(problem, text))
    written.append(row)
  return arrange(written, room)


def _shapes(B: int, N: int, room: tuple[int, int, int]) -> Reading:
  """What `_retell` returns."""
  Tp, T, S = room
  of = lambda *shape: jnp.zeros((B, *shape), jnp.int32)
  return jax.eval_shape(
    lambda: Reading(
      Prompt(of(Tp), of()),
      tokens=of(N, T),
      lengths=of(N),
      starts=of(N),
      reads=of(N, S),
      is_step=of(N, S).astype(bool),
    )
  )
