"""Files of a training that goes on from its last checkpoint.

Of several processes the first one writes them.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ttc.drivers import processes
from ttc.io import files, paths
from ttc.io.paths import AnyPath


@contextlib.contextmanager
def hold(
  config: Mapping[str, Any], workdir: AnyPath, free: Sequence[str] = ()
) -> Iterator[None]:
  """Holds the directory of a training, whose config is kept there.

  Args:
    config: of the run.
    workdir: of the run.
    free: options that may change when it goes on.

  Raises:
    ValueError: if it is in use, or holds a run with another config.
  """
  with processes.hold(workdir):
    if processes.is_first():
      keep_config(config, workdir, free)
    processes.wait_for_all('started')
    yield


def keep_config(
  config: Mapping[str, Any], workdir: AnyPath, free: Sequence[str] = ()
) -> None:
  """Writes the config; refuses to go on with another one.

  Before the first checkpoint anything may change, afterwards what is `free`.
  """
  path = workdir / 'config.json'
  config = json.loads(files.to_json(dict(config)))  # tuples become lists
  begun = paths.exists(workdir / 'metrics.jsonl')
  if path.exists() and begun:
    try:
      old = json.loads(path.read_text(encoding='utf-8'))
      fixed = config.keys() - set(free)
      changed = [x for x in config if x in fixed and old.get(x) != config[x]]
    except (ValueError, AttributeError) as error:
      raise ValueError(f'{path}: not a configuration: {error}') from None
    if changed:
      raise ValueError(
        f'{workdir} holds a run with another config ({", ".join(changed)}); '
        'choose another --workdir'
      )
  files.write_atomically(path, files.to_json(config, indent=2) + '\n')


def forget_after(path: AnyPath, num_lines: int) -> None:
  """Drops what a killed run measured and did not live to save."""
  if not processes.is_first():
    return
  lines = files.read_lines(path)
  if len(lines) > num_lines:
    files.write_atomically(path, ''.join(x + '\n' for x in lines[:num_lines]))


def append(path: AnyPath, lines: Iterable[Mapping[str, Any]]) -> None:
  """Appends what was measured, a line of JSON for each."""
  if processes.is_first():
    files.append_lines(path, map(files.to_json, lines))
