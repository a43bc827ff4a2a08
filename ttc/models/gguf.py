"""Loads transformers from GGUF files, the format of llama.cpp."""

import dataclasses
import os
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float32

from ttc.models import fields, gguf_file
from ttc.models.experts import Experts
from ttc.models.fused import Tensors, split
from ttc.models.gguf_families import RELATIVES, Shape
from ttc.models.gguf_file import GGUFFile
from ttc.models.gguf_rope import LLAMA3_DIVISORS, LONG_DIVISORS, read_scaling
from ttc.models.transformer_config import TransformerConfig
from ttc.models.weights import assemble
from ttc.types import Params

# Whether the rows of query and key were permuted when the file was written, so
# that rotary pairs are adjacent. Mistral's files say 'llama'.
_PERMUTED = {
  'llama': True,
  'qwen2': False,
  'qwen3': False,
  'qwen2moe': False,
  'qwen3moe': False,
  'olmoe': False,
  **{name: relative.permuted for name, relative in RELATIVES.items()},
}
# Settings of experts with the one value that is implemented.
_ONLY = {
  'expert_gating_func': 1,  # softmax
  'expert_weights_scale': 1.0,
  'expert_group_count': 1,
}
# Whether the weights of the experts chosen are normalised, which no file says;
# llama.cpp has it by architecture. (Mixtral's files say 'llama'.)
_NORMALISED = {
  'llama': True,
  'qwen2moe': False,
  'qwen3moe': True,
  'olmoe': False,
}

_NAMES = {
  'embed': 'token_embd.weight',
  'final_norm': 'output_norm.weight',
  'unembed': 'output.weight',
  'attention_norm.scale': 'blk.{}.attn_norm.weight',
  'query.kernel': 'blk.{}.attn_q.weight',
  'query.bias': 'blk.{}.attn_q.bias',
  'query_norm.scale': 'blk.{}.attn_q_norm.weight',
  'key.kernel': 'blk.{}.attn_k.weight',
  'key.bias': 'blk.{}.attn_k.bias',
  'key_norm.scale': 'blk.{}.attn_k_norm.weight',
  'value.kernel': 'blk.{}.attn_v.weight',
  'value.bias': 'blk.{}.attn_v.bias',
  'output.kernel': 'blk.{}.attn_output.weight',
  'mlp_norm.scale': 'blk.{}.ffn_norm.weight',
  'gate.kernel': 'blk.{}.ffn_gate.weight',
  'up.kernel': 'blk.{}.ffn_up.weight',
  'down.kernel': 'blk.{}.ffn_down.weight',
  'mixture.router.kernel': 'blk.{}.ffn_gate_inp.weight',
  'mixture.gates': 'blk.{}.ffn_gate_exps.weight',
  'mixture.ups': 'blk.{}.ffn_up_exps.weight',
  'mixture.downs': 'blk.{}.ffn_down_exps.weight',
  'mixture.shared_gate.kernel': 'blk.{}.ffn_gate_inp_shexp.weight',
  'mixture.shared.gate.kernel': 'blk.{}.ffn_gate_shexp.weight',
  'mixture.shared.up.kernel': 'blk.{}.ffn_up_shexp.weight',
  'mixture.shared.down.kernel': 'blk.{}.ffn_down_shexp.weight',
}
_GATE_OF_SHARED = 'ffn_gate_inp_shexp.weight'


