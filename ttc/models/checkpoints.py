"""Checkpoints of our own transformers: an Orbax tree and its config."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttc.models import fields, int8, rope
from ttc.models.experts import Experts
from ttc.models.sharding import on_first_devices, param_shardings
from ttc.models.transformer import transformer
from ttc.models.transformer_config import TransformerConfig
from ttc.types import Params

CONFIG_NAME = 'transformer.json'  # what marks a directory as ours
_PARAMS_NAME = 'params'
# How the matrix of an expert lies. Checkpoints that do not say so are older:
# they have `[out, in]`, under these names.
_ORDER_NAME, _ORDER = 'expert_kernels', 'in, out'
_OLDER = {'gates': 'gate', 'ups': 'up', 'downs': 'down'}


def save_checkpoint(
  path: str | os.PathLike, config: TransformerConfig, params: Params
) -> None:
  """Writes a transformer to a new directory, or over an older checkpoint.

  Args:
    path: of the directory; a bucket's address works too.
    config: of the transformer.
    params: its parameters.
  """
  ocp, directory = _orbax(path)
  directory.mkdir(parents=True, exist_ok=True)
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(directory / _PARAMS_NAME, params, force=True)
  values = dataclasses.asdict(config)
  values['rope_scaling'] = rope.to_values(config.rope_scaling)
  if config.experts is not None:
    values[_ORDER_NAME] = _ORDER
  text = json.dumps(values, indent=2)
  if jax.process_index() == 0:
    (directory / CONFIG_NAME).write_text(text + '\n')


def load_checkpoint(
  path: str | os.PathLike,
  *,
  dtype: str | None = None,
  scan_layers: bool | None = None,
  quantization: str | None = None,
  mesh: Mesh | None = None,
) -> tuple[TransformerConfig, Params]:
  """Reads what `save_checkpoint` wrote, on whatever devices there are.

  Args:
    path: of the directory.
    dtype: of the parameters and activations; None for the saved one.
    scan_layers: see `TransformerConfig`; None for the saved one.
    quantization: see `TransformerConfig`; None for the saved one.
    mesh: of devices, over which `param_shardings` spreads the parameters as
      they are read; None for the first device. Where they lay when they were
      saved does not matter.

  Returns:
    The config and the parameters.

  Raises:
    FileNotFoundError: if there is no checkpoint.
    ValueError: if it is damaged.
  """
  ocp, directory = _orbax(path)
  int8.check_quantization(quantization)
  config = checkpoint_config(path, dtype=dtype)
  shapes = jax.eval_shape(transformer(config).init, jax.random.key(0))
  if mesh is None:
    places = jax.tree.map(lambda _: on_first_devices(), shapes)
  else:
    places = param_shardings(shapes, mesh)
  shapes = jax.tree.map(
    lambda leaf, place: leaf.update(sharding=place), shapes, places
  )
  saved = json.loads((directory / CONFIG_NAME).read_bytes())
  is_older = config.experts is not None and _ORDER_NAME not in saved
  if is_older:
    shapes = _renamed(shapes, _OLDER, _turned)
  try:
    with ocp.StandardCheckpointer() as checkpointer:
      params = checkpointer.restore(directory / _PARAMS_NAME, shapes)
  except FileNotFoundError:
    raise FileNotFoundError(
      f'{directory / _PARAMS_NAME}: no such checkpoint'
    ) from None
  except Exception as error:  # Orbax and TensorStore raise many kinds
    line = str(error).splitlines()[0]
    raise ValueError(f'{directory}: damaged checkpoint: {line}') from None
  if is_older:
    newer = {old: new for new, old in _OLDER.items()}
    params = _renamed(params, newer, lambda leaf: leaf.swapaxes(-1, -2))
  if quantization is not None:
    config = dataclasses.replace(config, quantization=quantization)
    params = int8.quantize(params, quantization)
  if scan_layers in (None, config.scan_layers):
    return config, params
  if scan_layers:
    layers = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params['layers'])
  else:
    at = lambda i: jax.tree.map(lambda leaf: leaf[i], params['layers'])
    layers = [at(i) for i in range(config.num_layers)]
  config = dataclasses.replace(config, scan_layers=scan_layers)
  return config, params | {'layers': layers}


def checkpoint_config(
  path: str | os.PathLike,
  *,
  dtype: str | None = None,
  scan_layers: bool | None = None,
) -> TransformerConfig:
  """Reads the config of a checkpoint; see `load_checkpoint`."""
  _, directory = _orbax(path)
  file = directory / CONFIG_NAME
  if not file.exists():
    raise FileNotFoundError(f'{file}: no such file')
  try:
    values: dict[str, Any] = json.loads(file.read_bytes().decode())
    values['rope_scaling'] = rope.from_values(values['rope_scaling'])
    order = values.pop(_ORDER_NAME, _ORDER)
    if order != _ORDER:
      raise ValueError(f'{_ORDER_NAME}={order!r} is not {_ORDER!r}')
    if (experts := values.get('experts')) is not None:
      if experts['layers'] is not None:
        experts['layers'] = tuple(experts['layers'])
      values['experts'] = Experts(**experts)
    for name in ('windowed_layers', 'rotary_layers'):
      if values.get(name) is not None:
        values[name] = tuple(values[name])
    if dtype is not None:
      values['dtype'] = dtype
    if scan_layers is not None:
      values['scan_layers'] = scan_layers
    _check_types(values, str(file))
    return TransformerConfig(**values)
  except (
    json.JSONDecodeError,
    UnicodeDecodeError,
    AttributeError,
    KeyError,
    TypeError,
    RecursionError,
  ) as error:
    line = ' '.join(repr(error).split())
    raise ValueError(f'{file}: not a config: {line}') from None
  except ValueError as error:
    known = str(error).startswith(str(file))
    raise ValueError(f'{"" if known else f"{file}: "}{error}') from None


def _renamed(
  params: Params, names: Mapping[str, str], turn: Callable[[Any], Any]
) -> Params:
  """Parameters with their stacks of experts under other names, and turned."""

  def layer(leaves):
    if 'mixture' not in leaves:
      return leaves
    mixture = {
      names.get(name, name): turn(leaf) if name in names else leaf
      for name, leaf in leaves['mixture'].items()
    }
    return leaves | {'mixture': mixture}

  layers = params['layers']
  each = [*map(layer, layers)] if isinstance(layers, list) else layer(layers)
  return params | {'layers': each}


def _turned(shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
  """The shape with its last two axes swapped, and where it lies."""
  swap = lambda axes: (*axes[:-2], axes[-1], axes[-2])
  place = shape.sharding
  if isinstance(place, NamedSharding):
    spec = (*place.spec, *[None] * (len(shape.shape) - len(place.spec)))
    place = NamedSharding(place.mesh, PartitionSpec(*swap(spec)))
  return jax.ShapeDtypeStruct(swap(shape.shape), shape.dtype, sharding=place)


def _check_types(values: dict[str, Any], file: str) -> None:
  """Refuses sizes that are no whole numbers, and the like."""
  checks = {
    int: fields.integer,
    int | None: functools.partial(fields.integer, default=None),
    float: fields.positive,
    float | None: functools.partial(fields.positive, default=None),
    bool: fields.boolean,
  }
  for field in dataclasses.fields(TransformerConfig):
    if field.name in values and field.type in checks:
      checks[field.type](values, field.name, file)
  try:
    jnp.dtype(values.get('dtype', 'float32'))
  except TypeError:
    raise ValueError(
      f'{file}: dtype={values["dtype"]!r} is not the name of a type'
    ) from None


def _orbax(path: str | os.PathLike):
  import orbax.checkpoint as ocp
  from etils import epath

  return ocp, epath.Path(path).resolve()
