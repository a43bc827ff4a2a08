"""Loads transformers from Hugging Face directories: config and safetensors."""

import dataclasses
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ttc.models import fields, fused
from ttc.models.huggingface_experts import FAMILIES, read_experts
from ttc.models.huggingface_families import RELATIVES, Family
from ttc.models.huggingface_rope import read_rope
from ttc.models.huggingface_windows import read_windows
from ttc.models.shards import open_tensors
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
  **{name: relative.is_tied for name, relative in RELATIVES.items()},
}
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
  path: str | os.PathLike,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  quantization: str | None = None,
  mesh: Mesh | None = None,
) -> tuple[TransformerConfig, Params]:
  """Loads a transformer from a Hugging Face directory.

  Needs the extra `weights`.

  Args:
    path: of a directory with `config.json` and one or more `.safetensors`.
    dtype: of the parameters and activations.
    scan_layers: see `TransformerConfig`.
    quantization: see `TransformerConfig`.
    mesh: of devices, over which `param_shardings` spreads each parameter as it
      is read, so that no host holds them all; None for the first device.

  Returns:
    The config and the parameters.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is damaged, or asks for what is not implemented.
  """
  path = os.fspath(path)
  config = huggingface_config(path, dtype=dtype, scan_layers=scan_layers)
  config = dataclasses.replace(config, quantization=quantization)
  homes = open_tensors(path)
  architecture = architecture_in(path)
  return config, _assembled(config, architecture, homes, path, mesh)


def load_beneath(
  path: str | os.PathLike,
  architecture: str,
  head: Sequence[str],
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
) -> tuple[TransformerConfig, Params, dict[str, np.ndarray]]:
  """Loads a transformer beneath a head that does not predict tokens.

  Args:
    path: of a directory as for `load_safetensors`.
    architecture: of the transformer, as the file would name it with a head over
      tokens: `Qwen2ForCausalLM`. A head over tokens in the file is not read.
    head: names of the head's tensors.
    dtype: of the parameters and activations; the head is float32.
    scan_layers: see `TransformerConfig`.

  Returns:
    The config, the parameters, and the tensors of the head by name.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: as `load_safetensors`, or if the head lacks a tensor.
  """
  path = os.fspath(path)
  settings = {'dtype': dtype, 'scan_layers': scan_layers}
  config = huggingface_config(path, **settings, architecture=architecture)
  config = dataclasses.replace(config, tie_embeddings=True)  # no unembedding
  homes = open_tensors(path)
  for name in head:
    if name not in homes:
      raise ValueError(f'{path}: there is no tensor {name!r} of a head')
  _check_floats(homes, head, path)
  tensors = {n: homes[n].get_tensor(n).astype(np.float32) for n in head}
  below = {name: home for name, home in homes.items() if name not in head}
  return config, _assembled(config, architecture, below, path), tensors


def _assembled(
  config: TransformerConfig,
  architecture: str,
  homes: Mapping[str, Any],
  path: str,
  mesh: Mesh | None = None,
) -> Params:
  """The parameters from the opened file of each tensor."""
  present = {name for name in homes if not name.endswith('.inv_freq')}
  if config.tie_embeddings:
    present.discard(NAMES['unembed'])
  _check_floats(homes, present, path)
  tensors = fused.Tensors(
    lambda name: homes[name].get_tensor(name),
    lambda name: tuple(homes[name].get_slice(name).get_shape()),
    present,
  )
  tensors = fused.split(
    tensors, fused_of(architecture, config), config.num_layers, path
  )
  return assemble(
    config,
    tensors.read,
    tensors.shape_of,
    names_of(architecture),
    tensors.present,
    path,
    mesh,
  )


def _check_floats(
  homes: Mapping[str, Any], names: Collection[str], path: str
) -> None:
  for name in sorted(names):
    kind = homes[name].get_slice(name).get_dtype()
    if kind not in _FLOATS:
      raise ValueError(
        f'{path}: tensor {name!r} is {kind}, not one of {", ".join(_FLOATS)}; '
        'quantised weights are not implemented'
      )


def names_of(architecture: str) -> dict[str, str]:
  """The name of the tensor of each parameter, as `assemble` takes it."""
  family = FAMILIES.get(architecture) or RELATIVES.get(architecture)
  return NAMES if family is None else {**NAMES, **family.names}


