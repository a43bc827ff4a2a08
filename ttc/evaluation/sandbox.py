"""Runs Python programs that nobody has read, and says what became of them.

Programs of a model, or mutants of programs, may do anything. Each runs in a
process of its own, behind a boundary that the kernel keeps and that stands
before the first line of the program is read:

- namespaces of its own (user, processes, network, IPC, host name), made by
  bubblewrap or else by unshare: no network, no other process to be seen or to
  be sent a signal, and all that it starts ends with it;
- a file system of the interpreter, its standard library and the C libraries
  they need, read-only, a few devices, and 16 MiB for 512 files of its own;
- no capabilities, no way to get any, no processes or threads, no shared memory
  (a filter of system calls), and limits on time, memory and file size.

Where no namespaces are to be had nothing is run. What is left is the kernel
itself: for authors who attack that use a virtual machine.

A program that is run for its own sake is `ok` if it ends with status 0, and any
program can do that. Whether a function is right is said by `check_functions`
(in `function_checks`), where the tests are in a process that the program never
shares.
"""

import atexit
import concurrent.futures
import functools
import glob
import importlib.util
import marshal
import math
import os
import pathlib
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

_CHILD = pathlib.Path(__file__).with_name('sandbox_child.py')
# What lies beside it.
_BESIDE = [
  _CHILD.with_name(f'{name}.py')
  for name in ('plain_data', 'suite_child', 'suite_coverage', 'suite_fixtures')
]
_PLACE = '/runner'  # of both in the sandbox
_PACKAGES = '/packages'  # that a program may import
# Isolated (`-I` would also ignore the seed), without site-packages.
_FLAGS = ('-s', '-P', '-S', '-B')
_ENVIRONMENT = {'PYTHONHASHSEED': '0'}  # equal programs, equal outputs
_START_SECONDS = 30.0  # for the interpreter, on a machine that is busy
_DISK, _NUM_FILES = 16 * 2**20, 512
_MAX_PRINTED = 2**26  # bytes; a program that prints more is ended
_MAX_FRAME = 2**20
_DEVICES = ('/dev/null', '/dev/zero', '/dev/random', '/dev/urandom')

Status = Literal['ok', 'failed', 'timeout', 'memory']
T = TypeVar('T')
U = TypeVar('U')


class Execution(NamedTuple):
  """What became of one program; `ok` where it ended with status 0.

  An uncaught exception, any other status and a signal are `failed`.
  """

  status: Status
  detail: str  # the exception, the exit status or the signal
  output: str  # what it printed, up to the limit


class Limits(NamedTuple):
  """What one program may use up."""

  seconds: float = 2.0  # of wall-clock time
  memory: int = 256 * 2**20  # bytes of address space, interpreter included
  max_output: int = 2**16  # bytes of output that are kept


def run_programs(
  programs: Sequence[str],
  *,
  allow_execution: bool = False,
  seconds: float = 2.0,
  memory: int = 256 * 2**20,
  max_output: int = 2**16,
  num_workers: int | None = None,
) -> list[Execution]:
  """Runs programs, each in its own sandbox.

  Args:
    programs: Python source.
    allow_execution: must be True; says that running unread code is wanted.
    seconds: of wall-clock time for each program.
    memory: bytes of address space, interpreter included.
    max_output: bytes of output that are kept, of at most 64 MiB printed.
    num_workers: sandboxes at a time; by default one for each processor.

  Returns:
    An `Execution` for each program.

  Raises:
    PermissionError: without `allow_execution`.
    ValueError: at a limit that is not positive.
    RuntimeError: if there are no namespaces; says how to get them.
  """
  limits = Limits(seconds, memory, max_output)
  check_permission(allow_execution, limits)
  return map_workers(
    lambda program: _run(program, limits), programs, num_workers
  )


