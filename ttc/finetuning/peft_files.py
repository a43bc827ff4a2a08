"""Adapters as directories that the package peft reads and writes.

`adapter_model.safetensors` has both factors of each weight transposed, and
`adapter_config.json` says how they are meant.
"""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ttc.finetuning.lora import Adapter, LowRank
from ttc.models import fields
from ttc.models.safetensors import NAMES

_CONFIG, _WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
_PREFIX = 'base_model.model.'
# Settings that would give other adapters than ours.
_LACKING = (
  'use_dora',
  'rank_pattern',
  'alpha_pattern',
  'layers_to_transform',
  'lora_bias',
  'fan_in_fan_out',
  'modules_to_save',
)


class SavedAdapter(NamedTuple):
  """An adapter as a directory has it."""

  adapter: Adapter
  alpha: float
  rank_stabilised: bool
  base: str  # name or path of the model it belongs to


def save_peft(path: str | os.PathLike, saved: SavedAdapter) -> None:
  """Writes an adapter of a transformer for peft.

  Needs the extra `weights`.

  Args:
    path: of the directory, which is made.
    saved: the adapter, its layers one by one or stacked, and what goes with it.

  Raises:
    ValueError: if it has several ranks, or adapts a map of an expert.
  """
  import safetensors.numpy

  path = os.fspath(path)
  ranks = {part.a.shape[-1] for part in saved.adapter.values()}
  if len(ranks) != 1:
    raise ValueError(f'an adapter of ranks {sorted(ranks)}; peft keeps one')
  tensors, targets, rank = {}, set(), ranks.pop()
  for weight, part in saved.adapter.items():
    for i, kind, factors in _layers(weight, part):
      if kind not in NAMES:
        raise ValueError(f'{kind}: adapters of experts are not implemented')
      name = NAMES[kind].format(i).removesuffix('.weight')
      targets.add(name.split('.')[-1])
      for side, x in zip('AB', factors, strict=True):
        key = f'{_PREFIX}{name}.lora_{side}.weight'
        tensors[key] = np.ascontiguousarray(np.asarray(x).T)
  os.makedirs(path, exist_ok=True)
  config = {
    'peft_type': 'LORA',
    'task_type': 'CAUSAL_LM',
    'base_model_name_or_path': saved.base,
    'r': rank,
    'lora_alpha': saved.alpha,
    'lora_dropout': 0.0,
    'target_modules': sorted(targets),
    'bias': 'none',
    'fan_in_fan_out': False,
    'use_rslora': saved.rank_stabilised,
    'modules_to_save': None,
    'inference_mode': True,
  }
  safetensors.numpy.save_file(
    tensors, os.path.join(path, _WEIGHTS), metadata={'format': 'pt'}
  )
  with open(os.path.join(path, _CONFIG), 'w', encoding='utf-8') as file:
    file.write(json.dumps(config, indent=2) + '\n')


def load_peft(
  path: str | os.PathLike, *, scan_layers: bool = False
) -> SavedAdapter:
  """Reads an adapter that peft or `save_peft` wrote.

  Args:
    path: of the directory.
    scan_layers: whether the model's layers are stacked.

  Returns:
    The adapter in float32.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if it asks for what is not implemented, or is incomplete.
  """
  import safetensors.numpy

  file, weights = (os.path.join(path, name) for name in (_CONFIG, _WEIGHTS))
  for needed in (file, weights):
    if not os.path.isfile(needed):
      raise FileNotFoundError(f'{needed}: no such file')
  config = fields.read_json(file)
  _refuse(config, file)
  try:
    tensors = safetensors.numpy.load_file(weights)
  except Exception as error:  # the package raises no narrower kind
    raise ValueError(f'{weights}: truncated or damaged: {error}') from None
  rank = fields.integer(config, 'r', file)
  layers: dict[str, dict[int, LowRank]] = {}
  for kind, i, factors in _factors(tensors, rank, weights):
    layers.setdefault(kind, {})[i] = factors
  if not layers:
    raise ValueError(f'{weights}: it has no factors')
  adapter = {}
  for kind, parts in layers.items():
    ordered = [parts[i] for i in sorted(parts)]
    if scan_layers and sorted(parts) != list(range(len(parts))):
      raise ValueError(
        f'{weights}: {kind} is adapted in layers {sorted(parts)} only; stacked '
        'layers need all of them'
      )
    if scan_layers:
      adapter[f'layers.{kind}'] = LowRank(
        jnp.stack([x.a for x in ordered]), jnp.stack([x.b for x in ordered])
      )
    else:
      for i, part in parts.items():
        adapter[f'layers.{i}.{kind}'] = part
  return SavedAdapter(
    adapter,
    fields.positive(config, 'lora_alpha', file),
    fields.boolean(config, 'use_rslora', file, False),
    str(config.get('base_model_name_or_path')),
  )


def _layers(weight: str, part: LowRank) -> Sequence[tuple[int, str, LowRank]]:
  """Number, kind and factors of each layer of an entry of an adapter."""
  _, first, *rest = weight.split('.')
  if first.isdigit():
    return [(int(first), '.'.join(rest), part)]
  kind = '.'.join((first, *rest))
  return [(i, kind, LowRank(part.a[i], part.b[i])) for i in range(len(part.a))]


def _factors(tensors: dict[str, np.ndarray], rank: int, file: str):
  """Kind, layer and factors of each weight of a file."""
  kinds = {
    name.split('.{}.')[1].removesuffix('.weight'): kind
    for kind, name in NAMES.items()
    if kind.endswith('.kernel')
  }
  seen = set()
  for key in sorted(tensors):
    module = key.removeprefix(f'{_PREFIX}model.layers.')
    number, _, rest = module.partition('.')
    kind, _, side = rest.partition('.lora_')
    known = number.isdigit() and kind in kinds
    if not known or side not in ('A.weight', 'B.weight'):
      raise ValueError(
        f'{file}: tensor {key!r} has no place in the transformer'
      )
    if side == 'B.weight':
      continue
    other = key.removesuffix('A.weight') + 'B.weight'
    if other not in tensors:
      raise ValueError(f'{file}: there is no tensor {other!r}')
    a, b = (jnp.asarray(tensors[k].T, jnp.float32) for k in (key, other))
    if a.shape[-1] != rank or b.shape[0] != rank:
      raise ValueError(f'{file}: tensor {key!r} is not of rank {rank}')
    seen.add(other)
    yield kinds[kind], int(number), LowRank(a, b)
  if alone := [k for k in tensors if 'lora_B' in k and k not in seen]:
    raise ValueError(f'{file}: {alone[0]!r} has no factor A')


def _refuse(config: dict[str, Any], file: str) -> None:
  """Raises on what would silently give another adapter."""
  if config.get('peft_type') != 'LORA':
    raise ValueError(
      f"{file}: peft_type={config.get('peft_type')!r} is not 'LORA'"
    )
  for name in _LACKING:
    if config.get(name):
      raise ValueError(f'{file}: {name}={config[name]!r} is not implemented')
  if config.get('bias', 'none') != 'none':
    raise ValueError(f'{file}: bias={config["bias"]!r} is not implemented')
