"""Tasks that live on the host: questions, prompts and graders as text."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

GRADER_ERROR = 'grader_error'  # the `detail` of a grade that could not be made


class Item(NamedTuple):
  """One question; the only record form of all text tasks."""

  id: str  # names the item for good: samples are keyed by it
  question: str
  answer: str  # the gold answer, as the grader wants it
  meta: dict[str, Any]


class Grade(NamedTuple):
  """What a grader says about one completion."""

  score: float  # 0 or 1
  extracted: str | None  # the answer found in the completion, if any
  detail: str  # how it was found, or why not; `GRADER_ERROR` if it broke


def same_text(first: str, second: str) -> bool:
  """Whether two extracted answers are the same text."""
  return first.strip() == second.strip()


class TextTask(NamedTuple):
  """Items with everything needed to ask a language model and to grade it."""

  name: str
  items: list[Item]
  prompt: Callable[[Item], str]
  stop: tuple[str, ...]  # texts that end a completion
  max_new_tokens: int
  grade: Callable[[Item, str], Grade]
  is_chat: bool = False  # the prompt is a user's turn, not a text to go on with
  # Whether two extracted answers are one; never sees the gold answer.
  same: Callable[[str, str], bool] = same_text
  system: str = ''  # the chat's system message; empty for the model's own
  prefill: str = ''  # how every reply begins; no part of the completion
  front: str = ''  # what all its prompts begin with: read once, if it is long
  tools: tuple[Mapping[str, Any], ...] = ()  # JSON schemas of functions

  def asked(
    self, system: str, prefill: str, tools: Sequence[Mapping[str, Any]] = ()
  ) -> 'TextTask':
    """The task with another system message, beginning of replies, and tools.

    Raises:
      ValueError: if there is one, and the task is no chat.
    """
    given = {'system': system, 'prefill': prefill, 'tools': tuple(tools)}
    for name, value in given.items():
      if value and not self.is_chat:
        raise ValueError(
          f'{name}={value!r} is for chats, and {self.name} is a text to go on '
          'with'
        )
    return self._replace(**given)


def cut(completion: str, stop: Sequence[str]) -> str:
  """Returns the completion up to the first of the stop texts."""
  ends = [completion.find(text) for text in stop]
  return completion[: min((e for e in ends if e >= 0), default=None)]


def choose(items: list[Item], num_items: int | None, seed: int) -> list[Item]:
  """Returns the first `num_items` of a shuffle that the seed determines.

  So a larger choice of the same seed contains the smaller. None returns all,
  in their own order.
  """
  if num_items is None:
    return items
  if not 1 <= num_items <= len(items):
    raise ValueError(f'{num_items=} is not in [1, {len(items)}].')
  order = list(range(len(items)))
  random.Random(f'choose/{seed}').shuffle(order)
  return [items[i] for i in order[:num_items]]
