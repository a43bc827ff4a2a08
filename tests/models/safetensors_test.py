import dataclasses
import json
import os
import pathlib
import tempfile

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import models
from ttc.models.safetensors import huggingface_config

st = pytest.importorskip('safetensors.numpy')

TINY = models.TransformerConfig(
  vocab_size=40,
  num_layers=2,
  embed_dim=16,
  mlp_dim=24,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
  max_length=128,
  tie_embeddings=False,
)
VALUES = {
  'architectures': ['LlamaForCausalLM'],
  'vocab_size': 40,
  'num_hidden_layers': 2,
  'hidden_size': 16,
  'intermediate_size': 24,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 8,
  'max_position_embeddings': 128,
  'rms_norm_eps': 1e-5,
  'hidden_act': 'silu',
}
LLAMA3 = {
  'rope_type': 'llama3',
  'factor': 32.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 8192,
}
LAYER_NAMES = {
  'attention_norm': 'input_layernorm',
  'query': 'self_attn.q_proj',
  'key': 'self_attn.k_proj',
  'value': 'self_attn.v_proj',
  'output': 'self_attn.o_proj',
  'mlp_norm': 'post_attention_layernorm',
  'gate': 'mlp.gate_proj',
  'up': 'mlp.up_proj',
  'down': 'mlp.down_proj',
}


def random_params(config):
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
    jax.eval_shape(models.transformer(config).init, jax.random.key(0)),
  )


def named_tensors(params):
  tensors = {
    'model.embed_tokens.weight': params['embed'],
    'model.norm.weight': params['final_norm'],
    'lm_head.weight': params['unembed'],
  }
  for i, layer in enumerate(params['layers']):
    for part, leaves in layer.items():
      (leaf,) = leaves.values()
      tensors[f'model.layers.{i}.{LAYER_NAMES[part]}.weight'] = leaf
  return tensors


class SafetensorsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name)

  def write_config(self, **changes):
    values = VALUES | changes
    text = json.dumps({k: v for k, v in values.items() if v != 'absent'})
    (self.path / 'config.json').write_text(text)

  def write_shards(self, params, num_shards):
    tensors = named_tensors(params)
    files = [
      f'model-{i}-of-{num_shards}.safetensors' for i in range(num_shards)
    ]
    place = {name: files[i % num_shards] for i, name in enumerate(tensors)}
    for file in files:
      part = {name: tensors[name] for name in tensors if place[name] == file}
      st.save_file(part, self.path / file)
    if num_shards > 1:
      index = json.dumps({'weight_map': place})
      (self.path / 'model.safetensors.index.json').write_text(index)
    return [self.path / file for file in files]

  @parameterized.parameters(1, 3)
  def test_round_trip(self, num_shards):
    params = random_params(TINY)
    self.write_config()
    self.write_shards(params, num_shards)
    config, got = models.load_safetensors(self.path)
    self.assertEqual(config, TINY)
    chex.assert_trees_all_equal(got, params)

  def test_bfloat16_file_and_stacked_layers(self):
    params = random_params(TINY)
    self.write_config()
    half = jax.tree.map(lambda leaf: leaf.astype('bfloat16'), params)
    self.write_shards(half, 1)
    _, got = models.load_safetensors(self.path, scan_layers=True)
    layers = jax.tree.map(lambda *x: np.stack(x), *half['layers'])
    expected = jax.tree.map(
      lambda leaf: leaf.astype(np.float32), half | {'layers': layers}
    )
    chex.assert_trees_all_equal(got, expected)

  @parameterized.named_parameters(
    ('head_dim', {'head_dim': 'absent'}, {'head_dim': 4}),
    ('head_dim_null', {'head_dim': None}, {'head_dim': 4}),
    ('no_groups', {'num_key_value_heads': None}, {'num_kv_heads': 4}),
    ('tied', {'tie_word_embeddings': True}, {'tie_embeddings': True}),
    ('theta', {'rope_theta': 5e5}, {'rope_theta': 5e5}),
    (
      'theta_of_transformers_5',
      {'rope_parameters': {'rope_type': 'default', 'rope_theta': 7e5}},
      {'rope_theta': 7e5},
    ),
    (
      'llama3',
      {'rope_theta': 5e5, 'rope_scaling': LLAMA3},
      {'rope_theta': 5e5, 'rope_scaling': models.Llama3Scaling(32.0)},
    ),
    (
      'llama3_of_transformers_5',
      {'rope_parameters': LLAMA3 | {'rope_theta': 5e5}},
      {'rope_theta': 5e5, 'rope_scaling': models.Llama3Scaling(32.0)},
    ),
    (
      'both_rope_settings',
      {
        'rope_theta': 7e5,
        'rope_scaling': LLAMA3 | {'factor': 2.0},
        'rope_parameters': LLAMA3 | {'factor': 4.0, 'rope_theta': 5e5},
      },
      {'rope_theta': 7e5, 'rope_scaling': models.Llama3Scaling(2.0)},
    ),
    (
      'null_rope_scaling',
      {'rope_scaling': None, 'rope_parameters': {'rope_theta': 5e5}},
      {'rope_theta': 5e5},
    ),
    ('untied_by_default', {}, {'tie_embeddings': False}),
    ('llama_has_no_window', {'sliding_window': 9}, {}),
    (
      'mistral',
      {'architectures': ['MistralForCausalLM'], 'sliding_window': 9},
      {'sliding_window': 9},
    ),
    (
      'mistral_without',
      {'architectures': ['MistralForCausalLM'], 'sliding_window': None},
      {},
    ),
    (
      'qwen2',
      {'architectures': ['Qwen2ForCausalLM'], 'sliding_window': 9},
      {'qkv_bias': True},
    ),
    (
      'qwen2_windows',
      {
        'architectures': ['Qwen2ForCausalLM'],
        'sliding_window': 9,
        'use_sliding_window': True,
        'max_window_layers': 1,
      },
      {'qkv_bias': True, 'sliding_window': 9, 'windowed_layers': (1,)},
    ),
    (
      'qwen3_layer_types',
      {
        'architectures': ['Qwen3ForCausalLM'],
        'sliding_window': 9,
        'use_sliding_window': True,
        'layer_types': ['sliding_attention', 'full_attention'],
      },
      {'qk_norm': True, 'sliding_window': 9, 'windowed_layers': (0,)},
    ),
  )
  def test_config(self, changes, expected):
    self.write_config(**changes)
    got = huggingface_config(self.path)
    self.assertEqual(got, dataclasses.replace(TINY, **expected))

  @parameterized.named_parameters(
    (
      'architecture',
      {'architectures': ['GPT2LMHeadModel']},
      "'GPT2LMHeadModel' is not one of LlamaForCausalLM, Mistral",
    ),
    ('none', {'architectures': None}, 'None is not one of'),
    ('ntk', {'rope_scaling': {'type': 'ntk'}}, "'ntk' is not one of 'default'"),
    ('linear', {'rope_scaling': {'type': 'linear'}}, 'scaling lacks factor'),
    ('mrope', {'rope_scaling': {'mrope_section': [1]}}, "setting 'mrope_sec"),
    ('llama3', {'rope_scaling': {'type': 'llama3'}}, 'scaling lacks factor'),
    (
      'rope_per_layer',
      {'rope_parameters': {'full_attention': {'rope_theta': 1e6}}},
      'differ between layers',
    ),
    ('activation', {'hidden_act': 'gelu'}, "hidden_act='gelu'"),
    ('attention_bias', {'attention_bias': True}, 'attention_bias=True'),
    ('mlp_bias', {'mlp_bias': True}, 'mlp_bias=True'),
    ('quantized', {'quantization_config': {'bits': 4}}, 'quantization_config='),
    ('partial', {'partial_rotary_factor': 0.5}, 'partial_rotary_factor=0.5'),
    ('huge', {'rope_theta': 10**400}, 'rope_theta=10+... is not a positive'),
    ('missing', {'hidden_size': 'absent'}, 'hidden_size is missing'),
    (
      'layer_types',
      {
        'architectures': ['Qwen2ForCausalLM'],
        'use_sliding_window': True,
        'layer_types': ['linear_attention'] * 2,
      },
      'linear_attention',
    ),
  )
  def test_what_is_not_implemented_is_named(self, changes, message):
    self.write_config(**changes)
    with self.assertRaisesRegex(ValueError, f'config.json: .*{message}'):
      huggingface_config(self.path)

  def test_the_index_decides_between_copies(self):
    params = random_params(TINY)
    self.write_config()
    first, second = self.write_shards(params, 2)
    stale = st.load_file(first)
    name = next(iter(stale))
    tensors = st.load_file(second)
    st.save_file(tensors | {name: np.zeros_like(stale[name])}, second)
    _, got = models.load_safetensors(self.path)
    chex.assert_trees_all_equal(got, params)
    extra = {'model.layers.9.self_attn.q_proj.weight': np.zeros((2, 2))}
    st.save_file(tensors | extra, second)
    with self.assertRaisesRegex(ValueError, 'layers.9.* is not in the index'):
      models.load_safetensors(self.path)

  def test_stray_files_are_not_read(self):
    params = random_params(TINY)
    self.write_config()
    st.save_file(named_tensors(params), self.path / 'model.safetensors')
    other = jax.tree.map(np.zeros_like, params)
    st.save_file(named_tensors(other), self.path / 'other.safetensors')
    chex.assert_trees_all_equal(models.load_safetensors(self.path)[1], params)
    os.rename(self.path / 'model.safetensors', self.path / 'mine.safetensors')
    with self.assertRaisesRegex(ValueError, 'has 2 .safetensors files'):
      models.load_safetensors(self.path)

  def test_quantised_weights_without_a_config_are_refused(self):
    self.write_config()
    tensors = named_tensors(random_params(TINY))
    name = 'model.layers.0.mlp.up_proj.weight'
    for dtype, kind in (('int8', 'I8'), ('uint8', 'U8'), ('bool', 'BOOL')):
      changed = tensors | {name: np.zeros(tensors[name].shape, dtype)}
      st.save_file(changed, self.path / 'model.safetensors')
      with self.assertRaisesRegex(ValueError, f"'{name}' is {kind}, not one"):
        models.load_safetensors(self.path)

  def test_damaged_directories(self):
    load = lambda: models.load_safetensors(self.path)
    with self.assertRaisesRegex(FileNotFoundError, 'config.json: no such file'):
      load()
    (self.path / 'config.json').write_text('{"vocab')
    with self.assertRaisesRegex(ValueError, 'config.json: not JSON'):
      load()
    self.write_config()
    with self.assertRaisesRegex(FileNotFoundError, 'no .safetensors file'):
      load()
    shards = self.write_shards(random_params(TINY), 2)
    whole = shards[1].read_bytes()
    for size in (3, 50, len(whole) - 1):
      shards[1].write_bytes(whole[:size])
      with self.assertRaisesRegex(ValueError, f'{shards[1]}: truncated') as e:
        load()
      self.assertNotIn('\n', str(e.exception))
    os.remove(shards[1])
    with self.assertRaisesRegex(
      FileNotFoundError, f'{shards[1]}: no such file'
    ):
      load()

  def test_tensors_that_do_not_fit(self):
    self.write_config()
    tensors = named_tensors(random_params(TINY))
    file = self.path / 'model.safetensors'
    for name in ('score.weight', 'model.layers.0.self_attn.q_proj.bias'):
      st.save_file(tensors | {name: np.zeros(32)}, file)
      with self.assertRaisesRegex(ValueError, f"'{name}' has no place"):
        models.load_safetensors(self.path)
    st.save_file(tensors | {'lm_head.weight': np.zeros((41, 16))}, file)
    with self.assertRaisesRegex(ValueError, r"'lm_head.weight' .* \(41, 16\)"):
      models.load_safetensors(self.path)
    del tensors['model.norm.weight']
    st.save_file(tensors, file)
    with self.assertRaisesRegex(ValueError, "no tensor 'model.norm.weight'"):
      models.load_safetensors(self.path)


if __name__ == '__main__':
  absltest.main()
