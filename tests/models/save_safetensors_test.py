"""What is saved as a Hugging Face directory is loaded again, bit for bit."""

import dataclasses
import json
import pathlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging

from ttc import models

CONFIG = models.TransformerConfig(
  vocab_size=19,
  num_layers=2,
  embed_dim=16,
  mlp_dim=12,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
  max_length=64,
)
SCALING = models.Llama3Scaling(8.0, 1.0, 4.0, 32)
GEMMA = {
  'activation': 'gelu_tanh',
  'norm_plus_one': True,
  'embed_scale': 4.0,
}
GEMMA2 = GEMMA | {
  'post_norm': True,
  'attention_scale': 24**-0.5,
  'sliding_window': 3,
}
OLMO = {'pre_norm': False, 'post_norm': True, 'full_qk_norm': True}
LONG = models.LongRopeScaling((1.0, 2.0, 2.5), (2.0, 4.0, 8.0), 32, 1.25)
YARN = models.YarnScaling(4.0, 16, attention_factor=1.5, truncate=False)
CASES = {
  'gemma': GEMMA,
  'gemma2': GEMMA2
  | {'windowed_layers': (0,), 'attention_softcap': 9.0, 'final_softcap': 7.0},
  'gemma3': GEMMA2
  | {'windowed_layers': (1,), 'qk_norm': True, 'windowed_theta': 1e4}
  | {'rope_theta': 1e6, 'rope_scaling': models.LinearScaling(8.0)},
  'phi3': {'rotary_dim': 6, 'rope_scaling': LONG, 'tie_embeddings': False},
  'phi3_stacked': {'rotary_dim': 6, 'sliding_window': 5, 'scan_layers': True},
  'olmo2': OLMO | {'rope_scaling': YARN},
  'olmo3': OLMO
  | {'sliding_window': 3, 'windowed_layers': (0,), 'windowed_theta': 5e5},
  'smollm3': {'rotary_layers': (1,)},
  'smollm3_windows': {
    'rotary_layers': (1,),
    'sliding_window': 3,
    'windowed_layers': (0,),
  },
  'granite': {'embed_scale': 12.0, 'residual_scale': 0.22},
  'granite4': {'rotary': False, 'attention_scale': 0.3, 'logits_divisor': 8.0},
  'dynamic': {'rope_scaling': models.DynamicScaling(2.0, 64)},
  'llama': {'rope_scaling': SCALING, 'rope_theta': 5e4},
  'untied': {'tie_embeddings': False},
  'stacked': {'scan_layers': True},
  'qwen2': {'qkv_bias': True},
  'qwen3': {
    'qk_norm': True,
    'head_dim': 12,
    'sliding_window': 4,
    'windowed_layers': (1,),
  },
  'mistral': {'sliding_window': 5},
}


def noise(config, seed=0):
  """Parameters that are nowhere zero or one."""
  shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  source = np.random.default_rng(seed)
  draw = lambda x: jnp.asarray(source.normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, shapes)


@pytest.mark.parametrize('name', CASES)
def test_loads_again_bit_for_bit(name, tmp_path):
  config = dataclasses.replace(CONFIG, **CASES[name])
  params = noise(config)
  models.save_safetensors(tmp_path / 'm', config, params, eos_ids=[1])
  loaded = models.load(str(tmp_path / 'm'), scan_layers=config.scan_layers)
  assert loaded.config == config
  for x, y in zip(*map(jax.tree.leaves, (loaded.params, params)), strict=True):
    np.testing.assert_array_equal(x, y)
  saved = json.loads((tmp_path / 'm' / 'generation_config.json').read_text())
  assert saved == {'eos_token_id': 1}


def test_the_longest_context_decides_the_scaling(tmp_path):
  config = dataclasses.replace(CONFIG, rotary_dim=6, rope_scaling=LONG)
  models.save_safetensors(tmp_path, config, noise(config))
  with mock.patch.object(logging, 'warning') as warning:
    loaded = models.load(str(tmp_path))
    warning.assert_called_once()
    short = models.load(str(tmp_path), max_length=32)
    warning.assert_called_once()
  assert (loaded.config.max_length, short.config.max_length) == (64, 32)
  tokens = jnp.arange(12)[None]
  forward = jax.jit(models.forward, static_argnums=0)
  plain = dataclasses.replace(LONG, long=LONG.short)
  model = models.transformer(dataclasses.replace(config, rope_scaling=plain))
  got = forward(short.model, short.params, tokens)
  np.testing.assert_array_equal(got, forward(model, loaded.params, tokens))
  assert np.max(np.abs(got - forward(*loaded[:2], tokens))) > 1e-2
  with pytest.raises(ValueError, match='max_length=0 must be at least 1'):
    models.load(str(tmp_path), max_length=0)


def test_splits_what_is_too_large_for_one_file(tmp_path):
  params = noise(CONFIG)
  models.save_safetensors(tmp_path, CONFIG, params, max_bytes=2000)
  files = sorted(p.name for p in tmp_path.glob('*.safetensors'))
  assert len(files) > 3 and files[0].startswith('model-00001-of-000')
  index = json.loads((tmp_path / 'model.safetensors.index.json').read_text())
  assert index['metadata']['total_size'] == 4 * models.num_params(params)
  assert set(index['weight_map'].values()) == set(files)
  assert 'lm_head.weight' not in index['weight_map']  # tied
  again = models.load(str(tmp_path)).params
  np.testing.assert_array_equal(again['embed'], params['embed'])


def test_tokenizer_files_go_with_it(tmp_path):
  source = tmp_path / 'source'
  source.mkdir()
  (source / 'tokenizer.json').write_text('{"a": 1}')
  (source / 'chat_template.jinja').write_text('hello')
  (source / 'secret.txt').write_text('no')
  models.save_safetensors(tmp_path / 'm', CONFIG, noise(CONFIG), like=source)
  names = {p.name for p in pathlib.Path(tmp_path / 'm').iterdir()}
  assert {'tokenizer.json', 'chat_template.jinja'} <= names
  assert 'secret.txt' not in names


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'causal': False}, 'has this causal'),
    ({'rope_interleaved': True}, 'has this rope_interleaved'),
    ({'qkv_bias': True, 'qk_norm': True}, 'has this qkv_bias'),
    ({'attention_softcap': 5.0}, 'has this attention_softcap'),
  ],
)
def test_refuses_what_has_no_architecture(change, says, tmp_path):
  config = dataclasses.replace(CONFIG, **change)
  with pytest.raises(ValueError, match=says):
    models.save_safetensors(tmp_path / 'm', config, noise(CONFIG))
  assert not (tmp_path / 'm').exists()


def test_a_tokenizer_of_memory_is_written_and_read(tmp_path):
  tokenizers = pytest.importorskip('tokenizers')
  words = {'one': 0, 'two': 1, '</s>': 2, 'un': 3}
  backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, 'un'))
  backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
  backend.add_special_tokens(['</s>'])
  tokenizer = models.Tokenizer(backend, eos_ids=[2])
  models.save_safetensors(tmp_path, CONFIG, noise(CONFIG), tokenizer=tokenizer)
  again = models.load(str(tmp_path)).tokenizer
  assert again is not None and again.eos_ids == [2]
  assert again.encode('two one') == [1, 0]
  settings = json.loads((tmp_path / 'tokenizer_config.json').read_text())
  assert settings['eos_token'] == '</s>'
