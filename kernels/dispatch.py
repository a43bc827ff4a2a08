"""Which implementation of an operation runs, and how it maps and derives.

The XLA reference defines an operation and runs wherever no kernel does. A
kernel that cannot serve a case raises `NotImplementedError` while it is traced,
and the next of its platform or the reference takes its place, which is said
once. Interpret mode is for tests only.

The compiler cannot split a kernel over devices. Arrays on a mesh carry it in
their types, so each device runs the kernel on its part: sequences over the axis
`data`, key/value heads over `model`, as `ttc.models.sharding` lays them out.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
from absl import logging
from jax.custom_batching import custom_vmap
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

Implementation = Literal[
  'xla', 'mosaic_tpu', 'splash', 'mosaic_gpu', 'triton', 'cudnn', 'interpret'
]
# Kernels by name; 'interpret' is the TPU kernel without a TPU.
Kernels = Mapping[str, Callable[..., Any]]
# `(axis_size, is_mapped, *args) -> (args, unfold)`: folds a mapped axis into
# those that the operation has; `unfold` brings it back to the front of outputs.
Fold = Callable[..., tuple[tuple, Callable[[Any], Any]]]
# Tried in this order where a program is lowered for the platform.
_KERNELS_OF_PLATFORM = {
  'tpu': ('mosaic_tpu', 'splash'),
  'cuda': ('triton', 'cudnn'),
}
# A letter for each axis of an array; these two may be spread over a mesh.
_MESH_AXES = {'b': 'data', 'k': 'model'}


class Axes(NamedTuple):
  """The axes of each array that an operation takes and gives, as letters.

  `b` is sequences, `k` key/value heads: an operation does the same for each of
  them. Other letters only take a place.
  """

  taken: tuple[str, ...]
  given: tuple[str, ...] | str


def call(
  implementation: Implementation | None,
  reference: Callable[..., Any],
  kernels: Kernels,
  fold: Fold,
  axes: Axes,
  *args,
) -> Any:
  """Calls an operation.

  Under `vmap` a kernel gets the mapped axis folded into its own axes, so it
  stays one call; under `grad`, and under `grad` of that, its derivative is the
  reference's.

  Args:
    implementation: one of the kernels' names or 'xla'; None for the kernel of
      the platform that the program is lowered for, else the reference. Under
      `jax_enable_x64` None is the reference.
    reference: the definition.
    kernels: by name; same signature as the reference. They and `reference` are
      the same objects at each call, lest they be traced again.
    fold: see `Fold`.
    axes: of the arrays in `args`, and of the outputs.
    *args: arrays, or pytrees of them.

  Returns:
    What the reference would.

  Raises:
    ValueError: if the implementation is not known here.
  """
  if implementation == 'xla' or not kernels:
    return reference(*args)
  if implementation is None and jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]  # stub lacks it
    return reference(*args)  # kernels count in 32 bits
  if implementation is not None and implementation not in kernels:
    names = ', '.join(map(repr, ['xla', *kernels]))
    raise ValueError(
      f'implementation={implementation!r} is not None or one of {names}'
    )

  operation = _operation(
    implementation, reference, tuple(kernels.items()), fold, axes, mesh_of(args)
  )
  return operation(*args)


@functools.cache
def _operation(implementation, reference, kernels, fold, axes, mesh):
  """The function behind all calls: jitted, so traced once for each shape."""
  kernels = {
    name: on_each_device(kernel, axes, mesh) for name, kernel in kernels
  }
  if implementation is None:

    def kernel(*args):
      best = {
        platform: _first_of(
          platform,
          {name: kernels[name] for name in names if name in kernels},
          reference,
        )
        for platform, names in _KERNELS_OF_PLATFORM.items()
      }
      return jax.lax.platform_dependent(*args, **best, default=reference)
  else:
    # A lambda, as defaults of a kernel's own arguments would become tracers.
    kernel = lambda *args: kernels[implementation](*args)

  mapped = custom_vmap(kernel)

  @mapped.def_vmap
  def _(axis_size, is_mapped, *args):
    folded, unfold = fold(axis_size, is_mapped, *args)
    out = unfold(operation(*folded))
    return out, jax.tree.map(lambda _: True, out)

  derived = jax.custom_vjp(mapped)
  # Forward through itself, so that this pass has a derivative too.
  derived.defvjp(
    lambda *args: (derived(*args), args),
    lambda args, cotangents: jax.vjp(reference, *args)[1](cotangents),
  )
  operation = jax.jit(derived)
  return operation


def mesh_of(args: Any) -> AbstractMesh | None:
  """The mesh that arrays lie on; None if the compiler splits nothing."""
  for leaf in jax.tree.leaves(args):
    mesh = jax.typeof(leaf).sharding.mesh
    if mesh.size > 1 and AxisType.Auto in mesh.axis_types:
      return mesh
  return None


def on_each_device(
  function: Callable[..., Any], axes: Axes, mesh: AbstractMesh | None
) -> Callable[..., Any]:
  """The function as it is, or as a map over the devices of a mesh.

  Args:
    function: does the same for each sequence and each key/value head.
    axes: of the arrays that it takes and gives. One that its mesh axis does not
      divide is whole on every device.
    mesh: of `mesh_of` the arguments.

  Returns:
    A function of the same arguments.
  """
  if mesh is None:
    return function
  auto = [
    name
    for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
    if kind == AxisType.Auto
  ]

  def run(*args):
    arrays, tree = jax.tree.flatten(args)
    taken = list(zip(arrays, axes.taken, strict=True))

    def spread(letter):
      name = _MESH_AXES.get(letter)
      divides = all(
        size % mesh.shape[name] == 0
        for array, letters in taken
        for size, other in zip(array.shape, letters, strict=True)
        if name in auto and other == letter
      )
      return name if name in auto and divides else None

    spec = lambda letters: PartitionSpec(*map(spread, letters))
    return jax.shard_map(
      function,
      mesh=mesh,
      in_specs=tree.unflatten([spec(letters) for _, letters in taken]),
      out_specs=jax.tree.map(spec, axes.given),
      axis_names=set(auto),
      check_vma=False,
    )(*args)

  return run


def _first_of(platform, kernels, reference):
  """The first kernel that can, or the reference if none can."""

  def run(*args):
    for name, kernel in kernels.items():
      try:
        return kernel(*args)
      except NotImplementedError as e:
        # Every platform's branch is traced; the one that runs has its say.
        if jax.default_backend() == {'cuda': 'gpu'}.get(platform, platform):
          _say_once(name, str(e))
    return reference(*args)

  return run


def say_that_none_can(case: str) -> None:
  """Says once that a case of attention has no kernel, if others would."""
  platform = {'gpu': 'cuda'}.get(jax.default_backend(), jax.default_backend())
  if platform in _KERNELS_OF_PLATFORM:
    _say_once(f'a kernel of {platform}', case)


@functools.cache
def _say_once(name: str, reason: str) -> None:
  logging.warning('%s cannot serve a case, the next does: %s', name, reason)


def fold_into_batch(axis_size, is_mapped, *args, layer=None, stacked=(1,)):
  """The `Fold` that makes a mapped axis part of every argument's first.

  With a `layer`, which is the last argument, those that are `stacked`, the
  keys, have layers before their sequences.
  """
  *is_mapped, layer_mapped = is_mapped
  if layer_mapped:
    raise NotImplementedError('vmap over layers')

  def flatten(mapped, x, axis=0):
    x = x if mapped else jax.numpy.broadcast_to(x, (axis_size, *x.shape))
    x = jax.numpy.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

  split = lambda x: x.reshape(axis_size, -1, *x.shape[1:])
  folded = [
    jax.tree.map(
      functools.partial(flatten, axis=int(i in stacked and layer is not None)),
      mapped,
      x,
    )
    for i, (mapped, x) in enumerate(zip(is_mapped, args, strict=True))
  ]
  return (*folded, layer), lambda out: jax.tree.map(split, out)
