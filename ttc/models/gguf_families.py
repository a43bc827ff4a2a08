"""Relatives of Llama as GGUF files spell them.

What the files leave out, llama.cpp has by architecture: which layers have a
window, the scale of attention, layers without positions. So it stands here.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ttc.models.fused import Fused
from ttc.models.gguf_file import GGUFFile, positive, size
from ttc.models.transformer_config import TransformerConfig


class Shape(NamedTuple):
  """What a family needs to know of its file to read the rest."""

  num_layers: int
  num_heads: int
  embed_dim: int
  head_dim: int
  theta: float


class Family(NamedTuple):
  """What differs from Llama.

  Attributes:
    read: `(file, prefix, shape) -> settings` of `TransformerConfig`.
    names: of tensors.
    permuted: whether the rows of query and key are stored for adjacent pairs.
    is_one_more: whether the scales of norms are stored with the one that
      `norm_plus_one` adds.
    fused: `config -> tensors` that are several parameters.
  """

  read: Callable[[GGUFFile, str, Shape], dict[str, Any]]
  names: Mapping[str, str] = {}
  permuted: bool = False
  is_one_more: bool = False
  fused: Callable[[TransformerConfig], tuple[Fused, ...]] = lambda config: ()


_POST_NORMS = {
  'attention_post_norm.scale': 'blk.{}.post_attention_norm.weight',
  'mlp_post_norm.scale': 'blk.{}.post_ffw_norm.weight',
}
_WINDOW = 'attention.sliding_window'


def _gemma(file, prefix, shape):
  return {
    'activation': 'gelu_tanh',
    'norm_plus_one': True,
    'embed_scale': math.sqrt(shape.embed_dim),
  }


def _gemma2(file, prefix, shape):
  cap = lambda name: positive(file, f'{prefix}.{name}_softcapping', None)
  return {
    **_gemma(file, prefix, shape),
    'post_norm': True,
    'attention_scale': _scale(shape, 46),
    'attention_softcap': cap('attn_logit'),
    'final_softcap': cap('final_logit'),
    **_windows(size(file, f'{prefix}.{_WINDOW}', 4096), shape, 2),
  }


def _gemma3(file, prefix, shape):
  windows = _windows(size(file, f'{prefix}.{_WINDOW}'), shape, 6)
  local = positive(file, f'{prefix}.rope.freq_base_swa', 10_000.0)
  return {
    **_gemma(file, prefix, shape),
    'post_norm': True,
    'attention_scale': _scale(shape, 62),
    'final_softcap': positive(file, f'{prefix}.final_logit_softcapping', None),
    **windows,
    **({'windowed_theta': local} if windows else {}),
  }


def _scale(shape, largest):
  """The largest model, known by its depth, has a scale of its own."""
  if shape.num_layers != largest:
    return None
  return (shape.embed_dim / shape.num_heads) ** -0.5


def _windows(window, shape, period):
  """Windows in all but every so many-th layer."""
  count = shape.num_layers
  layers = tuple(i for i in range(count) if (i + 1) % period)
  if not window or not layers:
    return {}
  layers = None if len(layers) == count else layers
  return {'sliding_window': window, 'windowed_layers': layers}


def _phi3(file, prefix, shape):
  dim = size(file, f'{prefix}.rope.dimension_count', shape.head_dim)
  return {'rotary_dim': None if dim == shape.head_dim else dim}


def _phi3_fused(c: TransformerConfig) -> tuple[Fused, ...]:
  rows = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
  name = 'blk.{}.ffn_up.weight'  # of both, and of the second
  return (
    Fused(
      'blk.{}.attn_qkv.weight',
      (
        ('blk.{}.attn_q.weight', rows[0]),
        ('blk.{}.attn_k.weight', rows[1]),
        ('blk.{}.attn_v.weight', rows[1]),
      ),
    ),
    Fused(name, (('blk.{}.ffn_gate.weight', c.mlp_dim), (name, c.mlp_dim))),
  )


def _olmo2(file, prefix, shape):
  window = size(file, f'{prefix}.{_WINDOW}', None, low=0)
  windows = _windows(window, shape, 4)  # OLMo 3 says it is OLMo 2
  return {
    'pre_norm': False,
    'post_norm': True,
    'full_qk_norm': True,
    'qk_norm': False,
    **windows,
    **({'windowed_theta': shape.theta} if windows else {}),
  }


def _smollm3(file, prefix, shape):
  layers = tuple(i for i in range(shape.num_layers) if (i + 1) % 4)
  everywhere = len(layers) == shape.num_layers
  return {'rotary_layers': None if everywhere else layers}


def _granite(file, prefix, shape):
  number = lambda name, default: positive(file, f'{prefix}.{name}', default)
  return {
    'embed_scale': number('embedding_scale', None),
    'attention_scale': number('attention.scale', None),
    'residual_scale': number('residual_scale', 1.0),
    'logits_divisor': number('logit_scale', 1.0),
  }


RELATIVES = {
  'gemma': Family(_gemma, is_one_more=True),
  'gemma2': Family(_gemma2, _POST_NORMS, is_one_more=True),
  'gemma3': Family(_gemma3, _POST_NORMS, is_one_more=True),
  'phi3': Family(_phi3, fused=_phi3_fused),
  'olmo2': Family(_olmo2, _POST_NORMS),
  'smollm3': Family(_smollm3, permuted=True),
  'granite': Family(_granite, permuted=True),
}
