"""What was measured, kept by claim, seed, size and digest of the sources."""

import ast
import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def measured_path(
  cache: str | os.PathLike[str],
  path: pathlib.Path,
  seed: int,
  size: str,
) -> pathlib.Path:
  """Where the arrays of one seed are kept.

  Args:
    cache: directory.
    path: of the claim's source.
    seed: that it was measured with.
    size: name of the size.

  Returns:
    The path; another one once the claim or one of its beds has changed.
  """
  name = f'{path.stem}-{size}-{seed}-{source_digest(path)}.npz'
  return pathlib.Path(cache) / 'measured' / name


def source_digest(path: pathlib.Path) -> str:
  """Of a claim's source and of the beds that it imports."""
  sources, todo = set(), [path]
  while todo:
    source = todo.pop()
    if source in sources:
      continue
    sources.add(source)
    todo += [bed for bed in imported_beds(source) if bed.exists()]
  text = b''.join(source.read_bytes() for source in sorted(sources))
  return hashlib.sha256(text).hexdigest()[:12]


def imported_beds(path: pathlib.Path) -> list[pathlib.Path]:
  """Files of `ttc.testbeds` that a source imports."""
  beds = []
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if not isinstance(node, ast.ImportFrom) or not node.module:
      continue
    if node.module == 'ttc.testbeds':
      beds += [alias.name for alias in node.names]
    elif node.module.startswith('ttc.testbeds.'):
      beds.append(node.module.split('.')[2])
  return [_ROOT / 'testbeds' / f'{bed}.py' for bed in beds]


def save_measured(path: pathlib.Path, data: Mapping[str, Any]) -> None:
  """Writes nested arrays by name, whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{os.getpid()}.{path.name}')
  np.savez(partial, **flatten(jax.device_get(dict(data))))
  partial.rename(path)


def load_measured(path: pathlib.Path) -> dict[str, Any]:
  """Reads what `save_measured` wrote."""
  data: dict[str, Any] = {}
  with np.load(path) as saved:
    for name, value in saved.items():
      *outer, last = name.split('/')
      inside = data
      for part in outer:
        inside = inside.setdefault(part, {})
      inside[last] = value
  return data


def flatten(data: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dicts of arrays as one, `outer/inner`."""
  flat = {}
  for name, value in data.items():
    if '/' in name:
      raise ValueError(f"name {name!r} of a measured array has a '/'")
    if isinstance(value, Mapping):
      flat |= flatten(value, f'{prefix}{name}/')
    else:
      flat[f'{prefix}{name}'] = np.asarray(value)
  return flat
