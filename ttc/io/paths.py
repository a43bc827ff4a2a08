"""Paths of this machine, or of a bucket: `gs://`, `s3://`, `az://`.

What a bucket offers is `etils.epath`, whose paths read and write whole objects
and list them. It cannot append, rename or lock, so there lines that are added
become a new object of their own, `metrics.jsonl.000003`, a part of the file
`metrics.jsonl`, and nothing keeps a second process out of a directory. What
only a file system can do (memory maps, libraries that open files themselves)
happens in a directory of this machine (`local_directory`, `local_copy`).
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import TypeAlias

from etils import epath

Path: TypeAlias = str | os.PathLike[str]
AnyPath: TypeAlias = pathlib.Path | epath.Path

_PART = '.000000'  # of a file in a bucket: the first of its parts


def as_path(path: Path) -> AnyPath:
  """The path as an object with the methods of `pathlib.Path`.

  Args:
    path: of this machine, or `gs://`, `s3://`, `az://` and so on.

  Raises:
    ValueError: for a scheme that is not known, or a bucket whose library is not
      installed.
  """
  if isinstance(path, pathlib.Path | epath.Path):
    return path
  name = os.fspath(path)
  if '://' not in name:
    return pathlib.Path(name)
  scheme = name.partition('://')[0]
  known = {'gs': 'gcsfs', 's3': 's3fs', 'az': 'adlfs'}
  if scheme not in known:
    raise ValueError(
      f'{name}: {scheme}:// is not known; there are '
      f'{", ".join(f"{x}://" for x in known)} and local paths'
    )
  found = epath.Path(name)
  _check_library(scheme, known[scheme])
  return found


@functools.cache
def _check_library(scheme: str, library: str) -> None:
  """Raises unless one can ask whether an object is there."""
  import importlib.util

  if any(map(importlib.util.find_spec, (library, 'tensorflow'))):
    return
  raise ValueError(
    f'{scheme}:// needs a library that is not installed: pip install '
    f"{library}, or all of 'ttc-jax[buckets]'"
  )


def local_only(path: Path, what: str) -> pathlib.Path:
  """A path that must be one of this machine; ValueError calls it `what`."""
  found = as_path(path)
  if isinstance(found, pathlib.Path):
    return found
  raise ValueError(f'{what}={path} must be on a disk of this machine')


def is_local(path: AnyPath) -> bool:
  """Whether the path is one of this machine's file system."""
  return isinstance(path, pathlib.Path)


def exists(path: Path) -> bool:
  """Whether there is such a file, whole or in parts."""
  path = as_path(path)
  if path.exists():
    return True
  return not is_local(path) and path.with_name(path.name + _PART).exists()


def parts(path: AnyPath) -> list[AnyPath]:
  """The objects in a bucket that hold what was appended to a file, in order."""
  number = lambda part: part.name[len(path.name) + 1 :]
  found = path.parent.glob(f'{path.name}.[0-9]*')
  return sorted(
    (x for x in found if number(x).isdigit()), key=lambda x: int(number(x))
  )


def next_part(path: AnyPath) -> AnyPath:
  """The part that the next lines of a file go to."""
  there = parts(path)
  last = int(there[-1].name.rpartition('.')[2]) if there else -1
  return path.with_name(f'{path.name}.{last + 1:06d}')


def find(directory: AnyPath, pattern: str) -> list[AnyPath]:
  """Files of a directory by their names, also those that are in parts."""
  found = set(directory.glob(pattern))
  if not is_local(directory):
    first = directory.glob(pattern + _PART)
    found |= {x.with_name(x.name.removesuffix(_PART)) for x in first}
  return sorted(found)


def all_files(directory: AnyPath) -> list[AnyPath]:
  """Files of a directory and of those in it, sorted."""
  if isinstance(directory, pathlib.Path):
    return sorted(x for x in directory.rglob('*') if x.is_file())
  found: list[AnyPath] = []
  for path in directory.iterdir():  # `walk` would lose the scheme
    if path.is_dir():
      found += all_files(path) if path != directory else []
    else:
      found.append(path)
  return sorted(found)


def unlink(path: AnyPath) -> None:
  """Deletes a file and all its parts, if there."""
  path.unlink(missing_ok=True)
  if not is_local(path):
    for part in parts(path):
      part.unlink()


@contextlib.contextmanager
def local_directory(path: Path) -> Iterator[pathlib.Path]:
  """A directory to write to, whose files go to the bucket at the end.

  Args:
    path: where they belong; if that is on this machine, the directory itself.

  Yields:
    The directory, empty unless it is the one asked for.
  """
  path = as_path(path)
  if isinstance(path, pathlib.Path):
    yield path
    return
  with tempfile.TemporaryDirectory() as scratch:
    yield pathlib.Path(scratch)
    for file in all_files(pathlib.Path(scratch)):
      target = path / str(file.relative_to(scratch))
      target.parent.mkdir(parents=True, exist_ok=True)
      with file.open('rb') as source, target.open('wb') as sink:
        shutil.copyfileobj(source, sink, 1 << 24)


def local_copy(path: Path) -> pathlib.Path:
  """A file or directory of this machine with what is at the path.

  What is on a bucket is fetched once, file by file, to the directory of
  temporary files; one whose length or time has changed there is fetched again,
  and what is no longer there is deleted.

  Raises:
    FileNotFoundError: if the bucket has nothing there.
  """
  path = as_path(path)
  if isinstance(path, pathlib.Path):
    return path
  key = hashlib.sha256(os.fspath(path).encode()).hexdigest()[:16]
  copy = _copies() / key / path.name
  if path.is_file():
    _fetch(path, copy)
  elif path.is_dir():
    there = {copy / str(x.relative_to(path)): x for x in all_files(path)}
    for target, file in there.items():
      _fetch(file, target)
    for stale in set(all_files(copy)) - there.keys():
      stale.unlink(missing_ok=True)
  else:
    raise FileNotFoundError(f'{path} is not there')
  return copy


def fetched(name: str) -> str:
  """The name of a model or file, or the path of its copy if on a bucket.

  A word before the address stays, `random:gs://bucket/model`.
  """
  if '://' not in name:
    return name
  start = name.rfind(':', 0, name.index('://')) + 1
  return f'{name[:start]}{local_copy(name[start:])}'


def _copies() -> pathlib.Path:
  return pathlib.Path(tempfile.gettempdir(), f'ttc-{os.getuid()}')


def _fetch(path: AnyPath, copy: pathlib.Path) -> None:
  there = epath.Path(path).stat()
  if copy.exists():
    here = copy.stat()
    if (here.st_size, int(here.st_mtime)) == (there.length, there.mtime):
      return
  copy.parent.mkdir(parents=True, exist_ok=True)
  draft = _copies() / f'.{copy.name}.{os.getpid()}.tmp'  # in no model
  try:
    with path.open('rb') as source, draft.open('wb') as sink:
      shutil.copyfileobj(source, sink, 1 << 24)
    os.utime(draft, (there.mtime, there.mtime))
    draft.replace(copy)
  finally:
    draft.unlink(missing_ok=True)
