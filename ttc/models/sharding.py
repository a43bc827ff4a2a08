"""Where parameters, caches and batches lie on a mesh of devices.

Every axis of a parameter has a logical name; a table of rules sends logical
names to the axes of a mesh

  mesh = jax.make_mesh((d, m), ('data', 'model'))

with rows of a batch over `data` and heads, MLP channels and the vocabulary over
`model` (tensor parallelism, 1909.08053: two reductions per layer). On a mesh
that has an axis `expert`, each of its devices holds some of the experts of a
mixture, and the sum over all of them is one more reduction; what `model` holds
of a mixture see `stack_axes`. What is trained may lie by `ZERO`, spread over
`data` as well: then gradients and the optimizer's moments are, too, and each
layer gathers what it reads just before (the third stage of ZeRO, 1910.02054;
`transformer(remat=True)` does). The compiler propagates the shardings: a mesh
of Explicit axes, `jax.make_mesh`'s default, is read as the same devices with
Auto axes.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
  Sharding,
  SingleDeviceSharding,
)

from ttc.kernels.dispatch import mesh_of
from ttc.models import int8
from ttc.types import Params

_P = ParamSpec('_P')
_R = TypeVar('_R')

# Logical axes of the transformer's parameters; those not named are replicated.
LOGICAL_AXES = {
  'embed': ('vocab', 'embed'),
  'unembed': ('vocab', 'embed'),
  'query.kernel': ('heads', 'embed'),
  'query.bias': ('heads',),
  'key.kernel': ('kv_heads', 'embed'),
  'key.bias': ('kv_heads',),
  'value.kernel': ('kv_heads', 'embed'),
  'value.bias': ('kv_heads',),
  'output.kernel': ('embed', 'heads'),
  'gate.kernel': ('mlp', 'embed'),
  'up.kernel': ('mlp', 'embed'),
  'down.kernel': ('embed', 'mlp'),
  'mixture.gates': ('expert', 'embed', 'mlp'),
  'mixture.ups': ('expert', 'embed', 'mlp'),
  'mixture.downs': ('expert', 'mlp', 'embed'),
}

# Of a kernel `[out, in]` that an adapter changes; the rank stays whole.
_LOW_RANK = {
  'kernel': lambda out, in_: (out, in_),
  **dict.fromkeys(('a', 'down'), lambda out, in_: (in_, 'rank')),
  **dict.fromkeys(('b', 'up'), lambda out, in_: ('rank', out)),
}

# Logical axis -> mesh axis, or None for a copy on every device.
RULES = {
  'batch': 'data',
  'vocab': 'model',
  'heads': 'model',
  'kv_heads': 'model',
  'mlp': 'model',
  'expert': 'expert',
  'embed': None,
}

# For training: nothing large is on two devices.
ZERO = {**RULES, 'embed': 'data'}


_LANES = 128  # a TPU pads the last axis of an array to multiples of it


def stack_axes(
  mesh: Mesh | AbstractMesh,
  num_experts: int,
  mlp_dim: int,
  rules: Mapping[str, str | None] = RULES,
) -> tuple[str | tuple[str, ...] | None, str | None]:
  """Where the experts of a mixture lie, and the width of each.

  Devices share the width of each expert, so that all have as much to do,
  whatever is chosen. Narrow experts, whose shares a TPU would pad and turn
  around at every call, stay whole: then the devices share the experts.

  Args:
    mesh: of devices.
    num_experts: `E`.
    mlp_dim: width `F` of one.
    rules: as in `param_shardings`.

  Returns:
    The mesh axis or axes of the experts, and the one of the width.
  """
  parts = lambda axis: mesh.shape.get(axis, 1)
  divides = lambda axis, size: parts(axis) > 1 and size % parts(axis) == 0
  experts, width = rules.get('expert'), rules.get('mlp')
  experts = experts if divides(experts, num_experts) else None
  if width is None or not divides(width, mlp_dim):
    return experts, None
  is_narrow = mlp_dim // parts(width) % _LANES
  if is_narrow and num_experts % (parts(experts) * parts(width)) == 0:
    return (width if experts is None else (experts, width)), None
  return experts, width


def param_shardings(
  params: Params,
  mesh: Mesh | AbstractMesh,
  rules: Mapping[str, str | None] = RULES,
) -> Params:
  """A sharding for each parameter of a transformer, or of a LoRA adapter.

  Args:
    params: the parameters, or their shapes; layers may be stacked. The factors
      `a` and `b` beside a kernel lie as its inputs and its outputs.
    mesh: of devices.
    rules: logical axis -> mesh axis. A logical axis that is not among them, or
      does not divide evenly, is replicated.

  Returns:
    A `NamedSharding` for each leaf.
  """

  def place(leaf, logical):
    stacked = leaf.ndim - len(logical)
    return _named(mesh, leaf.shape, (None,) * stacked + logical, rules)

  def place_stack(leaf, logical):
    sizes = dict(zip(logical, leaf.shape[-3:], strict=True))
    axes = stack_axes(mesh, sizes['expert'], sizes['mlp'], rules)
    of = {**rules, **dict(zip(('expert', 'mlp'), axes, strict=True))}
    lead = (None,) * (leaf.ndim - 3)
    spec = PartitionSpec(*lead, *(of.get(name) for name in logical))
    return NamedSharding(_auto(mesh), spec)

  def sharding(key_path, leaf):
    logical = _logical_axes(key_path)
    if 'expert' in logical:
      return place_stack(leaf, logical)
    if int8.is_quantized(leaf):
      return type(leaf)(
        place(leaf.values, logical), place(leaf.scale, logical[:-1])
      )
    return place(leaf, logical)

  return jax.tree_util.tree_map_with_path(
    sharding, params, is_leaf=int8.is_quantized
  )


def gather_width(params: Params) -> Params:
  """Inside a program: parameters of which no axis `embed` is spread.

  Of what lies by `ZERO` this is a gather, and its transpose spreads the
  gradient again; everything else stays where it is. Stacks of experts are left
  to `mixture.mix`.
  """
  mesh = mesh_of(params)
  if mesh is None or mesh.shape.get(ZERO['embed'], 1) == 1:
    return params
  free = PartitionSpec.UNCONSTRAINED

  def gather(key_path, leaf):
    logical = _logical_axes(key_path)
    if 'embed' not in logical or 'expert' in logical:
      return leaf
    spec = [None if name in ('embed', 'rank') else free for name in logical]
    spec = [free] * (leaf.ndim - len(logical)) + spec
    place = NamedSharding(mesh, PartitionSpec(*spec))
    return jax.lax.with_sharding_constraint(leaf, place)

  return jax.tree_util.tree_map_with_path(gather, params)


def cache_shardings(
  cache: Any,
  mesh: Mesh | AbstractMesh,
  *,
  batch_axis: int = 0,
  heads_axis: int | None = -3,
  rules: Mapping[str, str | None] = RULES,
) -> Any:
  """A sharding for each leaf of a batch: of a cache, tokens or lengths.

  Args:
    cache: leaves with a batch axis, or their shapes.
    mesh: of devices.
    batch_axis: goes over `data`. 1 if layers are stacked in front.
    heads_axis: the key/value heads' axis of leaves with at least four axes,
      `[..., K, S, Dh]`; goes over `model`. None for leaves without heads.
    rules: as in `param_shardings`.

  Returns:
    A `NamedSharding` for each leaf.
  """

  def sharding(leaf):
    logical = [None] * leaf.ndim
    if leaf.ndim > batch_axis:
      logical[batch_axis] = 'batch'
    if heads_axis is not None and leaf.ndim >= 4:
      logical[heads_axis] = 'kv_heads'
    return _named(mesh, leaf.shape, logical, rules)

  return jax.tree.map(sharding, cache)


def shard(
  params: Params, mesh: Mesh, rules: Mapping[str, str | None] = RULES
) -> Params:
  """Puts parameters where `param_shardings` says."""
  return put(params, param_shardings(params, mesh, rules))


def shard_batch(
  batch: Any, mesh: Mesh, rules: Mapping[str, str | None] = RULES
) -> Any:
  """Spreads the leading axis of every leaf over the mesh's `data` axis."""
  shardings = cache_shardings(batch, mesh, heads_axis=None, rules=rules)
  return put(batch, shardings)


