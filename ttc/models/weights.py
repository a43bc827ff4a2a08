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
  shape_of: Callable[[str], tuple[int, ...]],
  names: Mapping[str, str],
  present: Iterable[str],
  path: str,
) -> Params:
  """Reads every parameter of a transformer, one at a time.

  Args:
    config: fixes which parameters there are, their shapes and their dtype.
    read: name of a tensor -> the tensor, linear kernels `[out, in]`.
    shape_of: name of a tensor -> its shape, without reading it; all are checked
      before the first is read.
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
    assert array.shape == shape, name
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
  _check(config, shapes, layers, names, set(present), shape_of, path)
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


def _check(config, shapes, layers, names, present, shape_of, path) -> None:
  """Refuses tensors that are missing, of another shape or without a place."""

  def wanted():
    for name, leaf in shapes.items():
      yield names[name], leaf.shape
    for i in range(config.num_layers):  # ends at the first that is missing
      for key_path, leaf in jax.tree.leaves_with_path(layers):
        yield names[_dotted(key_path)].format(i), leaf.shape[1:]

  placed = set()
  for name, shape in wanted():
    if name not in present:
      raise ValueError(f'{path}: there is no tensor {name!r}')
    if shape_of(name) != shape:
      raise ValueError(
        f'{path}: tensor {name!r} has shape {shape_of(name)}, its config asks '
        f'for {shape}'
      )
    placed.add(name)
  for name in sorted(present - placed):
    raise ValueError(f'{path}: tensor {name!r} has no place in the transformer')


def _dotted(key_path) -> str:
  return jax.tree_util.keystr(key_path, simple=True, separator='.')
