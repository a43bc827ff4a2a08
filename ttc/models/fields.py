"""Settings as files declare them, refused in one line where they cannot be."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

_REQUIRED = object()


def read_json(file: str) -> dict[str, Any]:
  """Reads a file that holds one JSON object.

  Raises:
    ValueError: naming the file, if it holds anything else.
  """
  with open(file, 'rb') as opened:
    data = opened.read()
  try:
    values = json.loads(data.decode('utf-8'))
  except UnicodeDecodeError as error:
    raise ValueError(f'{file}: not UTF-8: {error.reason}') from None
  except json.JSONDecodeError as error:
    raise ValueError(f'{file}: not JSON: {error}') from None
  except RecursionError:
    raise ValueError(f'{file}: not JSON: nested too deep') from None
  if not isinstance(values, dict):
    raise ValueError(f'{file}: {short(values)} is not a JSON object')
  return values


def read_json_if_there(file: str) -> dict[str, Any]:
  """Reads a file of one JSON object; nothing if there is no such file."""
  return read_json(file) if os.path.isfile(file) else {}


def integer(
  values: Mapping[str, Any],
  name: str,
  file: str,
  default: Any = _REQUIRED,
  *,
  low: int = 1,
) -> Any:
  """A whole number of at least `low`.

  Args:
    values: what the file declares.
    name: of the setting.
    file: for the error's line.
    default: where the file has no such setting; without one it is an error. A
      default of None also lets the file say null.
    low: the least that is accepted.

  Returns:
    The number, or the default.
  """
  value = _get(values, name, file, default)
  if value is None and default is None:
    return None
  if type(value) is not int or value < low:
    raise ValueError(
      f'{file}: {name}={short(value)} is not a whole number of at least {low}'
    )
  return value


def positive(
  values: Mapping[str, Any], name: str, file: str, default: Any = _REQUIRED
) -> Any:
  """A finite number above zero; arguments as in `integer`."""
  value = _get(values, name, file, default)
  if value is None and default is None:
    return None
  if type(value) is int or type(value) is float:
    if 0 < value <= sys.float_info.max:
      return float(value)
  raise ValueError(f'{file}: {name}={short(value)} is not a positive number')


def boolean(
  values: Mapping[str, Any], name: str, file: str, default: Any = _REQUIRED
) -> bool:
  """True or false, and nothing that passes for them."""
  value = _get(values, name, file, default)
  if type(value) is not bool:
    raise ValueError(f'{file}: {name}={short(value)} is neither true nor false')
  return value


def mapping(
  values: Mapping[str, Any], name: str, file: str
) -> dict[str, Any] | None:
  """An object, or None where there is none or null."""
  value = values.get(name)
  if value is not None and not isinstance(value, dict):
    raise ValueError(f'{file}: {name}={short(value)} is not an object')
  return value


def token_ids(values: Mapping[str, Any], name: str, file: str) -> list[int]:
  """One token id or a list of them; none where there is none or null."""
  value = values.get(name)
  ids: list[Any] = value if isinstance(value, list) else [value]
  ids = [] if value is None else ids
  if not all(type(i) is int and i >= 0 for i in ids):
    raise ValueError(
      f'{file}: {name}={short(value)} is neither a token id nor a list of them'
    )
  return ids


def layers(values: Mapping[str, Any], name: str, file: str) -> list[int]:
  """A list of layers; none where there is none or null."""
  value = values.get(name)
  value = [] if value is None else value
  is_list = isinstance(value, list)
  if not is_list or not all(type(i) is int and i >= 0 for i in value):
    raise ValueError(f'{file}: {name}={short(value)} is not a list of layers')
  return value


def _get(values: Mapping[str, Any], name: str, file: str, default: Any) -> Any:
  value = values.get(name, default)
  if value is _REQUIRED or (value is None and default is _REQUIRED):
    raise ValueError(f'{file}: {name} is missing')
  return value


def short(value: Any) -> str:
  """How a value is shown in an error's line."""
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + '...'
