"""Relatives of Llama as Hugging Face's configs and files spell them.

Of each architecture what it has in place of Llama's: the names of its tensors,
and its settings, both ways. All are the one transformer.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ttc.models import fields
from ttc.models.fused import Fused
from ttc.models.huggingface_rope import (
  read_phi_rope,
  read_rope,
  read_rope_by_layer,
  rope_values,
  rope_values_by_layer,
)
from ttc.models.huggingface_windows import read_alternating, window_values
from ttc.models.transformer_config import TransformerConfig

_LAYER = 'model.layers.{}'
_GEMMA2 = {
  'attention_post_norm.scale': f'{_LAYER}.post_attention_layernorm.weight',
  'mlp_norm.scale': f'{_LAYER}.pre_feedforward_layernorm.weight',
  'mlp_post_norm.scale': f'{_LAYER}.post_feedforward_layernorm.weight',
}
_OLMO2 = {
  'attention_post_norm.scale': f'{_LAYER}.post_attention_layernorm.weight',
  'mlp_post_norm.scale': f'{_LAYER}.post_feedforward_layernorm.weight',
}
_HYBRID = {
  'gate.kernel': f'{_LAYER}.shared_mlp.gate.weight',  # fused in the file
  'up.kernel': f'{_LAYER}.shared_mlp.up.weight',
  'down.kernel': f'{_LAYER}.shared_mlp.output_linear.weight',
}
# What multiplies what in Granite, and what it is when the config is silent.
_MULTIPLIERS = (
  'embedding_multiplier',
  'attention_multiplier',
  'residual_multiplier',
  'logits_scaling',
)


class Family(NamedTuple):
  """What differs from Llama.

  Attributes:
    model_type: as `config.json` has it.
    read: `(values, file, head_dim) -> settings` of `TransformerConfig`.
    write: `config -> values` of `config.json`.
    names: of tensors.
    fused: `config -> tensors` that are several parameters.
    is_tied: whether embeddings are tied where the config does not say.
    norm_eps: where the config does not say.
    head_dim: where the config does not say; None for a quotient.
    activation: the setting and the spellings of the activation.
    mlp_dim: the setting for the width of the MLP.
  """

  model_type: str
  read: Callable[[Mapping[str, Any], str, int], dict[str, Any]]
  write: Callable[[TransformerConfig], dict[str, Any]]
  names: Mapping[str, str] = {}
  fused: Callable[[TransformerConfig], tuple[Fused, ...]] = lambda config: ()
  is_tied: bool = False
  norm_eps: float = 1e-6
  head_dim: int | None = None
  activation: tuple[str, tuple[str, ...]] = ('hidden_act', ('silu',))
  mlp_dim: str = 'intermediate_size'


def _gemma(values, file, head_dim):
  if values.get('use_bidirectional_attention'):
    raise ValueError(f'{file}: use_bidirectional_attention is not implemented')
  width = fields.integer(values, 'hidden_size', file)
  return {
    'activation': 'gelu_tanh',
    'norm_plus_one': True,
    'embed_scale': math.sqrt(width),
    **read_rope(values, file, 10_000.0),
  }


def _gemma2(values, file, head_dim):
  return {
    **_gemma(values, file, head_dim),
    **_capped(values, file, head_dim, 50.0, 30.0),
    **read_alternating(values, file, lambda i: i % 2 == 0),
  }


def _gemma3(values, file, head_dim):
  plain = {k: v for k, v in values.items() if not k.startswith('rope_')}
  pattern = '_sliding_window_pattern'  # so some versions wrote it
  pattern = pattern if pattern in values else pattern[1:]
  period = fields.integer(values, pattern, file, 6)
  windows = read_alternating(values, file, lambda i: (i + 1) % period != 0)
  local = fields.positive(values, 'rope_local_base_freq', file, 10_000.0)
  return {
    **_gemma(plain, file, head_dim),
    **_capped(values, file, head_dim, None, None),
    'qk_norm': True,
    **windows,
    **_local(windows, read_rope_by_layer(values, file, 1e6, local)),
  }


def _capped(values, file, head_dim, attention_cap, final_cap):
  """What Gemma has since its second version."""
  scalar = fields.positive(values, 'query_pre_attn_scalar', file, 256)

  def cap(name, default):  # null is none, whatever the default
    if name in values and values[name] is None:
      return None
    return fields.positive(values, name, file, default)

  return {
    'post_norm': True,
    'attention_scale': None if scalar == head_dim else scalar**-0.5,
    'attention_softcap': cap('attn_logit_softcapping', attention_cap),
    'final_softcap': cap('final_logit_softcapping', final_cap),
  }


def _local(windows, settings):
  """Drops the base of layers with a window where there are none."""
  return settings if windows else settings | {'windowed_theta': None}


def _phi3(values, file, head_dim):
  window = fields.integer(values, 'sliding_window', file, None)
  return {'sliding_window': window, **read_phi_rope(values, file, head_dim)}


def _olmo2(values, file, head_dim):
  return {
    'pre_norm': False,
    'post_norm': True,
    'full_qk_norm': True,
    **read_rope(values, file, 10_000.0),
  }


def _olmo3(values, file, head_dim):
  plain = {k: v for k, v in values.items() if not k.startswith('rope_')}
  windows = read_alternating(values, file, lambda i: (i + 1) % 4 != 0)
  # A base at the top is that of layers without a window only.
  settings = read_rope_by_layer(values, file, 500_000.0, 500_000.0)
  return {
    **_olmo2(plain, file, head_dim),
    **windows,
    **_local(windows, settings),
  }


def _smollm3(values, file, head_dim):
  count = fields.integer(values, 'num_hidden_layers', file)
  rotary = values.get('no_rope_layers')
  if rotary is None:
    every = fields.integer(values, 'no_rope_layer_interval', file, 4)
    rotary = [int((i + 1) % every != 0) for i in range(count)]
  is_list = isinstance(rotary, list) and len(rotary) >= count
  if not is_list or any(x not in (0, 1) for x in rotary):
    raise ValueError(
      f'{file}: no_rope_layers={fields.short(rotary)} is not a list of '
      f'num_hidden_layers={count} zeros and ones'
    )
  layers = tuple(i for i in range(count) if rotary[i])
  settings = {
    'rotary_layers': None if len(layers) == count else layers,
    **read_rope(values, file, 2_000_000.0),
  }
  if not fields.boolean(values, 'use_sliding_window', file, False):
    return settings
  windows = read_alternating(values, file, lambda i: not rotary[i], None)
  return settings | windows


def _ministral(values, file, head_dim):
  has_window = values.get('sliding_window', 4096) is not None
  return {
    **read_alternating(values, file, lambda i: has_window),
    **read_rope(values, file, 10_000.0),
  }


def _granite(values, file, head_dim):
  embed, attention, residual, logits = (
    fields.positive(values, name, file, 1.0) for name in _MULTIPLIERS
  )
  return {
    'embed_scale': None if embed == 1.0 else embed,
    'attention_scale': None if attention == head_dim**-0.5 else attention,
    'residual_scale': residual,
    'logits_divisor': logits,
    **read_rope(values, file, 10_000.0),
  }


def _granite_hybrid(values, file, head_dim):
  experts = fields.integer(values, 'num_local_experts', file, 8, low=0)
  if experts:
    raise ValueError(
      f'{file}: num_local_experts={experts} is not implemented for this '
      'architecture, only 0'
    )
  spelt = (
    'layers_block_type' if 'layers_block_type' in values else 'layer_types'
  )
  kinds = values.get(spelt)
  count = fields.integer(values, 'num_hidden_layers', file)
  known = ('attention', 'full_attention')
  if not isinstance(kinds, list) or len(kinds) != count:
    raise ValueError(
      f'{file}: {spelt} is not a list of num_hidden_layers={count}'
    )
  if strange := [kind for kind in kinds if kind not in known]:
    raise ValueError(
      f'{file}: {spelt} {strange[0]!r} is not one of {", ".join(known)}'
    )
  positions = values.get('position_embedding_type')
  if positions not in (None, 'rope', 'nope'):
    raise ValueError(
      f"{file}: position_embedding_type={positions!r} is not 'rope' or null"
    )
  return {
    **_granite(values, file, head_dim),
    'rotary': positions == 'rope',
  }


def _write_gemma(c):
  names = ('hidden_act', 'hidden_activation')  # versions differ
  return dict.fromkeys(names, 'gelu_pytorch_tanh') | rope_values(c)


def _write_gemma2(c):
  scale = c.attention_scale or c.head_dim**-0.5
  return {
    **_write_gemma(c),
    'query_pre_attn_scalar': round(scale**-2),
    'attn_logit_softcapping': c.attention_softcap,
    'final_logit_softcapping': c.final_softcap,
    **window_values(c),
  }


def _write_phi3(c):
  original = getattr(c.rope_scaling, 'original_length', c.max_length)
  return {
    'sliding_window': c.sliding_window,
    'original_max_position_embeddings': original,
    'partial_rotary_factor': (c.rotary_dim or c.head_dim) / c.head_dim,
    **rope_values(c),
  }


def _write_smollm3(c):
  layers = range(c.num_layers)
  rotary = layers if c.rotary_layers is None else c.rotary_layers
  return {
    'no_rope_layers': [int(i in rotary) for i in layers],
    **window_values(c),
    **rope_values(c),
  }


def _write_granite(c):
  scales = (
    c.embed_scale or 1.0,
    c.attention_scale or c.head_dim**-0.5,
    c.residual_scale,
    c.logits_divisor,
  )
  return dict(zip(_MULTIPLIERS, scales, strict=True)) | rope_values(c)


def _write_granite_hybrid(c):
  return {
    **_write_granite(c),
    'num_local_experts': 0,
    'layer_types': ['full_attention'] * c.num_layers,
    'position_embedding_type': 'rope' if c.rotary else None,
    'mamba_n_heads': 1,  # there are none, but their sizes are checked
  }


def _phi3_fused(c: TransformerConfig) -> tuple[Fused, ...]:
  rows = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  attention = f'{_LAYER}.self_attn'
  return (
    Fused(
      f'{attention}.qkv_proj.weight',
      (
        (f'{attention}.q_proj.weight', rows[0]),
        (f'{attention}.k_proj.weight', rows[1]),
        (f'{attention}.v_proj.weight', rows[1]),
      ),
    ),
    Fused(
      f'{_LAYER}.mlp.gate_up_proj.weight',
      (
        (f'{_LAYER}.mlp.gate_proj.weight', c.mlp_dim),
        (f'{_LAYER}.mlp.up_proj.weight', c.mlp_dim),
      ),
    ),
  )


def _hybrid_fused(c: TransformerConfig) -> tuple[Fused, ...]:
  parts = _HYBRID['gate.kernel'], _HYBRID['up.kernel']
  return (
    Fused(
      f'{_LAYER}.shared_mlp.input_linear.weight',
      tuple((part, c.mlp_dim) for part in parts),
    ),
  )


_GELU = ('hidden_activation', ('gelu_pytorch_tanh',))
RELATIVES = {
  'GemmaForCausalLM': Family(
    'gemma',
    _gemma,
    _write_gemma,
    is_tied=True,
    head_dim=256,
    # Its first files say `gelu`, and mean the other.
    activation=('hidden_act', ('gelu_pytorch_tanh', 'gelu')),
  ),
  'Gemma2ForCausalLM': Family(
    'gemma2',
    _gemma2,
    _write_gemma2,
    names=_GEMMA2,
    is_tied=True,
    head_dim=256,
    activation=_GELU,
  ),
  'Gemma3ForCausalLM': Family(
    'gemma3_text',
    _gemma3,
    lambda c: _write_gemma2(c) | rope_values_by_layer(c),
    names=_GEMMA2,
    is_tied=True,
    head_dim=256,
    activation=_GELU,
  ),
  'Phi3ForCausalLM': Family(
    'phi3',
    _phi3,
    _write_phi3,
    fused=_phi3_fused,
    norm_eps=1e-5,
  ),
  'Olmo2ForCausalLM': Family(
    'olmo2', _olmo2, rope_values, names=_OLMO2, norm_eps=1e-5
  ),
  'Olmo3ForCausalLM': Family(
    'olmo3',
    _olmo3,
    lambda c: window_values(c) | rope_values_by_layer(c),
    names=_OLMO2,
    norm_eps=1e-5,
  ),
  'MinistralForCausalLM': Family(
    'ministral', _ministral, lambda c: window_values(c) | rope_values(c)
  ),
  'SmolLM3ForCausalLM': Family(
    'smollm3', _smollm3, _write_smollm3, is_tied=True
  ),
  'GraniteForCausalLM': Family('granite', _granite, _write_granite),
  'GraniteMoeHybridForCausalLM': Family(
    'granitemoehybrid',
    _granite_hybrid,
    _write_granite_hybrid,
    names=_HYBRID,
    fused=_hybrid_fused,
    mlp_dim='shared_intermediate_size',
  ),
}
