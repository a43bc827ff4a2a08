"""GGUF files of Llama's relatives: loaded as what was written, to the bit."""

import dataclasses

import chex
import jax
import numpy as np
import pytest
from gguf_files import random_params, write

from ttc import models
from ttc.models import rope

BASE = models.TransformerConfig(
  vocab_size=40,
  num_layers=4,
  embed_dim=32,
  mlp_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
  max_length=128,
)
GEMMA = {
  'activation': 'gelu_tanh',
  'norm_plus_one': True,
  'embed_scale': 32**0.5,
}
ALTERNATE = {'sliding_window': 9, 'windowed_layers': (0, 2)}
ALL_BUT_LAST = {'sliding_window': 9, 'windowed_layers': (0, 1, 2)}
SHORT, LONG = (1.0, 1.5, 2.0), (2.0, 3.0, 8.0)
POST = {'pre_norm': False, 'post_norm': True, 'full_qk_norm': True}
CASES = {
  'gemma': ('gemma', GEMMA, {}),
  'gemma2': (
    'gemma2',
    GEMMA
    | ALTERNATE
    | {'post_norm': True, 'attention_softcap': 50.0, 'final_softcap': 30.0},
    {
      'attention.sliding_window': 9,
      'attn_logit_softcapping': 50.0,
      'final_logit_softcapping': 30.0,
    },
  ),
  'gemma3': (
    'gemma3',
    GEMMA
    | {'sliding_window': 9, 'post_norm': True, 'qk_norm': True}
    | {'rope_theta': 1e6, 'windowed_theta': 1e4}
    | {'rope_scaling': rope.LinearScaling(8.0)},
    {
      'attention.sliding_window': 9,
      'rope.scaling.type': 'linear',
      'rope.scaling.factor': 8.0,
    },
  ),
  'phi3': (
    'phi3',
    {
      'rotary_dim': 6,
      'sliding_window': 9,
      'rope_scaling': rope.LongRopeScaling(SHORT, LONG, 64, 1.25),
    },
    {
      'attention.sliding_window': 9,
      'rope.dimension_count': 6,
      'rope.scaling.attn_factor': 1.25,
      'rope.scaling.original_context_length': 64,
      'rope_factors_short.weight': np.float32(SHORT),
      'rope_factors_long.weight': np.float32(LONG),
    },
  ),
  'olmo2': ('olmo2', POST | {'tie_embeddings': False}, {}),
  'olmo3': (
    'olmo2',
    POST
    | ALL_BUT_LAST
    | {
      'rope_theta': 5e5,
      'windowed_theta': 5e5,
      'rope_scaling': rope.YarnScaling(
        4.0, 32, attention_factor=rope.yarn_sharpness(4.0)
      ),
    },
    {
      'attention.sliding_window': 9,
      'rope.scaling.type': 'yarn',
      'rope.scaling.factor': 4.0,
      'rope.scaling.original_context_length': 32,
    },
  ),
  'smollm3': ('smollm3', {'rotary_layers': (0, 1, 2)}, {}),
  'granite': (
    'granite',
    {
      'embed_scale': 12.0,
      'attention_scale': 0.125,
      'residual_scale': 0.25,
      'logits_divisor': 8.0,
    },
    {
      'embedding_scale': 12.0,
      'attention.scale': 0.125,
      'residual_scale': 0.25,
      'logit_scale': 8.0,
    },
  ),
}


def fuse(params, extra):
  """Phi's tensors, and what there is without them."""
  for i, layer in enumerate(params['layers']):
    at = lambda *parts, layer=layer: np.concatenate(
      [layer[part]['kernel'] for part in parts]
    )
    extra |= {
      f'blk.{i}.attn_qkv.weight': at('query', 'key', 'value'),
      f'blk.{i}.ffn_up.weight': at('gate', 'up'),
    }
  layers = [
    {k: v for k, v in layer.items() if k in ('attention_norm', 'mlp_norm')}
    | {'output': layer['output'], 'down': layer['down']}
    for layer in params['layers']
  ]
  return params | {'layers': layers}, extra


@pytest.mark.parametrize('name', CASES)
def test_loads_what_was_written(name, tmp_path):
  architecture, changes, extra = CASES[name]
  config = dataclasses.replace(BASE, **changes)
  # Whole sixty-fourths: the one that files of Gemma add comes off exactly.
  params = jax.tree.map(lambda x: np.round(64 * x) / 64, random_params(config))
  written, extra = params, dict(extra)
  if config.norm_plus_one:
    written = jax.tree.map(lambda x: x + 1 if x.ndim == 1 else x, params)
  if architecture == 'phi3':
    written, extra = fuse(params, extra)
  path = str(tmp_path / 'x.gguf')
  write(path, architecture, config, written, extra=extra)
  got_config, got = models.load_gguf(path)
  exact = {'norm_eps': config.norm_eps, 'rope_theta': config.rope_theta}
  assert dataclasses.replace(got_config, **exact) == config
  chex.assert_trees_all_equal(got, params)


@pytest.mark.parametrize(
  ('extra', 'message'),
  [
    ({'yarn_log_multiplier': 0.1}, 'yarn_log_multiplier=0.1'),
    ({'yarn_ext_factor': 0.5}, 'yarn_ext_factor=0.5 is not implemented'),
    ({'factor': -1.0}, 'factor=-1.0 is not a positive number'),
  ],
)
def test_scalings_that_are_not_implemented(extra, message, tmp_path):
  path = str(tmp_path / 'x.gguf')
  settings = {'type': 'yarn', 'factor': 4.0} | extra
  named = {f'rope.scaling.{name}': x for name, x in settings.items()}
  write(path, 'qwen2', BASE, random_params(BASE), extra=named)
  with pytest.raises(ValueError, match=f'^{path}: .*{message}'):
    models.load_gguf(path)


@pytest.mark.parametrize('name', ['rope.scaling.factor', 'rope.scale_linear'])
def test_a_factor_without_a_type_is_linear(name, tmp_path):
  path = str(tmp_path / 'x.gguf')
  write(path, 'qwen2', BASE, random_params(BASE), extra={name: 4.0})
  config, _ = models.load_gguf(path)
  assert config.rope_scaling == rope.LinearScaling(4.0)
