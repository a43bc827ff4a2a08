"""Scalings of rotary positions as GGUF files spell them."""

from typing import Any

import numpy as np

from ttc.models import gguf_file, rope
from ttc.models.gguf_file import GGUFFile

LLAMA3_DIVISORS = 'rope_freqs.weight'
LONG_DIVISORS = ('rope_factors_short.weight', 'rope_factors_long.weight')


def read_scaling(
  file: GGUFFile, architecture: str, dim: int, theta: float
) -> rope.Scaling | None:
  """The scaling of a file, in its metadata or as divisors among its tensors.

  Args:
    file: an opened file.
    architecture: the prefix of its settings.
    dim: channels that are rotated.
    theta: the base.

  Returns:
    The scaling; None for plain positions.

  Raises:
    ValueError: at one that is not implemented.
  """
  name = f'{architecture}.rope.scaling'
  number = lambda key, *default: gguf_file.positive(
    file, f'{name}.{key}', *default
  )
  kind = file.metadata.get(f'{name}.type', 'linear')  # so llama.cpp has it
  old = file.metadata.get(f'{architecture}.rope.scale_linear', 1.0)
  factor = file.metadata.get(f'{name}.factor', old)
  context = gguf_file.size(file, f'{architecture}.context_length')
  original = gguf_file.size(file, f'{name}.original_context_length', context)
  refuse = lambda what: ValueError(f'{file.path}: {what} is not implemented')
  if any(tensor in file.tensors for tensor in LONG_DIVISORS):
    if kind not in ('linear', 'none', 'longrope'):
      raise refuse(f'rope scaling {kind!r} with {LONG_DIVISORS[0]}')
    long, short = (
      tuple(map(float, gguf_file.tensor(file, tensor).reshape(-1)))
      for tensor in LONG_DIVISORS
    )
    factor = number('attn_factor', 1.0)
    return rope.LongRopeScaling(long, short, original, factor)
  is_plain = kind == 'none' or (kind == 'linear' and factor in (0, 1))
  if not is_plain and LLAMA3_DIVISORS in file.tensors:
    raise refuse(f'rope scaling {kind!r} by {factor} with {LLAMA3_DIVISORS}')
  if is_plain:
    return _llama3(file, dim, theta)
  if kind == 'linear':
    return rope.LinearScaling(_factor(file, name, architecture))
  if kind != 'yarn':
    raise refuse(f'rope scaling {kind!r} by {factor}')
  for key, value in (('yarn_log_multiplier', 0.0), ('yarn_ext_factor', 1.0)):
    if (found := file.metadata.get(f'{name}.{key}', value)) != value:
      raise refuse(f'{key}={found}')
  factor = _factor(file, name, architecture)
  return rope.YarnScaling(
    factor=factor,
    original_length=original,
    beta_fast=number('yarn_beta_fast', 32.0),
    beta_slow=number('yarn_beta_slow', 1.0),
    attention_factor=rope.yarn_sharpness(factor) * number('attn_factor', 1.0),
  )


def _factor(file: GGUFFile, name: str, architecture: str) -> Any:
  names = f'{name}.factor', f'{architecture}.rope.scale_linear'
  return gguf_file.positive(file, names[names[0] not in file.metadata])


def _llama3(
  file: GGUFFile, dim: int, theta: float
) -> rope.Llama3Scaling | None:
  """The scaling whose divisors of the frequencies the file stores.

  Llama 3.1 and later write the divisors and not the four numbers behind them,
  of which all published models share three.
  """
  if LLAMA3_DIVISORS not in file.tensors:
    return None
  stored = gguf_file.tensor(file, LLAMA3_DIVISORS)
  if np.all(stored == 1.0):
    return None
  scaling = rope.Llama3Scaling(factor=float(stored.max()))
  plain = rope.frequencies(dim, theta)
  factors = plain / rope.frequencies(dim, theta, scaling)
  if stored.shape != factors.shape or not np.allclose(stored, factors, 1e-4):
    raise ValueError(
      f'{file.path}: {LLAMA3_DIVISORS} is not the scaling of Llama 3 '
      f'({scaling}); no other is implemented'
    )
  return scaling
