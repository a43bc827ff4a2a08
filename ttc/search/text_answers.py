"""Answers of texts, read on the host while a search runs on the device.

A text task says what a response answers and which answers are one (1/2 and
0.5). Here answers of an item are numbered by that equivalence as they are read,
as `evaluation.cluster_scores` does for records, so a vote inside of a search
counts them together. They are compared with each other, never with the gold
answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import (
  Any,
  NamedTuple,
  Protocol,
  SupportsInt,
  runtime_checkable,
)

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ttc.sampling.stop_texts import TextCodec, response_text
from ttc.types import AnswerFn, FinishReason, ScoreFn


@runtime_checkable
class TextTask(Protocol):
  """What a setting asks of a task, such as `tasks.TextTask`."""

  @property
  def items(self) -> Sequence[Any]:
    """The questions."""
    ...

  @property
  def prompt(self) -> Callable[..., str]:
    """`item -> text`: how it is asked."""
    ...

  @property
  def is_chat(self) -> bool:
    """Whether that is a user's turn, and not a text to go on with."""
    ...

  @property
  def system(self) -> str:
    """The chat's system message; empty for the model's own."""
    ...

  @property
  def prefill(self) -> str:
    """How every reply begins."""
    ...

  @property
  def tools(self) -> Sequence[Mapping[str, Any]]:
    """JSON schemas of functions that a chat may call."""
    ...

  @property
  def stop(self) -> Sequence[str]:
    """Texts that end a response."""
    ...

  @property
  def max_new_tokens(self) -> int:
    """Room for a response."""
    ...

  @property
  def grade(self) -> Callable[..., Any]:
    """`(item, text) -> (score, extracted, detail)`."""
    ...

  @property
  def same(self) -> Callable[..., bool]:
    """`(text, text) -> whether` two extracted answers are one."""
    ...


class Answer(NamedTuple):
  """An answer to an item: that of the first response that gave it."""

  text: str | None  # None if only the grader knows why it is right
  score: float


class TextAnswers:
  """Reads what responses answer to the items of a task, and numbers it.

  The number of an answer depends on what was read before, so it means nothing
  beyond this object; whether two numbers are equal does not, wherever the
  task's equivalence is one.
  """

  def __init__(self, tokenizer: TextCodec, task: TextTask):
    """For responses of the model of this tokenizer.

    Args:
      tokenizer: turns tokens into text.
      task: its items, their grader and the equivalence of answers.
    """
    self._tokenizer, self._task = tokenizer, task
    self.forget()

  def forget(self) -> None:
    """Begins anew, so that nothing depends on what was read before."""
    num_items = len(self._task.items)
    self._answers: list[list[Answer]] = [[] for _ in range(num_items)]
    self._of_text: list[dict[str, int]] = [{} for _ in range(num_items)]

  def __getitem__(self, place: tuple[SupportsInt, SupportsInt]) -> Answer:
    """The answer to an item that has a number; (None, 0) for -1."""
    item, number = int(place[0]), int(place[1])
    return self._answers[item][number] if number >= 0 else Answer(None, 0.0)

  def read(self, item: int, text: str) -> int:
    """The number of what a whole response to an item answers; -1 for nothing.

    Args:
      item: its place among the items of the task.
      text: of the response.

    Returns:
      0, 1, ... by first reading.
    """
    known = self._of_text[item]
    if text not in known:
      known[text] = self._number(item, text)
    return known[text]

  def text_of(self, tokens: Iterable[SupportsInt], reason: SupportsInt) -> str:
    """The text of a response, without the stop text that ended it."""
    return response_text(self._tokenizer, tokens, reason, self._task.stop)

  def answer_fn(self, index: Int[Array, ' B']) -> AnswerFn:
    """Reads the responses to the items of a batch; may be mapped and compiled.

    Args:
      index: the item of each prompt.

    Returns:
      The number of each answer, -1 for responses that did not end.
    """
    return lambda prompt, responses: self._call(index, responses)

  def exact_fn(self, index: Int[Array, ' B']) -> ScoreFn:
    """The task's grader as a verifier: an upper bound for all others.

    Args:
      index: the item of each prompt.

    Returns:
      1 for a right answer, else 0; so also where a response did not end.
    """

    def is_right(items, numbers):
      pairs = zip(items.ravel(), numbers.reshape(items.size, -1), strict=True)
      scores = [[self[i, n].score >= 1 for n in row] for i, row in pairs]
      return np.array(scores, np.float32).reshape(numbers.shape)

    def score_fn(prompt, responses):
      numbers = self._call(index, responses)
      shape = jax.ShapeDtypeStruct(numbers.shape, jnp.float32)
      return jax.pure_callback(
        lambda *args: is_right(*map(np.asarray, args)),
        shape,
        index,
        numbers,
        vmap_method='broadcast_all',
      )

    return score_fn

  def _call(self, index, responses) -> Int[Array, 'B N']:
    shape = jax.ShapeDtypeStruct(responses.lengths.shape, jnp.int32)
    return jax.pure_callback(
      lambda *args: self._read_all(*map(np.asarray, args)),
      shape,
      index,
      responses.tokens,
      responses.lengths,
      responses.finish_reasons,
      vmap_method='broadcast_all',
    )

  def _read_all(self, index, tokens, lengths, reasons) -> np.ndarray:
    """Numbers of all responses; mapped axes are in front of `B`."""
    numbers = np.full(lengths.shape, -1, np.int32)
    for place in zip(*np.nonzero(reasons == FinishReason.STOP), strict=True):
      written = tokens[place][: lengths[place]]
      text = self.text_of(written, FinishReason.STOP)
      numbers[place] = self.read(int(index[place[:-1]]), text)
    return numbers

  def _number(self, item: int, text: str) -> int:
    score, extracted, _ = self._task.grade(self._task.items[item], text)
    answers = self._answers[item]
    if extracted is None and score < 1:
      return -1
    if extracted is not None:
      for number, answer in enumerate(answers):
        if answer.text is not None and self._task.same(answer.text, extracted):
          return number
    answers.append(Answer(extracted, float(score)))
    return len(answers) - 1
