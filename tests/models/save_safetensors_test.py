"""What is saved as a Hugging Face directory is loaded again, bit for bit."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
CASES = {
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
    ({'rotary': False}, 'has this rotary'),
    ({'rope_interleaved': True}, 'has this rope_interleaved'),
    ({'sliding_window': 4, 'windowed_layers': (0,)}, 'windowed_layers'),
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
