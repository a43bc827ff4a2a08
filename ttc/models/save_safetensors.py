"""Saves transformers as Hugging Face directories: config and safetensors."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ttc.models import fused, int8
from ttc.models.huggingface_experts import (
  FAMILIES,
  architecture_of,
  expert_values,
)
from ttc.models.huggingface_families import RELATIVES
from ttc.models.huggingface_rope import rope_values
from ttc.models.huggingface_windows import window_values
from ttc.models.mixture import is_stack
from ttc.models.safetensors import NAMES, config_of, fused_of, names_of
from ttc.models.tokenizer import Tokenizer
from ttc.models.transformer_config import TransformerConfig
from ttc.types import Params

# Of a tokenizer, as far as a directory has them.
_TOKENIZER_FILES = (
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'vocab.json',
  'merges.txt',
)
_MOST_BYTES = 5 * 10**9  # of a file


class OtherHead(NamedTuple):
  """What stands in the place of the head over tokens.

  Attributes:
    ending: of the architecture's name, such as `ForTokenClassification`.
    tensors: of the head, by their names in the file.
  """

  ending: str
  tensors: Mapping[str, np.ndarray]


def save_safetensors(
  path: str | os.PathLike,
  config: TransformerConfig,
  params: Params,
  *,
  tokenizer: Tokenizer | None = None,
  like: str | os.PathLike | None = None,
  eos_ids: Sequence[int] = (),
  head: OtherHead | None = None,
  max_bytes: int = _MOST_BYTES,
) -> None:
  """Writes a directory that transformers and `load` read.

  Needs the extra `weights`. Kernels in int8 are written as the
  floats that they stand for.

  Args:
    path: of the directory, which is made.
    config: of the transformer.
    params: its parameters, adapters merged.
    tokenizer: to write, where `like` has none.
    like: directory whose tokenizer files are copied.
    eos_ids: tokens that end a response, besides the tokenizer's.
    head: in the place of the one over tokens, such as a reward model's.
    max_bytes: of weights in one file; more are split, with an index.

  Raises:
    ValueError: if no architecture of Hugging Face is this transformer.
  """
  path = os.fspath(path)
  values = _config(config)  # raises before anything is written
  (architecture,) = values['architectures']
  if head is not None:
    family = architecture.removesuffix('ForCausalLM')
    values['architectures'] = [family + head.ending]
  os.makedirs(path, exist_ok=True)
  ends = sorted({*eos_ids, *(tokenizer.eos_ids if tokenizer else ())})
  generation = {}
  if ends:
    generation['eos_token_id'] = ends if len(ends) > 1 else ends[0]
  _write_json(path, 'config.json', {**values, **generation})
  _write_json(path, 'generation_config.json', generation)
  tensors = dict(_tensors(config, params, architecture))
  if head is not None:
    tensors.pop(NAMES['unembed'], None)
    tensors |= head.tensors
  _write_tensors(path, tensors, max_bytes)
  copied = like is not None and _copy_tokenizer(os.fspath(like), path)
  if tokenizer is not None and not copied:
    tokenizer.save(path)


def _config(config: TransformerConfig) -> dict[str, Any]:
  """What `config.json` says: the first architecture that reads it as this."""
  c = config
  values = {
    'hidden_act': 'silu',
    'vocab_size': c.vocab_size,
    'hidden_size': c.embed_dim,
    'intermediate_size': c.mlp_dim,
    'num_hidden_layers': c.num_layers,
    'num_attention_heads': c.num_heads,
    'num_key_value_heads': c.num_kv_heads,
    'head_dim': c.head_dim,
    'max_position_embeddings': c.max_length,
    'rms_norm_eps': c.norm_eps,
    'tie_word_embeddings': c.tie_embeddings,
    'torch_dtype': c.dtype,
  }
  lacking = None
  for own in _candidates(c):
    found = values | own
    try:
      differs = _difference(config, config_of(found, 'config.json'))
    except ValueError:  # what it says does not go together there
      continue
    if differs is None:
      return found
    lacking = lacking or differs  # of Llama's nearest relative
  raise ValueError(
    f'no architecture of Hugging Face has this {lacking or "mixture"} of '
    f'{config}'
  )


def _candidates(c: TransformerConfig) -> Iterator[dict[str, Any]]:
  """What architectures have to say beside what all do, the likeliest first."""
  if c.experts is not None:
    yield _mixture_values(c) | rope_values(c)
    return
  family = 'qwen3' if c.qk_norm else 'qwen2' if c.qkv_bias else 'llama'
  windows = {} if c.sliding_window is None else window_values(c)
  if family == 'llama' and windows:
    family, windows = 'mistral', {'sliding_window': c.sliding_window}
  names = {
    'qwen3': 'Qwen3ForCausalLM',
    'qwen2': 'Qwen2ForCausalLM',
    'mistral': 'MistralForCausalLM',
    'llama': 'LlamaForCausalLM',
  }
  own = {'architectures': [names[family]], 'model_type': family, **windows}
  yield own | rope_values(c)
  for architecture, relative in RELATIVES.items():
    yield {
      'architectures': [architecture],
      'model_type': relative.model_type,
      'pad_token_id': None,  # some have one that we may be too small for
      relative.mlp_dim: c.mlp_dim,
      **relative.write(c),
    }


def _difference(c: TransformerConfig, other: TransformerConfig) -> str | None:
  """The first setting in which two transformers are not the same function."""
  c, other = map(_normal, (c, other))
  for field in dataclasses.fields(c):
    if getattr(c, field.name) != getattr(other, field.name):
      return field.name
  return None


def _normal(c: TransformerConfig) -> TransformerConfig:
  """The same function, said in one way of several."""
  everywhere = lambda layers: (
    None if layers == tuple(range(c.num_layers)) else layers
  )
  experts, mlp_dim = c.experts, c.mlp_dim
  if experts is not None:
    layers = everywhere(experts.layers)
    experts = dataclasses.replace(experts, layers=layers)
    mlp_dim = 0 if layers is None else mlp_dim
  return dataclasses.replace(
    c,
    experts=experts,
    mlp_dim=mlp_dim,
    windowed_layers=c.sliding_window and everywhere(c.windowed_layers),
    rotary_layers=everywhere(c.rotary_layers),
    scan_layers=False,
    many_rows=False,
    dtype='float32',
    quantization=None,
  )


def _mixture_values(c: TransformerConfig) -> dict[str, Any]:
  """What only a mixture of experts says."""
  architecture = architecture_of(c)
  values = {
    'architectures': [architecture],
    'model_type': FAMILIES[architecture].model_type,
    **expert_values(c, architecture),
  }
  if c.sliding_window is None:
    return values
  return values | window_values(c)


def _tensors(
  config: TransformerConfig, params: Params, architecture: str
) -> Iterator[tuple[str, np.ndarray]]:
  """Each tensor with its name, linear kernels `[out, in]`."""
  named = _named(config, int8.dequantize(params), names_of(architecture))
  return fused.join(named, fused_of(architecture, config), config.num_layers)


def _named(config, params, names) -> Iterator[tuple[str, np.ndarray]]:
  rest = {name: x for name, x in params.items() if name != 'layers'}
  for name, x in rest.items():
    yield names[name], np.asarray(x)
  for i in range(config.num_layers):
    if config.scan_layers:
      layer = jax.tree.map(lambda x, i=i: x[i], params['layers'])
    else:
      layer = params['layers'][i]
    for key_path, x in jax.tree.leaves_with_path(layer):
      name = jax.tree_util.keystr(key_path, simple=True, separator='.')
      if not is_stack(name):
        yield names[name].format(i), np.asarray(x)
        continue
      for j, one in enumerate(np.asarray(x)):  # of each expert
        yield names[name].format(i, j), one.T


def _write_tensors(
  path: str, tensors: dict[str, np.ndarray], max_bytes: int
) -> None:
  """One file of all, or several with an index."""
  import safetensors.numpy

  groups, size = [{}], 0
  for name, x in tensors.items():
    if groups[-1] and size + x.nbytes > max_bytes:
      groups.append({})
      size = 0
    groups[-1][name] = np.ascontiguousarray(x)
    size += x.nbytes
  count = len(groups)
  weight_map = {}
  for i, group in enumerate(groups, 1):
    file = f'model-{i:05}-of-{count:05}.safetensors'
    file = 'model.safetensors' if count == 1 else file
    safetensors.numpy.save_file(
      group, os.path.join(path, file), metadata={'format': 'pt'}
    )
    weight_map |= dict.fromkeys(group, file)
  if count > 1:
    total = sum(x.nbytes for x in tensors.values())
    index = {'metadata': {'total_size': total}, 'weight_map': weight_map}
    _write_json(path, 'model.safetensors.index.json', index)


def _copy_tokenizer(source: str, path: str) -> bool:
  """Copies the files of a tokenizer; whether there were any."""
  found = [
    name
    for name in _TOKENIZER_FILES
    if os.path.isfile(os.path.join(source, name))
  ]
  for name in found:
    shutil.copyfile(os.path.join(source, name), os.path.join(path, name))
  return 'tokenizer.json' in found


def _write_json(path: str, name: str, values: dict[str, Any]) -> None:
  with open(os.path.join(path, name), 'w', encoding='utf-8') as file:
    file.write(json.dumps(values, indent=2) + '\n')
