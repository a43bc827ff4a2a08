"""Small sets of parameters that come with the package, as half-size floats.

A file holds parameters as float16 and, as JSON, how they were made. Those of a
package lie in its folder `learned`.
"""

import importlib.resources
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.files import Path
from ttc.io.paths import local_copy
from ttc.types import Params


class Learned(NamedTuple):
  """What a file holds, and where it lies."""

  path: pathlib.Path
  params: Params  # float32
  about: dict[str, Any]


def save_learned(path: Path, params: Params, about: Mapping[str, Any]) -> None:
  """Writes parameters, atomically.

  Args:
    path: of the file.
    params: nested dictionaries; float16 must be fine enough for them.
    about: how they were made.
  """
  small = jax.tree.map(lambda x: np.asarray(x, np.float16), params)
  about_text = np.array(json.dumps(dict(about)))
  write_arrays(path, {'about': about_text, 'params': small})


def load_learned(name: Path, package: str, what: str) -> Learned:
  """Reads what comes with a package, or a file of one's own.

  Args:
    name: one of `learned_names(package)`, or the path of a file `*.npz`.
    package: in whose folder to look.
    what: to call it in an error.

  Raises:
    ValueError: if it is neither, or damaged.
  """
  path = local_copy(name)
  if path.suffix != '.npz':
    names = learned_names(package)
    if str(name) not in names:
      raise ValueError(
        f'{what} {str(name)!r} is not known; there are '
        f'{", ".join(names) or "none"}, and files *.npz'
      )
    path = _folder(package) / f'{name}.npz'
  if not path.exists():
    raise ValueError(f'{path}: no such file')
  saved = read_arrays(path)
  try:
    about = json.loads(str(saved['about']))
    params = jax.tree.map(lambda x: x.astype(np.float32), saved['params'])
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{path}: not a saved {what}: {error}') from None
  return Learned(path, params, about)


def check_shapes(learned: Learned, expected: Params) -> None:
  """Raises ValueError if parameters are of other shapes than these are."""
  shapes = lambda tree: jax.tree.map(lambda x: x.shape, tree)
  if (found := shapes(learned.params)) != shapes(expected):
    raise ValueError(
      f'{learned.path}: shapes {found}, expected {shapes(expected)}'
    )


def learned_names(package: str) -> list[str]:
  """Of what comes with a package."""
  return sorted(path.stem for path in _folder(package).glob('*.npz'))


def _folder(package: str) -> pathlib.Path:
  return pathlib.Path(str(importlib.resources.files(package))) / 'learned'
