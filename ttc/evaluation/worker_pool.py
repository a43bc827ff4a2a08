"""Calls a function on many inputs, whatever the function does.

A grader may hang, crash, raise or print without end. Each worker is a process;
an input that it does not survive costs that input alone: it is named, and the
next goes to a new process. The clock of an input starts when an idle worker
gets it, so that waiting in line is not counted. Trusted code only: programs
that nobody has read belong into `sandbox`.
"""

import ctypes
import errno
import os
import pickle
import resource
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

_START_SECONDS = 120.0  # for imports, on a machine that is busy
_MAX_PRINTED = 2**26  # bytes on standard output and error, for each input
_MAX_RESULT = 2**24  # bytes, pickled
_MORE_MEMORY = 4 * 2**30  # bytes, beyond what a worker has after its imports
_PARENT_DEATH_SIGNAL = 1  # of sys/prctl.h
_CODE = 'from ttc.evaluation import worker_pool; worker_pool.serve()'


class Outcome(NamedTuple):
  """What became of one input."""

  value: Any  # what the function returned; None if it did not
  error: str = ''  # why it did not


def map_guarded(
  make: Callable[..., Callable[[Any], Any]],
  arguments: tuple[Any, ...],
  inputs: Iterable[Any],
  *,
  seconds: float = 30.0,
  num_workers: int | None = None,
) -> Iterator[tuple[int, Outcome]]:
  """Applies `make(*arguments)` to every input, in processes.

  Args:
    make: a function of a module; called once in each process.
    arguments: of `make`; pickled.
    inputs: pickled one by one.
    seconds: for each input.
    num_workers: processes; by default one for each processor.

  Yields:
    `(index, outcome)` in the order in which they end.

  Raises:
    ValueError: if `make` raises, in its words.
  """
  num_workers = num_workers or len(os.sched_getaffinity(0))
  todo = iter(enumerate(inputs))
  idle: list[_Worker] = []
  busy: dict[int, _Worker] = {}
  with selectors.DefaultSelector() as selector:
    try:
      while True:
        while len(busy) < num_workers:
          job = next(todo, None)
          if job is None:
            break
          worker = idle.pop() if idle else _Worker(make, arguments)
          worker.start(*job, seconds)
          busy[worker.reader] = worker
          selector.register(worker.reader, selectors.EVENT_READ)
        if not busy:
          return
        first = min(worker.deadline for worker in busy.values())
        ready = selector.select(max(0.0, first - time.monotonic()))
        ended = [busy[key.fd] for key, _ in ready]
        now = time.monotonic()
        ended += [
          w for w in busy.values() if w not in ended and w.deadline <= now
        ]
        for worker in ended:
          selector.unregister(worker.reader)
          del busy[worker.reader]
          outcome = worker.outcome(seconds)
          if worker.is_alive:
            idle.append(worker)
          yield worker.index, outcome
    finally:
      for worker in [*idle, *busy.values()]:
        worker.close()


class _Worker:
  """A process and the input that it works on."""

  def __init__(self, make, arguments):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    self.process = subprocess.Popen(
      [sys.executable, '-c', _CODE],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env=environment,
      start_new_session=True,
    )
    assert self.process.stdin and self.process.stdout and self.process.stderr
    self.reader = self.process.stdout.fileno()
    self.index, self.is_alive = -1, True
    self.deadline = time.monotonic() + _START_SECONDS
    _write(self.process.stdin.fileno(), pickle.dumps((make, arguments)))
    problem = self._wait()
    if problem != '':
      if problem is None:
        text = self.process.stderr.read().decode(errors='replace')
        problem = (text.strip().splitlines() or ['it ended'])[-1]
      self.close()
      raise ValueError(f'a worker does not start: {problem}')

  def start(self, index: int, value: Any, seconds: float) -> None:
    """Gives it an input."""
    self.index = index
    self.deadline = time.monotonic() + seconds
    assert self.process.stdin is not None
    try:
      _write(self.process.stdin.fileno(), pickle.dumps(value))
    except BrokenPipeError:
      pass  # it has ended; seen when its answer is read

  def outcome(self, seconds: float) -> Outcome:
    """What became of its input; closes it if that was its end."""
    try:
      found = _read(self.reader, self.deadline)
    except TimeoutError:
      self.close()
      return Outcome(None, f'no answer in {seconds:g} s')
    if found is None:
      self.close()
      code = self.process.returncode
      if code < 0:
        return Outcome(None, f'crashed: {signal.Signals(-code).name}')
      return Outcome(None, f'crashed: exit status {code}')
    return Outcome(*found)

  def close(self) -> None:
    """Ends it and all that it started."""
    self.is_alive = False
    try:
      # What has ended by itself keeps its status.
      self.process.wait(0.0 if self.process.stdin is None else 0.05)
    except subprocess.TimeoutExpired:
      pass  # it runs: it is ended below
    try:
      os.killpg(self.process.pid, signal.SIGKILL)
    except ProcessLookupError:
      pass  # nothing of it is left
    self.process.wait()
    for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
      if pipe is not None:
        pipe.close()

  def _wait(self):
    try:
      return _read(self.reader, self.deadline)
    except TimeoutError:
      return f'no sign of life in {_START_SECONDS:g} s'


