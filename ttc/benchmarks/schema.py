"""Published schemas as data, and files that are checked against them.

A schema is a tuple of `Field`s. `from_records` makes the loader of a benchmark:
every record of a JSONL, JSON or CSV file is checked before anything is
computed, and what is wrong is one line that names file, place, field and what
was expected.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from ttc.tasks import Item
from ttc.tasks.data_files import read_table, shorten

Record: TypeAlias = Mapping[str, Any]
LoadFn: TypeAlias = Callable[[str | os.PathLike[str]], list[Item]]

# What a field may hold, in words.
KINDS = {
  str: 'text',
  int: 'whole number',
  float: 'number',
  bool: 'true or false',
  list: 'list',
  dict: 'object',
  object: 'anything',
}


class Field(NamedTuple):
  """One field of a published record.

  Attributes:
    name: of the column.
    kind: str, int, float, bool, list, dict or object, which is anything; a CSV
      file has texts only.
    of: what a list or an object holds, if all of one kind.
    allowed: the values that it may have; any where empty.
    optional: may be missing or null.
    empty: a text may be empty.
  """

  name: str
  kind: type = str
  of: type | None = None
  allowed: tuple[Any, ...] = ()
  optional: bool = False
  empty: bool = False

  def __str__(self) -> str:
    """As it is printed, `targets: list of text`."""
    said = KINDS[self.kind] + (f' of {KINDS[self.of]}' if self.of else '')
    if self.allowed:
      said = ' | '.join(map(str, self.allowed))
    return f'{self.name}{"?" if self.optional else ""}: {said}'


Schema: TypeAlias = tuple[Field, ...]


def from_records(
  schema: Schema, to_item: Callable[[Record], Item | Sequence[Item]]
) -> LoadFn:
  """The loader of a benchmark of which a record is an item, or several.

  Args:
    schema: of the records.
    to_item: of a record that has the schema; raises `ValueError`, naming the
      field, at what the schema does not say, such as a gold answer that does
      not parse.

  Returns:
    `load(path)`, which raises `ValueError` with file, line or record, field
    and what was expected, also at two records of one key.
  """

  def load(path: str | os.PathLike[str]) -> list[Item]:
    found: dict[str, Item] = {}

    def check(record: Record) -> None:
      check_record(schema, record)
      made = to_item(record)
      for item in [made] if isinstance(made, Item) else made:
        if item.id in found:
          raise ValueError(f'the key {item.id!r} is that of an earlier record')
        found[item.id] = item

    read_table(path, check)
    return list(found.values())

  return load


def check_record(schema: Schema, record: Record) -> None:
  """Raises `ValueError` at the first field that is not of the schema."""
  missing = [
    f.name for f in schema if not f.optional and record.get(f.name) is None
  ]
  if missing:
    raise ValueError(
      f'field {missing[0]!r} is missing; expected '
      f'{", ".join(str(field) for field in schema)}; found {sorted(record)}'
    )
  for field in schema:
    value = record.get(field.name)
    if value is not None and not _fits(field, value):
      raise ValueError(
        f'field {field.name!r} is {shorten(value)}; expected {field}'
      )


def _fits(field: Field, value: Any) -> bool:
  if not _is(field.kind, value):
    return False
  if field.kind is str and not field.empty and not value.strip():
    return False
  if field.allowed and value not in field.allowed:
    return False
  inner = value.values() if isinstance(value, dict) else value
  return field.of is None or all(_is(field.of, x) for x in inner)


def _is(kind: type, value: Any) -> bool:
  if kind is object:
    return True
  if kind is float:
    return isinstance(value, int | float) and not isinstance(value, bool)
  return isinstance(value, kind) and (
    kind is bool or not isinstance(value, bool)
  )
