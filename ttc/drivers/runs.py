"""The identity of a run: its configuration, its surroundings, what it read.

`run.json` is written once, after everything that was asked for has been found
and checked, and before the first record. Starting again in the same directory
resumes it, and is refused if the configuration, the weights, the tokenizer or
the data are others. Before the first record anything may change.
"""

import dataclasses
import datetime
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jax

from ttc.evaluation.records import SCHEMA_VERSION
from ttc.io import files
from ttc.io.paths import as_path

# Top-level keys of a configuration that change no result.
HARMLESS_KEYS = (
  'batch_size',
  'num_rows',
  'output_dir',
  'verbosity',
  'workdir',
)
_NAME = 'run.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunInfo:
  """What `run.json` says."""

  run_id: str
  created_utc: str  # ISO 8601
  git_hash: str | None  # of the working directory, if it is a checkout
  git_dirty: bool | None
  argv: list[str]
  config: dict[str, Any]  # fully resolved
  config_hash: str
  jax_version: str
  backend: str
  device_kind: str
  n_devices: int
  base_seed: int
  dtype: str | None = None
  # SHA-256 of what was read, by what it is: weights, tokenizer, data.
  inputs: dict[str, str] = dataclasses.field(default_factory=dict)
  schema_version: int = SCHEMA_VERSION


def start_run(
  directory: files.Path,
  config: Mapping[str, Any],
  base_seed: int,
  *,
  dtype: str | None = None,
  inputs: Mapping[str, str] | None = None,
  has_records: bool = True,
  allow_config_change: bool = False,
) -> RunInfo:
  """Writes `run.json`, or checks that the one there is of the same run.

  With several processes, process 0 calls this before the others.

  Args:
    directory: of the run; made if missing.
    config: fully resolved, of JSON types.
    base_seed: seed of all keys of the run.
    dtype: of the weights.
    inputs: SHA-256 of what the run reads. One that is not named here, because
      it need not be read any more, is not compared.
    has_records: whether anything was written yet; if not, a `run.json` of
      another run is replaced.
    allow_config_change: resume although configuration or inputs differ; the
      first `run.json` stays.

  Returns:
    What `run.json` says.

  Raises:
    ValueError: if the run there has another configuration, seed or input.
  """
  path = as_path(directory) / _NAME
  inputs = dict(inputs or {})
  if path.exists():
    info = read_run(directory)
    changed = _changed_keys(
      {**info.config, 'base_seed': info.base_seed},
      {**config, 'base_seed': base_seed},
    ) + [
      f'the {name}'
      for name, value in inputs.items()
      if info.inputs.get(name, value) != value
    ]
    if not changed or (allow_config_change and has_records):
      return info
    if has_records:
      raise ValueError(
        f'{path} is of another run: {", ".join(changed)} changed; use another '
        'directory or --allow_config_change'
      )

  created = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  info = RunInfo(
    run_id=f'{created}-{config_hash(config)[:8]}',
    created_utc=created,
    git_hash=_git('rev-parse', 'HEAD'),
    git_dirty=_is_dirty(),
    argv=sys.argv,
    config=json.loads(files.to_json(dict(config))),
    config_hash=config_hash(config),
    jax_version=jax.__version__,
    backend=jax.default_backend(),
    device_kind=jax.devices()[0].device_kind,
    n_devices=jax.device_count(),
    base_seed=base_seed,
    dtype=dtype,
    inputs=inputs,
  )
  text = files.to_json(dataclasses.asdict(info), indent=2)
  files.write_atomically(path, text + '\n')
  return info


def read_run(directory: files.Path) -> RunInfo:
  """Reads `run.json`.

  Raises:
    ValueError: naming the file, if it is not what `start_run` writes.
  """
  path = as_path(directory) / _NAME
  try:
    fields = json.loads(path.read_text(encoding='utf-8'))
    # Runs of before there were digests of all inputs.
    for old in ('model', 'tokenizer_hash', 'dataset'):
      fields.pop(old, None)
    return RunInfo(**fields)
  except (ValueError, TypeError, AttributeError) as error:
    raise ValueError(f'{path}: not a description of a run: {error}') from None


def config_hash(config: Mapping[str, Any]) -> str:
  """Hash of what in a configuration can change results.

  Args:
    config: of JSON types; top-level `HARMLESS_KEYS` are left out.

  Returns:
    SHA-256 in hexadecimal; the order of keys does not matter.
  """
  text = json.dumps(_meaningful(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def hash_texts(*parts: str) -> str:
  """SHA-256 of texts, in hexadecimal; where one ends matters."""
  total = hashlib.sha256()
  for part in parts:
    data = part.encode('utf-8', 'surrogatepass')
    total.update(len(data).to_bytes(8) + data)
  return total.hexdigest()


def _meaningful(config: Mapping[str, Any]) -> dict[str, Any]:
  return {k: x for k, x in config.items() if k not in HARMLESS_KEYS}


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  old, new = _flatten(_meaningful(old)), _flatten(_meaningful(new))
  missing = object()
  return sorted(
    key
    for key in old.keys() | new.keys()
    if old.get(key, missing) != new.get(key, missing)
  )


def _flatten(config: Mapping[str, Any], prefix: str = '') -> dict[str, str]:
  """Dotted names of the leaves, each with its JSON text."""
  flat = {}
  for name, x in config.items():
    if isinstance(x, Mapping) and x:
      flat |= _flatten(x, f'{prefix}{name}.')
    else:
      flat[f'{prefix}{name}'] = json.dumps(x, sort_keys=True)
  return flat


def _git(*arguments: str) -> str | None:
  try:
    done = subprocess.run(
      ['git', *arguments], capture_output=True, text=True, check=True
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()


def _is_dirty() -> bool | None:
  status = _git('status', '--porcelain')
  return None if status is None else bool(status)
