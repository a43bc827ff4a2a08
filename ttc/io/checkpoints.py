r"""Saving and restoring one pytree with Orbax.

Put everything a run needs to go on into that pytree: parameters, optimiser
state, data position, step and random key (typed keys are fine). Then ten steps
equal five, a restart, and five more, bit for bit.

  manager = open_checkpoints(directory)
  save_checkpoint(manager, step, state)
  state = restore_checkpoint(manager, jax.eval_shape(init, key))
"""

import errno
import os
import pathlib
import shutil
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

CheckpointManager: TypeAlias = Any  # orbax.checkpoint.CheckpointManager
PyTree: TypeAlias = Any

# Bytes that a checkpoint takes beside its arrays: names, shapes, half-full
# pages of small files.
_OVERHEAD = 1 << 20


def open_checkpoints(
  directory: str | os.PathLike[str],
  *,
  max_to_keep: int | None = 3,
  save_interval_steps: int = 1,
) -> CheckpointManager:
  """Opens a directory of checkpoints, made if missing.

  Args:
    directory: local, or on a bucket (`gs://...`).
    max_to_keep: older checkpoints are deleted; None keeps all.
    save_interval_steps: steps that are no multiple are not saved.

  Returns:
    An `orbax.checkpoint.CheckpointManager`; `close` it at the end.
  """
  import orbax.checkpoint as ocp

  directory = os.fspath(directory)
  if '://' not in directory:
    directory = pathlib.Path(directory).absolute()
  options = ocp.CheckpointManagerOptions(
    max_to_keep=max_to_keep, save_interval_steps=save_interval_steps
  )
  return ocp.CheckpointManager(
    directory, options=options, item_handlers=ocp.StandardCheckpointHandler()
  )


def save_checkpoint(
  manager: CheckpointManager, step: int, state: PyTree
) -> bool:
  """Saves a pytree of arrays; returns at once and writes in the background.

  Args:
    manager: from `open_checkpoints`.
    step: number of the checkpoint.
    state: pytree of arrays and typed keys.

  Returns:
    Whether the step was due for saving.

  Raises:
    OSError: naming the directory, if its disk has no room for the arrays.
      What fails in the background is raised by the next call, or by `close`.
  """
  import orbax.checkpoint as ocp

  if not manager.should_save(step):
    return False
  manager.wait_until_finished()  # what it writes needs room too
  _check_room(manager.directory, state)
  filled = jax.tree.map(
    lambda x: x if x.size else jnp.zeros(_filled(x.shape), x.dtype), state
  )
  # Forced, since whether it is due was asked above.
  return manager.save(step, args=ocp.args.StandardSave(filled), force=True)


def restore_checkpoint(
  manager: CheckpointManager, abstract_state: PyTree, step: int | None = None
) -> PyTree:
  """Restores a pytree.

  Args:
    manager: from `open_checkpoints`.
    abstract_state: `jax.eval_shape(init, key)`: structure, shapes and dtypes
      that are expected. Leaves with a sharding are placed by it, others on the
      first device (on each of several processes a copy); where they lay when
      they were saved does not matter.
    step: which checkpoint; the latest if None.

  Returns:
    The state that was saved.

  Raises:
    FileNotFoundError: if there is no such checkpoint.
    ValueError: if structure, shapes or dtypes are not the expected ones; names
      the leaves.
  """
  import orbax.checkpoint as ocp

  manager.wait_until_finished()
  steps = sorted(manager.all_steps())
  if step is None and steps:
    step = steps[-1]
  if step not in steps:
    wanted = 'checkpoint' if step is None else f'checkpoint of step {step}'
    raise FileNotFoundError(
      f'no {wanted} in {manager.directory}; there are: {steps}'
    )

  filled = jax.tree.map(
    lambda x: x if x.size else jax.ShapeDtypeStruct(_filled(x.shape), x.dtype),
    abstract_state,
  )
  saved = _describe(manager.item_metadata(step).tree)
  expected = _describe(filled)
  differing = sorted(
    f'{name} (saved {saved.get(name)}, expected {expected.get(name)})'
    for name in saved.keys() | expected.keys()
    if saved.get(name) != expected.get(name)
  )
  if differing:
    raise ValueError(
      f'checkpoint {step} in {manager.directory} does not match: '
      + '; '.join(differing)
    )
  placed = jax.tree.map(_placed, filled)
  restored = manager.restore(step, args=ocp.args.StandardRestore(placed))
  return jax.tree.map(
    lambda want, x: x if want.size else jnp.zeros(want.shape, want.dtype),
    abstract_state,
    restored,
  )


def _check_room(directory: os.PathLike[str], state: PyTree) -> None:
  """Raises if a local disk cannot hold the arrays, before any is written."""
  name = os.fspath(directory)
  if '://' in name:
    return
  needed = sum(x.nbytes for x in jax.tree.leaves(state)) + _OVERHEAD
  free = shutil.disk_usage(name).free
  if free < needed:
    message = f'No space left on device ({free} bytes, a checkpoint: {needed})'
    raise OSError(errno.ENOSPC, message, name)


def _filled(shape: tuple[int, ...]) -> tuple[int, ...]:
  """The least shape with entries: Orbax saves no array without any."""
  return tuple(max(length, 1) for length in shape)


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
  """The leaf with a sharding, its own if it has one."""
  place = getattr(leaf, 'sharding', None)
  if place is None and jax.process_count() == 1:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  elif place is None:
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((jax.device_count(),), ('all',), axis_types=auto)
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def _describe(tree: PyTree) -> dict[str, str]:
  """Type and shape of each leaf by its name, `params.w: float32[3, 2]`."""
  described = {}
  for path, leaf in jax.tree.leaves_with_path(tree):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.eval_shape(jax.random.key_data, leaf)  # as Orbax saves it
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    described[name] = f'{leaf.dtype}{list(leaf.shape)}'
  return described