def fused_of(
  architecture: str, config: TransformerConfig
) -> tuple[fused.Fused, ...]:
  """The tensors that are several parameters."""
  relative = RELATIVES.get(architecture)
  return () if relative is None else relative.fused(config)


def architecture_in(path: str | os.PathLike) -> Any:
  """What the `config.json` of a directory says that it holds."""
  file = _config_file(path)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'{file}: no such file')
  return _architecture(fields.read_json(file))


def huggingface_config(
  path: str | os.PathLike,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  architecture: str | None = None,
) -> TransformerConfig:
  """Reads the `config.json` of a directory; see `load_safetensors`.

  `architecture` is read in place of the file's own, whose head is another.
  """
  file = _config_file(path)
  if not os.path.isfile(file):
    raise FileNotFoundError(f'{file}: no such file')
  values = fields.read_json(file)
  return config_of(
    values,
    file,
    dtype=dtype,
    scan_layers=scan_layers,
    architecture=architecture,
  )


def config_of(
  values: Mapping[str, Any],
  file: str,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  architecture: str | None = None,
) -> TransformerConfig:
  """The config that the values of a `config.json` declare."""
  architecture = architecture or _architecture(values)
  if not isinstance(architecture, str) or architecture not in _ARCHITECTURES:
    raise ValueError(
      f'{file}: architecture {architecture!r} is not one of '
      f'{", ".join(_ARCHITECTURES)}'
    )
  relative = RELATIVES.get(architecture)
  _refuse_unknown_settings(values, relative, file)
  family = architecture.removesuffix('ForCausalLM')
  is_one = lambda *families: family in families
  size = lambda name, *default: fields.integer(values, name, file, *default)
  embed_dim, num_heads = size('hidden_size'), size('num_attention_heads')
  head_dim = size('head_dim', None)
  if head_dim is None and relative is not None:
    head_dim = relative.head_dim
  if head_dim is None and architecture == 'Qwen3ForCausalLM':
    head_dim = 128  # its default is a number and not a quotient
  elif head_dim is None:
    if embed_dim % num_heads:
      raise ValueError(
        f'{file}: hidden_size={embed_dim} is not a multiple of '
        f'num_attention_heads={num_heads}, and there is no head_dim'
      )
    head_dim = embed_dim // num_heads
  own = {}  # what differs from Llama
  if relative is not None:
    own = relative.read(values, file, head_dim)
  else:
    own = read_rope(values, file, 1e6 if is_one('Mixtral') else 1e4)
    own |= read_windows(values, architecture, file)
  eps = 1e-5 if is_one('Mixtral', 'Olmoe') else 1e-6
  settings = dict(
    vocab_size=size('vocab_size'),
    num_layers=size('num_hidden_layers'),
    embed_dim=embed_dim,
    mlp_dim=size(relative.mlp_dim if relative else 'intermediate_size'),
    num_heads=num_heads,
    num_kv_heads=size('num_key_value_heads', None) or num_heads,
    head_dim=head_dim,
    max_length=size('max_position_embeddings'),
    norm_eps=fields.positive(
      values, 'rms_norm_eps', file, relative.norm_eps if relative else eps
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
    experts=read_experts(values, architecture, file),
    scan_layers=scan_layers,
    dtype=dtype,
  )
  settings |= own
  try:
    return TransformerConfig(**settings)
  except ValueError as error:
    raise ValueError(f'{file}: {error}') from None


def _refuse_unknown_settings(
  values: Mapping[str, Any], relative: Family | None, file: str
) -> None:
  """Raises on a setting that would silently give other logits."""
  name, spellings = (
    relative.activation if relative else ('hidden_act', ('silu',))
  )
  implemented = {
    name: spellings,
    'attention_bias': (False,),
    'mlp_bias': (False,),
    'quantization_config': (None,),
  }
  for name, accepted in implemented.items():
    if values.get(name) not in (*accepted, None):
      raise ValueError(
        f'{file}: {name}={values[name]!r} is not implemented, only '
        f'{" or ".join(map(repr, accepted))}'
      )


def _config_file(path: str | os.PathLike) -> str:
  return os.path.join(path, 'config.json')


def _architecture(values: Mapping[str, Any]) -> Any:
  names = values.get('architectures')
  return names[0] if isinstance(names, list) and names else names
