"""Loads transformers from Hugging Face directories: config and safetensors."""

import glob
import json
import os
from collections.abc import Mapping
from typing import Any

from ttc.models import rope
from ttc.models.transformer import TransformerConfig
from ttc.models.weights import assemble
from ttc.types import Params

_ARCHITECTURES = (
  'LlamaForCausalLM',
  'MistralForCausalLM',
  'Qwen2ForCausalLM',
  'Qwen3ForCausalLM',
)
_NAMES = {
  'embed': 'model.embed_tokens.weight',
  'final_norm': 'model.norm.weight',
  'unembed': 'lm_head.weight',
  'attention_norm.scale': 'model.layers.{}.input_layernorm.weight',
  'query.kernel': 'model.layers.{}.self_attn.q_proj.weight',
  'query.bias': 'model.layers.{}.self_attn.q_proj.bias',
  'query_norm.scale': 'model.layers.{}.self_attn.q_norm.weight',
  'key.kernel': 'model.layers.{}.self_attn.k_proj.weight',
  'key.bias': 'model.layers.{}.self_attn.k_proj.bias',
  'key_norm.scale': 'model.layers.{}.self_attn.k_norm.weight',
  'value.kernel': 'model.layers.{}.self_attn.v_proj.weight',
  'value.bias': 'model.layers.{}.self_attn.v_proj.bias',
  'output.kernel': 'model.layers.{}.self_attn.o_proj.weight',
  'mlp_norm.scale': 'model.layers.{}.post_attention_layernorm.weight',
  'gate.kernel': 'model.layers.{}.mlp.gate_proj.weight',
  'up.kernel': 'model.layers.{}.mlp.up_proj.weight',
  'down.kernel': 'model.layers.{}.mlp.down_proj.weight',
}


def load_safetensors(
  path: str | os.PathLike, *, dtype: str = 'float32', scan_layers: bool = False
) -> tuple[TransformerConfig, Params]:
  """Loads a transformer from a Hugging Face directory.

  Needs the extra `weights`.

  Args:
    path: of a directory with `config.json` and one or more `.safetensors`.
    dtype: of the parameters and activations.
    scan_layers: see `TransformerConfig`.

  Returns:
    The config and the parameters.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is damaged, or asks for what is not implemented.
  """
  path = os.fspath(path)
  config = huggingface_config(path, dtype=dtype, scan_layers=scan_layers)
  tensors = {
    name: file
    for shard in shards(path)
    for file in [_open(shard)]
    for name in file.keys()
  }
  present = {name for name in tensors if not name.endswith('.inv_freq')}
  if config.tie_embeddings:
    present.discard(_NAMES['unembed'])
  read = lambda name: tensors[name].get_tensor(name)
  return config, assemble(config, read, _NAMES, present, path)


def huggingface_config(
  path: str | os.PathLike, *, dtype: str = 'float32', scan_layers: bool = False
) -> TransformerConfig:
  """Reads the `config.json` of a directory; see `load_safetensors`."""
  file = os.path.join(path, 'config.json')
  if not os.path.isfile(file):
    raise FileNotFoundError(f'{file}: no such file')
  values = _read_json(file)
  get = values.get

  def require(name):
    if get(name) is None:
      raise ValueError(f'{file}: {name} is missing')
    return values[name]

  architecture = (get('architectures') or [None])[0]
  if architecture not in _ARCHITECTURES:
    raise ValueError(
      f'{file}: architecture {architecture!r} is not one of '
      f'{", ".join(_ARCHITECTURES)}'
    )
  _refuse_unknown_settings(values, file)
  num_heads = require('num_attention_heads')
  head_dim = get('head_dim')
  if head_dim is None:
    # Qwen3's default is a number and not a quotient.
    quotient = require('hidden_size') // num_heads
    head_dim = 128 if architecture == 'Qwen3ForCausalLM' else quotient
  theta, scaling = _rope(values, file)
  window, windowed = _windows(values, architecture, file)
  return TransformerConfig(
    vocab_size=require('vocab_size'),
    num_layers=require('num_hidden_layers'),
    embed_dim=require('hidden_size'),
    mlp_dim=require('intermediate_size'),
    num_heads=num_heads,
    num_kv_heads=get('num_key_value_heads') or num_heads,
    head_dim=head_dim,
    max_length=require('max_position_embeddings'),
    rope_theta=theta,
    rope_scaling=scaling,
    norm_eps=get('rms_norm_eps', 1e-6),
    qkv_bias=architecture == 'Qwen2ForCausalLM',
    qk_norm=architecture == 'Qwen3ForCausalLM',
    tie_embeddings=get('tie_word_embeddings', False),
    sliding_window=window,
    windowed_layers=windowed,
    scan_layers=scan_layers,
    dtype=dtype,
  )


