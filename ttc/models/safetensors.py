"""Loads transformers from Hugging Face directories: config and safetensors."""

import glob
import os
from collections.abc import Mapping
from typing import Any

from ttc.models import fields, rope
from ttc.models.huggingface_experts import FAMILIES, read_experts
from ttc.models.transformer_config import TransformerConfig
from ttc.models.weights import assemble
from ttc.types import Params

# Whether embeddings are tied where the config does not say.
_ARCHITECTURES = {
  'LlamaForCausalLM': False,
  'MistralForCausalLM': False,
  'Qwen2ForCausalLM': False,
  'Qwen3ForCausalLM': False,
  **dict.fromkeys(FAMILIES, False),
}
_SINGLE, _INDEX = 'model.safetensors', 'model.safetensors.index.json'
_FLOATS = ('F64', 'F32', 'F16', 'BF16')
# How the files call what the transformer calls so.
NAMES = {
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
  homes = _homes(path)
  present = {name for name in homes if not name.endswith('.inv_freq')}
  if config.tie_embeddings:
    present.discard(NAMES['unembed'])
  for name in sorted(present):
    kind = homes[name].get_slice(name).get_dtype()
    if kind not in _FLOATS:
      raise ValueError(
        f'{path}: tensor {name!r} is {kind}, not one of {", ".join(_FLOATS)}; '
        'quantised weights are not implemented'
      )
  return config, assemble(
    config,
    lambda name: homes[name].get_tensor(name),
    lambda name: tuple(homes[name].get_slice(name).get_shape()),
    names_of(_architecture(fields.read_json(_config_file(path)))),
    present,
    path,
  )


def names_of(architecture: str) -> dict[str, str]:
  """The name of the tensor of each parameter, as `assemble` takes it."""
  family = FAMILIES.get(architecture)
  return NAMES if family is None else NAMES | family.names


def huggingface_config(
  path: str | os.PathLike, *, dtype: str = 'float32', scan_layers: bool = False
) -> TransformerConfig:
  """Reads the `config.json` of a directory; see `load_safetensors`."""
  file = _config_file(path)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'{file}: no such file')
  values = fields.read_json(file)
  architecture = _architecture(values)
  if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
    raise ValueError(
      f'{file}: architecture {architecture!r} is not one of '
      f'{", ".join(_ARCHITECTURES)}'
    )
  _refuse_unknown_settings(values, file)
  family = architecture.removesuffix('ForCausalLM')
  is_one = lambda *families: family in families
  size = lambda name, *default: fields.integer(values, name, file, *default)
  embed_dim, num_heads = size('hidden_size'), size('num_attention_heads')
  head_dim = size('head_dim', None)
  if head_dim is None and architecture == 'Qwen3ForCausalLM':
    head_dim = 128  # its default is a number and not a quotient
  elif head_dim is None:
    if embed_dim % num_heads:
      raise ValueError(
        f'{file}: hidden_size={embed_dim} is not a multiple of '
        f'num_attention_heads={num_heads}, and there is no head_dim'
      )
    head_dim = embed_dim // num_heads
  theta, scaling = _rope(values, file, 1e6 if is_one('Mixtral') else 1e4)
  window, windowed = _windows(values, architecture, file)
  settings = dict(
    vocab_size=size('vocab_size'),
    num_layers=size('num_hidden_layers'),
    embed_dim=embed_dim,
    mlp_dim=size('intermediate_size'),
    num_heads=num_heads,
    num_kv_heads=size('num_key_value_heads', None) or num_heads,
    head_dim=head_dim,
    max_length=size('max_position_embeddings'),
    rope_theta=theta,
    rope_scaling=scaling,
    norm_eps=fields.positive(
      values, 'rms_norm_eps', file, 1e-5 if is_one('Mixtral', 'Olmoe') else 1e-6
    ),
    qkv_bias=is_one('Qwen2')
    or (is_one('Qwen2Moe') and fields.boolean(values, 'qkv_bias', file, True)),
    qk_norm=is_one('Qwen3', 'Qwen3Moe'),
    full_qk_norm=is_one('Olmoe'),
    clip_qkv=fields.positive(values, 'clip_qkv', file, None)
    if is_one('Olmoe')
    else None,
    tie_embeddings=fields.boolean(
      values, 'tie_word_embeddings', file, _ARCHITECTURES[architecture]
    ),
    sliding_window=window,
    windowed_layers=windowed,
    experts=read_experts(values, architecture, file),
    scan_layers=scan_layers,
    dtype=dtype,
  )
  try:
    return TransformerConfig(**settings)
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from None


def shards(path: str | os.PathLike) -> list[str]:
  """The safetensors files that hold the weights of a directory.

  `model.safetensors`, or those that the index names, or the only one there is.
  Other files beside them are not read.

  Raises:
    FileNotFoundError: if there is none, or one that the index names is missing.
    ValueError: if it is not plain which files they are.
  """
  path = os.fspath(path)
  single, index = os.path.join(path, _SINGLE), os.path.join(path, _INDEX)
  if os.path.isfile(index):
    if os.path.isfile(single):
      raise ValueError(
        f'{path}: has both {_SINGLE} and {_INDEX}; remove the one that is not '
        'meant'
      )
    files = [
      os.path.join(path, name)
      for name in sorted(set(_weight_map(path).values()))
    ]
  elif os.path.isfile(single):
    files = [single]
  else:
    files = sorted(glob.glob(os.path.join(glob.escape(path), '*.safetensors')))
    if len(files) > 1:
      raise ValueError(
        f'{path}: has {len(files)} .safetensors files, but neither {_SINGLE} '
        f'nor {_INDEX}'
      )
  if not files:
    raise FileNotFoundError(f'{path}: there is no .safetensors file')
  for file in files:
    if not os.path.isfile(file):
      raise FileNotFoundError(f'{file}: no such file, but the index names it')
  return files


