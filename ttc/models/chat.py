"""Chat layouts as data: how messages become one prompt.

A layout is a row of parts. A part that is a control token, such as
`<|im_start|>`, becomes that token; any other is text, in which `{role}` and
`{content}` stand for the message's. Text never becomes a control token, so a
message cannot forge the end of its turn.

A model's Jinja template is not searched for names. It is rendered, in Jinja's
sandbox, on chats whose rendering by each layout is known, and only a layout
that agrees on all of them is taken.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ttc.models.chat_template import DEFAULT, ChatTemplate, render

ROLES = ('system', 'user', 'assistant')


class ChatLayout(NamedTuple):
  """How the messages of a chat are written for a model.

  Attributes:
    start: before everything.
    message: for each message.
    reply: asks for the assistant's reply.
    default_system: text of the system message that is put in front of messages
      that begin with another role; None for none.
    strip: whether white space around the content is dropped.
  """

  start: tuple[str, ...]
  message: tuple[str, ...]
  reply: tuple[str, ...]
  default_system: str | None = None
  strip: bool = False


_CHATML = ChatLayout(
  start=(),
  message=('<|im_start|>', '{role}\n{content}', '<|im_end|>', '\n'),
  reply=('<|im_start|>', 'assistant\n'),
)
_LLAMA3 = ChatLayout(
  start=('<|begin_of_text|>',),
  message=(
    '<|start_header_id|>',
    '{role}',
    '<|end_header_id|>',
    '\n\n{content}',
    '<|eot_id|>',
  ),
  reply=('<|start_header_id|>', 'assistant', '<|end_header_id|>', '\n\n'),
  strip=True,
)

CHAT_LAYOUTS = {
  'smollm2': _CHATML._replace(
    default_system='You are a helpful AI assistant named SmolLM, trained '
    'by Hugging Face'
  ),
  'qwen2.5': _CHATML._replace(
    default_system='You are Qwen, created by Alibaba Cloud. You are a '
    'helpful assistant.'
  ),
  'qwen2': _CHATML._replace(default_system='You are a helpful assistant.'),
  'chatml': _CHATML,  # Qwen3 too
  'llama3': _LLAMA3,  # without the dates that 3.1 and later put in front
}
# SHA-256 of whole templates whose layout is known without rendering them.
_KNOWN_TEMPLATES = {
  '872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788': (
    'smollm2'
  ),
}
_USER = {'role': 'user', 'content': ' First {question}?\n'}
_SYSTEM = {'role': 'system', 'content': 'Some <rule> & more. '}
_REPLY = {'role': 'assistant', 'content': '\nAn answer.'}
_AGAIN = {'role': 'user', 'content': 'Why?'}
_PROBES = (
  [_USER],
  [_SYSTEM, _USER],
  [_USER, _REPLY, _AGAIN],
  [_SYSTEM, _USER, _REPLY, _AGAIN],
)


def find_layout(
  template: str | None, special: Mapping[str, str] | None = None
) -> ChatLayout | None:
  """The layout that a model's Jinja template spells out, if it is one.

  A system message of its own and a beginning of the reply (`<think>`) are read
  off the rendering. Templates that date their prompts, that have more roles or
  other tokens have no layout.

  Args:
    template: of the model; needs the package jinja2 unless it is a known one.
    special: names of the template's tokens, such as `bos_token`, and their
      texts.

  Returns:
    The layout; None if there is no template, it is another, or it cannot be
    rendered here.
  """
  if template is None:
    return None
  digest = hashlib.sha256(template.strip().encode()).hexdigest()
  if digest in _KNOWN_TEMPLATES:
    return CHAT_LAYOUTS[_KNOWN_TEMPLATES[digest]]
  try:
    own = ChatTemplate({DEFAULT: template}, special or {})
    rendered = [render(own, probe).text for probe in _PROBES]
  except (ValueError, ImportError):  # it raises, or jinja2 is missing
    return None
  for layout in (_CHATML, _LLAMA3):
    for strip in (False, True):
      guess = _fitted(layout._replace(strip=strip), rendered[0])
      if guess is not None and all(
        ''.join(text for part in parts(guess, probe) for text in part) == result
        for probe, result in zip(_PROBES, rendered, strict=True)
      ):
        return guess
  return None


def parts(
  layout: ChatLayout, messages: Sequence[Mapping[str, str]]
) -> list[tuple[str, ...]]:
  """The prompt that asks for the reply to messages, as texts.

  Args:
    layout: how they are written.
    messages: with a `role` and a `content` each.

  Returns:
    Rows of texts: a part of the layout alone, which may be a control token; or
    an empty text and one that contains what a message says, which may not.
  """
  messages = list(messages)
  if layout.default_system is not None:
    if not messages or messages[0]['role'] != 'system':
      system = {'role': 'system', 'content': layout.default_system}
      messages.insert(0, system)
  found: list[tuple[str, ...]] = [(part,) for part in layout.start]
  for message in messages:
    role, content = message['role'], message['content']
    content = content.strip() if layout.strip else content
    for part in layout.message:
      if '{' in part:
        found.append(('', part.format(role=role, content=content)))
      else:
        found.append((part,))
  return found + [(part,) for part in layout.reply]


def check_messages(messages: Sequence[Mapping[str, Any]]) -> None:
  """Refuses what layouts cannot write; names the message.

  Raises:
    ValueError: at a role, a content or a place of a system message.
  """
  for number, message in enumerate(messages):
    role, content = message.get('role'), message.get('content')
    if role not in ROLES:
      raise ValueError(
        f'message {number}: role {role!r} is not one of {", ".join(ROLES)}'
      )
    if not isinstance(content, str):
      kind = 'None' if content is None else type(content).__name__
      raise ValueError(
        f'message {number} ({role}): its content is {kind}; only text is '
        'implemented'
      )
    if role == 'system' and number:
      raise ValueError(f'message {number}: a system message must be the first')
    if role == 'assistant' and '</think>' in content:
      raise ValueError(
        f'message {number} (assistant): contains </think>; models differ in '
        'what they keep of earlier thoughts, so pass the reply without them'
      )


def _fitted(layout: ChatLayout, rendered: str) -> ChatLayout | None:
  """The layout with the system message and reply of a rendered question."""
  bare = layout._replace(start=(), reply=())
  write = lambda messages: ''.join(
    text for part in parts(bare, messages) for text in part
  )
  turn, begin, ask = write([_USER]), ''.join(layout.start), layout.reply
  front, found, back = rendered.partition(turn)
  asked = ''.join(ask)
  if not found or not front.startswith(begin) or not back.startswith(asked):
    return None
  if len(back) > len(asked):
    layout = layout._replace(reply=(*ask, back[len(asked) :]))
  front = front[len(begin) :]
  if front:
    mark = '\0'
    head, _, tail = write([{'role': 'system', 'content': mark}]).partition(mark)
    if not (front.startswith(head) and front.endswith(tail)):
      return None
    system = front[len(head) : len(front) - len(tail)]
    layout = layout._replace(default_system=system)
  return layout
