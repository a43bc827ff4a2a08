"""Functions that a model may call in a chat, read from a JSON file.

A list of objects in the form that chat templates read, `{"type": "function",
"function": {"name": ..., "description": ..., "parameters": JSON schema}}`, or
of what is behind "function" there.
"""

import json
from collections.abc import Mapping
from typing import Any

from ttc.io import files
from ttc.io.paths import as_path


def read(path: files.Path) -> tuple[Mapping[str, Any], ...]:
  """The functions of a file.

  Raises:
    ValueError: at what is none, naming the file and its place in the list.
    OSError: if there is no such file.
  """
  try:
    found = json.loads(as_path(path).read_text(encoding='utf-8'))
  except json.JSONDecodeError as error:
    raise ValueError(f'{path}:{error.lineno}: not JSON: {error.msg}') from None
  except UnicodeDecodeError as error:
    raise ValueError(f'{path}: not text in UTF-8: {error}') from None
  if not isinstance(found, list) or not found:
    raise ValueError(f'{path}: expected a list of functions in JSON')
  tools = []
  for number, tool in enumerate(found, start=1):
    is_wrapped = isinstance(tool, dict) and tool.get('type') == 'function'
    function = tool.get('function') if is_wrapped else tool
    if not isinstance(function, dict) or not isinstance(
      function.get('name'), str
    ):
      raise ValueError(
        f'{path}: function {number} has no name; expected {{"type": '
        '"function", "function": {"name": ..., "parameters": ...}}'
      )
    tools.append({'type': 'function', 'function': function})
  return tuple(tools)
