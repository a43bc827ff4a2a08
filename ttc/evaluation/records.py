r"""What a run leaves behind: one JSON line per (item, sample), safe to resume.

Lines are appended and synced batch by batch; a line cut short by a crash is
dropped, everything before it stands. Each process writes a shard of its own,
`samples-00001-of-00002.jsonl`; readers see all shards. The key of a record is
the pair (item, sample index), never the prompt, so `n` samples of an item stay
`n` samples. Raw completions are kept, so that every metric can be computed
again without sampling.
"""

import dataclasses
import json
import os
import pathlib
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
  def key(self) -> tuple[str | int, ...]:
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

  @property
  def key(self) -> tuple[str | int, ...]:
    """What identifies the record; a response may have several graders."""
    return self.item_id, self.sample_idx, self.grader


Record = TypeVar('Record', SampleRecord, ScoreRecord)

_FILES = {SampleRecord: 'samples', ScoreRecord: 'scores'}
_WALL_CLOCK = ('wall_s',)


def append_records(
  directory: str | os.PathLike[str],
  records: Iterable[SampleRecord] | Iterable[ScoreRecord],
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> None:
  """Appends a batch of records of one kind and waits until it is on disk.

  A line that an earlier crash cut short is removed from the file first.

  Args:
    directory: of the run.
    records: all `SampleRecord` or all `ScoreRecord`.
    process_index: of this process.
    process_count: with more than one, each appends to a shard of its own.
  """
  batch = list(records)
  if not batch:
    return
  stem = _FILES[type(batch[0])]
  if any(_FILES[type(record)] != stem for record in batch):
    raise ValueError('one call appends records of one kind')
  name = f'{stem}.jsonl'
  if process_count > 1:
    name = f'{stem}-{process_index:05d}-of-{process_count:05d}.jsonl'
  path = pathlib.Path(directory, name)
  _drop_truncated_line(path)
  with path.open('ab') as file:
    file.write(b''.join(_to_line(record) for record in batch))
    file.flush()
    os.fsync(file.fileno())


def read_records(
  directory: str | os.PathLike[str], kind: type[Record]
) -> list[Record]:
  """Reads the records of a run from all its shards, in file order.

  A truncated last line is ignored. A record that is there twice counts once.

  Args:
    directory: of the run.
    kind: `SampleRecord` or `ScoreRecord`.

  Returns:
    The records; none if nothing was written yet.

  Raises:
    ValueError: naming file and line of a corrupt record, or the key of two
      records that contradict each other.
  """
  found: dict[tuple[str | int, ...], Record] = {}
  for path in _shards(directory, kind):
    *lines, _ = path.read_bytes().split(b'\n')  # the last ends in no newline
    for number, line in enumerate(lines, start=1):
      try:
        record = kind(**json.loads(line))
      except (TypeError, ValueError) as error:
        raise ValueError(f'{path}:{number}: corrupt record: {error}') from None
      first = found.setdefault(record.key, record)
      if first is not record and canonical([first]) != canonical([record]):
        raise ValueError(f'{path}:{number}: contradicts {record.key}')
  return list(found.values())


def recorded_keys(
  directory: str | os.PathLike[str], kind: type[Record]
) -> set[tuple[str | int, ...]]:
  """Keys of the records that a resumed run need not produce again."""
  return {record.key for record in read_records(directory, kind)}


def merge_shards(
  directory: str | os.PathLike[str], kind: type[Record]
) -> pathlib.Path:
  """Replaces all shards by one file sorted by key.

  The new file appears at once or not at all; a crash before the shards are
  deleted leaves duplicates, which readers accept.

  Args:
    directory: of the run.
    kind: `SampleRecord` or `ScoreRecord`.

  Returns:
    The path of `samples.jsonl` or `scores.jsonl`.
  """
  shards = _shards(directory, kind)
  records = sorted(read_records(directory, kind), key=lambda r: r.key)
  path = pathlib.Path(directory, f'{_FILES[kind]}.jsonl')
  write_atomically(path, b''.join(_to_line(record) for record in records))
  for shard in shards:
    if shard != path:
      shard.unlink()
  return path


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
    lines.append(_to_line(record))
  return b''.join(lines)


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


def write_atomically(path: pathlib.Path, content: bytes) -> None:
  """Writes a file so that readers see all of it or none."""
  draft = path.with_name(path.name + '.tmp')
  with draft.open('wb') as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  draft.replace(path)


def _to_line(record: SampleRecord | ScoreRecord) -> bytes:
  fields = dataclasses.asdict(record)
  present = {name: x for name, x in fields.items() if x is not None}
  return json.dumps(present, sort_keys=True).encode() + b'\n'


def _shards(
  directory: str | os.PathLike[str], kind: type[Record]
) -> list[pathlib.Path]:
  stem = _FILES[kind]
  whole = pathlib.Path(directory, f'{stem}.jsonl')
  shards = sorted(pathlib.Path(directory).glob(f'{stem}-*-of-*.jsonl'))
  return [whole, *shards] if whole.exists() else shards


def _drop_truncated_line(path: pathlib.Path) -> None:
  """Cuts the file after its last newline."""
  if not path.exists():
    return
  with path.open('rb+') as file:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
      start = max(0, end - 4096)
      file.seek(start)
      newline = file.read(end - start).rfind(b'\n')
      if newline >= 0:
        end = start + newline + 1
        break
      end = start
    file.truncate(end)
