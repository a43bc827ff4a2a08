"""Where a fine-tuning lies on several devices.

`config.model_parallel` devices share a copy of the model (tensor parallelism),
and the copies share the prompts of an update. With `config.zero` what is
trained, its gradients and its moments are on no two devices (`models.ZERO`):
each layer gathers its own weights, and a copy gathers all of them once, in the
precision that is computed in, to sample. What is frozen lies as for decoding
beside an adapter, else as what is trained. A layout changes no result but in
its last bits, so that a run may go on in another.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh

from ttc import finetuning, models
from ttc.drivers import devices
from ttc.drivers.finetune_options import PRETRAINED, FinetuneOptions
from ttc.models.sharding import RULES, put
from ttc.types import Params

if TYPE_CHECKING:
  from ttc.drivers.finetune import Setup

# Of the options; all others belong to the run.
LAYOUT = (
  'model_parallel',
  'zero',
  'group_parts',
  'num_micro_batches',
  'remat',
)
_BASE_HEADS = 4  # of the model that is trained on traces first


def make_mesh(chosen: FinetuneOptions) -> Mesh | None:
  """Of the devices of all processes; None if that is one.

  Raises:
    ValueError: if they, or the prompts, do not come out even.
  """
  if chosen.model == PRETRAINED:
    _check_heads(chosen, _BASE_HEADS)
  return devices.all_devices(
    'num_prompts', chosen.num_prompts, chosen.model_parallel
  )


def check_model(
  chosen: FinetuneOptions, config: models.TransformerConfig
) -> None:
  """Raises ValueError for a model that cannot be trained as it is asked."""
  _check_heads(chosen, config.num_kv_heads)
  if chosen.lora_rank and config.experts is not None:
    raise ValueError(
      f'config.lora_rank={chosen.lora_rank} must be 0: {chosen.model!r} is a '
      'mixture of experts, whose kernels have no adapters'
    )


def on_all_devices(setup: 'Setup') -> 'Setup':
  """The parameters where they belong, if there are several devices."""
  mesh, loaded = setup.mesh, setup.loaded
  if mesh is None:
    return setup
  rules = RULES if setup.chosen.lora_rank else _rules(setup)
  params = put(
    loaded.params, models.param_shardings(loaded.params, mesh, rules)
  )
  return setup._replace(loaded=loaded._replace(params=params))


def state_places(setup: 'Setup', state: finetuning.TrainState) -> Any:
  """A sharding for each leaf of a state or its shapes; None for one device."""
  if setup.mesh is None:
    return None
  return finetuning.state_shardings(
    state,
    setup.chosen.optimizer,
    models.param_shardings(state.params, setup.mesh, _rules(setup)),
  )


def to_sample(setup: 'Setup', params: Params) -> Params:
  """Inside a program: parameters of which each copy has all."""
  if setup.mesh is None or not setup.chosen.zero:
    return params
  return jax.lax.with_sharding_constraint(
    params, models.param_shardings(params, setup.mesh)
  )


def fetch(setup: 'Setup', params: Params) -> Params:
  """What was trained, to be saved and measured: each copy has all of it."""
  if setup.mesh is not None and jax.process_count() == 1:
    return models.shard(params, setup.mesh)
  return devices.fetch(params)


def _rules(setup: 'Setup') -> Mapping[str, str | None]:
  return models.ZERO if setup.chosen.zero else RULES


def _check_heads(chosen: FinetuneOptions, num_heads: int) -> None:
  if num_heads % chosen.model_parallel:
    raise ValueError(
      f'config.model_parallel={chosen.model_parallel} must divide the '
      f'{num_heads} key and value heads of the model'
    )