def _weight_map(path: str) -> dict[str, str]:
  """Which file of the directory holds which tensor, as the index says."""
  index = os.path.join(path, _INDEX)
  names = fields.mapping(fields.read_json(index), 'weight_map', index)
  if not names:
    raise ValueError(f'{index}: weight_map is missing or empty')
  for tensor, name in names.items():
    is_plain = isinstance(name, str) and name == os.path.basename(name)
    if not is_plain or not name.endswith('.safetensors'):
      raise ValueError(
        f'{index}: weight_map puts {tensor!r} into {name!r}, which is not the '
        'name of a .safetensors file of this directory'
      )
  return names


def _homes(path: str) -> dict[str, Any]:
  """The opened file of each tensor; the index decides between copies."""
  opened = {os.path.basename(file): _open(file) for file in shards(path)}
  found = {name: set(file.keys()) for name, file in opened.items()}
  if not os.path.isfile(os.path.join(path, _INDEX)):
    return {t: opened[name] for name, tensors in found.items() for t in tensors}
  home = _weight_map(path)
  for tensor, name in home.items():
    if tensor not in found[name]:
      raise ValueError(
        f'{os.path.join(path, name)}: there is no tensor {tensor!r}, but the '
        'index says so'
      )
  for name, tensors in found.items():
    for tensor in sorted(tensors - home.keys()):
      raise ValueError(
        f'{os.path.join(path, name)}: tensor {tensor!r} is not in the index'
      )
  return {tensor: opened[name] for tensor, name in home.items()}


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
  values: Mapping[str, Any], file: str, default_theta: float
) -> tuple[float, rope.Llama3Scaling | None]:
  """The base, and the scaling, as transformers 5 reads them.

  It writes `rope_parameters`. An older `rope_scaling` beside it wins, whole: of
  the other not even the base is used.
  """
  settings = (
    fields.mapping(values, 'rope_scaling', file)
    or fields.mapping(values, 'rope_parameters', file)
    or {}
  )
  if any(isinstance(value, dict) for value in settings.values()):
    raise ValueError(f'{file}: rope settings that differ between layers')
  if settings.get('partial_rotary_factor', 1.0) != 1.0:
    raise ValueError(f'{file}: partial_rotary_factor is not implemented')
  source = settings if 'rope_theta' in settings else values
  theta = fields.positive(source, 'rope_theta', file, default_theta)
  kind = settings.get('rope_type', settings.get('type', 'default'))
  if kind == 'default':
    return theta, None
  if kind != 'llama3':
    raise ValueError(
      f"{file}: rope scaling {kind!r} is not one of 'default', 'llama3'"
    )
  original = 'original_max_position_embeddings'
  for name in ('factor', 'low_freq_factor', 'high_freq_factor', original):
    if name not in settings:
      raise ValueError(f'{file}: the rope scaling lacks {name}')
  number = lambda name: fields.positive(settings, name, file)
  scaling = rope.Llama3Scaling(
    factor=number('factor'),
    low_freq_factor=number('low_freq_factor'),
    high_freq_factor=number('high_freq_factor'),
    original_length=fields.integer(settings, original, file),
  )
  if scaling.high_freq_factor <= scaling.low_freq_factor:
    raise ValueError(
      f'{file}: high_freq_factor={scaling.high_freq_factor} must be above '
      f'low_freq_factor={scaling.low_freq_factor}'
    )
  return theta, scaling


def _windows(
  values: Mapping[str, Any], architecture: str, file: str
) -> tuple[int | None, tuple[int, ...] | None]:
  """The sliding window, and the layers that have it (None: all)."""
  family = architecture.removesuffix('ForCausalLM')
  # Null is no window, and 0 where transformers writes it for none; a missing
  # one has the architecture's default.
  default = None if family == 'Mixtral' else 4096
  low = 0 if family in ('Qwen2Moe', 'Qwen3Moe') else 1
  window = (
    fields.integer(values, 'sliding_window', file, None, low=low)
    if 'sliding_window' in values
    else default
  )
  if family in ('Mistral', 'Mixtral'):
    return window, None
  if family in ('Llama', 'Olmoe') or not window:
    return None, None
  if not fields.boolean(values, 'use_sliding_window', file, False):
    return None, None
  if family == 'Qwen3Moe':
    return window, None
  num_layers = fields.integer(values, 'num_hidden_layers', file)
  kinds = values.get('layer_types')
  if kinds is None:
    border = fields.integer(values, 'max_window_layers', file, 28, low=0)
    windowed = range(border, num_layers)
    if family == 'Qwen2Moe':  # every other layer before the border
      windowed = range(0, min(border, num_layers), 2)
    return window, tuple(windowed)
  if not isinstance(kinds, list) or len(kinds) != num_layers:
    raise ValueError(
      f'{file}: layer_types is not a list of num_hidden_layers={num_layers}'
    )
  known = ('full_attention', 'sliding_attention')
  for kind in kinds:
    if kind not in known:
      raise ValueError(
        f'{file}: layer_types {kind!r} is not one of {", ".join(known)}'
      )
  windowed = [i for i, kind in enumerate(kinds) if kind == 'sliding_attention']
  return window, tuple(windowed)


def _config_file(path: str | os.PathLike) -> str:
  return os.path.join(path, 'config.json')


def _architecture(values: Mapping[str, Any]) -> Any:
  names = values.get('architectures')
  return names[0] if isinstance(names, list) and names else names


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
