"""Trained denoisers as files, and those that come with the package.

A file says which network it is and how it was made: the command, the seed and
the seconds are in `about`. `scripts/train_diffusion.py` writes them.
"""

from collections.abc import Mapping
from typing import Any

import jax

from ttc import diffusion
from ttc.diffusion import Model
from ttc.diffusion.losses import Target
from ttc.io.files import Path
from ttc.io.learned import (
  check_shapes,
  learned_names,
  load_learned,
  save_learned,
)
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
  save_learned(path, params, {**made, 'context': context, **about})


def load_model(name: Path) -> Model:
  """Reads a model that comes with the package, or one of one's own.

  Args:
    name: one of `model_names()`, or the path of a file from `save_model`.

  Raises:
    ValueError: if it is neither.
  """
  found = load_learned(name, 'ttc.diffusion', 'model')
  about = dict(found.about)
  try:
    network, options, target, context = (
      about.pop(x) for x in ('network', 'options', 'target', 'context')
    )
    model = diffusion.make_model(
      network, options, target, context, found.params, about
    )
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f'{found.path}: not a saved model: {error}') from None
  check_shapes(found, jax.eval_shape(model.init, jax.random.key(0)))
  return model


def model_names() -> list[str]:
  """Of the models that come with the package."""
  return learned_names('ttc.diffusion')
