"""Where parameters and batches go.

What draws or measures goes over the devices of its process, what trains over
those of all processes.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)

from ttc import models
from ttc.types import Params


def check_parallel(model_parallel: int, num_heads: int = 0) -> None:
  """Refuses a split that the local devices, or the heads, do not divide.

  Args:
    model_parallel: devices that share one copy of the model.
    num_heads: key and value heads of the model; 0 if not known yet.

  Raises:
    ValueError: naming what does not divide.
  """
  count = len(jax.local_devices())
  if count % model_parallel:
    raise ValueError(
      f'config.model_parallel={model_parallel} must divide the {count} local '
      'devices'
    )
  if num_heads % model_parallel:
    raise ValueError(
      f'config.model_parallel={model_parallel} must divide the {num_heads} '
      'key and value heads of the model'
    )


def local_mesh(model_parallel: int) -> Mesh | None:
  """A mesh of this process' devices; None if that is one.

  Args:
    model_parallel: devices that share one copy of the model; the others hold
      copies and take problems of their own.
  """
  devices = jax.local_devices()
  if len(devices) == 1:
    return None
  return jax.make_mesh(
    (len(devices) // model_parallel, model_parallel),
    ('data', 'model'),
    axis_types=(AxisType.Auto,) * 2,
    devices=devices,
  )


def place(
  params: Params, model_parallel: int
) -> tuple[Params, Callable[[Any], Any]]:
  """Shards parameters over all local devices.

  Args:
    params: of a transformer.
    model_parallel: as in `local_mesh`.

  Returns:
    The parameters where they belong, and a function that puts a batch there.
  """
  mesh = local_mesh(model_parallel)
  if mesh is None:
    return params, lambda batch: batch
  return models.shard(params, mesh), lambda x: models.shard_batch(x, mesh)


def all_devices(name: str, count: int, model_parallel: int = 1) -> Mesh | None:
  """A mesh of the devices of all processes, if there are several.

  Args:
    name: of the option that says how large the batch is.
    count: of what they share.
    model_parallel: devices that share one copy of the model.

  Returns:
    A mesh over `data`, and over `model` if devices share a copy.

  Raises:
    ValueError: if it does not come out even.
  """
  devices = len(jax.devices())
  if devices % model_parallel:
    raise ValueError(
      f'config.model_parallel={model_parallel} must divide the {devices} '
      'devices'
    )
  if devices == 1:
    return None
  copies, types = devices // model_parallel, (AxisType.Auto,) * 2
  if count % copies:
    of = 'devices' if model_parallel == 1 else 'copies of the model'
    raise ValueError(
      f'config.{name}={count} is not a multiple of the {copies} {of}'
    )
  if model_parallel == 1:
    return jax.make_mesh((devices,), ('data',), axis_types=types[:1])
  shape = copies, model_parallel
  return jax.make_mesh(shape, ('data', 'model'), axis_types=types)


def everywhere(mesh: Mesh | AbstractMesh | None) -> NamedSharding | None:
  """A copy on every device of a mesh; None without one."""
  return None if mesh is None else NamedSharding(mesh, PartitionSpec())


def by_rows(batch: Any, mesh: Mesh | None) -> Any:
  """Inside a program: rows of a batch, spread over the devices of a mesh.

  What has no rows, such as a key, is everywhere.
  """
  if mesh is None:
    return batch
  spec = lambda leaf: PartitionSpec(*('data',) * min(leaf.ndim, 1))
  place = jax.tree.map(lambda leaf: NamedSharding(mesh, spec(leaf)), batch)
  return jax.lax.with_sharding_constraint(batch, place)


def fetch(tree: Any) -> Any:
  """Arrays of several processes as the host's, whole in each; else as it is."""

  def whole(leaf):
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
      return leaf
    if not leaf.is_fully_replicated:
      assert isinstance(leaf.sharding, NamedSharding)
      place = everywhere(leaf.sharding.mesh)
      leaf = jax.jit(lambda x: x, out_shardings=place)(leaf)
    return np.asarray(leaf)

  return jax.tree.map(whole, tree)
