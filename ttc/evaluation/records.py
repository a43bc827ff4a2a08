r"""What a run leaves behind: one JSON line per (item, sample).

The key of a record is the pair (item, sample index), never the prompt, so `n`
samples of an item stay `n` samples. Raw completions are kept, so that every
metric can be computed again without sampling. Files are the business of
`ttc.drivers`.
"""

import dataclasses
import json
import os
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleRecord:
  """One response; a line of `samples.jsonl`. None is not written."""

  item_id: str
  sample_idx: int
  seed: int  # see `runs.sample_seed`
  prompt_hash: str
  prompt_tokens: int
  completion_tokens: int
  completion: str
  finish_reason: Literal['stop', 'length', 'budget', 'error']
  sum_logprob: float  # nats, over the completion's tokens
  mean_logprob: float
  token_logprobs: list[float] | None = None
  verifier_scores: dict[str, float] | None = None
  step_scores: list[float] | None = None
  parent_id: str | None = None  # for trees, beams and turns
  turn: int = 0
  wall_s: float | None = None  # seconds
  flops_est: float | None = None
  kv_bytes_est: float | None = None
  meta: dict[str, Any] | None = None

  @property
  def key(self) -> tuple[str, int]:
    """What identifies the record."""
    return self.item_id, self.sample_idx


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreRecord:
  """What a grader said of a response; a line of `scores.jsonl`."""

  item_id: str
  sample_idx: int
  grader: str
  grader_version: str
  extracted: str | None = None  # the answer that was graded
  score: float
  detail: str | None = None
  cluster_id: str | None = None
  category: list[str] = dataclasses.field(default_factory=list)
  parts: dict[str, float] | None = None  # named figures beside the score

  @property
  def key(self) -> tuple[str | int, ...]:
    """What identifies the record; a response may have several graders."""
    return self.item_id, self.sample_idx, self.grader


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchRecord:
  """What a method that steers decoding did; a line of `searches.jsonl`."""

  item_id: str
  method: str  # with its verifier, as it was asked for: `mcts:log_prob`
  budget: int  # in whole responses
  seed: int  # of the problem
  prompt_hash: str
  prompt_tokens: int
  answer: str | None = None  # that it settled on, as the grader extracts it
  score: float  # what the grader says of the first response that gave it
  grader: str
  grader_version: str
  tokens: int  # generated in total, discarded ones included
  depth: int  # generated one after another
  verifier_calls: int
  nan_scores: int
  flops_est: float  # of the generated tokens
  verifier_flops_est: float
  leaves: list[dict[str, Any]]  # see `draw_searches.leaf_fields`

  @property
  def key(self) -> tuple[str | int, ...]:
    """What identifies the record."""
    return self.item_id, self.method, self.budget


Record = TypeVar('Record', bound=SampleRecord | ScoreRecord | SearchRecord)

_WALL_CLOCK = ('wall_s',)
# How files spell the numbers that JSON lacks.
_NAMED = ('NaN', 'Infinity', '-Infinity')


def to_fields(
  record: SampleRecord | ScoreRecord | SearchRecord,
) -> dict[str, Any]:
  """The fields of a record that say something, of JSON types."""
  fields = dataclasses.asdict(record)
  return {name: x for name, x in fields.items() if x is not None}


def from_fields(fields: Any, kind: type[Record]) -> Record:
  """A record from what a file says of it.

  Args:
    fields: the object of a line; numbers that JSON lacks are the strings 'NaN',
      'Infinity' and '-Infinity'.
    kind: of record.

  Returns:
    The record.

  Raises:
    ValueError: naming the field that is missing, unknown or of another type.
  """
  if not isinstance(fields, dict):
    raise ValueError(f'a record is an object, not {type(fields).__name__}')
  known = {field.name: field for field in dataclasses.fields(kind)}
  hints = typing.get_type_hints(kind)
  if unknown := sorted(set(fields) - set(known)):
    raise ValueError(f'field {unknown[0]!r} is not one of {sorted(known)}')
  values = {}
  for name, field in known.items():
    if name in fields:
      values[name] = _read(name, fields[name], hints[name])
    elif (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    ):
      raise ValueError(f'field {name!r} is missing')
  return kind(**values)


def canonical(records: Iterable[Record]) -> bytes:
  """The part of the records that a rerun must reproduce, as sorted lines.

  Args:
    records: in any order.

  Returns:
    JSON lines sorted by key, without wall-clock fields.
  """
  timeless = dict.fromkeys(_WALL_CLOCK)
  lines = []
  for record in sorted(records, key=lambda r: r.key):
    if isinstance(record, SampleRecord):
      record = dataclasses.replace(record, **timeless)
    lines.append(json.dumps(to_fields(record), sort_keys=True) + '\n')
  return ''.join(lines).encode()


def write_parquet(
  records: Iterable[Record], path: str | os.PathLike[str]
) -> None:
  """Writes records to a parquet file; dictionaries become JSON strings.

  Args:
    records: of one kind, at least one.
    path: of the file.
  """
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError as error:
    message = 'write_parquet needs pyarrow: pip install pyarrow'
    raise ImportError(message) from error

  def column(name):
    values = [getattr(record, name) for record in rows]
    if any(isinstance(x, dict) for x in values):
      values = [x and json.dumps(x, sort_keys=True) for x in values]
    wide = pyarrow.uint64() if name == 'seed' else None
    return pyarrow.array(values, type=wide)

  rows = list(records)
  names = [field.name for field in dataclasses.fields(rows[0])]
  table = pyarrow.table({name: column(name) for name in names})
  parquet.write_table(table, os.fspath(path))


def _read(name: str, value: Any, hint: Any) -> Any:
  """The value of a field, of the type that the field declares."""
  if typing.get_origin(hint) is types.UnionType:  # `X | None`
    hint, _ = typing.get_args(hint)
    if value is None:
      return None
  if hint is float and isinstance(value, str) and value in _NAMED:
    return float(value)
  origin, arguments = typing.get_origin(hint), typing.get_args(hint)
  if origin is Literal:
    right = value in arguments
  elif origin is list:
    if right := isinstance(value, list):
      value = [_read(name, x, arguments[0]) for x in value]
  elif origin is dict:
    right = isinstance(value, dict)
    if isinstance(value, dict) and arguments[1] is float:
      value = {k: _read(name, x, float) for k, x in value.items()}
  elif hint is float:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    value = float(value) if right else value
  else:
    right = type(value) is hint
  if not right:
    expected = getattr(hint, '__name__', str(hint))
    if origin is not None:
      expected = str(hint).replace('typing.', '')
    raise ValueError(f'field {name!r} is {value!r}, not of {expected}')
  return value
