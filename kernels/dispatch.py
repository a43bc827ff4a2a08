"""Which implementation of an operation runs, and how it maps and derives.

The XLA reference defines an operation and runs wherever no kernel does. A
kernel that cannot serve a case raises `NotImplementedError` while it is traced,
and the reference takes its place. Interpret mode is for tests only.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
from jax.custom_batching import custom_vmap

Implementation = Literal[
  'xla', 'mosaic_tpu', 'mosaic_gpu', 'triton', 'interpret'
]
# Kernels by name; 'interpret' is the TPU kernel without a TPU.
Kernels = Mapping[str, Callable[..., Any]]
# `(axis_size, is_mapped, *args) -> (args, unfold)`: folds a mapped axis into
# those that the operation has; `unfold` brings it back to the front of outputs.
Fold = Callable[..., tuple[tuple, Callable[[Any], Any]]]


def call(
  implementation: Implementation | None,
  reference: Callable[..., Any],
  kernels: Kernels,
  fold: Fold,
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
    implementation, reference, tuple(kernels.items()), fold
  )
  return operation(*args)


@functools.cache
def _operation(implementation, reference, kernels, fold):
  """The function behind all calls: jitted, so traced once for each shape."""
  kernels = dict(kernels)
  if implementation is None:

    def kernel(*args):
      tpu = _or(kernels.get('mosaic_tpu'), reference)
      gpu = _or(kernels.get('triton'), reference)
      return jax.lax.platform_dependent(
        *args, tpu=tpu, cuda=gpu, default=reference
      )
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


def _or(kernel, reference):
  """The kernel, or the reference where the kernel says it cannot."""

  def run(*args):
    try:
      return kernel(*args)
    except NotImplementedError:
      return reference(*args)

  return reference if kernel is None else run


def fold_into_batch(axis_size, is_mapped, *args):
  """The `Fold` that makes a mapped axis part of every argument's first."""

  def flatten(mapped, x):
    x = x if mapped else jax.numpy.broadcast_to(x, (axis_size, *x.shape))
    return x.reshape(-1, *x.shape[2:])

  split = lambda x: x.reshape(axis_size, -1, *x.shape[1:])
  folded = jax.tree.map(flatten, tuple(is_mapped), args)
  return folded, lambda out: jax.tree.map(split, out)
