"""Several processes: their flags, how they meet, wait, and end together.

`jax.distributed` notices a dead process after its heartbeats stop, and then
aborts the others with a stack trace. Here every process holds a connection to
process 0; the system closes it when a process dies, however it dies, and the
others end at once with one line and status 3.
"""

import contextlib
import hashlib
import os
import pathlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

import jax
import numpy as np
from absl import flags

import ttc
from ttc import sampling
from ttc.drivers import command, journal
from ttc.io import files

Item = TypeVar('Item')

LOST = 3  # exit status of a process whose peer is gone
_MEET_S = 300  # how long processes wait for each other at the beginning
_END_S = 60  # and for the others to end
_LAST_WORDS_S = 1  # to say what is wrong, or to hear that another is gone
_GOODBYE, _ERROR = b'.', b'!'


def define_flags() -> None:
  """Defines --distributed and what goes with it."""
  flags.DEFINE_bool(
    'distributed', False, 'Start jax.distributed and share the work.'
  )
  flags.DEFINE_string(
    'coordinator', None, 'HOST:PORT of process 0; found by itself on TPU pods.'
  )
  flags.DEFINE_integer('num_processes', None, 'In all.', 1)
  flags.DEFINE_integer('process_id', None, 'Of this one, from 0.', 0)
  command.show_in_help(
    'distributed', 'coordinator', 'num_processes', 'process_id'
  )


