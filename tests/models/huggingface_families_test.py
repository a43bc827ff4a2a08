"""Configs of Llama's relatives: what they mean, and what is refused by name."""

import numpy as np
import pytest

from ttc import models
from ttc.models.huggingface_families import RELATIVES
from ttc.models.safetensors import config_of

VALUES = {
  'vocab_size': 40,
  'num_hidden_layers': 4,
  'hidden_size': 16,
  'intermediate_size': 24,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 128,
}
LINEAR = {'rope_type': 'linear', 'factor': 4.0}
YARN = {'rope_type': 'yarn', 'factor': 4.0}
SHORT, LONG = [1.0, 1.5], [2.0, 8.0]
PHI = {
  'rope_scaling': {'type': 'su', 'short_factor': SHORT, 'long_factor': LONG},
  'original_max_position_embeddings': 32,
}
HYBRID = {
  'num_local_experts': 0,
  'shared_intermediate_size': 20,
  'layer_types': ['attention', 'full_attention'] * 2,
}
FULL, SLIDING = 'full_attention', 'sliding_attention'


def read(family, **changes):
  values = VALUES | {'architectures': [f'{family}ForCausalLM']} | changes
  values = {name: x for name, x in values.items() if x != 'absent'}
  return config_of(values, 'config.json')


@pytest.mark.parametrize(
  ('family', 'changes', 'expected'),
  [
    (
      'Gemma',
      {'hidden_act': 'gelu'},
      {'head_dim': 256, 'tie_embeddings': True, 'activation': 'gelu_tanh'}
      | {'norm_plus_one': True, 'embed_scale': 4.0, 'post_norm': False},
    ),
    (
      'Gemma2',
      {},
      {'windowed_layers': (0, 2), 'sliding_window': 4096, 'post_norm': True}
      | {'attention_softcap': 50.0, 'final_softcap': 30.0}
      | {'attention_scale': None},  # of 256, which its heads have
    ),
    (
      'Gemma2',
      {'query_pre_attn_scalar': 144, 'attn_logit_softcapping': None},
      {'attention_scale': 1 / 12, 'attention_softcap': None},
    ),
    (
      'Gemma3',
      {'num_hidden_layers': 26},
      {
        'windowed_layers': tuple(
          i for i in range(26) if i not in (5, 11, 17, 23)
        )
      }
      | {'rope_theta': 1e6, 'windowed_theta': 1e4, 'rope_scaling': None}
      | {'attention_softcap': None, 'final_softcap': None, 'qk_norm': True},
    ),
    (
      'Gemma3',
      {'rope_scaling': LINEAR, 'rope_theta': 5e5, 'rope_local_base_freq': 7.0},
      {'rope_theta': 5e5, 'windowed_theta': 7.0, 'windowed_layers': None}
      | {'rope_scaling': models.LinearScaling(4.0)},
    ),
    (
      'Gemma3',
      {'rope_parameters': {FULL: LINEAR, SLIDING: {'rope_theta': 9.0}}},
      {'rope_theta': 1e6, 'windowed_theta': 9.0}
      | {'rope_scaling': models.LinearScaling(4.0)},
    ),
    (
      'Phi3',
      PHI,
      {'norm_eps': 1e-5, 'sliding_window': None, 'rotary_dim': None}
      | {
        'rope_scaling': models.LongRopeScaling(
          tuple(SHORT), tuple(LONG), 32, (1 + np.log(4) / np.log(32)) ** 0.5
        )
      },
    ),
    ('Phi3', {'partial_rotary_factor': 0.5}, {'rotary_dim': 2}),
    (
      'Olmo2',
      {'rope_scaling': YARN},
      {'pre_norm': False, 'post_norm': True, 'full_qk_norm': True}
      | {'rope_scaling': models.YarnScaling(4.0, 128), 'rope_theta': 1e4},
    ),
    (
      'Olmo3',
      {'rope_theta': 7e5},
      {'windowed_layers': (0, 1, 2), 'sliding_window': 4096}
      | {'rope_theta': 7e5, 'windowed_theta': 5e5},
    ),
    ('Ministral', {}, {'sliding_window': 4096, 'windowed_layers': None}),
    ('Ministral', {'sliding_window': None}, {'sliding_window': None}),
    ('Olmo3', {}, {'rope_theta': 5e5, 'windowed_theta': None}),
    (
      'SmolLM3',
      {'num_hidden_layers': 36},
      {'rotary_layers': tuple(i for i in range(36) if i % 4 != 3)}
      | {'rope_theta': 2e6, 'tie_embeddings': True, 'sliding_window': None},
    ),
    ('SmolLM3', {'no_rope_layers': [1, 1, 1, 1]}, {'rotary_layers': None}),
    (
      'Granite',
      {'embedding_multiplier': 12, 'attention_multiplier': 0.25}
      | {'residual_multiplier': 0.22, 'logits_scaling': 8},
      {'embed_scale': 12.0, 'attention_scale': 0.25, 'residual_scale': 0.22}
      | {'logits_divisor': 8.0, 'tie_embeddings': False},
    ),
    ('GraniteMoeHybrid', HYBRID, {'mlp_dim': 20, 'rotary': False}),
    (
      'GraniteMoeHybrid',
      HYBRID | {'position_embedding_type': 'rope'},
      {'rotary': True},
    ),
    (
      'Llama',
      {'rope_scaling': {'type': 'linear', 'factor': 2}, 'rope_theta': 7e5}
      | {'rope_parameters': LINEAR | {'rope_theta': 5e5}},
      {'rope_scaling': models.LinearScaling(2.0), 'rope_theta': 7e5},
    ),
    (
      'Qwen2',
      {'rope_scaling': YARN | {'factor': None}}
      | {'max_position_embeddings': 256},
      {'rope_scaling': models.YarnScaling(1.0, 256)},
    ),
    (
      'Llama',
      {'rope_scaling': {'rope_type': 'dynamic', 'factor': 2.0}},
      {'rope_scaling': models.DynamicScaling(2.0, 128)},
    ),
  ],
)
def test_configs(family, changes, expected):
  config = read(family, **changes)
  for name, value in expected.items():
    found = getattr(config, name)
    if isinstance(value, models.LongRopeScaling):
      assert found.attention_factor == pytest.approx(value.attention_factor)
      value = found.__class__(value.short, value.long, value.original_length)
      found = found.__class__(found.short, found.long, found.original_length)
    assert found == value, name


