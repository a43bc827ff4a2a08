"""Files of a training that goes on from its last checkpoint."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from ttc.io import files


def keep_config(config: Mapping[str, Any], workdir: pathlib.Path) -> None:
  """Writes the config; refuses to go on with another one.

  Before the first checkpoint anything may change.
  """
  path = workdir / 'config.json'
  config = json.loads(files.to_json(dict(config)))  # tuples become lists
  begun = (workdir / 'metrics.jsonl').exists()
  config = json.loads(files.to_json(config))  # tuples are lists there
  if path.exists() and begun:
    try:
      old = json.loads(path.read_text(encoding='utf-8'))
      changed = [name for name, x in config.items() if old.get(name) != x]
    except (ValueError, AttributeError) as error:
      raise ValueError(f'{path}: not a configuration: {error}') from None
    if changed:
      raise ValueError(
        f'{workdir} holds a run with another config ({", ".join(changed)}); '
        'choose another --workdir'
      )
  files.write_atomically(path, files.to_json(config, indent=2) + '\n')


def forget_after(path: pathlib.Path, num_lines: int) -> None:
  """Drops what a killed run measured and did not live to save."""
  lines = files.read_lines(path)
  if len(lines) > num_lines:
    files.write_atomically(path, ''.join(x + '\n' for x in lines[:num_lines]))
