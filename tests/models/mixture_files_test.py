"""Mixtures of experts in Hugging Face directories, GGUF files, checkpoints."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import io, models
from ttc.models.safetensors import huggingface_config

gguf = pytest.importorskip('gguf')
pytest.importorskip('safetensors')

CONFIG = models.TransformerConfig(
  vocab_size=19,
  num_layers=2,
  embed_dim=16,
  mlp_dim=12,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  max_length=64,
  tie_embeddings=False,
)
EXPERTS = models.Experts(3, 2, 12, normalise=True)
SHARED = dataclasses.replace(EXPERTS, normalise=False, shared_mlp_dim=10)
FREE = dataclasses.replace(EXPERTS, normalise=False)
SECOND = {'layers': (1,)}
FAMILIES = {
  'Mixtral': {'experts': EXPERTS, 'rope_theta': 1e6},
  'Qwen2Moe': {'experts': SHARED, 'qkv_bias': True},
  'Qwen3Moe': {'experts': EXPERTS, 'qk_norm': True},
  'Olmoe': {'experts': FREE, 'full_qk_norm': True, 'clip_qkv': 2.5},
}
VARIANTS = {
  **FAMILIES,
  'stacked': FAMILIES['Qwen3Moe'] | {'scan_layers': True},
  'layers': FAMILIES['Qwen3Moe']
  | {'experts': dataclasses.replace(EXPERTS, **SECOND)},
  'window': FAMILIES['Mixtral'] | {'sliding_window': 5},
  'windows': FAMILIES['Qwen2Moe']
  | {'sliding_window': 5, 'windowed_layers': (1,)},
}


def noise(config, seed=0):
  shapes = jax.eval_shape(models.transformer(config).init, jax.random.key(0))
  source = np.random.default_rng(seed)
  draw = lambda x: jnp.asarray(source.normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, shapes)


def assert_same(got, wanted):
  for x, y in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize('name', VARIANTS)
def test_what_is_saved_is_loaded_bit_for_bit(name, tmp_path):
  config = dataclasses.replace(CONFIG, **VARIANTS[name])
  params = noise(config)
  models.save_safetensors(tmp_path, config, params)
  loaded = models.load(str(tmp_path), scan_layers=config.scan_layers)
  assert loaded.config == config
  assert_same(loaded.params, params)
  saved = json.loads((tmp_path / 'config.json').read_text())
  if name in FAMILIES:
    assert saved['architectures'] == [f'{name}ForCausalLM']


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'experts': FREE}, 'experts.normalise'),
    ({'experts': dataclasses.replace(EXPERTS, **SECOND)}, 'experts.layers'),
    ({'experts': EXPERTS, 'qkv_bias': True}, 'qkv_bias'),
    ({'experts': SHARED, 'qk_norm': True}, 'experts.shared_mlp_dim'),
    ({'experts': FREE, 'clip_qkv': 1.0}, 'clip_qkv without full_qk_norm'),
    ({'full_qk_norm': True}, 'full_qk_norm'),
  ],
)
def test_what_no_architecture_has_is_not_saved(changes, message, tmp_path):
  config = dataclasses.replace(CONFIG, **changes)
  with pytest.raises(ValueError, match=f'has this {message} of'):
    models.save_safetensors(tmp_path / 'm', config, noise(config))
  assert not (tmp_path / 'm').exists()


def rewrite(path, **changes):
  file = path / 'config.json'
  values = json.loads(file.read_text()) | changes
  values = {name: x for name, x in values.items() if x != 'absent'}
  file.write_text(json.dumps(values))


@pytest.mark.parametrize(
  ('changes', 'wanted'),
  [
    ({'num_experts': 'absent'}, {}),  # transformers 5 for Qwen3-MoE
    ({'num_local_experts': 'absent'}, {}),  # and 4
    ({'norm_topk_prob': 'absent'}, {'normalise': False}),
    ({'decoder_sparse_step': 2}, {'layers': (1,)}),
    ({'mlp_only_layers': [0]}, {'layers': (1,)}),
    ({'mlp_only_layers': None, 'sliding_window': 0}, {}),
  ],
)
def test_spellings_of_a_config(changes, wanted, tmp_path):
  config = dataclasses.replace(CONFIG, **FAMILIES['Qwen3Moe'])
  models.save_safetensors(tmp_path, config, noise(config))
  rewrite(tmp_path, **changes)
  got = huggingface_config(tmp_path)
  wanted = dataclasses.replace(EXPERTS, **wanted)
  assert got == dataclasses.replace(config, experts=wanted)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'num_experts_per_tok': 4}, 'top_k=4 must be from 1 to num_experts=3'),
    ({'mlp_only_layers': 'all'}, "mlp_only_layers='all' is not a list"),
    ({'norm_topk_prob': 1}, 'norm_topk_prob=1 is neither true nor false'),
    ({'num_experts': 2, 'num_experts_per_tok': 1}, r'gate.weight. has shape'),
    ({'num_experts': 10**12}, r'num_experts=10+ must be below'),
    ({'num_experts': 10**9}, "no tensor 'model.layers.0.mlp.experts.3.down"),
    ({'moe_intermediate_size': 11}, r'has shape \(16, 12\), its config asks'),
    ({'attention_bias': True}, 'attention_bias=True is not implemented'),
    ({'architectures': ['DeepseekV3ForCausalLM']}, 'is not one of'),
  ],
)
def test_what_does_not_fit_is_refused(changes, message, tmp_path):
  config = dataclasses.replace(CONFIG, **FAMILIES['Qwen3Moe'])
  models.save_safetensors(tmp_path, config, noise(config))
  rewrite(tmp_path, **changes)
  with pytest.raises(ValueError, match=message):
    models.load(str(tmp_path))


def test_a_checkpoint_of_our_own(tmp_path):
  config = dataclasses.replace(CONFIG, **VARIANTS['layers'])
  params = noise(config)
  models.save_checkpoint(tmp_path, config, params)
  got_config, got = models.load_checkpoint(tmp_path)
  assert got_config == config
  assert_same(got, params)


def older(path, config, params):
  """Writes a checkpoint as it was before matrices of experts were turned."""
  import orbax.checkpoint as ocp

  def layer(x):
    if 'mixture' not in x:
      return x
    rest = dict(x['mixture'])
    for old in ('gate', 'up', 'down'):
      rest[old] = rest.pop(f'{old}s').swapaxes(-1, -2)
    return x | {'mixture': rest}

  models.save_checkpoint(path, config, params)
  layers = params['layers']
  layers = layer(layers) if config.scan_layers else [*map(layer, layers)]
  with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(path / 'params', params | {'layers': layers}, force=True)
  file = path / 'transformer.json'
  values = json.loads(file.read_text())
  assert values.pop('expert_kernels') == 'in, out'
  file.write_text(json.dumps(values))


@pytest.mark.parametrize('name', ['stacked', 'layers', 'Qwen2Moe'])
def test_an_older_checkpoint_is_turned(name, tmp_path):
  wide = dataclasses.replace(CONFIG, embed_dim=12, num_heads=3, num_kv_heads=1)
  config = dataclasses.replace(wide, **VARIANTS[name])  # matrices are square
  params = noise(config)
  older(tmp_path, config, params)
  got_config, got = models.load_checkpoint(tmp_path)
  assert got_config == config
  assert_same(got, params)
  mesh = jax.make_mesh((1, 1), ('data', 'model'))
  assert_same(models.load_checkpoint(tmp_path, mesh=mesh)[1], params)


def test_another_order_of_experts_is_refused(tmp_path):
  config = dataclasses.replace(CONFIG, **VARIANTS['layers'])
  models.save_checkpoint(tmp_path, config, noise(config))
  file = tmp_path / 'transformer.json'
  file.write_text(file.read_text().replace('in, out', 'out, in'))
  with pytest.raises(
    ValueError, match="expert_kernels='out, in' is not 'in, o"
  ):
    models.load_checkpoint(tmp_path)


def test_an_older_state_of_a_training_is_refused(tmp_path):
  config = dataclasses.replace(CONFIG, **VARIANTS['layers'])
  params = noise(config)
  mixture = params['layers'][1]['mixture']
  renamed = {name.removesuffix('s'): x for name, x in mixture.items()}
  layers = [params['layers'][0], params['layers'][1] | {'mixture': renamed}]
  with io.open_checkpoints(tmp_path) as checkpoints:
    io.save_checkpoint(checkpoints, 0, params | {'layers': layers})
    with pytest.raises(ValueError, match=r'mixture.gates \(saved None'):
      io.restore_checkpoint(checkpoints, params)


# What llama.cpp calls a parameter.
GGUF = {
  'attention_norm.scale': 'attn_norm',
  'query.kernel': 'attn_q',
  'query_norm.scale': 'attn_q_norm',
  'key.kernel': 'attn_k',
  'key_norm.scale': 'attn_k_norm',
  'value.kernel': 'attn_v',
  'output.kernel': 'attn_output',
  'mlp_norm.scale': 'ffn_norm',
  'mixture.router.kernel': 'ffn_gate_inp',
  'mixture.gates': 'ffn_gate_exps',
  'mixture.ups': 'ffn_up_exps',
  'mixture.downs': 'ffn_down_exps',
  'mixture.shared_gate.kernel': 'ffn_gate_inp_shexp',
  'mixture.shared.gate.kernel': 'ffn_gate_shexp',
  'mixture.shared.up.kernel': 'ffn_up_shexp',
  'mixture.shared.down.kernel': 'ffn_down_shexp',
  'query.bias': 'attn_q.bias',
  'key.bias': 'attn_k.bias',
  'value.bias': 'attn_v.bias',
}


def write_gguf(path, architecture, config, params, **extra):
  writer = gguf.GGUFWriter(path, architecture)
  c, e = config, config.experts
  sizes = {
    'block_count': c.num_layers,
    'context_length': c.max_length,
    'embedding_length': c.embed_dim,
    'feed_forward_length': e.mlp_dim,
    'attention.head_count': c.num_heads,
    'attention.head_count_kv': c.num_kv_heads,
    'expert_count': e.num_experts,
    'expert_used_count': e.top_k,
    **({'expert_shared_feed_forward_length': e.shared_mlp_dim or 0}),
    **extra,
  }
  for name, size in sizes.items():
    if isinstance(size, bool):
      writer.add_bool(f'{architecture}.{name}', size)
    else:
      writer.add_uint32(f'{architecture}.{name}', size)
  for name in ('attention.layer_norm_rms_epsilon', 'rope.freq_base'):
    value = c.norm_eps if 'eps' in name else c.rope_theta
    writer.add_float32(f'{architecture}.{name}', value)
  if c.clip_qkv is not None:
    writer.add_float32(f'{architecture}.attention.clamp_kqv', c.clip_qkv)
  tensors = {
    'token_embd.weight': params['embed'],
    'output_norm.weight': params['final_norm'],
    'output.weight': params['unembed'],
  }
  heads = {'attn_q': c.num_heads, 'attn_k': c.num_kv_heads}
  for i, layer in enumerate(params['layers']):
    for key_path, leaf in jax.tree.leaves_with_path(layer):
      name = GGUF[jax.tree_util.keystr(key_path, simple=True, separator='.')]
      if architecture == 'llama' and name in heads:
        split = leaf.reshape(heads[name], 2, -1, *leaf.shape[1:])
        leaf = split.swapaxes(1, 2).reshape(leaf.shape)
      if name == 'ffn_gate_inp_shexp':
        leaf = leaf[0]
      if name.endswith('exps'):
        leaf = leaf.swapaxes(1, 2)
      suffix = '' if name.endswith('bias') else '.weight'
      tensors[f'blk.{i}.{name}{suffix}'] = leaf
  for name, leaf in tensors.items():
    writer.add_tensor(name, np.asarray(leaf))
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


@pytest.mark.parametrize(
  ('architecture', 'family'),
  [
    ('llama', 'Mixtral'),
    ('qwen2moe', 'Qwen2Moe'),
    ('qwen3moe', 'Qwen3Moe'),
    ('olmoe', 'Olmoe'),
  ],
)
def test_stacks_of_a_gguf_file(architecture, family, tmp_path):
  config = dataclasses.replace(CONFIG, **FAMILIES[family])
  params = noise(config)
  path = tmp_path / 'm.gguf'
  write_gguf(path, architecture, config, params)
  got_config, got = models.load_gguf(path)
  wanted = dataclasses.replace(config, norm_eps=got_config.norm_eps)
  assert got_config == wanted  # the file has float32
  assert_same(got, params)


@pytest.mark.parametrize(
  ('extra', 'message'),
  [
    ({'expert_gating_func': 2}, 'expert_gating_func=2 is not implemented'),
    ({'expert_group_count': 4}, 'expert_group_count=4 is not implemented'),
    ({'expert_count': 4}, r'has shape \(3, 16, 12\)'),
    ({'expert_weights_norm': False}, None),
  ],
)
def test_settings_of_a_gguf_file(extra, message, tmp_path):
  config = dataclasses.replace(CONFIG, **FAMILIES['Qwen3Moe'])
  path = tmp_path / 'm.gguf'
  write_gguf(path, 'qwen3moe', config, noise(config), **extra)
  if message is None:
    assert not models.load_gguf(path)[0].experts.normalise
    return
  with pytest.raises(ValueError, match=message):
    models.load_gguf(path)