def serve() -> None:
  """What a worker does, until its standard input ends."""
  if sys.platform == 'linux':  # one that hangs does not outlive its parent
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
  requests, answers = os.dup(0), os.dup(1)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  make, arguments = _must_read(requests)
  try:
    function = make(*arguments)
  except Exception as error:
    _write(answers, pickle.dumps(_say(error)))
    return
  # What is printed goes to a file of limited size: `OSError` beyond.
  printed = tempfile.TemporaryFile()
  for number in (1, 2):
    os.dup2(printed.fileno(), number)
  resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_PRINTED, _MAX_PRINTED))
  if sys.platform == 'linux':
    with open('/proc/self/statm', encoding='ascii') as file:
      used = int(file.read().split()[0]) * resource.getpagesize()
    most = used + _MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
  _write(answers, pickle.dumps(''))
  while True:
    try:
      value = _must_read(requests)
    except EOFError:
      return
    _write(answers, _answer(function, value))
    sys.stdout = open(1, 'w', closefd=False, encoding='utf-8')
    sys.stderr = open(2, 'w', closefd=False, encoding='utf-8')
    os.lseek(1, 0, os.SEEK_SET)
    os.ftruncate(1, 0)


def _answer(function: Callable[[Any], Any], value: Any) -> bytes:
  """The pickled outcome of one input."""
  try:
    found = function(value)
    sys.stdout.flush()
    data = pickle.dumps((found, ''))
    if len(data) > _MAX_RESULT:
      raise ValueError(f'a result of {len(data)} bytes')
    return data
  except BaseException as error:
    return pickle.dumps((None, _say(error)))


def _say(error: BaseException) -> str:
  """An error in one line, however it is made."""
  if isinstance(error, OSError) and error.errno == errno.EFBIG:
    return f'printed more than {_MAX_PRINTED} bytes'
  try:
    text = ' '.join(str(error).split())[:500]
  except Exception:
    text = 'an error that cannot be shown'
  return f'{type(error).__name__}: {text}'


def _write(descriptor: int, data: bytes) -> None:
  data = struct.pack('<Q', len(data)) + data
  while data:
    data = data[os.write(descriptor, data) :]


def _read(descriptor: int, deadline: float | None) -> Any:
  """The next message; None at the end, `TimeoutError` at the deadline."""
  head = _take(descriptor, 8, deadline)
  if head is None:
    return None
  data = _take(descriptor, struct.unpack('<Q', head)[0], deadline)
  return None if data is None else pickle.loads(data)


def _take(descriptor: int, count: int, deadline: float | None) -> bytes | None:
  parts = []
  with selectors.DefaultSelector() as selector:
    selector.register(descriptor, selectors.EVENT_READ)
    while count > 0:
      left = None if deadline is None else deadline - time.monotonic()
      if not selector.select(None if left is None else max(0.0, left)):
        raise TimeoutError
      part = os.read(descriptor, min(count, 2**16))
      if not part:
        return None
      parts.append(part)
      count -= len(part)
  return b''.join(parts)


def _must_read(descriptor: int) -> Any:
  found = _read(descriptor, None)
  if found is None:
    raise EOFError
  return found
