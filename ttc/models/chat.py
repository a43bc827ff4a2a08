"""Chat layouts as data: how messages become one prompt.

A layout is a row of parts. A part that is a control token, such as
`<|im_start|>`, becomes that token; any other is text, in which `{role}` and
`{content}` stand for the message's. Text never becomes a control token, so a
message cannot forge the end of its turn.
"""

from typing import NamedTuple


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


def find_layout(template: str | None) -> ChatLayout | None:
  """The layout that a model's Jinja template spells out, if it is known."""
  if template is None:
    return None
  for layout in CHAT_LAYOUTS.values():
    system = layout.default_system or ''
    if layout.message[0] in template and system in template:
      return layout
  return None
