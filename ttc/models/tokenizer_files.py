"""Reads tokenizers: from GGUF metadata, and from Hugging Face directories."""

import glob
import os
from typing import Any

from ttc.models import fields
from ttc.models.chat import find_layout
from ttc.models.chat_template import DEFAULT, ChatTemplate
from ttc.models.gguf_file import GGUFFile
from ttc.models.tokenizer import Tokenizer, import_tokenizers

_WORDS = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
  r'| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)
# How text is cut into words before merging, by `tokenizer.ggml.pre`. None is
# the split of GPT-2.
_GGUF_SPLITS = {
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
  kind, split = get('ggml.model'), get('ggml.pre')
  if kind is None:
    return None
  if kind != 'gpt2':
    raise ValueError(
      f"{file.path}: tokenizer {kind!r} is not implemented, only 'gpt2' "
      '(byte-level BPE); load_gguf loads the weights alone'
    )
  if not isinstance(split, str) or split not in _GGUF_SPLITS:
    raise ValueError(
      f'{file.path}: pre-tokenizer {split!r} is not one of '
      f'{", ".join(_GGUF_SPLITS)}; load_gguf loads the weights alone'
    )
  backend, tokens = _gguf_vocabulary(file, values, split)

  def token(name) -> Any:
    i = fields.integer(values, f'ggml.{name}', file.path, None, low=0)
    if i is not None and i >= len(tokens):
      raise ValueError(
        f'{file.path}: ggml.{name}={i} is not below the {len(tokens)} tokens'
      )
    return i

  bos_id, eos_id = token('bos_token_id'), token('eos_token_id')
  # llama.cpp's default for this split, whatever the file leaves out.
  has_bos = fields.boolean(
    values, 'ggml.add_bos_token', file.path, split == 'llama-bpe'
  )
  if has_bos and bos_id is None:
    raise ValueError(f'{file.path}: ggml.add_bos_token without bos_token_id')
  if fields.boolean(values, 'ggml.add_eos_token', file.path, False):
    raise ValueError(f'{file.path}: ggml.add_eos_token is not implemented')
  special = {
    f'{name}_token': '' if i is None else tokens[i]
    for name, i in (('bos', bos_id), ('eos', eos_id))
  }
  templates = _gguf_templates(values, file.path)
  ends = [eos_id, token('eot_token_id')]
  return Tokenizer(
    backend,
    bos_ids=[bos_id] if has_bos else [],
    eos_ids=[end for end in ends if end is not None],
    layout=find_layout(templates.get(DEFAULT), special),
    template=ChatTemplate(templates, special) if templates else None,
  )


def _gguf_vocabulary(
  file: GGUFFile, values: dict[str, Any], split: str
) -> tuple[Any, list[str]]:
  """The backend that a file describes, and its tokens by their ids."""
  tokens, kinds, merges = (
    _list(file, values, name, of_type)
    for name, of_type in (
      ('ggml.tokens', str),
      ('ggml.token_type', int),
      ('ggml.merges', str),
    )
  )
  if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
    raise ValueError(
      f'{file.path}: damaged vocabulary: {len(tokens)} tokens, '
      f'{len(set(tokens))} of them different, and {len(kinds)} types'
    )
  of_kind = lambda wanted: [
    token for token, k in zip(tokens, kinds, strict=True) if k == wanted
  ]
  try:
    pairs = [tuple(merge.split(' ', 1)) for merge in merges]
    backend = _byte_level_bpe(tokens, pairs, split)
  except Exception as error:  # the package raises no narrower kind
    raise ValueError(f'{file.path}: damaged vocabulary: {error}') from None
  backend.add_special_tokens(of_kind(_CONTROL))
  backend.add_tokens(of_kind(_USER_DEFINED))
  return backend, tokens


def _gguf_templates(values: dict[str, Any], path: str) -> dict[str, str]:
  """The chat templates of a file, by name."""
  found = {}
  for name, value in values.items():
    first, _, rest = name.partition('.')
    if first != 'chat_template':
      continue
    if not isinstance(value, str):
      raise ValueError(f'{path}: tokenizer.{name} is not a text')
    found[rest or DEFAULT] = value
  return found


def _list(file: GGUFFile, values: dict[str, Any], name: str, of_type) -> list:
  """A list of the metadata, of one type; refused where it is missing."""
  found = values.get(name)
  if not isinstance(found, list) or not all(type(x) is of_type for x in found):
    raise ValueError(
      f'{file.path}: tokenizer.{name} is missing or not a list of '
      f'{of_type.__name__}'
    )
  return found


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
  settings_file = os.path.join(path, 'tokenizer_config.json')
  settings = fields.read_json_if_there(settings_file)
  ends = []
  for name in ('generation_config.json', 'config.json'):
    source = os.path.join(path, name)
    values = fields.read_json_if_there(source)
    ends += fields.token_ids(values, 'eos_token_id', source)
  older = fields.read_json_if_there(
    os.path.join(path, 'special_tokens_map.json')
  )
  special = {
    name: text
    for name, value in (older | settings).items()
    if name.endswith('_token') and isinstance(text := _token_text(value), str)
  }
  templates = _templates(path, settings, settings_file)
  return Tokenizer(
    backend,
    bos_ids=_front(backend, file),
    eos_ids=ends,
    layout=find_layout(templates.get(DEFAULT), special),
    template=ChatTemplate(templates, special) if templates else None,
  )


def _templates(
  path: str | os.PathLike, settings: dict[str, Any], settings_file: str
) -> dict[str, str]:
  """The chat templates of a directory, by name.

  Those in files of their own beat the settings'.
  """
  more = os.path.join(glob.escape(os.fspath(path)), 'additional_chat_templates')
  files = {
    os.path.splitext(os.path.basename(file))[0]: file
    for file in glob.glob(os.path.join(more, '*.jinja'))
  }
  single = os.path.join(path, 'chat_template.jinja')
  if os.path.isfile(single):
    files[DEFAULT] = single
  if files:
    return {name: _read_text(file) for name, file in files.items()}
  found = settings.get('chat_template')
  if isinstance(found, list):
    try:
      found = {entry['name']: entry['template'] for entry in found}
    except (TypeError, KeyError):
      raise ValueError(
        f'{settings_file}: chat_template is a list of other things than '
        'objects with name and template'
      ) from None
  elif found is not None:
    found = {DEFAULT: found}
  for name, text in (found or {}).items():
    if not isinstance(name, str) or not isinstance(text, str):
      raise ValueError(
        f'{settings_file}: chat_template={fields.short(text)} is neither a '
        'text nor a list of named texts'
      )
  return found or {}


def _read_text(file: str) -> str:
  with open(file, 'rb') as opened:
    try:
      return opened.read().decode('utf-8')
    except UnicodeDecodeError as error:
      raise ValueError(f'{file}: not UTF-8: {error.reason}') from None


def _token_text(value: Any) -> Any:
  """A token is written as its text, or as an object with it."""
  return value.get('content') if isinstance(value, dict) else value


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


def _front(backend, file: str) -> list[int]:
  """What the post-processor puts in front of a text."""
  plain = backend.encode('a', add_special_tokens=False).ids
  whole = backend.encode('a', add_special_tokens=True).ids
  if not plain:
    return []
  count = len(whole) - len(plain)
  if whole[count:] != plain:
    raise ValueError(
      f'{file}: the post-processor puts tokens behind a text; only tokens in '
      'front of it are implemented'
    )
  return whole[:count]
