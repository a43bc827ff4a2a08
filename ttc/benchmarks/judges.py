"""Judges: functions from prompts to replies, whose replies are kept.

A grader asks `judge(prompts, num_votes)` and gets `num_votes` replies to each.
It knows nothing of who answers: a model of ours, another engine, or a file of
recorded judgements. Each call is one line of a file of judgements, keyed by the
hash of (prompt, judge, seed, vote), and such a file is itself a judge.

Graders run in other processes, where no model is. There the judge is `known`:
what has not been asked yet is raised as `Unanswered`, answered by the driver
all at once, and the grader runs again.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from ttc.tasks.graders import reply


@runtime_checkable
class JudgeFn(Protocol):
  """`num_votes` replies to each prompt."""

  def __call__(
    self, prompts: Sequence[str], num_votes: int = 1
  ) -> list[list[str]]: ...


class Question(NamedTuple):
  """One call of a judge."""

  prompt: str
  vote: int = 0


# Replies in the order of the questions.
AnswerFn: TypeAlias = Callable[[Sequence[Question]], list[str]]


class Unanswered(Exception):
  """Questions that `known` has no reply to."""

  def __init__(self, questions: Sequence[Question]):
    super().__init__(list(questions))
    self.questions = list(questions)


def no_judge(prompts: Sequence[str], num_votes: int = 1) -> list[list[str]]:
  """Raises: there is no judge."""
  del num_votes
  raise ValueError(f'a judge is needed for {len(prompts)} questions')


def known(replies: Mapping[Question, str]) -> JudgeFn:
  """A judge that knows these replies and raises `Unanswered` at others."""

  def judge(prompts: Sequence[str], num_votes: int = 1) -> list[list[str]]:
    asked = [[Question(p, i) for i in range(num_votes)] for p in prompts]
    open_ = [q for row in asked for q in row if q not in replies]
    if open_:
      raise Unanswered(list(dict.fromkeys(open_)))
    return [[replies[question] for question in row] for row in asked]

  return judge


def from_function(answer: Callable[[str], str]) -> JudgeFn:
  """A judge that gives every vote the same reply."""
  return lambda prompts, num_votes=1: [[answer(p)] * num_votes for p in prompts]


def ask(judge: JudgeFn, prompt: str) -> str:
  """One reply to one prompt."""
  return judge([prompt])[0][0]


def majority(judge: JudgeFn, prompt: str, num_votes: int, word: str) -> bool:
  """Whether more than half of the votes say a word, in any case.

  Args:
    judge: is asked.
    prompt: the question.
    num_votes: odd.
    word: what a reply must begin with, behind blanks and marks, to count.
  """
  votes = [says(said, word) for said in judge([prompt], num_votes)[0]]
  return 2 * sum(votes) > num_votes


def says(said: str, word: str) -> bool:
  """Whether a reply, without its thoughts, begins with a word, in any case."""
  begin = reply(said).strip(' \t\r\n*#"\'`<>.:([').lower()
  rest = begin[len(word) :]
  return begin.startswith(word.lower()) and not rest[:1].isalnum()


def key_of(question: Question, judge_id: str, seed: int) -> str:
  """The key of a call: SHA-256 of (prompt, judge, seed, vote)."""
  parts = [question.prompt, judge_id, seed, question.vote]
  return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def recorded(lines: Iterable[Mapping[str, object]], source: str) -> AnswerFn:
  """A judge of recorded judgements {prompt, reply, vote (0 if left out)}.

  Args:
    lines: the records.
    source: names them in errors.

  Returns:
    Answers what is recorded; `ValueError` at any other question.

  Raises:
    ValueError: at a record that is none, naming its number and field.
  """
  replies: dict[Question, str] = {}
  for number, line in enumerate(lines, start=1):
    for name, kind in (('prompt', str), ('reply', str), ('vote', int)):
      if not isinstance(line.get(name, 0 if name == 'vote' else None), kind):
        raise ValueError(
          f'{source}:{number}: field {name!r} is {line.get(name)!r}; expected '
          f'{kind.__name__}; a judgement has prompt, reply and, if there are '
          'several, vote'
        )
    question = Question(str(line['prompt']), int(line.get('vote', 0)))  # type: ignore[call-overload]
    if replies.setdefault(question, str(line['reply'])) != line['reply']:
      raise ValueError(f'{source}:{number}: contradicts an earlier judgement')

  def answer(questions: Sequence[Question]) -> list[str]:
    for question in questions:
      if question not in replies:
        raise ValueError(
          f'{source} has no judgement number {question.vote} of '
          f'{question.prompt[:80]!r}'
        )
    return [replies[question] for question in questions]

  return answer


def read_recorded(path: str | pathlib.Path) -> AnswerFn:
  """The judge of a JSONL file of judgements; see `recorded`."""
  from ttc.tasks.data_files import read_jsonl

  return recorded(read_jsonl(path), str(path))