def check_permission(allow_execution: bool, limits: Limits) -> None:
  """Refuses to run what is not wanted, or cannot be contained here."""
  if not allow_execution:
    raise PermissionError(
      'this runs programs that nobody has read; pass allow_execution=True if '
      'that is wanted'
    )
  for name, limit in limits._asdict().items():
    if not 0 < limit < math.inf:
      raise ValueError(f'{name}={limit} must be positive and finite')


def map_workers(
  work: Callable[[T], U], inputs: Sequence[T], num_workers: int | None
) -> list[U]:
  """Does work on every input, in sandboxes that the threads wait for."""
  if not inputs:
    return []
  _check_start()
  num_workers = num_workers or len(os.sched_getaffinity(0))
  with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
    return list(pool.map(work, inputs))


class Box:
  """A running sandbox, and the messages to it and from it.

  What it prints is read whenever a message is waited for, so it never blocks.

  Attributes:
    limits: of the program.
    deadline: of `time.monotonic`; `TimeoutError` is raised from then on.
    printed: what it has printed, up to the limit.
  """

  def __init__(
    self,
    mode: str,
    limits: Limits,
    packages: tuple[str, ...] = (),
    **request: Any,
  ):
    """Starts a sandbox; returns when the program is about to run.

    Args:
      mode: a mode of `sandbox_child`.
      limits: of the program.
      packages: installed ones that it may import, all in Python.
      **request: what the mode needs.
    """
    self.printed = b''
    self._count, self.limits = 0, limits
    self._replies_buffer = b''
    self._output_open = self._replies_open = True
    here_requests, self._requests = os.pipe()
    self._replies, here_replies = os.pipe()
    self._root = tempfile.mkdtemp(prefix='sandbox-')
    command, binds = _command(self._root, packages)
    self._process = subprocess.Popen(
      [*command, str(here_requests), str(here_replies)],
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      env=_ENVIRONMENT,  # of the interpreter; programs see none
      pass_fds=(here_requests, here_replies),
      start_new_session=True,
    )
    os.close(here_requests)
    os.close(here_replies)
    assert self._process.stdout is not None
    self._output = self._process.stdout.fileno()
    self.deadline = time.monotonic() + _START_SECONDS
    request |= {'mode': mode, 'root': self._root, 'binds': binds}
    request |= {'modules': _PLACE, 'packages': _PACKAGES}
    request |= {'memory': limits.memory, 'seconds': limits.seconds}
    request |= {'disk': _DISK, 'files': _NUM_FILES}
    try:
      self._write(marshal.dumps(request))
      # The first byte is sent before anything of the program has run.
      started = self._take(1) == b'S'
    except TimeoutError:
      started = False
    if not started:
      self.close()
      text = ' '.join(self.printed.decode(errors='replace').split())
      raise SandboxError(f'the sandbox did not start: {text[-500:]}')
    self.deadline = time.monotonic() + limits.seconds

  def send(self, text: bytes) -> None:
    """Sends a message; lost if the other side has ended."""
    self._write(text)

  def receive(self) -> bytes | None:
    """The next message; None if the other side has ended or sends no such."""
    head = self._take(8)
    size = struct.unpack('<Q', head)[0] if len(head) == 8 else _MAX_FRAME + 1
    if size > _MAX_FRAME:
      return None
    frame = self._take(size)
    return frame if len(frame) == size else None

  def finish(self) -> tuple[bytes, int]:
    """Waits for the end; the rest of what was sent, and the exit status."""
    rest = self._take(_MAX_FRAME)
    while self._output_open:
      self._pump()
    left = max(0.0, self.deadline - time.monotonic())
    try:
      return rest, self._process.wait(left)
    except subprocess.TimeoutExpired:
      raise TimeoutError from None

  def close(self) -> None:
    """Ends whatever still runs."""
    # Its namespace of processes ends with its first process, and that with it.
    self._process.kill()
    self._process.wait()
    assert self._process.stdout is not None
    self._process.stdout.close()
    os.close(self._requests)
    os.close(self._replies)
    shutil.rmtree(self._root, ignore_errors=True)

  def __enter__(self) -> 'Box':
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def _write(self, data: bytes) -> None:
    data = struct.pack('<Q', len(data)) + data
    os.set_blocking(self._requests, False)
    while data:
      self._check_time()
      try:
        data = data[os.write(self._requests, data) :]
      except BlockingIOError:
        left = max(0.0, self.deadline - time.monotonic())
        select.select([], [self._requests], [], min(left, 0.1))
      except BrokenPipeError:
        return

  def _take(self, count: int) -> bytes:
    """So many bytes, fewer at the end."""
    while len(self._replies_buffer) < count and self._replies_open:
      self._pump()
    taken = self._replies_buffer[:count]
    self._replies_buffer = self._replies_buffer[count:]
    return taken

  def _pump(self) -> None:
    """Waits for anything, and reads it."""
    self._check_time()
    poll = select.poll()
    for number, is_open in (
      (self._output, self._output_open),
      (self._replies, self._replies_open),
    ):
      if is_open:
        poll.register(number, select.POLLIN | select.POLLHUP)
    left = max(0.0, self.deadline - time.monotonic())
    for number, _ in poll.poll(1000 * left + 1):
      part = os.read(number, 2**16)
      if number == self._output:
        self._output_open = bool(part)
        self._count += len(part)
        self.printed = (self.printed + part)[: self.limits.max_output]
        if self._count > _MAX_PRINTED:
          raise SandboxError(f'printed more than {_MAX_PRINTED} bytes')
      else:
        self._replies_open = bool(part)
        self._replies_buffer += part

  def _check_time(self) -> None:
    if time.monotonic() >= self.deadline:
      raise TimeoutError


