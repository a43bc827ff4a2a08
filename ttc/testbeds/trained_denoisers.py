"""Trained denoisers as files, and those that come with the package.

A file says which network it is and how it was made: the command, the seed and
the seconds are in `about`. `scripts/train_diffusion.py` writes them.
"""

import importlib.resources
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from ttc import diffusion
from ttc.diffusion import Model
from ttc.diffusion.losses import Target
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.files import Path
from ttc.types import Params


def save_model(
  path: Path,
  network: str,
  options: Mapping[str, Any],
  target: Target,
  context: int,
  params: Params,
  about: Mapping[str, Any],
) -> None:
  """Writes a model as `.npz` of half-size floats, whole or not at all.

  Args:
    path: of the file.
    network: its name.
    options: of the network.
    target: what it answers.
    context: channels that it is given.
    params: kept as float16.
    about: how it was made.
  """
  made = {'network': network, 'options': dict(options), 'target': target}
  text = json.dumps({**made, 'context': context, **about})
  small = jax.tree.map(lambda x: np.asarray(x, np.float16), params)
  write_arrays(path, {'about': np.array(text), 'params': small})


def load_model(name: Path) -> Model:
  """Reads a model that comes with the package, or one of one's own.

  Args:
    name: one of `model_names()`, or the path of a file from `save_model`.

  Raises:
    ValueError: if it is neither.
  """
  path = pathlib.Path(name)
  if path.suffix != '.npz':
    if str(name) not in model_names():
      raise ValueError(
        f'model {str(name)!r} is not known; there are '
        f'{", ".join(model_names()) or "none"}, and files *.npz'
      )
    path = _folder() / f'{name}.npz'
  if not path.exists():
    raise ValueError(f'{path}: no such file')
  saved = read_arrays(path)
  try:
    about = json.loads(str(saved['about']))
    network, options, target, context = (
      about.pop(x) for x in ('network', 'options', 'target', 'context')
    )
    params = jax.tree.map(lambda x: x.astype(np.float32), saved['params'])
    model = diffusion.make_model(
      network, options, target, context, params, about
    )
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{path}: not a saved model: {error}') from None
  shapes = lambda tree: jax.tree.map(lambda x: x.shape, tree)
  expected = shapes(jax.eval_shape(model.init, jax.random.key(0)))
  if (found := shapes(params)) != expected:
    raise ValueError(f'{path}: shapes {found}, expected {expected}')
  return model


def model_names() -> list[str]:
  """Of the models that come with the package."""
  return sorted(path.stem for path in _folder().glob('*.npz'))


def _folder() -> pathlib.Path:
  folder = importlib.resources.files('ttc.diffusion') / 'learned'
  return pathlib.Path(str(folder))
