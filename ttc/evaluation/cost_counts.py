"""What calls of a function cost: executed opcodes, or seconds.

Opcodes of CPython are counted by tracing. The count is the same in every run of
the same code under the same Python, on any machine, however busy; it is blind
to the time that a C function takes. Seconds are the wall clock's. Which was
counted is part of the result, and the two are never compared. A program that
switches tracing off while it is called raises.

Cost: counting opcodes takes some thirty times as long as running.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ttc.evaluation import plain_data
from ttc.evaluation.sandbox import (
  Box,
  Limits,
  SandboxError,
  check_permission,
  map_workers,
)

Counter = Literal['opcodes', 'seconds']


class CostQuestion(NamedTuple):
  """A function, and calls whose cost is wanted.

  Attributes:
    source: the program, which defines the function.
    name: of the function.
    inputs: arguments of each call.
    limits: opcodes that each call may take; one for each of the inputs.
  """

  source: str
  name: str
  inputs: Sequence[tuple[Any, ...]]
  limits: Sequence[int]


class CallCost(NamedTuple):
  """One call."""

  value: Any  # plain data, None without a value
  cost: float  # infinite if it raised, or went beyond its limit
  detail: str  # why there is no value
  counter: Counter


def count_costs(
  questions: Sequence[CostQuestion],
  *,
  counter: Counter = 'opcodes',
  allow_execution: bool = False,
  seconds: float = 20.0,
  memory: int = 256 * 2**20,
  num_workers: int = 2,
) -> list[list[CallCost]]:
  """Calls functions, each in a sandbox of its own, and counts.

  Args:
    questions: the functions.
    counter: what is counted; limits are of opcodes only.
    allow_execution: must be True; says that running unread code is wanted.
    seconds: of wall-clock time for each function with all its calls.
    memory: bytes of address space of a sandbox, interpreter included.
    num_workers: sandboxes at a time; seconds want one.

  Returns:
    A `CallCost` for each call of each function.

  Raises:
    PermissionError: without `allow_execution`.
    ValueError: at a limit that is not positive, or not one for each call.
    RuntimeError: if there are no namespaces; says how to get them.
  """
  limits = Limits(seconds, memory)
  check_permission(allow_execution, limits)
  for question in questions:
    if len(question.limits) != len(question.inputs) or any(
      x < 1 for x in question.limits
    ):
      raise ValueError(
        f'limits={list(question.limits)} of {question.name!r}; expected a '
        f'positive number for each of {len(question.inputs)} calls'
      )
  work = lambda question: _costs(question, counter, limits)
  return map_workers(work, questions, num_workers)


def _costs(
  question: CostQuestion, counter: Counter, limits: Limits
) -> list[CallCost]:
  costs: list[CallCost] = []
  detail = ''
  try:
    with Box(
      'count', limits, source=question.source, name=question.name
    ) as box:
      if box.receive() is None:
        raise SandboxError('the program does not run')
      for arguments, limit in zip(
        question.inputs, question.limits, strict=True
      ):
        request = (counter, limit, tuple(arguments))
        box.send(plain_data.encode(request).encode())
        frame = box.receive()
        if frame is None:
          raise SandboxError('the program has ended')
        costs.append(_read(frame, counter))
  except TimeoutError:
    detail = f'after {limits.seconds} s'
  except SandboxError as error:
    detail = str(error)
  except UnicodeEncodeError:
    detail = 'the source is not text'
  lost = CallCost(None, math.inf, detail, counter)
  return costs + [lost] * (len(question.inputs) - len(costs))


def _read(frame: bytes, counter: Counter) -> CallCost:
  try:
    done, value, cost = plain_data.decode(frame.decode())
    if done is True and cost >= 0:
      return CallCost(value, float(cost), '', counter)
    return CallCost(None, math.inf, str(value), counter)
  except (ValueError, TypeError):
    raise SandboxError('what was sent is no count') from None
