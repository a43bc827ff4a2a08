"""A model's own chat template: Jinja in a sandbox, as transformers renders it.

What users wrote cannot become a control token: names of control tokens in it
are put between two marks before the template sees them, and what stands between
marks in the rendering is encoded as text.
"""

import datetime
import functools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

DEFAULT = 'default'
_WITH_TOOLS = 'tool_use'
_SENTINEL = 'THE_REPLY_GOES_ON_HERE '
_PRIVATE = range(0xE000, 0xF900)  # characters that mean nothing


class ChatTemplate(NamedTuple):
  """The templates of a model.

  Attributes:
    templates: by name; most models have one, called `default`.
    special: names of its tokens, such as `bos_token`, and their texts.
    now: what the template takes for the present; None for the clock.
  """

  templates: Mapping[str, str]
  special: Mapping[str, str]
  now: datetime.datetime | None = None


class Rendered(NamedTuple):
  """A prompt in pieces: with control tokens, without, with, and so on."""

  pieces: tuple[str, ...]

  @property
  def text(self) -> str:
    """All of it."""
    return ''.join(self.pieces)


def render(
  template: ChatTemplate,
  messages: Sequence[Mapping[str, Any]],
  *,
  tools: Sequence[Mapping[str, Any]] | None = None,
  prefill: str | None = None,
  variables: Mapping[str, Any] | None = None,
  control: Iterable[str] = (),
  asks: bool = True,
) -> Rendered:
  """The prompt that asks for the reply to messages.

  Args:
    template: of the model.
    messages: with what the template reads of each, mostly role and content.
    tools: JSON schemas of functions that the model may call.
    prefill: how the reply begins. It is written as a last message that goes on,
      in place of what otherwise asks for a reply.
    variables: more that the template reads, such as `enable_thinking`.
    control: names of control tokens, which messages cannot bring about.
    asks: whether it ends with what begins a reply, where there is no prefill.

  Returns:
    The prompt.

  Raises:
    ValueError: in one line, if the template does, or drops the prefill.
  """
  turns = [dict(_plain(message)) for message in messages]
  if prefill is not None:
    turns.append({'role': 'assistant', 'content': prefill})
  turns = [
    {name: value for name, value in turn.items() if value is not None}
    for turn in turns
  ]
  given = [turns, _plain(tools)]
  marks = _marks(given)
  names = tuple(filter(None, control))
  wrap = lambda text: _wrapped(text, names, marks)
  turns, tools = (_map_texts(wrap, value) for value in given)
  last = turns[-1]['content'] if prefill is not None else ''
  if prefill is not None:
    turns[-1]['content'] += _SENTINEL
  values = {
    **template.special,
    **(variables or {}),
    'messages': turns,
    'tools': tools,
    'documents': None,
    'add_generation_prompt': asks and prefill is None,
    'strftime_now': functools.partial(_strftime, template.now),
  }
  text = _run(_chosen(template, bool(tools)), values)
  if prefill is not None:
    text = _cut(text, last)
  first, second = marks
  pieces = re.split(f'{first}([^{first}{second}]*){second}', text)
  stray = {ord(mark): None for mark in marks}  # a template that cut a name
  return Rendered(tuple(piece.translate(stray) for piece in pieces))


def _chosen(template: ChatTemplate, has_tools: bool) -> str:
  """The template for chats with or without tools."""
  found = template.templates
  if has_tools and _WITH_TOOLS in found:
    return found[_WITH_TOOLS]
  if DEFAULT not in found:
    raise ValueError(
      f'none of the chat templates {", ".join(sorted(found))} is the default'
    )
  return found[DEFAULT]


def _run(template: str, values: Mapping[str, Any]) -> str:
  compiled = _compiled(template)
  try:
    return compiled.render(**values)
  except Exception as error:  # a template may raise anything
    raise ValueError(f'the chat template raises: {_line(error)}') from None


