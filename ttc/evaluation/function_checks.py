"""Whether functions that nobody has read pass tests that they never see.

Two sandboxes stand side by side. One runs the program and answers calls of its
function; the other runs the tests, whose `candidate` sends its arguments out
and gets the result back. Only plain data pass between them, by way of this
process. So no program can end before its tests and pass, replace the tests, or
return something that equals everything: it does not share a process with them.
Arguments are copies; what a function does to them its tests do not see.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from ttc.evaluation import plain_data
from ttc.evaluation.sandbox import (
  Box,
  Limits,
  SandboxError,
  Status,
  check_permission,
  ending,
  map_workers,
)

_MAX_SHOWN = 1000  # characters of the text of an output
_PASSED = plain_data.encode(('end', ''))


class FunctionCheck(NamedTuple):
  """A function, and what is to be known about it."""

  source: str  # the program, which defines the function
  name: str  # of the function
  tests: str | None = None  # Python that defines `check(candidate)`; trusted
  inputs: Sequence[tuple[Any, ...]] = ()  # arguments whose outputs are wanted


class Verdict(NamedTuple):
  """What was found out about a function.

  `status` is of the program as a whole: `ok` where it could be called, whether
  its answers are right or not.
  """

  passed: bool  # its tests; False where there are none
  status: Status
  detail: str  # what went wrong first, in the program or in the tests
  outputs: tuple[str | None, ...]  # as text; None: an exception, or too slow


def check_functions(
  checks: Sequence[FunctionCheck],
  *,
  allow_execution: bool = False,
  seconds: float = 5.0,
  call_seconds: float = 0.5,
  memory: int = 256 * 2**20,
  num_workers: int | None = None,
  packages: tuple[str, ...] = (),
) -> list[Verdict]:
  """Calls functions and tests them, each in a sandbox of its own.

  Args:
    checks: the functions.
    allow_execution: must be True; says that running unread code is wanted.
    seconds: of wall-clock time for each function with all its calls.
    call_seconds: of processor time for each call.
    memory: bytes of address space of a sandbox, interpreter included.
    num_workers: functions at a time; by default one for each processor.
    packages: installed ones, all in Python, that programs and tests may import.

  Returns:
    A `Verdict` for each function.

  Raises:
    PermissionError: without `allow_execution`.
    ValueError: at a limit that is not positive.
    RuntimeError: if there are no namespaces; says how to get them.
  """
  limits = Limits(seconds, memory)
  check_permission(allow_execution, limits)
  if not call_seconds > 0:
    raise ValueError(f'call_seconds={call_seconds} must be positive')
  return map_workers(
    lambda check: _verdict(check, limits, call_seconds, packages),
    checks,
    num_workers,
  )


def _verdict(
  check: FunctionCheck,
  limits: Limits,
  call_seconds: float,
  packages: tuple[str, ...],
) -> Verdict:
  outputs: list[str | None] = []
  nothing = lambda status, detail: Verdict(
    False,
    status,
    detail,
    (*outputs, *[None] * (len(check.inputs) - len(outputs))),
  )
  try:
    box = Box('serve', limits, packages, source=check.source, name=check.name)
  except UnicodeEncodeError:
    return nothing('failed', 'the source is not text')
  with box:
    try:
      if box.receive() is None:
        return nothing(*_end_of(box))
      for arguments in check.inputs:
        outputs.append(_shown(_call(box, call_seconds, arguments)))
      if check.tests is None:
        return Verdict(False, 'ok', '', tuple(outputs))
      passed, detail = _tested(box, check.tests, limits, call_seconds, packages)
    except TimeoutError:
      return nothing('timeout', f'after {limits.seconds} s')
    except EOFError:
      return nothing(*_end_of(box))
    except SandboxError as error:
      return nothing('failed', str(error))
  return Verdict(passed, 'ok', detail, tuple(outputs))


def _tested(
  box: Box,
  tests: str,
  limits: Limits,
  call_seconds: float,
  packages: tuple[str, ...],
) -> tuple[bool, str]:
  """Whether the function passes its tests, and why not."""
  with Box('check', limits, packages, source=tests) as tester:
    tester.deadline = box.deadline
    if tester.receive() is None:
      said = ' '.join(tester.printed.decode(errors='replace').split())
      raise SandboxError(f'the tests do not run: {said[-300:]}')
    tester.send(b'{}')
    while (frame := tester.receive()) is not None:
      text = frame.decode()
      if text == _PASSED:
        return True, ''
      kind, value = plain_data.decode(text)
      if kind == 'end':
        return False, value
      tester.send(_call(box, call_seconds, value))
  raise SandboxError('the tests ended without a verdict')


def _call(box: Box, seconds: float, arguments: tuple[Any, ...]) -> bytes:
  """What the function answers; as it came, read by nobody."""
  box.send(plain_data.encode((seconds, tuple(arguments))).encode())
  reply = box.receive()
  if reply is None:
    raise EOFError
  return reply


def _shown(reply: bytes) -> str | None:
  """The text of an answer; None for an exception or what is no data."""
  if len(reply) > 4 * _MAX_SHOWN:
    begin = b'["t", true, '
    is_value = reply.startswith(begin)
    return (
      reply[: 4 * _MAX_SHOWN].decode(errors='replace') if is_value else None
    )
  try:
    done, value = plain_data.decode(reply.decode())
  except ValueError:
    return None
  if done is not True or isinstance(value, plain_data.Opaque):
    return None
  return plain_data.show(value)[:_MAX_SHOWN]


def _end_of(box: Box) -> tuple[Literal['failed', 'memory', 'timeout'], str]:
  """Why a program has ended that was to be called."""
  try:
    _, code = box.finish()
  except TimeoutError:
    return 'timeout', f'after {box.limits.seconds} s'
  except SandboxError as error:
    return 'failed', str(error)
  lines = box.printed.decode(errors='replace').strip().splitlines() or ['']
  if code == 1 and lines[-1].startswith('MemoryError'):
    return 'memory', lines[-1]
  return 'failed', lines[-1][:500] if code == 1 else f'ended: {ending(code)}'