@pytest.mark.parametrize(
  ('family', 'changes', 'says'),
  [
    ('Gemma', {'hidden_act': 'relu'}, "hidden_act='relu' is not implemented"),
    (
      'Gemma2',
      {'hidden_activation': 'silu'},
      "hidden_activation='silu' is not",
    ),
    ('Gemma3', {'use_bidirectional_attention': True}, 'use_bidirectional_att'),
    ('Gemma3', {'sliding_window': None}, 'sliding_window=None is not a whole'),
    (
      'Gemma3',
      {'rope_parameters': LINEAR},
      "rope_parameters has 'factor', not",
    ),
    (
      'Gemma3',
      {'rope_parameters': {SLIDING: LINEAR}},
      'rope scaling of sliding_attention is not implemented',
    ),
    (
      'Gemma3',
      {'rope_parameters': {SLIDING: {'partial_rotary_factor': 0.5}}},
      'partial_rotary_factor=0.5',
    ),
    ('Gemma2', {'layer_types': ['mamba'] * 4}, "layer_types 'mamba' is not"),
    ('Phi3', {'hidden_act': 'gelu'}, "hidden_act='gelu' is not implemented"),
    ('Phi3', {'partial_rotary_factor': 0.3}, r'0 channels|rotary_dim=1 is not'),
    (
      'Phi3',
      {'rope_scaling': {'type': 'su'}},
      'short_factor=None is not a',
    ),
    (
      'Phi3',
      {'rope_scaling': PHI['rope_scaling'] | {'long_factor': [1.0]}},
      '1 divisors of longrope do not fit the 2 pairs',
    ),
    ('Olmo2', {'attention_bias': True}, 'attention_bias=True is not'),
    (
      'Olmo2',
      {'rope_scaling': YARN | {'truncate': 1}},
      'truncate=1 is',
    ),
    (
      'Olmo3',
      {'rope_scaling': YARN | {'truncate': False}},
      'truncate=False',
    ),
    (
      'SmolLM3',
      {'no_rope_layers': [1, 2]},
      r'no_rope_layers=\[1, 2\] is not',
    ),
    ('SmolLM3', {'mlp_bias': True}, 'mlp_bias=True is not implemented'),
    ('Granite', {'residual_multiplier': 'x'}, "residual_multiplier='x' is not"),
    ('GraniteMoeHybrid', HYBRID | {'num_local_experts': 8}, 'experts=8 is not'),
    (
      'GraniteMoeHybrid',
      HYBRID | {'layer_types': ['mamba'] * 4},
      "layer_types 'mamba' is not one of attention, full_attention",
    ),
    (
      'GraniteMoeHybrid',
      HYBRID | {'position_embedding_type': 'alibi'},
      "position_embedding_type='alibi' is not",
    ),
    ('Granite', {'partial_rotary_factor': 0.5}, 'partial_rotary_factor=0.5'),
  ],
)
def test_what_is_not_implemented_is_named(family, changes, says):
  with pytest.raises(ValueError, match=f'^config.json: .*{says}') as error:
    read(family, **changes)
  assert '\n' not in str(error.value)


def test_architectures_are_listed_where_one_is_not_known():
  with pytest.raises(ValueError, match=r'FooForCausalLM.* not one of') as error:
    read('Foo')
  assert all(name in str(error.value) for name in RELATIVES)
