"""Which safetensors files hold the tensors of a Hugging Face directory."""

import glob
import os
from typing import Any

from ttc.models import fields

_SINGLE, _INDEX = 'model.safetensors', 'model.safetensors.index.json'


def shards(path: str | os.PathLike) -> list[str]:
  """The safetensors files that hold the weights of a directory.

  `model.safetensors`, or those that the index names, or the only one there is.
  Other files beside them are not read.

  Raises:
    FileNotFoundError: if there is none, or one that the index names is missing.
    ValueError: if it is not plain which files they are.
  """
  path = os.fspath(path)
  single, index = os.path.join(path, _SINGLE), os.path.join(path, _INDEX)
  if os.path.isfile(index):
    if os.path.isfile(single):
      raise ValueError(
        f'{path}: has both {_SINGLE} and {_INDEX}; remove the one that is not '
        'meant'
      )
    files = [
      os.path.join(path, name)
      for name in sorted(set(_weight_map(path).values()))
    ]
  elif os.path.isfile(single):
    files = [single]
  else:
    files = sorted(glob.glob(os.path.join(glob.escape(path), '*.safetensors')))
    if len(files) > 1:
      raise ValueError(
        f'{path}: has {len(files)} .safetensors files, but neither {_SINGLE} '
        f'nor {_INDEX}'
      )
  if not files:
    raise FileNotFoundError(f'{path}: there is no .safetensors file')
  for file in files:
    if not os.path.isfile(file):
      raise FileNotFoundError(f'{file}: no such file, but the index names it')
  return files


def _weight_map(path: str) -> dict[str, str]:
  """Which file of the directory holds which tensor, as the index says."""
  index = os.path.join(path, _INDEX)
  names = fields.mapping(fields.read_json(index), 'weight_map', index)
  if not names:
    raise ValueError(f'{index}: weight_map is missing or empty')
  for tensor, name in names.items():
    is_plain = isinstance(name, str) and name == os.path.basename(name)
    if not is_plain or not name.endswith('.safetensors'):
      raise ValueError(
        f'{index}: weight_map puts {tensor!r} into {name!r}, which is not the '
        'name of a .safetensors file of this directory'
      )
  return names


def open_tensors(path: str) -> dict[str, Any]:
  """The opened file of each tensor; the index decides between copies."""
  opened = {os.path.basename(file): _open(file) for file in shards(path)}
  found = {name: set(file.keys()) for name, file in opened.items()}
  if not os.path.isfile(os.path.join(path, _INDEX)):
    return {t: opened[name] for name, tensors in found.items() for t in tensors}
  home = _weight_map(path)
  for tensor, name in home.items():
    if tensor not in found[name]:
      raise ValueError(
        f'{os.path.join(path, name)}: there is no tensor {tensor!r}, but the '
        'index says so'
      )
  for name, tensors in found.items():
    for tensor in sorted(tensors - home.keys()):
      raise ValueError(
        f'{os.path.join(path, name)}: tensor {tensor!r} is not in the index'
      )
  return {tensor: opened[name] for tensor, name in home.items()}


def _open(file: str):
  try:
    import safetensors
  except ImportError:
    raise ImportError(
      "reading safetensors needs: pip install 'ttc-jax[weights]'"
    ) from None
  try:
    return safetensors.safe_open(file, 'numpy')
  except safetensors.SafetensorError as error:
    raise ValueError(f'{file}: truncated or damaged: {error}') from None
