"""Relatives of Llama: logits against those of transformers, both ways.

Random parameters of a size at which positions, windows and caps matter: those
of transformers' own initialisation leave attention uniform, and then a wrong
rotation passes.
"""

import dataclasses

import jax
import numpy as np
import pytest

from ttc import models

pytestmark = pytest.mark.oracle

TINY = {
  'vocab_size': 64,
  'hidden_size': 32,
  'intermediate_size': 48,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'max_position_embeddings': 128,
  'initializer_range': 0.3,
  'pad_token_id': 0,
  'bos_token_id': 1,
  'eos_token_id': 2,
}
WINDOW = {'sliding_window': 8}
GEMMA = {'head_dim': 16, 'query_pre_attn_scalar': 24, **WINDOW}
KINDS = ['sliding_attention', 'full_attention', 'sliding_attention']
GEMMA3 = {**GEMMA, 'num_hidden_layers': 3, 'layer_types': KINDS}
MULTIPLIERS = {
  'embedding_multiplier': 12.0,
  'attention_multiplier': 0.2,
  'residual_multiplier': 0.22,
  'logits_scaling': 8.0,
}
HYBRID = {
  **MULTIPLIERS,
  'num_local_experts': 0,
  'shared_intermediate_size': 40,
  'layer_types': ['full_attention'] * 2,
  'position_embedding_type': 'rope',
  'mamba_n_heads': 8,
  'mamba_d_head': 8,
}
LINEAR = {'rope_type': 'linear', 'factor': 3.0}
DYNAMIC = {'rope_type': 'dynamic', 'factor': 2.0}
YARN = {
  'rope_type': 'yarn',
  'factor': 4.0,
  'beta_fast': 8.0,
  'original_max_position_embeddings': 32,
}
LONG = {
  'rope_type': 'longrope',
  'short_factor': [1.0, 1.1, 1.5],
  'long_factor': [1.2, 2.0, 6.0],
}
PHI = {
  'partial_rotary_factor': 0.75,
  'original_max_position_embeddings': 32,
  'rope_scaling': LONG,
}
OLMO3 = {'num_hidden_layers': 4, **WINDOW}
CASES = {
  'llama_linear': ('Llama', {'rope_scaling': LINEAR}, 40),
  'llama_dynamic': ('Llama', {'rope_scaling': DYNAMIC}, 40),
  'llama_yarn': ('Llama', {'rope_scaling': YARN}, 60),
  'qwen2_yarn_mscale': (
    'Qwen2',
    {'rope_scaling': YARN | {'mscale': 0.7, 'mscale_all_dim': 0.4}},
    60,
  ),
  'qwen3_yarn_not_truncated': (
    'Qwen3',
    {'rope_scaling': YARN | {'truncate': False}, 'head_dim': 16},
    60,
  ),
  'gemma': ('Gemma', {'head_dim': 16}, 20),
  'gemma2': ('Gemma2', GEMMA, 37),
  'gemma2_without_caps': (
    'Gemma2',
    GEMMA | {'attn_logit_softcapping': None, 'final_logit_softcapping': None},
    20,
  ),
  'gemma3': ('Gemma3', GEMMA3, 37),
  'gemma3_linear': ('Gemma3', GEMMA3 | {'rope_scaling': LINEAR}, 37),
  'phi3': ('Phi3', {}, 20),
  'phi3_window': ('Phi3', WINDOW, 37),
  'phi4_mini': ('Phi3', PHI, 60),
  'olmo2': ('Olmo2', {}, 20),
  'olmo3': ('Olmo3', OLMO3, 37),
  'olmo3_yarn': ('Olmo3', OLMO3 | {'rope_scaling': YARN}, 60),
  'ministral': (
    'Ministral',
    {'num_hidden_layers': 3, 'layer_types': KINDS, 'head_dim': 8, **WINDOW},
    37,
  ),
  'smollm3': ('SmolLM3', {'num_hidden_layers': 4}, 20),
  'smollm3_window': (
    'SmolLM3',
    {'num_hidden_layers': 4, 'use_sliding_window': True, **WINDOW},
    37,
  ),
  'granite': ('Granite', MULTIPLIERS, 20),
  'granite4': ('GraniteMoeHybrid', HYBRID, 20),
  'granite4_without_positions': (
    'GraniteMoeHybrid',
    HYBRID | {'position_embedding_type': None},
    20,
  ),
}
forward = jax.jit(models.forward, static_argnums=0)


def theirs_of(family, changes):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  torch.manual_seed(0)
  text = 'Text' if family == 'Gemma3' else ''
  config = getattr(transformers, f'{family}{text}Config')(**TINY | changes)
  model = getattr(transformers, f'{family}ForCausalLM')(config).eval().float()
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.ndim == 1:
        parameter += 0.3 * torch.randn_like(parameter)
  return model


def logits_of(model, tokens):
  import torch

  with torch.no_grad():
    return model(torch.from_numpy(tokens).long()).logits.numpy()


@pytest.mark.parametrize('name', CASES)
def test_logits_both_ways(name, tmp_path):
  family, changes, length = CASES[name]
  theirs = theirs_of(family, changes)
  rng = np.random.default_rng(0)
  tokens = rng.integers(3, 64, size=(2, length), dtype=np.int32)
  expected = logits_of(theirs, tokens)
  assert np.std(expected) > 0.1

  theirs.save_pretrained(tmp_path / 'theirs')
  loaded = models.load(str(tmp_path / 'theirs'))
  scanned = models.load(str(tmp_path / 'theirs'), scan_layers=True)
  for model, params in (loaded[:2], scanned[:2]):
    got = forward(model, params, tokens)
    np.testing.assert_allclose(got, expected, atol=5e-5)

  models.save_safetensors(tmp_path / 'ours', loaded.config, loaded.params)
  import transformers

  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / 'ours')
  if name not in ('phi3', 'phi3_window', 'granite4'):  # others but for files
    assert type(again) is type(theirs)
  np.testing.assert_allclose(logits_of(again, tokens), expected, atol=5e-5)
  ours = models.load(str(tmp_path / 'ours'))
  assert ours.config == loaded.config
  for x, y in zip(
    *map(jax.tree.leaves, (ours.params, loaded.params)), strict=True
  ):
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
  ('family', 'changes', 'length'),
  [
    ('Llama', {'rope_scaling': DYNAMIC}, 200),  # of 128
    ('Phi3', PHI, 30),  # of 32: the short divisors
  ],
)
def test_scalings_that_depend_on_the_longest_context(
  family, changes, length, tmp_path
):
  theirs = theirs_of(family, changes)
  rng = np.random.default_rng(1)
  tokens = rng.integers(3, 64, size=(1, length), dtype=np.int32)
  expected = logits_of(theirs, tokens)
  theirs.save_pretrained(tmp_path)
  loaded = models.load(str(tmp_path))
  config = dataclasses.replace(loaded.config, max_length=length)
  got = forward(models.transformer(config), loaded.params, tokens)
  np.testing.assert_allclose(got, expected, atol=5e-5)
  other = forward(loaded.model, loaded.params, tokens)
  assert np.max(np.abs(other - expected)) > 1e-2  # it matters
