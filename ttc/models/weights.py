"""Assembles the transformer's parameters from named tensors of a file."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc.models import int8
from ttc.models.transformer import transformer
from ttc.models.transformer_config import TransformerConfig
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

  Kernels are quantised as they come, if the config says so: from the file's
  own precision, and never all of them in floats at once.

  Args:
    config: fixes which parameters there are, their shapes and their dtype.
    read: name of a tensor -> the tensor, linear kernels `[out, in]`.
    shape_of: name of a tensor -> its shape, without reading it; all are checked
      before the first is read.
    names: the file's name of each parameter, such as `{'query.kernel':
      'blk.{}.attn_q.weight'}`; the layer's number goes where `{}` is. With a
      second `{}`, for the number of an expert, a stack is made of the tensors.
    present: names of the tensors in the file. One that nothing would read is
      an error: a part of the model would be left out.
    path: of the file, for error messages.

  Returns:
    The parameters as `transformer(config).init` lays them out.

  Raises:
    ValueError: if a tensor is missing, has no place, or does not have the shape
      that the config asks for.
  """
  each = jax.tree_util.tree_map_with_path
  shapes, layer_shapes = _shapes(config)

  def filled(shape, pieces):
    """Tensors one behind the other, in an array of the shape."""
    array = np.zeros(shape, jnp.dtype(config.dtype))
    places = array.reshape(-1, *pieces[0][1])
    for place, piece in zip(places, pieces, strict=True):
      place[...] = _tensor(config, read, *piece)
    return jnp.asarray(array)

  def layer(i, key_path, leaf):
    pieces = list(_pieces(names, key_path, leaf.shape, i))
    if pieces[0][1] == leaf.shape:
      return _whole(config, read, _dotted(key_path), pieces[0], path)
    return filled(leaf.shape, pieces)

  def all_layers(key_path, leaf):
    if _is_quantized(config, _dotted(key_path)):
      each_layer = [layer(i, key_path, leaf) for i in range(config.num_layers)]
      return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each_layer)
    pieces = [
      piece
      for i in range(config.num_layers)
      for piece in _pieces(names, key_path, leaf.shape, i)
    ]
    return filled((config.num_layers, *leaf.shape), pieces)

  _check(config, shapes, layer_shapes, names, set(present), shape_of, path)
  params: Params = {
    name: _whole(config, read, name, (names[name], leaf.shape), path)
    for name, leaf in shapes.items()
  }
  if config.scan_layers:
    params['layers'] = each(all_layers, layer_shapes(0))
  else:
    params['layers'] = [
      each(functools.partial(layer, i), layer_shapes(i))
      for i in range(config.num_layers)
    ]
  return params


def _tensor(config, read, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """A tensor in the dtype of the config."""
  array = read(name)
  assert array.shape == shape, name
  return array.astype(jnp.dtype(config.dtype), copy=False)


def _is_quantized(config, parameter: str) -> bool:
  return config.quantization is not None and int8.is_kernel(parameter)


def _whole(config, read, parameter, piece, path) -> Any:
  """A parameter that is one tensor; in int8 if the config says so."""
  if not _is_quantized(config, parameter):
    return jnp.asarray(_tensor(config, read, *piece))
  name, shape = piece
  array = jnp.asarray(read(name), jnp.float32)
  assert array.shape == shape, name
  if not jnp.isfinite(array).all():
    raise ValueError(
      f'{path}: tensor {name!r} has values that are no finite numbers, which '
      f'quantization={config.quantization!r} cannot hold'
    )
  return int8.quantize_kernel(array, config.quantization)


def _shapes(config) -> tuple[dict[str, Any], Callable[[int], Any]]:
  """Shapes of all parameters but the layers', and `i -> those of layer i`."""
  experts = config.experts

  def shapes_with(experts):
    one = dataclasses.replace(
      config,
      experts=experts,
      num_layers=1,  # quicker to trace
      windowed_layers=None,
      rotary_layers=None,
      scan_layers=False,
      quantization=None,
    )
    shapes = jax.eval_shape(transformer(one).init, jax.random.key(0))
    (layer,) = shapes.pop('layers')
    return shapes, layer

  rest, plain = shapes_with(None)
  if experts is None:
    return rest, lambda i: plain
  _, mixture = shapes_with(dataclasses.replace(experts, layers=None))
  return rest, lambda i: mixture if experts.in_layer(i) else plain


def _pieces(names, key_path, shape, i) -> Iterator[tuple[str, tuple[int, ...]]]:
  """The tensors that a parameter of layer `i` is made of, and their shapes."""
  name = names[_dotted(key_path)]
  if name.count('{}') == 1:
    yield name.format(i), shape
    return
  for j in range(shape[0]):
    yield name.format(i, j), shape[1:]


def _check(
  config, shapes, layer_shapes, names, present, shape_of, path
) -> None:
  """Refuses tensors that are missing, of another shape or without a place."""

  def wanted():
    for name, leaf in shapes.items():
      yield names[name], leaf.shape
    for i in range(config.num_layers):  # ends at the first that is missing
      for key_path, leaf in jax.tree.leaves_with_path(layer_shapes(i)):
        yield from _pieces(names, key_path, leaf.shape, i)

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
