"""Where parameters and batches go: over the devices of this process."""

from collections.abc import Callable
from typing import Any

import jax

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


def place(
  params: Params, model_parallel: int
) -> tuple[Params, Callable[[Any], Any]]:
  """Shards parameters over all local devices.

  Args:
    params: of a transformer.
    model_parallel: devices that share one copy of the model; the others hold
      copies and take problems of their own.

  Returns:
    The parameters where they belong, and a function that puts a batch there.
  """
  if len(jax.local_devices()) == 1:
    return params, lambda batch: batch
  mesh = jax.make_mesh(
    (len(jax.local_devices()) // model_parallel, model_parallel),
    ('data', 'model'),
    axis_types=(jax.sharding.AxisType.Auto,) * 2,
    devices=jax.local_devices(),
  )
  return models.shard(params, mesh), lambda x: models.shard_batch(x, mesh)