class SandboxError(RuntimeError):
  """A sandbox that did not start, or a program that flooded it."""


def ending(code: int) -> str:
  """An exit status in words; a signal has a status above 128."""
  number = -code if code < 0 else code - 128
  try:
    return signal.Signals(number).name
  except ValueError:
    return f'exit status {code}'


def _run(program: str, limits: Limits) -> Execution:
  """Runs one program and says what became of it."""
  try:
    with Box('run', limits, source=program) as box:
      try:
        told, code = box.finish()
      except TimeoutError:
        return Execution('timeout', f'after {limits.seconds} s', _text(box))
      except SandboxError as error:
        return Execution('failed', str(error), _text(box))
      output = _text(box)
  except UnicodeEncodeError:
    return Execution('failed', 'the source is not text', '')
  if code == 0:
    return Execution('ok', '', output)
  detail = told.decode(errors='replace')[:500] or ending(code)
  status = 'memory' if detail.startswith('MemoryError') else 'failed'
  return Execution(status, ' '.join(detail.split()), output)


def _text(box: Box) -> str:
  return box.printed.decode(errors='replace')


@functools.cache
def _check_start() -> None:
  """Refuses where no sandbox starts, and says how to get one."""
  if sys.platform != 'linux':
    raise RuntimeError('the sandbox needs Linux')
  try:
    result = _run('print(1)', Limits(seconds=10.0))
    problem = '' if result[:3] == ('ok', '', '1\n') else str(result)
  except (OSError, SandboxError) as error:
    problem = ' '.join(str(error).split())
  if problem:
    raise RuntimeError(
      'programs are run in namespaces only, and there are none here '
      f'({problem}); install bubblewrap (apt-get install bubblewrap) and allow '
      'unprivileged user namespaces (sysctl user.max_user_namespaces=10000)'
    )


def _command(
  root: str, packages: tuple[str, ...]
) -> tuple[list[str], list[tuple[str | None, str]]]:
  """The command of a sandbox, and what its child has yet to bind to a root."""
  interpreter = [os.path.realpath(sys.executable), *_FLAGS]
  binds = [*_binds(), *((_folder(x), f'{_PACKAGES}/{x}') for x in packages)]
  if shutil.which('bwrap'):
    return [*_bubblewrap(packages), *interpreter, f'{_PLACE}/{_CHILD.name}'], []
  if shutil.which('unshare'):
    flags = (
      'user map-user=65534 map-group=65534 keep-caps mount pid fork kill-child '
      'net ipc uts cgroup'
    )
    command = ['unshare', *(f'--{flag}' for flag in flags.split())]
    return [*command, *interpreter, str(_CHILD)], binds
  raise SandboxError('neither bwrap nor unshare is installed')