def shards(path: str | os.PathLike) -> list[str]:
  """The safetensors files of a directory, all that its index names."""
  index = os.path.join(path, 'model.safetensors.index.json')
  if os.path.isfile(index):
    names = sorted(set(_read_json(index).get('weight_map', {}).values()))
    files = [os.path.join(path, name) for name in names]
  else:
    files = sorted(glob.glob(os.path.join(path, '*.safetensors')))
  if not files:
    raise FileNotFoundError(f'{path}: there is no .safetensors file')
  for file in files:
    if not os.path.isfile(file):
      raise FileNotFoundError(f'{file}: no such file, but the index names it')
  return files


def _refuse_unknown_settings(values: Mapping[str, Any], file: str) -> None:
  """Raises on a setting that would silently give other logits."""
  implemented = {
    'hidden_act': 'silu',
    'attention_bias': False,
    'mlp_bias': False,
    'quantization_config': None,
    'partial_rotary_factor': 1.0,
  }
  for name, value in implemented.items():
    if values.get(name, value) not in (value, None):
      raise ValueError(
        f'{file}: {name}={values[name]!r} is not implemented, only {value!r}'
      )


def _rope(
  values: Mapping[str, Any], file: str
) -> tuple[float, rope.Llama3Scaling | None]:
  """The base, and the scaling; transformers 5 keeps both in one place."""
  settings = values.get('rope_parameters') or values.get('rope_scaling') or {}
  if any(isinstance(value, dict) for value in settings.values()):
    raise ValueError(f'{file}: rope settings that differ between layers')
  if settings.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(f'{file}: partial_rotary_factor is not implemented')
  theta = settings.get('rope_theta', values.get('rope_theta', 10_000.0))
  kind = settings.get('rope_type', settings.get('type', 'default'))
  if kind == 'default':
    return theta, None
  if kind != 'llama3':
    raise ValueError(
      f"{file}: rope scaling {kind!r} is not one of 'default', 'llama3'"
    )
  names = {
    'factor': 'factor',
    'low_freq_factor': 'low_freq_factor',
    'high_freq_factor': 'high_freq_factor',
    'original_length': 'original_max_position_embeddings',
  }
  for name in names.values():
    if name not in settings:
      raise ValueError(f'{file}: the rope scaling lacks {name}')
  return theta, rope.Llama3Scaling(
    **{ours: settings[theirs] for ours, theirs in names.items()}
  )


def _windows(
  values: Mapping[str, Any], architecture: str, file: str
) -> tuple[int | None, tuple[int, ...] | None]:
  """The sliding window, and the layers that have it (None: all)."""
  if architecture == 'MistralForCausalLM':
    return values.get('sliding_window', 4096), None
  if architecture == 'LlamaForCausalLM' or not values.get('use_sliding_window'):
    return None, None
  num_layers = values['num_hidden_layers']
  kinds = values.get('layer_types')
  if kinds is None:
    first = values.get('max_window_layers', 28)
    windowed = tuple(range(first, num_layers))
  else:
    known = {'full_attention', 'sliding_attention'}
    if set(kinds) - known:
      raise ValueError(
        f'{file}: layer_types {sorted(set(kinds) - known)} are not one of '
        f'{", ".join(sorted(known))}'
      )
    windowed = [
      i for i, kind in enumerate(kinds) if kind == 'sliding_attention'
    ]
  return values.get('sliding_window', 4096), tuple(windowed)


def _open(file: str):
  try:
    import safetensors
  except ImportError:
    raise ImportError(
      "reading safetensors needs: pip install 'ttc-jax[weights]'"
    ) from None
  try:
    return safetensors.safe_open(file, 'numpy')
  except safetensors.SafetensorError as error:
    raise ValueError(f'{file}: truncated or damaged: {error}') from None


def _read_json(file: str) -> dict[str, Any]:
  with open(file, encoding='utf-8') as opened:
    try:
      return json.load(opened)
    except json.JSONDecodeError as error:
      raise ValueError(f'{file}: not JSON: {error}') from None
