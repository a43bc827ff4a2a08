"""Answers as plain data, and whether two of them agree.

This file is also put behind programs in a sandbox, as it is: it needs nothing
but the standard library.
"""

import json as json
import random

NUM_POINTS = 5


def to_plain(value, domain):
  """Numbers, texts and containers as they are; an expression by its values.

  Args:
    value: of an answer; expressions and matrices of sympy are known by their
      methods.
    domain: `(low, high)` of the symbols' values, which the names determine.

  Returns:
    Plain data: ('number', real, imaginary), ('values', [...]) or containers.
  """
  if isinstance(value, (str, bool, type(None))):
    return value
  if isinstance(value, (list, tuple)):
    return [to_plain(x, domain) for x in value]
  if isinstance(value, (set, frozenset)):
    return {'set': sorted((to_plain(x, domain) for x in value), key=repr)}
  if isinstance(value, dict):
    return {str(k): to_plain(x, domain) for k, x in value.items()}
  if hasattr(value, 'tolist'):  # a matrix, or an array
    return to_plain(value.tolist(), domain)
  symbols = sorted(getattr(value, 'free_symbols', ()), key=str)
  if not symbols:
    return number(value)
  return {
    'values': [
      number(value.subs({s: point(str(s), i, domain) for s in symbols}))
      for i in range(NUM_POINTS)
    ]
  }


def point(name, index, domain):
  """The value of a symbol at one of the points."""
  return random.Random(f'{name}/{index}').uniform(*domain)


def number(value):
  """Real and imaginary part."""
  if hasattr(value, 'evalf'):
    value = value.evalf(30)
  value = complex(value)
  return ('number', value.real, value.imag)


def agree(wanted, said, tolerance):
  """Whether two plain answers agree, numbers within a relative tolerance."""
  if isinstance(wanted, tuple) and isinstance(said, tuple):
    one, other = complex(*wanted[1:]), complex(*said[1:])
    return abs(one - other) <= tolerance * max(abs(one), 1e-12)
  if type(wanted) is not type(said):
    return False
  if isinstance(wanted, list):
    return len(wanted) == len(said) and all(
      agree(x, y, tolerance) for x, y in zip(wanted, said, strict=True)
    )
  if isinstance(wanted, dict):
    return wanted.keys() == said.keys() and all(
      agree(wanted[k], said[k], tolerance) for k in wanted
    )
  return wanted == said