@functools.lru_cache(64)
def _compiled(template: str) -> Any:
  """The template, ready to render."""
  jinja2 = import_jinja()

  class Generation(jinja2.ext.Extension):
    """`{% generation %}`, by which training knows replies: its body."""

    tags = {'generation'}  # noqa: RUF012  # as jinja2 has it

    def parse(self, parser):
      line = next(parser.stream).lineno
      body = parser.parse_statements(('name:endgeneration',), drop_needle=True)
      call = self.call_method('_same')
      return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _same(self, caller):
      return caller()

  class Namespace(jinja2.utils.Namespace):
    """Without names that begin as those of Python's insides."""

    def __init__(*args, **kwargs):
      self, *rest = args
      values = dict(*rest, **kwargs)
      for name in values:
        Namespace._check(name)
      jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name, value):
      Namespace._check(name)
      super().__setitem__(name, value)

    @staticmethod
    def _check(name):
      if str(name).startswith('_'):
        raise jinja2.exceptions.SecurityError(f'a namespace has no {name!r}')

  def refuse(message):
    raise jinja2.TemplateError(message)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[Generation, 'jinja2.ext.loopcontrols'],
  )
  environment.filters['tojson'] = _tojson
  environment.globals |= {
    'raise_exception': refuse,
    'dict': _Dict(),
    'namespace': Namespace,
  }
  try:
    return environment.from_string(template)
  except Exception as error:  # whatever the lexer and the compiler raise
    where = getattr(error, 'lineno', None)
    at = '' if where is None else f' (line {where})'
    raise ValueError(
      f'the chat template cannot be read: {_line(error)}{at}'
    ) from None


class _Dict:
  """`dict` without its attributes."""

  def __call__(self, *args, **kwargs):
    return dict(*args, **kwargs)

  def fromkeys(self, *args, **kwargs):
    return dict.fromkeys(*args, **kwargs)


def _tojson(
  value, ensure_ascii=False, indent=None, separators=None, sort_keys=False
):
  text = json.dumps(
    value,
    ensure_ascii=False,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )
  if not ensure_ascii:
    return text
  is_kept = lambda x: x.isascii() or ord(x) in _PRIVATE  # the marks
  return ''.join(x if is_kept(x) else json.dumps(x)[1:-1] for x in text)


def _strftime(now: datetime.datetime | None, form: str) -> str:
  return (now or datetime.datetime.now()).strftime(form)


def _cut(text: str, last: str) -> str:
  """The rendering up to the end of the reply's beginning."""
  mark = _SENTINEL.rstrip()
  if mark not in text or last.strip() not in text:
    raise ValueError('the chat template drops the beginning of the reply')
  at = text.rindex(mark)
  is_kept = text.startswith(_SENTINEL, at)  # with its space: nothing is trimmed
  return text[:at] if is_kept else text[:at].rstrip()


def _wrapped(text: str, names: tuple[str, ...], marks: tuple[str, str]) -> str:
  """The text with names of control tokens between marks.

  So is an end that is the beginning of a name: the next text may go on with it.
  """
  if not names:
    return text
  pattern, beginnings = _guard(names)
  text = pattern.sub(lambda m: m.group().join(marks), text)
  longest = max(map(len, names))
  for size in range(min(longest, len(text)), 0, -1):
    if text[-size:] in beginnings:
      return text[:-size] + text[-size:].join(marks)
  return text


@functools.lru_cache(16)
def _guard(names: tuple[str, ...]) -> tuple[re.Pattern, frozenset[str]]:
  """What finds names, and all of their proper beginnings."""
  longest_first = sorted(names, key=len, reverse=True)
  pattern = re.compile('|'.join(map(re.escape, longest_first)))
  beginnings = (name[:size] for name in names for size in range(1, len(name)))
  return pattern, frozenset(beginnings)


def _marks(values: Any) -> tuple[str, str]:
  """Two characters that are nowhere in the values."""
  used = set(json.dumps(values, ensure_ascii=False))
  free = (chr(i) for i in _PRIVATE if chr(i) not in used)
  return next(free), next(free)


def _plain(value: Any) -> Any:
  """A value as JSON has it, which is all that a template may see."""
  if isinstance(value, Mapping):
    return {str(name): _plain(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if value is None or type(value) in (str, int, float, bool):
    return value
  raise ValueError(f'{type(value).__name__} in a message or tool is not JSON')


def _map_texts(function, value: Any) -> Any:
  if isinstance(value, dict):
    return {k: _map_texts(function, item) for k, item in value.items()}
  if isinstance(value, list):
    return [_map_texts(function, item) for item in value]
  return function(value) if isinstance(value, str) else value


def _line(error: Exception) -> str:
  return ' '.join(str(error).split()) or type(error).__name__


def import_jinja() -> Any:
  """The optional package, or how to get it."""
  try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
  except ImportError:
    raise ImportError(
      "chat templates need: pip install 'ttc-jax[weights]'"
    ) from None
  version = tuple(map(int, re.findall(r'\d+', jinja2.__version__)[:3]))
  if version < (3, 1, 6):  # one can get out of the sandbox of older ones
    raise ImportError(
      f'chat templates need jinja2 3.1.6, not {jinja2.__version__}: '
      "pip install -U 'ttc-jax[weights]'"
    )
  return jinja2