def start() -> None:
  """Starts `jax.distributed` if the flags say so.

  Raises:
    ValueError: if the flags do not fit each other.
    OSError: if the other processes cannot be reached.
  """
  values = flags.FLAGS
  others = ('num_processes', 'process_id')
  if not values.distributed:
    for name in ('coordinator', *others):
      if values[name].value is not None:
        raise ValueError(f'--{name} needs --distributed')
    return
  if values.coordinator is not None:
    for name in others:
      if values[name].value is None:
        raise ValueError(f'--coordinator needs --{name}')
    if values.process_id >= values.num_processes:
      raise ValueError(
        f'--process_id={values.process_id} must be below '
        f'--num_processes={values.num_processes}'
      )
    _try_address(values.coordinator, is_first=values.process_id == 0)
  # A process that is gone is noticed by the watch, not by an abort.
  jax.config.update('jax_enable_recoverability', True)
  try:
    jax.distributed.initialize(
      values.coordinator, values.num_processes, values.process_id
    )
  except (RuntimeError, ValueError) as error:
    text = ' '.join(str(error).split())[:200]
    raise OSError(
      f'--distributed: the processes did not meet: {text}'
    ) from None
  if threading.current_thread() is threading.main_thread():
    # jax has taken SIGTERM, and only notes it (see `ttc.drivers.resuming`).
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
  if jax.process_count() > 1:
    _check_equal()
    _watch()


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Starts the processes that the flags ask for, and ends them together.

  One that finds an error says so before it ends. An operation that fails
  because another process is gone is no error: the watch, which hears of it at
  the same time, ends this one.

  Raises:
    ValueError, OSError: as `start`.
  """
  start()
  try:
    yield
  except command.Stopped:
    finish()
    raise
  except Exception:
    _failed.set()
    for connection in _connections:
      with contextlib.suppress(OSError):
        connection.sendall(_ERROR)
    if _connections:
      time.sleep(_LAST_WORDS_S)
    raise
  finish()


@contextlib.contextmanager
def hold(workdir: files.Path) -> Iterator[None]:
  """Locks a directory for all processes of a run; process 0 does."""
  if is_first():
    with files.lock_directory(workdir):
      yield
  else:
    yield


def is_first() -> bool:
  """Whether this is process 0, which alone writes and says what all found."""
  return jax.process_index() == 0


def is_any(flag: bool) -> bool:
  """Whether the flag is set in any process; all ask at the same place."""
  if jax.process_count() == 1:
    return flag
  from jax.experimental import multihost_utils

  return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def share(items: Sequence[Item]) -> list[Item]:
  """What this process takes of a list."""
  return sampling.share(items, jax.process_index(), jax.process_count())


def open_journal(path: files.Path) -> journal.Journal:
  """A journal in which every process writes a shard of its own."""
  return journal.Journal(path, jax.process_index(), jax.process_count())


def wait_for_all(name: str) -> None:
  """Waits until all processes are here; `name` says where."""
  if jax.process_count() == 1:
    return
  from jax.experimental import multihost_utils

  try:
    multihost_utils.sync_global_devices(name)
  except Exception:  # its other connections broke before ours
    _end()


def finish() -> None:
  """Waits for all processes and stops watching them.

  Process 0, which the others would miss while they end, ends last.
  """
  wait_for_all('finish')
  for connection in _connections:
    connection.sendall(_GOODBYE)
  if is_first():
    for watch, connection in zip(_watches, _connections, strict=True):
      watch.join(_END_S)
      connection.settimeout(_END_S)
      with contextlib.suppress(OSError):
        connection.recv(1)  # nothing: its process is gone


_connections: list[socket.socket] = []  # of this process, to the others
_watches: list[threading.Thread] = []  # one each
_failed = threading.Event()  # this process, which says why by itself


def _check_equal() -> None:
  """Ends all if one has other arguments or code; process 0 says which."""
  from jax.experimental import multihost_utils

  code = sorted(pathlib.Path(ttc.__file__).parent.rglob('*.py'))
  digests = [
    hashlib.sha256(data).digest()
    for data in (
      '\0'.join(_shared_arguments(sys.argv[1:])).encode(),
      b'\0'.join(file.read_bytes() for file in code),
    )
  ]
  mine = np.frombuffer(b''.join(digests), np.uint8).reshape(2, 32)
  everyone = np.asarray(multihost_utils.process_allgather(mine))
  differs = np.any(everyone != everyone[0], axis=-1)  # [processes, 2]
  for what, others in zip(('arguments', 'code'), differs.T, strict=True):
    if others.any():
      indices = np.flatnonzero(others).tolist()
      says = f'processes {indices} have other {what} than process 0'
      _end(says if is_first() else '', 1)


def _shared_arguments(arguments: Sequence[str]) -> list[str]:
  """Without what says which process this is."""
  shared, is_value = [], False
  for argument in arguments:
    name, equals, _ = argument.lstrip('-').partition('=')
    if is_value or name in ('process_id', 'coordinator'):
      is_value = not is_value and not equals
    else:
      shared.append(argument)
  return shared


def _watch() -> None:
  """Connects to process 0, or lets the others connect, and listens."""
  from jax.experimental import multihost_utils

  host = flags.FLAGS.coordinator
  host = host.rpartition(':')[0] if host else socket.gethostname()
  listener = socket.create_server(('', 0)) if is_first() else None
  address = np.zeros((6,), np.int32)
  if listener:
    port = listener.getsockname()[1]
    numbers = socket.gethostbyname(host).split('.')
    address = np.array([*map(int, numbers), port >> 8, port & 255], np.int32)
  address = multihost_utils.broadcast_one_to_all(address)
  if listener:
    listener.settimeout(_MEET_S)
    for _ in range(jax.process_count() - 1):
      _connections.append(listener.accept()[0])
  else:
    where = '.'.join(map(str, address[:4])), int(address[4] << 8 | address[5])
    _connections.append(socket.create_connection(where))
  for connection in _connections:
    watch = threading.Thread(target=_listen, args=(connection,), daemon=True)
    _watches.append(watch)
    watch.start()


def _listen(connection: socket.socket) -> None:
  """Ends this process if the other side ends without a goodbye."""
  try:
    said = connection.recv(1)
  except OSError:
    said = b''
  if said == _ERROR:
    time.sleep(3 * _LAST_WORDS_S)
  if said == _GOODBYE:
    return
  if _failed.is_set():
    _end('', 1)  # jax would wait for the other
  _end()


def _end(
  says: str = 'another process ended; so does this', status: int = LOST
) -> NoReturn:
  """At once: jax would wait for the others, and then abort."""
  program = os.path.basename(sys.argv[0]).removesuffix('.py')
  if says:
    os.write(2, f'\n{program}: {says}\n'.encode())
  os._exit(status)


def _try_address(address: str, *, is_first: bool) -> None:
  """Binds or reaches the address, since jax aborts where it cannot."""
  host, colon, port = address.rpartition(':')
  if not (host and colon and port.isdigit() and 0 < int(port) < 2**16):
    raise ValueError(f'--coordinator={address} must be HOST:PORT')
  try:
    place = socket.gethostbyname(host), int(port)
    if is_first:
      socket.create_server(place).close()
      return
    deadline = time.monotonic() + _MEET_S
    while True:
      try:
        socket.create_connection(place, timeout=5).close()
        return
      except (ConnectionError, TimeoutError):
        if time.monotonic() > deadline:
          raise
        time.sleep(0.2)
  except OSError as error:
    reason = error.strerror or str(error)
    raise OSError(f'--coordinator={address}: {reason}') from None
