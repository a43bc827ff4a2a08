"""Text to tokens and back, over the `tokenizers` package."""

import functools
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ttc.models import chat_template
from ttc.models.chat import CHAT_LAYOUTS, ChatLayout, check_messages, parts
from ttc.models.chat_template import ChatTemplate

# Tokens that end a turn or a text, whatever else a file declares.
_END_TOKENS = (
  '<|im_end|>',
  '<|endoftext|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<end_of_turn>',
  '<|end|>',
  '<|end_of_text|>',
  '</s>',
)
# Two tokenizers that agree on their vocabulary and on this are taken as equal.
_PROBE = "It's 12345.67 ½ x²\n\n\tdéjà-vu  日本語 🙂 'LL don't\r\n"


class Tokenizer:
  """A vocabulary with its special tokens and its chat layout.

  Attributes:
    vocab_size: number of tokens.
    bos_ids: what the model expects in front of a text: one id, or none.
      `encode` does not add it, `prompt` does, and `chat` where its layout does.
    eos_ids: tokens that end a response.
    template: how the model itself writes messages, or None.
    layout: the same as one of ours, where it is one; None otherwise.
  """

  def __init__(
    self,
    backend: Any,
    *,
    bos_ids: Sequence[int] = (),
    eos_ids: Sequence[int] = (),
    layout: ChatLayout | None = None,
    template: ChatTemplate | None = None,
  ):
    """For the tokenizers of files see `tokenizer_files.py`.

    Args:
      backend: a `tokenizers.Tokenizer`.
      bos_ids: see the attributes.
      eos_ids: see the attributes; well-known end tokens are added.
      layout: see the attributes.
      template: see the attributes.
    """
    self._backend, self._lock = backend, threading.Lock()
    self._special = {
      token.content: i
      for i, token in backend.get_added_tokens_decoder().items()
      if token.special
    }
    ends = [self._special.get(token, -1) for token in _END_TOKENS]
    self.bos_ids = list(bos_ids)
    self.eos_ids = sorted({*eos_ids, *ends} - {-1})
    self.layout = layout
    self.template = template
    self.vocab_size = backend.get_vocab_size()

  def encode(self, text: str, allow_special: bool = False) -> list[int]:
    """Turns text into tokens.

    Args:
      text: to encode.
      allow_special: turn the names of control tokens, such as `<|im_end|>`,
        into these tokens. Leave it off for text that others wrote.

    Returns:
      Token ids.
    """
    if not allow_special or not self._special:
      return self._ids(text)
    names = '|'.join(re.escape(name) for name in self._special)
    parts = re.split(f'({names})', text)
    return [i for part in parts for i in self._control_or_text(part)]

  def save(self, path: str | os.PathLike) -> None:
    """Writes `tokenizer.json` and its settings into a directory."""
    tokenizers = import_tokenizers()
    backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
    names = {i: token for token, i in self._special.items()}
    begins = self.bos_ids and not backend.encode('').ids  # llama.cpp's files
    if begins and (token := names.get(self.bos_ids[0])):
      backend.post_processor = tokenizers.processors.TemplateProcessing(
        single=f'{token} $A', special_tokens=[(token, self.bos_ids[0])]
      )
    backend.save(os.path.join(path, 'tokenizer.json'))
    settings: dict[str, Any] = {'tokenizer_class': 'PreTrainedTokenizerFast'}
    for name, ids in (('bos_token', self.bos_ids), ('eos_token', self.eos_ids)):
      if ids and ids[0] in names:
        settings[name] = names[ids[0]]
    if self.template is not None:
      special = self.template.special.items()
      settings |= {name: token for name, token in special if token}
      settings['chat_template'] = [
        {'name': name, 'template': text}
        for name, text in self.template.templates.items()
      ]
    file = os.path.join(path, 'tokenizer_config.json')
    with open(file, 'w', encoding='utf-8') as opened:
      opened.write(json.dumps(settings, indent=2) + '\n')

  def prompt(self, text: str) -> list[int]:
    """Tokens of a text to go on with, behind what the model expects first."""
    return [*self.bos_ids, *self.encode(text)]

  def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
    """Turns tokens into text; incomplete UTF-8 becomes U+FFFD."""
    ids = [int(i) for i in ids]
    return self._backend.decode(ids, skip_special_tokens=skip_special)

  def token_bytes(self, token_id: int) -> bytes:
    """The bytes that a token stands for; none for control tokens."""
    token = self._backend.id_to_token(int(token_id))
    if token is None or token in self._special:
      return b''
    if _is_byte_level(self._backend):
      table = _byte_of_character()
      if all(character in table for character in token):
        return bytes(table[character] for character in token)
    elif re.fullmatch('<0x[0-9A-F]{2}>', token):
      return bytes([int(token[3:5], 16)])
    else:
      token = token.replace('▁', ' ')  # sentencepiece's space
    return token.encode()

  def ids_containing(self, text: str) -> list[int]:
    """All tokens whose text contains `text`: stop tokens that end a line."""
    wanted = text.encode()
    ids = range(self.vocab_size)
    return [i for i in ids if wanted in self.token_bytes(i)]

  def chat(
    self,
    messages: Sequence[Mapping[str, Any]],
    layout: ChatLayout | None = None,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    prefill: str | None = None,
    variables: Mapping[str, Any] | None = None,
  ) -> list[int]:
    """The prompt that asks for the reply to `messages`.

    The model's own template writes it, if there is one; then messages may be
    whatever it reads. What they say never becomes a control token.

    Args:
      messages: with a `role` (system, user, assistant) and a `content` each.
      layout: instead of the model's own template.
      tools: JSON schemas of functions that the model may call; for templates.
      prefill: how the reply begins.
      variables: more that the template reads, such as `enable_thinking`.

    Returns:
      Token ids, with the beginning-of-text token where the layout has one.

    Raises:
      ValueError: if there is no template and no layout, the template raises or
        leaves out the tools, the layout uses tokens that are not here, or a
        message is not text of a known role.
    """
    if layout is None and self.template is not None:
      render = functools.partial(
        chat_template.render,
        self.template,
        messages,
        prefill=prefill,
        variables=variables,
        control=self._special,
      )
      try:
        rendered = render(tools=tools)
      except ImportError:
        if self.layout is None:  # not even one that is known by heart
          raise
      else:
        if tools and render().pieces == rendered.pieces:
          raise ValueError('the chat template shows no tools to the model')
        return self._encode_pieces(rendered.pieces)
    layout = layout or self.layout
    if layout is None:
      raise ValueError(
        'the tokenizer has no chat template: pass a layout, such as '
        f'CHAT_LAYOUTS[{"|".join(CHAT_LAYOUTS)}]'
      )
    if tools or variables:
      raise ValueError('chat layouts have neither tools nor variables')
    check_messages(messages)
    ids: list[int] = []
    for part in parts(layout, messages):
      # What a message says is behind an empty text: never a control token.
      ids += (
        self._control_or_text(*part) if len(part) == 1 else self.encode(part[1])
      )
    return ids + self.encode(prefill or '')

  def chat_parts(
    self, messages: Sequence[Mapping[str, Any]], *, asks: bool = True
  ) -> list[tuple[str, ...]]:
    """A chat in pieces, by its layout or else by its template.

    Args:
      messages: of the chat.
      asks: whether it ends with what begins a reply.

    Returns:
      `(name,)` for a control token, `('', text)` for what is encoded as text.

    Raises:
      ValueError: as `chat`.
    """
    if self.layout is not None:
      reply = self.layout.reply if asks else ()
      return list(parts(self.layout._replace(reply=reply), messages))
    if self.template is None:
      raise ValueError('the tokenizer has neither a chat template nor a layout')
    rendered = chat_template.render(
      self.template, messages, control=self._special, asks=asks
    )
    names = '|'.join(map(re.escape, self._special))
    found: list[tuple[str, ...]] = []
    for number, piece in enumerate(rendered.pieces):
      split = (
        [piece] if number % 2 or not names else re.split(f'({names})', piece)
      )
      found += [
        (part,) if i % 2 else ('', part) for i, part in enumerate(split) if part
      ]
    return found

  @functools.cached_property
  def sha(self) -> str:
    """SHA-256 of what it does: vocabulary, control tokens, a probe's ids."""
    names = [self._backend.id_to_token(i) for i in range(self.vocab_size)]
    facts = [names, sorted(self._special.items()), self.encode(_PROBE)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

  def _encode_pieces(self, pieces: Sequence[str]) -> list[int]:
    """Pieces of a prompt, of which every other has no control tokens."""
    return [
      i
      for number, piece in enumerate(pieces)
      for i in self._ids(piece, has_control=number % 2 == 0)
    ]

  def _ids(self, text: str, has_control: bool = False) -> list[int]:
    """Tokens of a text, in which names of control tokens may be these."""
    with self._lock:  # the setting is the backend's, for all threads
      self._backend.encode_special_tokens = not has_control
      return self._backend.encode(text, add_special_tokens=False).ids

  def _control_or_text(self, part: str) -> list[int]:
    if part in self._special:
      return [self._special[part]]
    if re.fullmatch(r'<\|\w+\|>', part):
      raise ValueError(f'the chat layout uses {part!r}, which is no token here')
    return self.encode(part)


def _is_byte_level(backend) -> bool:
  tokenizers = import_tokenizers()
  return isinstance(backend.decoder, tokenizers.decoders.ByteLevel)


@functools.cache
def _byte_of_character() -> dict[str, int]:
  """GPT-2's table: printable bytes are themselves, others from U+0100 on."""
  printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in printable]
  table = {chr(byte): byte for byte in printable}
  return table | {chr(256 + i): byte for i, byte in enumerate(others)}


def import_tokenizers() -> Any:
  """The optional package, or how to get it."""
  try:
    import tokenizers
  except ImportError:
    raise ImportError(
      "tokenizers need: pip install 'ttc-jax[weights]'"
    ) from None
  return tokenizers