def load_gguf(
  path: str | os.PathLike,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  rope_interleaved: bool = False,
  quantization: str | None = None,
  mesh: Mesh | None = None,
) -> tuple[TransformerConfig, Params]:
  """Loads a transformer from a GGUF file, dequantised.

  Needs the extra `weights`.

  Args:
    path: of a file whose architecture is llama (Mistral and Mixtral too),
      qwen2, qwen3, qwen2moe, qwen3moe, olmoe or one of `gguf_families.py`.
    dtype: of the parameters and activations.
    scan_layers: see `TransformerConfig`.
    rope_interleaved: keep the rows of query and key as llama files store them
      and rotate adjacent channels, instead of putting the rows in order.
    quantization: see `TransformerConfig`.
    mesh: of devices, over which `param_shardings` spreads each parameter as it
      is read, so that no host holds them all; None for the first device.

  Returns:
    The config and the parameters.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if the file is damaged, or asks for what is not implemented.
  """
  file = gguf_file.read(path)
  config = gguf_config(
    file,
    dtype=dtype,
    scan_layers=scan_layers,
    rope_interleaved=rope_interleaved,
  )
  config = dataclasses.replace(config, quantization=quantization)
  architecture = file.metadata['general.architecture']
  permuted = _PERMUTED[architecture]
  relative = RELATIVES.get(architecture)
  if rope_interleaved and not permuted:
    raise ValueError(f'{file.path}: its rows are not stored for adjacent pairs')
  num_heads = {}
  if permuted and not rope_interleaved:
    num_heads = {'attn_q': config.num_heads, 'attn_k': config.num_kv_heads}

  def shape_of(name):
    shape = file.tensors[name].shape
    is_row = name.endswith(_GATE_OF_SHARED) and len(shape) == 1
    return (1, *shape) if is_row else shape

  def read(name):
    array = gguf_file.tensor(file, name)
    part = name.split('.')[-2]
    array = array.reshape(shape_of(name))
    if relative is not None and relative.is_one_more and 'norm' in part:
      array = array - np.float32(1.0)
    return _unpermute(array, num_heads[part]) if part in num_heads else array

  gguf_file.check_tensors(file)
  tensors = Tensors(
    read, shape_of, file.tensors.keys() - {LLAMA3_DIVISORS, *LONG_DIVISORS}
  )
  names = _NAMES
  if relative is not None:
    fused = relative.fused(config)
    tensors = split(tensors, fused, config.num_layers, file.path)
    names = {**_NAMES, **relative.names}
  return config, assemble(
    config, *tensors[:2], names, tensors[2], file.path, mesh
  )


def gguf_config(
  file: GGUFFile,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  rope_interleaved: bool = False,
) -> TransformerConfig:
  """Reads the config of a GGUF file's transformer; see `load_gguf`."""
  architecture = file.metadata.get('general.architecture')
  if not isinstance(architecture, str) or architecture not in _PERMUTED:
    raise ValueError(
      f'{file.path}: architecture {architecture!r} is not one of '
      f'{", ".join(_PERMUTED)}'
    )
  get = lambda name, *default: gguf_file.get(
    file, f'{architecture}.{name}', *default
  )
  size = lambda name, *default: gguf_file.size(
    file, f'{architecture}.{name}', *default
  )
  embedding = file.tensors.get('token_embd.weight')
  if embedding is None:
    raise ValueError(f"{file.path}: there is no tensor 'token_embd.weight'")
  num_layers, num_heads = size('block_count'), size('attention.head_count')
  embed_dim = size('embedding_length')
  head_dim = _head_dim(file, architecture, num_heads, embed_dim)
  relative = RELATIVES.get(architecture)
  if get('attention.sliding_window_pattern', None) is not None:
    raise ValueError(f'{file.path}: sliding_window_pattern is not implemented')
  has_norm = 'blk.0.attn_q_norm.weight' in file.tensors
  theta = gguf_file.positive(file, f'{architecture}.rope.freq_base', 10_000.0)
  own: dict[str, Any] = {}  # what differs from Llama
  if relative is not None:
    shape = Shape(num_layers, num_heads, embed_dim, head_dim, theta)
    own = relative.read(file, architecture, shape)
  dim = own.get('rotary_dim') or head_dim
  settings: dict[str, Any] = dict(
    vocab_size=embedding.shape[0],
    num_layers=num_layers,
    embed_dim=embed_dim,
    mlp_dim=size('feed_forward_length'),
    num_heads=num_heads,
    num_kv_heads=size('attention.head_count_kv', num_heads),
    head_dim=head_dim,
    max_length=size('context_length'),
    rope_theta=theta,
    rope_scaling=read_scaling(file, architecture, dim, theta),
    rope_interleaved=rope_interleaved,
    norm_eps=gguf_file.positive(
      file, f'{architecture}.attention.layer_norm_rms_epsilon'
    ),
    qkv_bias='blk.0.attn_q.bias' in file.tensors,
    qk_norm=has_norm and architecture != 'olmoe',
    full_qk_norm=has_norm and architecture == 'olmoe',
    clip_qkv=gguf_file.positive(
      file, f'{architecture}.attention.clamp_kqv', None
    ),
    experts=_experts(file, architecture, num_layers),
    tie_embeddings='output.weight' not in file.tensors,
    sliding_window=gguf_file.size(
      file, f'{architecture}.attention.sliding_window', None, low=0
    )
    or None,
    scan_layers=scan_layers,
    dtype=dtype,
  )
  settings |= own
  try:
    return TransformerConfig(**settings)
  except ValueError as error:
    raise ValueError(f'{file.path}: {error}') from None