@functools.cache
def _folder(package: str) -> str:
  """Where a package is installed.

  Raises:
    ImportError: if it is not.
  """
  spec = importlib.util.find_spec(package)
  if spec is None or not spec.submodule_search_locations:
    raise ImportError(f'the sandbox lacks a package: pip install {package}')
  return next(iter(spec.submodule_search_locations))


@functools.cache
def _bubblewrap(packages: tuple[str, ...]) -> tuple[str, ...]:
  """Bubblewrap's command, up to the interpreter's."""
  spaces = ('user', 'ipc', 'pid', 'net', 'uts', 'cgroup-try')
  command = ['bwrap', *(f'--unshare-{space}' for space in spaces)]
  command += ['--die-with-parent', '--new-session', '--uid', '65534']
  command += ['--gid', '65534', '--hostname', 'sandbox']
  # Only to mount a small file system, then given up; see `sandbox_child`.
  command += ['--cap-drop', 'ALL', '--cap-add', 'CAP_SYS_ADMIN']
  for source, place in _binds():
    if source is None:
      command += ['--tmpfs', place, '--remount-ro', place]
    elif place.startswith('/dev/'):
      command += ['--dev-bind', source, place]
    else:
      command += ['--ro-bind', source, place]
  for package in packages:
    command += ['--ro-bind', _folder(package), f'{_PACKAGES}/{package}']
  return (*command, '--dir', '/tmp', '--remount-ro', '/', '--chdir', '/tmp')


@functools.cache
def _binds() -> tuple[tuple[str | None, str], ...]:
  """What a sandbox sees, as (where it is, where it appears); None for hidden.

  A copy of the interpreter and of the shared libraries that it and the standard
  library are linked with, and the standard library itself, without what is
  installed beside it. One copy, because each bind takes a millisecond of every
  start.
  """
  interpreter = os.path.realpath(sys.executable)
  base = {'base': sys.base_prefix, 'platbase': sys.base_exec_prefix}
  libraries = sorted(
    {
      sysconfig.get_path(name, vars=base | {'installed_base': base['base']})
      for name in ('stdlib', 'platstdlib')
    }
  )
  libraries = [path for path in libraries if os.path.isdir(path)]
  modules = [
    file
    for path in libraries
    for file in glob.glob(f'{glob.escape(path)}/lib-dynload/*.so')
    if '_tkinter' not in file
  ]
  linked = subprocess.run(
    ['ldd', interpreter, *modules],
    capture_output=True,
    text=True,
    check=False,
  ).stdout
  # `name => path (address)`, or only `path (address)` for the loader.
  shared = re.findall(r'(?:=>\s*|^\s+)(/\S+) \(0x', linked, re.MULTILINE)
  copies = {path: path for path in {interpreter, *shared}}
  inside = (_CHILD, *_BESIDE)
  copies |= {str(file): f'{_PLACE}/{file.name}' for file in inside}
  mirror = tempfile.mkdtemp(prefix='sandbox-files-')
  atexit.register(shutil.rmtree, mirror, ignore_errors=True)
  for path, place in copies.items():
    os.makedirs(os.path.dirname(mirror + place), exist_ok=True)
    shutil.copy(path, mirror + place)
  for path in libraries:
    os.makedirs(mirror + path, exist_ok=True)
  binds: list[tuple[str | None, str]] = [
    (os.path.join(mirror, name), f'/{name}') for name in os.listdir(mirror)
  ]
  for path in libraries:
    binds.append((path, path))
    for name in ('site-packages', 'dist-packages'):
      if os.path.isdir(os.path.join(path, name)):
        binds.append((None, os.path.join(path, name)))
  return (*binds, *((device, device) for device in _DEVICES))
