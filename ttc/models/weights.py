"""Assembles the transformer's parameters from named tensors of a file."""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ttc.models import int8
from ttc.models.mixture import is_stack
from ttc.models.sharding import param_shardings
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
  mesh: Mesh | None = None,
) -> Params:
  """Reads every parameter of a transformer, one at a time.

  Kernels are quantised as they come, if the config says so: from the file's
  own precision, and never all of them in floats at once.

  Args:
    config: fixes which parameters there are, their shapes and their dtype.
    read: name of a tensor -> the tensor, linear kernels `[out, in]`; those of
      experts are turned here.
    shape_of: name of a tensor -> its shape, without reading it; all are checked
      before the first is read.
    names: the file's name of each parameter, such as `{'query.kernel':
      'blk.{}.attn_q.weight'}`; the layer's number goes where `{}` is. With a
      second `{}`, for the number of an expert, a stack is made of the tensors.
    present: names of the tensors in the file. One that nothing would read is
      an error: a part of the model would be left out.
    path: of the file, for error messages.
    mesh: of devices, over which `param_shardings` spreads each parameter before
      the next is read; None for the first device.

  Returns:
    The parameters as `transformer(config).init` lays them out.

  Raises:
    ValueError: if a tensor is missing, has no place, or does not have the shape
      that the config asks for.
  """
  shapes, layer_shapes = _shapes(config)
  _check(config, shapes, layer_shapes, names, set(present), shape_of, path)
  source = _Source(config, read, names, path, mesh)
  each = jax.tree_util.tree_map_with_path
  with _on_host(mesh):
    params: Params = {
      name: _spread(mesh, name, _whole(source, name, (names[name], leaf.shape)))
      for name, leaf in shapes.items()
    }
    if config.scan_layers:
      stack = functools.partial(_stack, source)
      params['layers'] = each(stack, layer_shapes(0))
    else:
      params['layers'] = [
        each(functools.partial(_leaf, source, i), layer_shapes(i))
        for i in range(config.num_layers)
      ]
  return params


class _Source(NamedTuple):
  """The file that parameters are read from, by the arguments of `assemble`."""

  config: TransformerConfig
  read: Callable[[str], np.ndarray]
  names: Mapping[str, str]
  path: str
  mesh: Mesh | None


def _leaf(source: _Source, i: int, key_path, leaf) -> Any:
  """A parameter of layer `i`, where it belongs."""
  pieces = list(_pieces(source.names, key_path, leaf.shape, i))
  name = _dotted(key_path)
  if is_stack(name):
    read = _filled(source, name, leaf.shape, pieces)
  else:
    read = _whole(source, name, pieces[0])
  return _spread(source.mesh, name, read)


def _stack(source: _Source, key_path, leaf) -> Any:
  """A parameter of all layers, where it belongs.

  Spread over devices it is put together there, layer by layer, so that the host
  holds one layer of it at a time.
  """
  name, L = _dotted(key_path), source.config.num_layers
  layers = (_leaf(source, i, key_path, leaf) for i in range(L))
  if source.mesh is not None:
    first = next(layers)
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((L, *x.shape), x.dtype), first
    )
    zeros = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    places = _places(source.mesh, name, shapes)
    stack = jax.jit(zeros, out_shardings=places)()
    for i, layer in enumerate(itertools.chain([first], layers)):
      stack = _put_layer(stack, layer, i)
    return stack
  if _is_quantized(source.config, name):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
  pieces = [
    piece
    for i in range(L)
    for piece in _pieces(source.names, key_path, leaf.shape, i)
  ]
  return _filled(source, name, (L, *leaf.shape), pieces)


def _filled(source: _Source, name: str, shape, pieces) -> jax.Array:
  """Tensors one behind the other, in an array of the shape."""
  array = np.zeros(shape, jnp.dtype(source.config.dtype))
  of_piece = shape[len(shape) - len(pieces[0][1]) :]
  turns = is_stack(name)
  for place, piece in zip(array.reshape(-1, *of_piece), pieces, strict=True):
    tensor = _tensor(source, *piece)
    place[...] = tensor.swapaxes(-1, -2) if turns else tensor
  return jnp.asarray(array)


def _on_host(mesh: Mesh | None) -> contextlib.AbstractContextManager:
  """Where tensors are read to: what is spread goes by no single device."""
  if mesh is None:
    return contextlib.nullcontext()
  try:
    return jax.default_device(jax.local_devices(backend='cpu')[0])
  except RuntimeError:  # JAX_PLATFORMS names accelerators alone
    return contextlib.nullcontext()


def _spread(mesh: Mesh | None, name: str, leaf: Any) -> Any:
  """Each device's part of a parameter; the parameter itself without a mesh."""
  if mesh is None:
    return leaf

  def spread(x, place):
    host = np.asarray(x)
    part = lambda index: host[index]
    return jax.make_array_from_callback(host.shape, place, part)

  return jax.tree.map(spread, leaf, _places(mesh, name, leaf))


def _places(mesh: Mesh, name: str, leaf: Any) -> Any:
  """The sharding of a parameter by its dotted name."""
  for part in reversed(name.split('.')):
    leaf = {part: leaf}
  (place,) = jax.tree.leaves(
    param_shardings(leaf, mesh), is_leaf=lambda x: not isinstance(x, dict)
  )
  return place


@functools.partial(jax.jit, donate_argnums=0)
def _put_layer(stack, layer, i):
  put = lambda whole, one: jax.lax.dynamic_update_index_in_dim(whole, one, i, 0)
  return jax.tree.map(put, stack, layer)


def _tensor(source: _Source, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """A tensor in the dtype of the config."""
  array = source.read(name)
  assert array.shape == shape, name
  return array.astype(jnp.dtype(source.config.dtype), copy=False)


def _is_quantized(config, parameter: str) -> bool:
  return config.quantization is not None and int8.is_kernel(parameter)


def _whole(source: _Source, parameter: str, piece) -> Any:
  """A parameter that is one tensor; in int8 if the config says so."""
  how = source.config.quantization
  if how is None or not int8.is_kernel(parameter):
    return jnp.asarray(_tensor(source, *piece))
  name, shape = piece
  array = jnp.asarray(source.read(name), jnp.float32)
  assert array.shape == shape, name
  if not jnp.isfinite(array).all():
    raise ValueError(
      f'{source.path}: tensor {name!r} has values that are no finite numbers, '
      f'which quantization={how!r} cannot hold'
    )
  return int8.quantize_kernel(array, how)


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
  parameter = _dotted(key_path)
  name = names[parameter]
  if is_stack(parameter):
    shape = (*shape[:-2], shape[-1], shape[-2])
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
