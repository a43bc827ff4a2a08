"""Assembles the transformer's parameters from named tensors of a file."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ttc.models.transformer import TransformerConfig, transformer
from ttc.types import Params


def assemble(
  config: TransformerConfig,
  read: Callable[[str], np.ndarray],
  names: Mapping[str, str],
  present: Iterable[str],
  path: str,
) -> Params:
  """Reads every parameter of a transformer, one at a time.

  Args:
    config: fixes which parameters there are, their shapes and their dtype.
    read: name of a tensor -> the tensor, linear kernels `[out, in]`.
    names: the file's name of each parameter, such as `{'query.kernel':
      'blk.{}.attn_q.weight'}`; the layer's number goes where `{}` is.
    present: names of the tensors in the file. One that nothing would read is
      an error: a part of the model would be left out.
    path: of the file, for error messages.

  Returns:
    The parameters as `transformer(config).init` lays them out.

  Raises:
    ValueError: if a tensor is missing, has no place, or does not have the shape
      that the config asks for.
  """
  dtype = jnp.dtype(config.dtype)

  def leaf(name, shape):
    array = read(name)
    if array.shape != shape:
      raise ValueError(
        f'{path}: tensor {name!r} has shape {array.shape}, its config asks '
        f'for {shape}'
      )
    return array.astype(dtype, copy=False)

  def layer(i, key_path, stacked):
    name = names[_dotted(key_path)].format(i)
    return jnp.asarray(leaf(name, stacked.shape[1:]))

  def all_layers(key_path, stacked):
    array = np.zeros(stacked.shape, dtype)
    for i in range(config.num_layers):
      array[i] = leaf(names[_dotted(key_path)].format(i), stacked.shape[1:])
    return jnp.asarray(array)

  each = jax.tree_util.tree_map_with_path
  scanned = dataclasses.replace(config, scan_layers=True)  # quicker to trace
  shapes = jax.eval_shape(transformer(scanned).init, jax.random.key(0))
  layers = shapes.pop('layers')
  _check_names(config, shapes, layers, names, set(present), path)
  params: Params = {
    name: jnp.asarray(leaf(names[name], shape.shape))
    for name, shape in shapes.items()
  }
  if config.scan_layers:
    params['layers'] = each(all_layers, layers)
  else:
    params['layers'] = [
      each(lambda *args, i=i: layer(i, *args), layers)
      for i in range(config.num_layers)
    ]
  return params


def _check_names(config, shapes, layers, names, present, path) -> None:
  parts = [
    _dotted(key_path) for key_path, _ in jax.tree.leaves_with_path(layers)
  ]
  wanted = {names[part] for part in shapes}
  for i in range(config.num_layers):
    wanted |= {names[part].format(i) for part in parts}
  for name in sorted(wanted - present):
    raise ValueError(f'{path}: there is no tensor {name!r}')
  for name in sorted(present - wanted):
    raise ValueError(f'{path}: tensor {name!r} has no place in the transformer')


def _dotted(key_path) -> str:
  return jax.tree_util.keystr(key_path, simple=True, separator='.')
