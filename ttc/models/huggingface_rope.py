"""Rotations of positions as Hugging Face's configs spell them, both ways.

Older files have `rope_theta` and `rope_scaling`, transformers 5 writes
`rope_parameters`. Where both are there the older one wins, whole: of the other
not even the base is used.
"""

import math
from collections.abc import Mapping
from typing import Any

from ttc.models import fields, rope
from ttc.models.transformer_config import TransformerConfig

_ORIGINAL = 'original_max_position_embeddings'
_LONGEST = 'max_position_embeddings'
# Settings that some kind reads, and one that says nothing about the function.
_KNOWN = {
  'attention_factor',
  'beta_fast',
  'beta_slow',
  'factor',
  'finetuned',
  'high_freq_factor',
  'long_factor',
  'low_freq_factor',
  'mscale',
  'mscale_all_dim',
  'partial_rotary_factor',
  'rope_theta',
  'rope_type',
  'short_factor',
  'truncate',
  'type',
  _ORIGINAL,
}
_KINDS_OF_LAYERS = ('full_attention', 'sliding_attention')


def read_rope(
  values: Mapping[str, Any], file: str, default_theta: float
) -> dict[str, Any]:
  """The settings of `TransformerConfig` for a model that rotates as Llama does.

  Args:
    values: the config.
    file: for the error's line.
    default_theta: the base where nothing says it.

  Returns:
    `rope_theta` and `rope_scaling`.

  Raises:
    ValueError: at what is not implemented.
  """
  settings = _chosen(values, file)
  _refuse_partial(values, settings, file=file)
  source = settings if 'rope_theta' in settings else values
  theta = fields.positive(source, 'rope_theta', file, default_theta)
  return {
    'rope_theta': theta,
    'rope_scaling': _scaling(settings, values, file),
  }


def read_phi_rope(
  values: Mapping[str, Any], file: str, head_dim: int
) -> dict[str, Any]:
  """The same of Phi-3, which may rotate only some of the channels.

  Its scalings have had several names, and the original length is beside them.
  """
  settings = dict(_chosen(values, file))
  if settings.get('rope_type', settings.get('type')) in ('su', 'yarn'):
    settings |= {'rope_type': 'longrope'}
  settings[_ORIGINAL] = fields.integer(values, _ORIGINAL, file, 4096)
  source = settings if 'rope_theta' in settings else values
  name = 'partial_rotary_factor'
  part = fields.positive(
    settings if settings.get(name) is not None else values, name, file, 1.0
  )
  dim = int(head_dim * part)
  return {
    'rope_theta': fields.positive(source, 'rope_theta', file, 10_000.0),
    'rope_scaling': _scaling(settings, values, file),
    'rotary_dim': None if dim == head_dim else dim,
  }


def read_rope_by_layer(
  values: Mapping[str, Any],
  file: str,
  default_theta: float,
  windowed_theta: float,
) -> dict[str, Any]:
  """The same where layers with a window have a base of their own, unscaled.

  Args:
    values: the config.
    file: for the error's line.
    default_theta: of layers without a window, where nothing says it.
    windowed_theta: of those with a window, where nothing says it.

  Returns:
    `rope_theta`, `rope_scaling` and `windowed_theta`.
  """
  nested = fields.mapping(values, 'rope_parameters', file) or {}
  if strange := sorted(nested.keys() - set(_KINDS_OF_LAYERS)):
    raise ValueError(
      f'{file}: rope_parameters has {strange[0]!r}, not only '
      f'{" and ".join(_KINDS_OF_LAYERS)}'
    )
  full, windowed = (
    fields.mapping(nested, kind, file) or {} for kind in _KINDS_OF_LAYERS
  )
  full = full | (fields.mapping(values, 'rope_scaling', file) or {})
  _refuse_partial(values, full, windowed, file=file)
  if _scaling(windowed, values, file) is not None:
    raise ValueError(
      f'{file}: rope scaling of sliding_attention is not implemented'
    )
  if full.get('truncate', True) is not True:
    raise ValueError(f'{file}: truncate={full["truncate"]!r} is not read here')
  source = full if 'rope_theta' in full else values
  theta = fields.positive(source, 'rope_theta', file, default_theta)
  local = fields.positive(windowed, 'rope_theta', file, windowed_theta)
  scaling = _scaling(full, values, file)
  is_one = scaling is None and local == theta
  return {
    'rope_theta': theta,
    'rope_scaling': scaling,
    'windowed_theta': None if is_one else local,
  }


def _refuse_partial(*places: Mapping[str, Any], file: str) -> None:
  """Raises where one of them asks for rotations of some channels only."""
  for where in places:
    if where.get('partial_rotary_factor') not in (None, 1.0):
      raise ValueError(
        f'{file}: partial_rotary_factor={where["partial_rotary_factor"]!r} is '
        'not implemented for this architecture, only 1.0'
      )


def _chosen(values: Mapping[str, Any], file: str) -> dict[str, Any]:
  """The dict that counts; empty if there is none."""
  settings = (
    fields.mapping(values, 'rope_scaling', file)
    or fields.mapping(values, 'rope_parameters', file)
    or {}
  )
  if any(isinstance(value, dict) for value in settings.values()):
    raise ValueError(f'{file}: rope settings that differ between layers')
  return settings


