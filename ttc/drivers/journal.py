r"""Files of a run that grow line by line, and from which it goes on.

Lines are appended and synced batch by batch; a line cut short by a crash is no
line, everything before it stands. Records (`evaluation.SampleRecord`,
`ScoreRecord`, `SearchRecord`) of several processes go to a shard of each,
`samples-00001-of-00002.jsonl`, which readers see together. Other measurements
are lines `{"what": {...}, ...}`, keyed by what was measured.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ttc.evaluation import records as records_lib
from ttc.evaluation.records import (
  Record,
  SampleRecord,
  ScoreRecord,
  SearchRecord,
)
from ttc.io import files, paths
from ttc.io.paths import AnyPath, as_path

_FILES = {
  SampleRecord: 'samples',
  ScoreRecord: 'scores',
  SearchRecord: 'searches',
}


class Journal:
  """Measurements by what was measured; a second one of the same is refused."""

  def __init__(
    self, path: files.Path, process_index: int = 0, process_count: int = 1
  ):
    """Reads what is there, of all processes.

    Args:
      path: of the file, made by the first `append`.
      process_index: of this process.
      process_count: with more than one, each appends to a shard of its own
        until `merge`.

    Raises:
      ValueError: naming file and line of what no journal writes.
    """
    self.path = as_path(path)
    self._own = self.path
    if process_count > 1:
      self._own = self.path.with_name(
        _shard_name(self.path.stem, process_index, process_count)
      )
    self._lines: dict[str, dict[str, Any]] = {}
    for shard in _shards_of(self.path):
      for number, text in enumerate(files.read_lines(shard), start=1):
        line = _parse(text, f'{shard}:{number}')
        self._lines.setdefault(files.to_json(line['what']), line)

  def __contains__(self, what: Mapping[str, Any]) -> bool:
    """Whether it has been measured."""
    return files.to_json(what) in self._lines

  def __getitem__(self, what: Mapping[str, Any]) -> dict[str, Any]:
    """The line of what was measured; KeyError if it was not."""
    return self._lines[files.to_json(what)]

  def lines(self) -> list[dict[str, Any]]:
    """All lines in the order they were written."""
    return list(self._lines.values())

  def append(self, what: Mapping[str, Any], **measured: Any) -> None:
    """Writes a line and waits until it is on disk.

    Args:
      what: was measured, of JSON types; the key of the line.
      **measured: of JSON types.

    Raises:
      ValueError: if it had been measured.
    """
    if what in self:
      raise ValueError(f'{self.path}: {what} was measured twice')
    text = files.to_json({'what': dict(what), **measured})
    files.append_lines(self._own, [text])
    line = json.loads(text)
    self._lines[files.to_json(line['what'])] = line

  def merge(self) -> None:
    """Replaces the shards of all processes by one file, as `merge_shards`."""
    shards = _shards_of(self.path)
    if shards in ([], [self.path]):
      return
    self._lines = Journal(self.path)._lines
    texts = [files.to_json(line) + '\n' for line in self._lines.values()]
    files.write_atomically(self.path, ''.join(texts))
    for shard in shards:
      if shard != self.path:
        paths.unlink(shard)


def append_records(
  directory: files.Path,
  records: Iterable[SampleRecord]
  | Iterable[ScoreRecord]
  | Iterable[SearchRecord],
  *,
  process_index: int = 0,
  process_count: int = 1,
) -> None:
  """Appends a batch of records of one kind and waits until it is on disk.

  Args:
    directory: of the run.
    records: all of one kind.
    process_index: of this process.
    process_count: with more than one, each appends to a shard of its own.

  Raises:
    ValueError: for two kinds.
    OSError: naming the file that could not be written.
  """
  batch = list(records)
  if not batch:
    return
  stem = _FILES[type(batch[0])]
  if any(_FILES[type(record)] != stem for record in batch):
    raise ValueError('one call appends records of one kind')
  name = f'{stem}.jsonl'
  if process_count > 1:
    name = _shard_name(stem, process_index, process_count)
  lines = [_to_line(record) for record in batch]
  files.append_lines(as_path(directory) / name, lines)


def read_records(directory: files.Path, kind: type[Record]) -> list[Record]:
  """Reads the records of a run from all its shards, in file order.

  A record that is there twice counts once.

  Args:
    directory: of the run.
    kind: of the records.

  Returns:
    The records; none if nothing was written yet.

  Raises:
    ValueError: naming file, line and field of a corrupt record, or the key of
      two records that contradict each other.
  """
  found: dict[tuple[str | int, ...], Record] = {}
  for path in _shards(directory, kind):
    for number, line in enumerate(files.read_lines(path), start=1):
      try:
        record = records_lib.from_fields(json.loads(line), kind)
      except ValueError as error:
        raise ValueError(f'{path}:{number}: corrupt record: {error}') from None
      first = found.setdefault(record.key, record)
      if first is not record and not _agree(first, record):
        raise ValueError(f'{path}:{number}: contradicts {record.key}')
  return list(found.values())


def recorded_keys(
  directory: files.Path, kind: type[Record]
) -> set[tuple[str | int, ...]]:
  """Keys of the records that a resumed run need not produce again."""
  return {record.key for record in read_records(directory, kind)}


def merge_shards(directory: files.Path, kind: type[Record]) -> AnyPath:
  """Replaces all shards by one file sorted by key.

  The new file appears at once or not at all; a crash before the shards are
  deleted leaves duplicates, which readers accept.

  Args:
    directory: of the run.
    kind: of the records.

  Returns:
    The path of the file.
  """
  shards = _shards(directory, kind)
  records = sorted(read_records(directory, kind), key=lambda r: r.key)
  path = as_path(directory) / f'{_FILES[kind]}.jsonl'
  lines = [_to_line(record) + '\n' for record in records]
  files.write_atomically(path, ''.join(lines))
  for shard in shards:
    if shard != path:
      paths.unlink(shard)
  return path


def _to_line(record: SampleRecord | ScoreRecord | SearchRecord) -> str:
  return files.to_json(records_lib.to_fields(record))


def _agree(first: Record, second: Record) -> bool:
  """Whether two records are of the same response."""
  return records_lib.canonical([first]) == records_lib.canonical([second])


def _parse(text: str, where: str) -> dict[str, Any]:
  """A line of a journal; ValueError naming the place of another one."""
  try:
    line = json.loads(text)
    if not isinstance(line, dict) or not isinstance(line['what'], dict):
      raise ValueError("an object with an object 'what' was expected")
  except (ValueError, KeyError) as error:
    raise ValueError(f'{where}: corrupt line: {error}') from None
  return line


def _shards(directory: files.Path, kind: type[Record]) -> list[AnyPath]:
  return _shards_of(as_path(directory) / f'{_FILES[kind]}.jsonl')


def _shards_of(whole: AnyPath) -> list[AnyPath]:
  """The file and the shards beside it, as far as they are there."""
  shards = paths.find(whole.parent, f'{whole.stem}-*-of-*.jsonl')
  return [whole, *shards] if paths.exists(whole) else shards


def _shard_name(stem: str, process_index: int, process_count: int) -> str:
  return f'{stem}-{process_index:05d}-of-{process_count:05d}.jsonl'
