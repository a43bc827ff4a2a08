"""Files that a kill, a full disk or a second process cannot spoil.

A file is written whole or not at all (`write_atomically`, `writing`); lines are
appended and synced, and one that a crash cut short is no line (`append_lines`,
`read_lines`); a directory has one writer (`lock_directory`). All of them may be
on a bucket (`ttc.io.paths`). Numbers that JSON does not know are written as the
strings 'NaN', 'Infinity' and '-Infinity'.
"""

import contextlib
import fcntl
import hashlib
import io as bytes_io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from ttc.io import paths
from ttc.io.paths import AnyPath, Path

_LOCK = '.lock'
_NAMED = ('NaN', 'Infinity', '-Infinity')


def write_atomically(path: Path, content: str | bytes) -> None:
  """Writes a file so that readers see the old or the new one, never half.

  Args:
    path: of the file; its directory is made if missing.
    content: all of it; a string is written as UTF-8.

  Raises:
    OSError: naming the file, if the disk is full or the place is read-only.
  """
  path = paths.as_path(path)
  data = content.encode() if isinstance(content, str) else content
  if not paths.is_local(path):
    with _named(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)  # an object appears whole
      for part in paths.parts(path):
        part.unlink()
    return
  draft = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  with _named(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with draft.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
      draft.replace(path)
    finally:
      draft.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[bytes_io.BytesIO]:
  """A file in memory, written as by `write_atomically` at the end."""
  buffer = bytes_io.BytesIO()
  yield buffer
  write_atomically(path, buffer.getvalue())


def append_lines(path: Path, lines: Iterable[str]) -> None:
  """Appends lines and waits until they are on disk.

  What an earlier crash left behind the last newline is removed first.

  Args:
    path: of the file; made with its directory if missing. On a bucket each
      call makes a part of it.
    lines: without newlines.

  Raises:
    OSError: naming the file. Lines that did not get to the disk whole are
      dropped by the next call.
  """
  path = paths.as_path(path)
  data = b''.join(line.encode() + b'\n' for line in lines)
  if not data:
    return
  if not paths.is_local(path):
    with _named(path):
      path.parent.mkdir(parents=True, exist_ok=True)
      paths.next_part(path).write_bytes(data)
    return
  with _named(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('ab+') as file:
      if file.tell() != (end := _end_of_lines(file)):
        file.truncate(end)
      file.write(data)
      file.flush()
      os.fsync(file.fileno())


def read_lines(path: Path, *, is_ours: bool = True) -> list[str]:
  """The whole lines of a file; none if it is not there.

  Args:
    path: of the file.
    is_ours: what has no newline at the end was cut by a crash; in files of
      others it is a line too.

  Raises:
    ValueError: naming file and line, for what is not UTF-8.
  """
  path = paths.as_path(path)
  whole = [path] if path.exists() else []
  objects = whole if paths.is_local(path) else [*whole, *paths.parts(path)]
  content = b''.join(x.read_bytes() for x in objects)
  *lines, last = content.split(b'\n')  # the last has no newline
  if last and not is_ours:
    lines.append(last)
  decoded = []
  for number, line in enumerate(lines, start=1):
    try:
      decoded.append(line.decode('utf-8', 'surrogatepass'))
    except UnicodeDecodeError as error:
      raise ValueError(f'{path}:{number}: not UTF-8: {error}') from None
  return decoded


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
  """Holds a directory, made if missing, against other processes.

  The lock ends with the process, however it ends. On a bucket nothing is held:
  whoever starts runs there has to keep them apart; but there the parts of files
  of lines are put together when a run has ended well.

  Args:
    directory: of a run.

  Yields:
    Nothing, while the lock is held.

  Raises:
    ValueError: if another process holds it, with its number.
    OSError: naming the directory, if it cannot be made or written.
  """
  if not paths.is_local(place := paths.as_path(directory)):
    yield
    _join_parts(place)
    return
  path = pathlib.Path(directory, _LOCK)
  with _named(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open('a+b', buffering=0)
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().decode().strip() or 'unknown'
      raise ValueError(
        f'{directory} is in use by process {holder}; wait for it, or choose '
        'another directory'
      ) from None
    with _named(path):
      file.truncate(0)
      file.write(f'{os.getpid()}\n'.encode())
    yield


def _join_parts(directory: AnyPath) -> None:
  for path in paths.find(directory, '*.jsonl'):
    if paths.parts(path):
      write_atomically(path, ''.join(line + '\n' for line in read_lines(path)))


def to_json(value: Any, *, indent: int | None = None) -> str:
  """Strict JSON, keys sorted; NaN and infinities become strings.

  Args:
    value: of JSON types.
    indent: None for one line.

  Returns:
    The text, without a newline at its end.
  """
  return json.dumps(
    _spell(value), sort_keys=True, allow_nan=False, indent=indent
  )


def digest(path: Path) -> str:
  """SHA-256 of a file, or of all files below a directory with their names."""
  path = paths.as_path(path)
  if path.is_file():
    total = hashlib.sha256()
    with path.open('rb') as file:
      while piece := file.read(1 << 20):
        total.update(piece)
    return total.hexdigest()
  total = hashlib.sha256()
  for part in paths.all_files(path):
    total.update(f'{part.relative_to(path)}\0{digest(part)}\0'.encode())
  return total.hexdigest()


def _spell(value: Any) -> Any:
  if isinstance(value, float) and not math.isfinite(value):
    return _NAMED[0] if math.isnan(value) else _NAMED[1 if value > 0 else 2]
  if isinstance(value, dict):
    return {name: _spell(x) for name, x in value.items()}
  if isinstance(value, list | tuple):
    return [_spell(x) for x in value]
  return value


def _end_of_lines(file) -> int:
  """The offset behind the last newline."""
  end = file.seek(0, os.SEEK_END)
  while end > 0:
    start = max(0, end - 4096)
    file.seek(start)
    newline = file.read(end - start).rfind(b'\n')
    if newline >= 0:
      return start + newline + 1
    end = start
  return 0


@contextlib.contextmanager
def _named(path: AnyPath) -> Iterator[None]:
  """Names the file in errors that do not, such as that of a full disk."""
  try:
    yield
  except OSError as error:
    if error.filename is not None:
      raise
    message = error.strerror or str(error)
    raise OSError(error.errno, message, os.fspath(path)) from None