def _head_dim(
  file: GGUFFile, architecture: str, num_heads: int, embed_dim: int
) -> int:
  """Of keys; what else has a width of a head must have the same."""
  of = lambda name: f'{architecture}.{name}'
  head_dim = gguf_file.size(file, of('attention.key_length'), None)
  if head_dim is None:
    if embed_dim % num_heads:
      raise ValueError(
        f'{file.path}: embedding_length={embed_dim} is not a multiple of '
        f'attention.head_count={num_heads}, and there is no key_length'
      )
    head_dim = embed_dim // num_heads
  fixed = ['attention.value_length', 'rope.dimension_count']
  for name in fixed[: 1 if architecture == 'phi3' else 2]:
    value = gguf_file.get(file, of(name), head_dim)
    if value != head_dim:
      raise ValueError(
        f'{file.path}: {name}={value} differs from the head '
        f'dimension {head_dim}; that is not implemented'
      )
  return head_dim


def _experts(
  file: GGUFFile, architecture: str, num_layers: int
) -> Experts | None:
  """The experts of the layers that have a router; None if none has."""
  size = lambda name, *default: gguf_file.size(
    file, f'{architecture}.{name}', *default
  )
  num_experts = gguf_file.size(file, f'{architecture}.expert_count', 0, low=0)
  if not num_experts:
    return None
  if architecture not in _NORMALISED:
    raise ValueError(
      f'{file.path}: experts of {architecture!r} are not implemented, only of '
      f'{", ".join(_NORMALISED)}'
    )
  for name, value in _ONLY.items():
    found = gguf_file.get(file, f'{architecture}.{name}', value)
    if found != value:
      raise ValueError(
        f'{file.path}: {name}={found} is not implemented, only {value}'
      )
  routers = [n for n in file.tensors if n.endswith('.ffn_gate_inp.weight')]
  numbers = {name.split('.')[1] for name in routers}
  layers = tuple(sorted(int(i) for i in numbers if i.isdecimal()))
  shared = None
  if f'blk.0.{_GATE_OF_SHARED}' in file.tensors:
    shared = size('expert_shared_feed_forward_length')
  norm = f'{architecture}.expert_weights_norm'
  values = {norm: gguf_file.get(file, norm, _NORMALISED[architecture])}
  return Experts(
    num_experts=num_experts,
    top_k=size('expert_used_count'),
    mlp_dim=size('expert_feed_forward_length', None)
    or size('feed_forward_length'),
    normalise=fields.boolean(values, norm, file.path),
    shared_mlp_dim=shared,
    layers=None if len(layers) == num_layers else layers,
  )


def _unpermute(
  rows: Float32[np.ndarray, 'O *I'], num_heads: int
) -> Float32[np.ndarray, 'O *I']:
  """Puts each head's rotary pairs from (2 i, 2 i + 1) to (i, i + D / 2)."""
  split = rows.reshape(num_heads, -1, 2, *rows.shape[1:])
  return split.swapaxes(1, 2).reshape(rows.shape)