def _scaling(
  settings: Mapping[str, Any], values: Mapping[str, Any], file: str
) -> rope.Scaling | None:
  """The scaling that settings declare."""
  if strange := sorted(settings.keys() - _KNOWN):
    raise ValueError(f'{file}: rope setting {strange[0]!r} is not implemented')
  kind = settings.get('rope_type', settings.get('type', 'default'))
  if kind == 'default':
    return None
  if not isinstance(kind, str) or kind not in rope.KINDS:
    names = ', '.join(map(repr, ['default', *rope.KINDS]))
    raise ValueError(f'{file}: rope scaling {kind!r} is not one of {names}')

  def number(name, *default):
    if name not in settings and not default:
      raise ValueError(f'{file}: the rope scaling lacks {name}')
    return fields.positive(settings, name, file, *default)

  longest = fields.integer(values, _LONGEST, file)
  original = fields.integer(settings, _ORIGINAL, file, longest)
  if kind == 'linear':
    return rope.LinearScaling(number('factor'))
  if kind == 'dynamic':
    return rope.DynamicScaling(number('factor'), longest)
  if kind == 'llama3':
    scaling = rope.Llama3Scaling(
      factor=number('factor'),
      low_freq_factor=number('low_freq_factor'),
      high_freq_factor=number('high_freq_factor'),
      original_length=original,
    )
    if scaling.high_freq_factor <= scaling.low_freq_factor:
      raise ValueError(
        f'{file}: high_freq_factor={scaling.high_freq_factor} must be above '
        f'low_freq_factor={scaling.low_freq_factor}'
      )
    return scaling
  factor = number('factor', None) or longest / original
  sharpness = number('attention_factor', None)
  if kind == 'longrope':
    if sharpness is None:
      stretch = math.log(max(factor, 1.0)) / math.log(max(original, 2))
      sharpness = math.sqrt(1.0 + stretch)
    short, long = (
      _divisors(settings, name, file)
      for name in ('short_factor', 'long_factor')
    )
    return rope.LongRopeScaling(short, long, original, sharpness)
  weights = [settings.get(name) for name in ('mscale', 'mscale_all_dim')]
  if sharpness is None and all(weights):
    above, below = (
      rope.yarn_sharpness(factor, number(name))
      for name in ('mscale', 'mscale_all_dim')
    )
    sharpness = above / below
  return rope.YarnScaling(
    factor=factor,
    original_length=original,
    beta_fast=number('beta_fast', None) or 32.0,
    beta_slow=number('beta_slow', None) or 1.0,
    truncate=fields.boolean(settings, 'truncate', file, True),
    attention_factor=sharpness,
  )


def _divisors(
  settings: Mapping[str, Any], name: str, file: str
) -> tuple[float, ...]:
  found = settings.get(name)
  values = found if isinstance(found, list) else []
  if not values or not all(type(x) in (int, float) and x > 0 for x in values):
    raise ValueError(
      f'{file}: {name}={fields.short(found)} is not a list of positive numbers'
    )
  return tuple(map(float, values))


def rope_values(config: TransformerConfig) -> dict[str, Any]:
  """What `config.json` says of the base and the scaling."""
  theta = {'rope_theta': config.rope_theta}
  settings = _settings(config.rope_scaling)
  return (
    theta if settings is None else theta | {'rope_scaling': settings | theta}
  )


def rope_values_by_layer(config: TransformerConfig) -> dict[str, Any]:
  """What `config.json` says where layers with a window have their own base."""
  windowed = config.windowed_theta or config.rope_theta
  full = _settings(config.rope_scaling) or {'rope_type': 'default'}
  return {
    'rope_parameters': {
      'full_attention': full | {'rope_theta': config.rope_theta},
      'sliding_attention': {'rope_type': 'default', 'rope_theta': windowed},
    }
  }


def _settings(scaling: rope.Scaling | None) -> dict[str, Any] | None:
  s = scaling
  if s is None:
    return None
  if isinstance(s, rope.LinearScaling):
    return {'rope_type': 'linear', 'factor': s.factor}
  if isinstance(s, rope.DynamicScaling):
    return {'rope_type': 'dynamic', 'factor': s.factor}
  if isinstance(s, rope.Llama3Scaling):
    return {
      'rope_type': 'llama3',
      'factor': s.factor,
      'low_freq_factor': s.low_freq_factor,
      'high_freq_factor': s.high_freq_factor,
      _ORIGINAL: s.original_length,
    }
  if isinstance(s, rope.LongRopeScaling):
    return {
      'rope_type': 'longrope',
      'short_factor': list(s.short),
      'long_factor': list(s.long),
      'attention_factor': s.attention_factor,
      _ORIGINAL: s.original_length,
    }
  sharpness = s.attention_factor
  return {
    'rope_type': 'yarn',
    'factor': s.factor,
    'beta_fast': s.beta_fast,
    'beta_slow': s.beta_slow,
    'truncate': s.truncate,
    _ORIGINAL: s.original_length,
    **({} if sharpness is None else {'attention_factor': sharpness}),
  }
