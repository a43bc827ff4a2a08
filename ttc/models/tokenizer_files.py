"""Reads tokenizers: from GGUF metadata, and from Hugging Face directories."""

import json
import os
from typing import Any

from ttc.models.chat import find_layout
from ttc.models.gguf_file import GGUFFile
from ttc.models.tokenizer import Tokenizer, import_tokenizers

_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
# How text is cut into words before merging, by `tokenizer.ggml.pre`. None is
# the split of GPT-2.
_GGUF_SPLITS = {
  'default': None,
  'gpt-2': None,
  'smollm': 'digits',
  'qwen2': _WORDS.replace('DIGITS', ''),
  'llama-bpe': _WORDS.replace('DIGITS', '{1,3}'),
}
_CONTROL, _USER_DEFINED = 3, 4  # of `tokenizer.ggml.token_type`


def tokenizer_from_gguf(file: GGUFFile) -> Tokenizer | None:
  """Builds the tokenizer that a GGUF file describes.

  Args:
    file: an opened file.

  Returns:
    The tokenizer, or None if the file has none.

  Raises:
    ValueError: if it is of a kind that is not implemented.
  """
  prefix = 'tokenizer.'
  values = {
    name.removeprefix(prefix): value
    for name, value in file.metadata.items()
    if name.startswith(prefix)
  }
  get = values.get
  kind, split = get('ggml.model'), get('ggml.pre', 'default')
  if kind is None:
    return None
  if kind != 'gpt2':
    raise ValueError(
      f"{file.path}: tokenizer {kind!r} is not implemented, only 'gpt2' "
      '(byte-level BPE); load_gguf loads the weights alone'
    )
  if split not in _GGUF_SPLITS:
    raise ValueError(
      f'{file.path}: pre-tokenizer {split!r} is not one of '
      f'{", ".join(_GGUF_SPLITS)}; load_gguf loads the weights alone'
    )
  tokens, kinds = get('ggml.tokens', []), get('ggml.token_type', [])
  merges = [tuple(merge.split(' ', 1)) for merge in get('ggml.merges', [])]
  of_kind = lambda wanted: [
    token for token, k in zip(tokens, kinds, strict=False) if k == wanted
  ]
  try:
    backend = _byte_level_bpe(tokens, merges, split)
  except Exception as error:  # the package raises no narrower kind
    raise ValueError(f'{file.path}: damaged vocabulary: {error}') from None
  backend.add_special_tokens(of_kind(_CONTROL))
  backend.add_tokens(of_kind(_USER_DEFINED))
  bos_id = get('ggml.bos_token_id')
  has_bos = get('ggml.add_bos_token', split == 'llama-bpe')
  ends = [get('ggml.eos_token_id'), get('ggml.eot_token_id')]
  return Tokenizer(
    backend,
    bos_ids=[bos_id] if has_bos and bos_id is not None else [],
    eos_ids=[end for end in ends if end is not None],
    layout=find_layout(get('chat_template')),
  )


def tokenizer_from_directory(path: str | os.PathLike) -> Tokenizer | None:
  """Reads `tokenizer.json` of a Hugging Face directory, and what is beside it.

  Args:
    path: of the directory.

  Returns:
    The tokenizer, or None if the directory has none.

  Raises:
    ValueError: if `tokenizer.json` cannot be read.
  """
  file = os.path.join(path, 'tokenizer.json')
  if not os.path.isfile(file):
    return None
  tokenizers = import_tokenizers()
  try:
    backend = tokenizers.Tokenizer.from_file(file)
  except Exception as error:  # the package raises no narrower kind
    raise ValueError(f'{file}: not a tokenizer: {error}') from None
  settings = _json(os.path.join(path, 'tokenizer_config.json'))
  generation = _json(os.path.join(path, 'generation_config.json'))
  config = _json(os.path.join(path, 'config.json'))
  template = settings.get('chat_template')
  template_file = os.path.join(path, 'chat_template.jinja')
  if os.path.isfile(template_file):
    with open(template_file, encoding='utf-8') as opened:
      template = opened.read()
  ends = []
  for source in (generation, config):
    value = source.get('eos_token_id')
    ends += value if isinstance(value, list) else [value]
  return Tokenizer(
    backend,
    bos_ids=_front(backend),
    eos_ids=[end for end in ends if end is not None],
    layout=find_layout(template if isinstance(template, str) else None),
  )


def _byte_level_bpe(tokens, merges, split):
  tokenizers = import_tokenizers()
  pre = tokenizers.pre_tokenizers
  backend = tokenizers.Tokenizer(
    tokenizers.models.BPE(
      vocab={token: i for i, token in enumerate(tokens)},
      merges=merges,
      ignore_merges=split == 'llama-bpe',
    )
  )
  words = _GGUF_SPLITS[split]
  if words in (None, 'digits'):
    cuts = [] if words is None else [pre.Digits(individual_digits=True)]
    cuts.append(pre.ByteLevel(add_prefix_space=False))
  else:
    cuts = [
      pre.Split(tokenizers.Regex(words), 'isolated'),
      pre.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  backend.pre_tokenizer = pre.Sequence(cuts)
  if split == 'qwen2':
    backend.normalizer = tokenizers.normalizers.NFC()
  backend.decoder = tokenizers.decoders.ByteLevel()
  return backend


def _front(backend) -> list[int]:
  """What the post-processor puts in front of a text."""
  plain = backend.encode('a', add_special_tokens=False).ids
  whole = backend.encode('a', add_special_tokens=True).ids
  return whole[: whole.index(plain[0])] if plain else []


def _json(path: str) -> dict[str, Any]:
  if not os.path.isfile(path):
    return {}
  with open(path, encoding='utf-8') as file:
    return json.load(file)
