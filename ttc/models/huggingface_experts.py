"""Mixtures of experts as Hugging Face's configs and files spell them.

Of each architecture the names of its tensors and of its settings, both ways.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ttc.models import fields
from ttc.models.experts import Experts
from ttc.models.transformer_config import TransformerConfig

_MIXTRAL = {
  'mixture.router.kernel': 'model.layers.{}.block_sparse_moe.gate.weight',
  'mixture.gates': 'model.layers.{}.block_sparse_moe.experts.{}.w1.weight',
  'mixture.ups': 'model.layers.{}.block_sparse_moe.experts.{}.w3.weight',
  'mixture.downs': 'model.layers.{}.block_sparse_moe.experts.{}.w2.weight',
}
_OLMOE = {
  'mixture.router.kernel': 'model.layers.{}.mlp.gate.weight',
  'mixture.gates': 'model.layers.{}.mlp.experts.{}.gate_proj.weight',
  'mixture.ups': 'model.layers.{}.mlp.experts.{}.up_proj.weight',
  'mixture.downs': 'model.layers.{}.mlp.experts.{}.down_proj.weight',
}
_SHARED = 'model.layers.{}.mlp.shared_expert'
_QWEN2 = _OLMOE | {
  'mixture.shared.gate.kernel': f'{_SHARED}.gate_proj.weight',
  'mixture.shared.up.kernel': f'{_SHARED}.up_proj.weight',
  'mixture.shared.down.kernel': f'{_SHARED}.down_proj.weight',
  'mixture.shared_gate.kernel': f'{_SHARED}_gate.weight',
}


class _Family(NamedTuple):
  """What differs between the architectures."""

  model_type: str
  names: dict[str, str]
  expert_dim: str  # the setting for the width of an expert
  chooses_layers: bool  # by `decoder_sparse_step` and `mlp_only_layers`
  has_shared: bool
  normalises: bool | None  # None: `norm_topk_prob` says


FAMILIES = {
  'MixtralForCausalLM': _Family(
    'mixtral', _MIXTRAL, 'intermediate_size', False, False, True
  ),
  'Qwen2MoeForCausalLM': _Family(
    'qwen2_moe', _QWEN2, 'moe_intermediate_size', True, True, None
  ),
  'Qwen3MoeForCausalLM': _Family(
    'qwen3_moe', _OLMOE, 'moe_intermediate_size', True, False, None
  ),
  'OlmoeForCausalLM': _Family(
    'olmoe', _OLMOE, 'intermediate_size', False, False, None
  ),
}


def read_experts(
  values: Mapping[str, Any], architecture: str, file: str
) -> Experts | None:
  """The experts that a config declares; None if no layer has any."""
  family = FAMILIES.get(architecture)
  if family is None:
    return None
  size = lambda name, *default: fields.integer(values, name, file, *default)
  # transformers 4 and 5 call it by either name.
  spelt = 'num_experts' if 'num_experts' in values else 'num_local_experts'
  num_experts = fields.integer(values, spelt, file, low=0)
  num_layers, layers = size('num_hidden_layers'), None
  if family.chooses_layers:
    step = size('decoder_sparse_step', 1)
    plain = fields.layers(values, 'mlp_only_layers', file)
    if plain or step > 1:
      layers = range(step - 1, num_layers, step)
      layers = tuple(i for i in layers if i not in plain)
      layers = None if len(layers) == num_layers else layers
  if not num_experts or layers == ():
    return None
  shared = size('shared_expert_intermediate_size', 5632)
  normalises = family.normalises
  if normalises is None:
    normalises = fields.boolean(values, 'norm_topk_prob', file, False)
  try:
    return Experts(
      num_experts=num_experts,
      top_k=size('num_experts_per_tok'),
      mlp_dim=size(family.expert_dim),
      normalise=normalises,
      shared_mlp_dim=shared if family.has_shared else None,
      layers=layers,
    )
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from None


def architecture_of(config: TransformerConfig) -> str:
  """The architecture that has these experts.

  Raises:
    ValueError: if none has all that the config says.
  """
  c, e = config, config.experts
  assert e is not None
  if c.full_qk_norm or c.clip_qkv is not None:
    architecture = 'OlmoeForCausalLM'
  elif c.qk_norm:
    architecture = 'Qwen3MoeForCausalLM'
  elif e.shared_mlp_dim is not None:
    architecture = 'Qwen2MoeForCausalLM'
  else:
    architecture = 'MixtralForCausalLM'
  family = FAMILIES[architecture]
  is_qwen2, is_olmoe = (
    architecture.startswith(name) for name in ('Qwen2', 'Olmoe')
  )
  lacks = {
    'qkv_bias': c.qkv_bias and not is_qwen2,
    'windowed_layers': c.windowed_layers is not None and not is_qwen2,
    'sliding_window': c.sliding_window is not None and is_olmoe,
    'clip_qkv without full_qk_norm': is_olmoe and not c.full_qk_norm,
    'head_dim': is_olmoe and c.head_dim * c.num_heads != c.embed_dim,
    'experts.layers': e.layers is not None and not family.chooses_layers,
    'experts.normalise': family.normalises not in (None, e.normalise),
    'experts.shared_mlp_dim': bool(e.shared_mlp_dim) != family.has_shared,
  }
  if wrong := [name for name, is_so in lacks.items() if is_so]:
    raise ValueError(
      f'no architecture of Hugging Face has this {wrong[0]} of {config}'
    )
  return architecture


def expert_values(
  config: TransformerConfig, architecture: str
) -> dict[str, Any]:
  """What `config.json` says of the experts."""
  e, family = config.experts, FAMILIES[architecture]
  assert e is not None
  values: dict[str, Any] = {
    'num_local_experts': e.num_experts,
    'num_experts': e.num_experts,
    'num_experts_per_tok': e.top_k,
    family.expert_dim: e.mlp_dim,
  }
  if family.normalises is None:
    values['norm_topk_prob'] = e.normalise
  if family.has_shared:
    values['shared_expert_intermediate_size'] = e.shared_mlp_dim
    values['qkv_bias'] = config.qkv_bias
  if family.chooses_layers:
    plain = [i for i in range(config.num_layers) if not e.in_layer(i)]
    values |= {'decoder_sparse_step': 1, 'mlp_only_layers': plain}
  if config.clip_qkv is not None:
    values['clip_qkv'] = config.clip_qkv
  return values
