"""Adapters as directories: loaded again, and refused in one line."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import finetuning, models

CONFIG = models.TransformerConfig(
  vocab_size=19,
  num_layers=2,
  embed_dim=16,
  mlp_dim=12,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
)


def noisy(scan_layers=False):
  config = CONFIG.__class__(**{**CONFIG.__dict__, 'scan_layers': scan_layers})
  shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  adapter = finetuning.init_lora(jax.random.key(0), shapes, 3)
  source = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(source.normal(size=x.shape), jnp.float32)
  return finetuning.SavedAdapter(jax.tree.map(draw, adapter), 7.0, True, 'base')


@pytest.mark.parametrize('stacked', [False, True])
def test_loads_again_bit_for_bit(stacked, tmp_path):
  saved = noisy(stacked)
  finetuning.save_peft(tmp_path, saved)
  loaded = finetuning.load_peft(tmp_path, scan_layers=stacked)
  assert loaded[1:] == (7.0, True, 'base')
  assert set(loaded.adapter) == set(saved.adapter)
  for name, part in saved.adapter.items():
    for x, y in zip(part, loaded.adapter[name], strict=True):
      np.testing.assert_array_equal(x, y)
  config = json.loads((tmp_path / 'adapter_config.json').read_text())
  assert config['r'] == 3 and config['use_rslora']
  assert 'q_proj' in config['target_modules']


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    ({'use_dora': True}, 'use_dora=True is not implemented'),
    ({'rank_pattern': {'q_proj': 8}}, 'rank_pattern='),
    ({'peft_type': 'IA3'}, "'IA3' is not 'LORA'"),
    ({'bias': 'all'}, "bias='all' is not implemented"),
    ({'r': 4}, 'is not of rank 4'),
  ],
)
def test_refuses_adapters_of_other_kinds(change, says, tmp_path):
  finetuning.save_peft(tmp_path, noisy())
  file = tmp_path / 'adapter_config.json'
  file.write_text(json.dumps(json.loads(file.read_text()) | change))
  with pytest.raises(ValueError, match=says):
    finetuning.load_peft(tmp_path)


def test_refuses_files_that_are_missing_or_damaged(tmp_path):
  with pytest.raises(FileNotFoundError, match='adapter_config'):
    finetuning.load_peft(tmp_path)
  finetuning.save_peft(tmp_path, noisy())
  file = tmp_path / 'adapter_model.safetensors'
  file.write_bytes(file.read_bytes()[:200])
  with pytest.raises(ValueError, match='truncated or damaged'):
    finetuning.load_peft(tmp_path)
