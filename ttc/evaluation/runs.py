r"""The identity of a run: its configuration, its surroundings and its seeds.

`run.json` is written once, before sampling. Starting again in the same
directory resumes it, and is refused if the configuration has changed.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from ttc.evaluation.records import SCHEMA_VERSION, write_atomically

# Top-level keys of a configuration that change no result.
HARMLESS_KEYS = ('batch_size', 'output_dir', 'verbosity', 'workdir')


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
  model: dict[str, Any] | None = None  # name, checkpoint_step, params_hash, ...
  tokenizer_hash: str | None = None
  dataset: dict[str, Any] | None = None  # name, split, path_sha256, n_items
  schema_version: int = SCHEMA_VERSION


def start_run(
  directory: str | os.PathLike[str],
  config: Mapping[str, Any],
  base_seed: int,
  *,
  dtype: str | None = None,
  model: dict[str, Any] | None = None,
  tokenizer_hash: str | None = None,
  dataset: dict[str, Any] | None = None,
  allow_config_change: bool = False,
) -> RunInfo:
  """Writes `run.json`, or checks that the one there is of the same run.

  With several processes, process 0 calls this before the others.

  Args:
    directory: of the run; made if missing.
    config: fully resolved, of JSON types.
    base_seed: seed of all keys of the run.
    dtype: of the weights.
    model: name, checkpoint_step, params_hash, n_params.
    tokenizer_hash: of the tokenizer's files.
    dataset: name, split, path_sha256, n_items.
    allow_config_change: resume although the configuration differs; the first
      `run.json` stays.

  Returns:
    What `run.json` says.

  Raises:
    ValueError: if the run there has another configuration or seed.
  """
  path = pathlib.Path(directory, 'run.json')
  if path.exists():
    info = read_run(directory)
    changed = _changed_keys(
      {**info.config, 'base_seed': info.base_seed},
      {**config, 'base_seed': base_seed},
    )
    if changed and not allow_config_change:
      raise ValueError(
        f'{path} is of another run: {", ".join(changed)} changed; use another '
        'directory or --allow_config_change'
      )
    return info

  created = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  info = RunInfo(
    run_id=f'{created}-{config_hash(config)[:8]}',
    created_utc=created,
    git_hash=_git('rev-parse', 'HEAD'),
    git_dirty=_is_dirty(),
    argv=sys.argv,
    config=json.loads(json.dumps(dict(config))),
    config_hash=config_hash(config),
    jax_version=jax.__version__,
    backend=jax.default_backend(),
    device_kind=jax.devices()[0].device_kind,
    n_devices=jax.device_count(),
    base_seed=base_seed,
    dtype=dtype,
    model=model,
    tokenizer_hash=tokenizer_hash,
    dataset=dataset,
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  text = json.dumps(dataclasses.asdict(info), indent=2, sort_keys=True)
  write_atomically(path, text.encode() + b'\n')
  return info


def read_run(directory: str | os.PathLike[str]) -> RunInfo:
  """Reads `run.json`."""
  text = pathlib.Path(directory, 'run.json').read_text(encoding='utf-8')
  return RunInfo(**json.loads(text))


def config_hash(config: Mapping[str, Any]) -> str:
  """Hash of what in a configuration can change results.

  Args:
    config: of JSON types; top-level `HARMLESS_KEYS` are left out.

  Returns:
    SHA-256 in hexadecimal; the order of keys does not matter.
  """
  text = json.dumps(_meaningful(config), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def problem_key(base_seed: int, item_id: str) -> PRNGKeyArray:
  """Random key of a problem: `fold_in(key(base_seed), crc32(item_id))`.

  It does not depend on order, batch or which problems were done before. Fold
  the sample index into it for the key of one sample.
  """
  item = np.uint32(zlib.crc32(item_id.encode()))
  return jax.random.fold_in(jax.random.key(base_seed), item)


def sample_seed(base_seed: int, item_id: str, sample_idx: int) -> int:
  """The key of one sample as an integer, for `SampleRecord.seed`."""
  key = jax.random.fold_in(problem_key(base_seed, item_id), sample_idx)
  return int.from_bytes(np.asarray(jax.random.key_data(key), '>u4').tobytes())


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
