"""Nested dictionaries of arrays as one `.npz`, names joined by `/`."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ttc.io import files
from ttc.io.paths import as_path


def write_arrays(path: files.Path, data: Mapping[str, Any]) -> None:
  """Writes arrays, whole or not at all.

  Args:
    path: of the file; its directory is made if missing.
    data: arrays by name, or dictionaries of them.

  Raises:
    ValueError: on a name with a `/`.
    OSError: naming the file, if it cannot be written.
  """
  buffer = io.BytesIO()
  flat: dict[str, Any] = flatten(data)
  np.savez(buffer, **flat)
  files.write_atomically(path, buffer.getvalue())


def read_arrays(path: files.Path) -> dict[str, Any]:
  """What `write_arrays` wrote.

  Raises:
    ValueError: if it is no such file.
  """
  data: dict[str, Any] = {}
  try:
    with as_path(path).open('rb') as file, np.load(file) as saved:
      flat = dict(saved)
  except (ValueError, EOFError, zipfile.BadZipFile, TypeError):
    raise ValueError(f'{path}: not a file of arrays (.npz)') from None
  for name, value in flat.items():
    *outer, last = name.split('/')
    inside = data
    for part in outer:
      inside = inside.setdefault(part, {})
    inside[last] = value
  return data


def flatten(data: Mapping[str, Any], prefix: str = '') -> dict[str, np.ndarray]:
  """One dictionary, names `outer/inner`."""
  flat = {}
  for name, value in data.items():
    if '/' in name:
      raise ValueError(f"name {name!r} of an array has a '/'")
    if isinstance(value, Mapping):
      flat |= flatten(value, f'{prefix}{name}/')
    else:
      flat[f'{prefix}{name}'] = np.asarray(value)
  return flat
