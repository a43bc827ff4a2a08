"""Writes tiny GGUF files, as the converter of llama.cpp does."""

import jax
import numpy as np
import pytest

from ttc import models

gguf = pytest.importorskip('gguf')
Q = gguf.GGMLQuantizationType
LAYER_NAMES = {
  'attention_norm': 'attn_norm',
  'query': 'attn_q',
  'query_norm': 'attn_q_norm',
  'key': 'attn_k',
  'key_norm': 'attn_k_norm',
  'value': 'attn_v',
  'output': 'attn_output',
  'attention_post_norm': 'post_attention_norm',
  'mlp_norm': 'ffn_norm',
  'mlp_post_norm': 'post_ffw_norm',
  'gate': 'ffn_gate',
  'up': 'ffn_up',
  'down': 'ffn_down',
}


def random_params(config, seed=0):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32),
    jax.eval_shape(models.transformer(config).init, jax.random.key(0)),
  )


def permute(rows, num_heads):
  """As llama.cpp's converter does for the architecture llama."""
  split = rows.reshape(num_heads, 2, -1, *rows.shape[1:])
  return split.swapaxes(1, 2).reshape(rows.shape)


def named_tensors(config, params, permuted):
  """GGUF's name of every parameter, as its converter stores them."""
  yield 'token_embd.weight', params['embed']
  yield 'output_norm.weight', params['final_norm']
  if 'unembed' in params:
    yield 'output.weight', params['unembed']
  heads = {'query': config.num_heads, 'key': config.num_kv_heads}
  for i, layer in enumerate(params['layers']):
    for part, leaves in layer.items():
      for name, leaf in leaves.items():
        if permuted and part in heads:
          leaf = permute(leaf, heads[part])
        suffix = 'bias' if name == 'bias' else 'weight'
        yield f'blk.{i}.{LAYER_NAMES[part]}.{suffix}', leaf


def write(path, architecture, config, params, kind=Q.F32, extra=()):
  """Writes a GGUF file; `extra` are more tensors and metadata."""
  writer = gguf.GGUFWriter(path, architecture)
  key = lambda name: f'{architecture}.{name}'
  writer.add_uint32(key('block_count'), config.num_layers)
  writer.add_uint32(key('context_length'), config.max_length)
  writer.add_uint32(key('embedding_length'), config.embed_dim)
  writer.add_uint32(key('feed_forward_length'), config.mlp_dim)
  writer.add_uint32(key('attention.head_count'), config.num_heads)
  if 'attention.head_count_kv' not in dict(extra):
    writer.add_uint32(key('attention.head_count_kv'), config.num_kv_heads)
  writer.add_uint32(key('attention.key_length'), config.head_dim)
  writer.add_uint32(key('attention.value_length'), config.head_dim)
  writer.add_float32(key('attention.layer_norm_rms_epsilon'), config.norm_eps)
  writer.add_float32(key('rope.freq_base'), config.rope_theta)
  permuted = architecture in ('llama', 'granite', 'smollm3')
  tensors = dict(named_tensors(config, params, permuted))
  for name, value in dict(extra).items():
    if isinstance(value, np.ndarray):
      tensors[name] = value
    elif isinstance(value, str):
      writer.add_string(key(name), value)
    elif isinstance(value, float):
      writer.add_float32(key(name), value)
    elif isinstance(value, list):
      writer.add_array(key(name), value)
    else:
      writer.add_uint32(key(name), value)
  for name, leaf in tensors.items():
    if leaf.ndim == 1 or kind == Q.F32:
      writer.add_tensor(name, leaf)
    else:
      writer.add_tensor(name, gguf.quantize(leaf, kind), raw_dtype=kind)
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()
