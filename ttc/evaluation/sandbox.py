"""Runs Python programs that nobody has read, and says what became of them.

Programs of a model, or mutants of programs, may do anything. Each of them runs
in a process of its own, in an isolated interpreter without installed packages,
with an empty environment, in an empty folder, with limits on time, memory, size
and number of files, and without the right to start processes or threads. What
the process does is in `sandbox_child`.

What is guaranteed, and where:

- On every Linux: the limits, the empty environment, and that nothing
  outlives its time limit, because a limited process cannot fork. As root the
  program runs as user 65534, for limits on processes do not bind root.
- With unprivileged user namespaces (`isolated=True` in the result): the kernel
  gives the program no network, no power over other processes, a file system
  that is read-only but for 16 MiB of its own, and ends with it what it left.
- Without (`isolated=False`) network, files and signals are refused by an audit
  hook of the interpreter. It stops what plain Python does; a program that
  attacks the interpreter itself gets past it, with the rights of its user.

The hook reports attempts in both cases. It alone keeps programs from reading
what their user may read. A verdict is the program's own word: one that looks
for the grader can forge `ok`. For hostile authors use a virtual machine.
"""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Literal, NamedTuple

_CHILD = pathlib.Path(__file__).with_name('sandbox_child.py')
# Isolated (`-I` would also ignore the seed), without site-packages.
_FLAGS = ('-s', '-P', '-S', '-B')
_ENVIRONMENT = {'PYTHONHASHSEED': '0'}  # equal programs, equal outputs
_START_SECONDS = 30.0  # for the interpreter, on a machine that is busy

Status = Literal['ok', 'failed', 'timeout', 'memory', 'forbidden']


class Execution(NamedTuple):
  """What became of one program.

  `forbidden` wins over what the program did afterwards, also if it caught the
  error; otherwise `ok` means that it ran to its end: an exception, a crash and
  any kind of exit are `failed`.
  """

  status: Status
  detail: str  # what was forbidden, the exception or the signal
  output: str  # what it printed, up to the limit
  isolated: bool  # by the kernel, not by the hook alone


def run_programs(
  programs: Sequence[str],
  *,
  allow_execution: bool = False,
  seconds: float = 2.0,
  memory: int = 256 * 2**20,
  max_output: int = 2**16,
) -> list[Execution]:
  """Runs programs one after another, each in its own sandbox.

  Args:
    programs: Python source.
    allow_execution: must be True; says that running unread code is wanted.
    seconds: of wall-clock time for each program.
    memory: bytes of address space, interpreter included.
    max_output: bytes of output that are kept, of at most 1 MiB printed.

  Returns:
    An `Execution` for each program.

  Raises:
    PermissionError: without `allow_execution`.
    ValueError: at a limit that is not positive.
  """
  if not allow_execution:
    raise PermissionError(
      'this runs programs that nobody has read; pass allow_execution=True if '
      'that is wanted'
    )
  for name, limit in (('seconds', seconds), ('memory', memory)):
    if not 0 < limit < math.inf:
      raise ValueError(f'{name}={limit} must be positive and finite')
  if sys.platform != 'linux':
    raise NotImplementedError('the sandbox needs Linux')
  request = {
    'programs': list(programs),
    'seconds': seconds,
    'memory': memory,
    'max_output': max_output,
  }
  with tempfile.TemporaryDirectory(prefix='sandbox-') as folder:
    os.chmod(folder, 0o711)
    child = subprocess.Popen(
      [sys.executable, *_FLAGS, str(_CHILD)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=_ENVIRONMENT,  # of the interpreter; programs see none
      cwd=folder,
      start_new_session=True,
    )
    try:
      written, errors = child.communicate(
        json.dumps(request).encode(),
        timeout=_START_SECONDS + len(programs) * (seconds + 1),
      )
    except subprocess.TimeoutExpired:
      os.killpg(child.pid, signal.SIGKILL)
      written, errors = child.communicate()
    finally:
      _kill_group(child.pid)
  results = [Execution(**json.loads(line)) for line in written.splitlines()]
  if programs and not results:
    raise RuntimeError(f'the sandbox did not start: {errors.decode()[-2000:]}')
  lost = Execution('failed', 'the sandbox was ended', '', False)
  return results + [lost] * (len(programs) - len(results))


def _kill_group(group: int) -> None:
  try:
    os.killpg(group, signal.SIGKILL)
  except (ProcessLookupError, PermissionError):
    pass  # nothing is left of it
