"""Values that are nothing but data, as text, between processes.

Numbers, texts, None and containers of them arrive as exactly these types, so
what a program sends has no methods of its own: no `__eq__` that is always true.
Everything else arrives as an `Opaque`, which equals nothing. This file stands
alone: the other side of the sandbox imports it as it is.
"""

import json
from typing import Any

_MAX_DEPTH = 60
_SMALL = 2**53  # integers below are JSON's


class Opaque:
  """Something that is not plain data; equal to nothing, itself included."""

  def __init__(self, name):
    self.name = name

  __hash__ = None  # pyright: ignore[reportAssignmentType]  # stub wants function

  def __eq__(self, other):
    return False

  def __repr__(self):
    return f'<{self.name}>'


def encode(value):
  """Writes a value; sets and dictionaries of equal content become one text."""
  return json.dumps(_pack(value, 0))


def decode(text) -> Any:
  """Reads what `encode` wrote.

  Raises:
    ValueError: at anything else.
  """
  try:
    return _unpack(json.loads(text))
  except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
    raise ValueError(f'not plain data: {type(error).__name__}') from None


def show(value):
  """The text of a decoded value, the same for equal sets."""
  if isinstance(value, set | frozenset):
    return '{' + ', '.join(sorted(map(show, value))) + '}'
  if isinstance(value, list):
    return '[' + ', '.join(map(show, value)) + ']'
  if isinstance(value, tuple):
    inside = ', '.join(map(show, value))
    return f'({inside},)' if len(value) == 1 else f'({inside})'
  if isinstance(value, dict):
    items = (f'{show(key)}: {show(x)}' for key, x in value.items())
    return '{' + ', '.join(items) + '}'
  return repr(value)


def _pack(value, depth):
  if depth > _MAX_DEPTH:
    raise ValueError(f'nested more than {_MAX_DEPTH} deep')
  inner = lambda items: [_pack(item, depth + 1) for item in items]
  if value is None or value is True or value is False:
    return value
  if isinstance(value, int):
    return int(value) if -_SMALL < value < _SMALL else ['i', hex(value)]
  if isinstance(value, float):
    return float(value)
  if isinstance(value, str):
    return str.__str__(value)
  if isinstance(value, complex):
    return ['c', value.real, value.imag]
  if isinstance(value, bytes | bytearray):
    return ['b', bytes(value).hex()]
  if isinstance(value, list):
    return ['l', *inner(value)]
  if isinstance(value, tuple):
    return ['t', *inner(value)]
  if isinstance(value, frozenset):
    return ['f', *sorted(inner(value), key=json.dumps)]
  if isinstance(value, set):
    return ['s', *sorted(inner(value), key=json.dumps)]
  if isinstance(value, dict):
    return ['d', *(inner(pair) for pair in value.items())]
  return ['o', type(value).__name__]


def _unpack(value, depth=0):
  if depth > _MAX_DEPTH:
    raise ValueError('too deep')
  if not isinstance(value, list | dict):
    return value
  tag, *rest = value
  inner = lambda items: [_unpack(item, depth + 1) for item in items]
  if tag == 'i':
    return int(rest[0], 16)
  if tag == 'c':
    return complex(*rest)
  if tag == 'b':
    return bytes.fromhex(rest[0])
  if tag == 'o':
    return Opaque(str(rest[0])[:80])
  if tag == 'd':
    return dict(inner(pair) for pair in rest)
  return {'l': list, 't': tuple, 'f': frozenset, 's': set}[tag](inner(rest))