def on_first_devices() -> Sharding:
  """Where arrays go by default; of several processes a copy on each device."""
  if jax.process_count() == 1:
    return SingleDeviceSharding(jax.devices()[0])
  auto = (AxisType.Auto,)
  mesh = jax.make_mesh((jax.device_count(),), ('all',), axis_types=auto)
  return NamedSharding(mesh, PartitionSpec())


def of_first(value: np.ndarray) -> np.ndarray:
  """What process 0 says of it; all processes meet here."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.broadcast_one_to_all(value))


def put(tree: Any, shardings: Any) -> Any:
  """`jax.device_put`, of random keys too, on devices of several processes.

  Args:
    tree: of arrays; each process has the same.
    shardings: of the leaves, or one of all.

  Returns:
    The arrays, where the shardings say.
  """

  def place(leaf, sharding):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      data = place(jax.random.key_data(leaf), sharding)
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, Tracer):
      return jax.device_put(leaf, sharding)
    is_own = getattr(leaf, 'is_fully_addressable', True)
    if is_own and not sharding.is_fully_addressable:
      leaf = np.asarray(leaf)  # else jax makes an array that cannot be saved
    return jax.device_put(leaf, sharding)

  return jax.tree.map(place, tree, jax.tree.broadcast(shardings, tree))


def on_auto_axes(fn: Callable[_P, _R]) -> Callable[_P, _R]:
  """`fn`, traced with Auto axes whatever `jax.set_mesh` has set."""

  @functools.wraps(fn)
  def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
    mesh = jax.sharding.get_abstract_mesh()
    if AxisType.Explicit not in mesh.axis_types:
      return fn(*args, **kwargs)
    auto = mesh.update(axis_types=(AxisType.Auto,) * len(mesh.axis_names))
    with jax.sharding.use_abstract_mesh(auto):
      return fn(*args, **kwargs)

  return wrapped


def _logical_axes(key_path) -> tuple[str, ...]:
  """Of a parameter, or of a factor beside it; () if nothing is spread."""
  path = jax.tree_util.keystr(key_path, simple=True, separator='.')
  names = path.split('.')
  if names[-2:-1] == ['kernel'] and names[-1] in _LOW_RANK:
    axes = LOGICAL_AXES.get('.'.join(names[-3:-1]))
    return () if axes is None else _LOW_RANK[names[-1]](*axes)
  return LOGICAL_AXES.get('.'.join(names[-2:]), ())


def _named(mesh, shape, logical, rules) -> NamedSharding:
  """Sends logical axes to mesh axes, as far as they divide evenly."""
  axes = []
  for size, name in zip(shape, logical, strict=True):
    axis = rules.get(name)
    divides = axis in mesh.shape and size % mesh.shape[axis] == 0
    axes.append(axis if divides else None)
  return NamedSharding(_auto(mesh), PartitionSpec(*axes))


def _auto(mesh: Mesh | AbstractMesh) -> Mesh | AbstractMesh:
  """The same mesh with Auto axes."""
  types = (AxisType.Auto,) * len(mesh.axis_names)
  if isinstance(mesh, AbstractMesh):
    return AbstractMesh(mesh.axis_sizes, mesh.axis_names, axis_types=types)
  return Mesh(mesh.devices, mesh.axis_names, axis_types=types)
