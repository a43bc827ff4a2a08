"""What was found, as JSON by room, and as documents made from it."""

import json
import pathlib
from typing import NamedTuple

from ttc.claims.claim import Claim, Verdict
from ttc.io import files

_INDEX = """# Claims

What papers claim, at small scale, each beside its control. Every figure is made
by `python scripts/reproduce.py --claim=NAME`, on two CPU cores; accuracies in
percent with 95% intervals over problems, three seeds. A claim that does not
hold here says so. The link leads to all figures, controls and intervals.

| system | claim | verdict | figure | seconds | more |
|---|---|---|---|---|---|
"""


class Row(NamedTuple):
  """What the documents say of a claim."""

  name: str
  system: str
  paper: str
  claim: str
  figure: str
  control: str
  holds: bool
  seconds: float
  num_seeds: int
  history: str = ''
  because: str = ''


def to_row(
  name: str, claim: Claim, verdict: Verdict, seconds: float, num_seeds: int
) -> Row:
  """The row of a claim that was judged."""
  return Row(
    name,
    claim.system,
    claim.paper,
    claim.says,
    *verdict,
    seconds=round(seconds, 1),
    num_seeds=num_seeds,
    history=claim.history,
    because='' if verdict.holds else claim.because,
  )


def read_rows(directory: pathlib.Path, room: str) -> dict[str, Row]:
  """The rows of a room, by name."""
  path = directory / 'claims' / f'{room}.json'
  if not path.exists():
    return {}
  rows = json.loads(path.read_text(encoding='utf-8'))
  return {row['name']: Row(**row) for row in rows}


def write_row(directory: pathlib.Path, room: str, row: Row) -> None:
  """Puts a row in place of the old one, and makes the room's document anew.

  Args:
    directory: of the documents; rows are in its folder `claims`.
    room: of the claim.
    row: of the claim.
  """
  rows = read_rows(directory, room) | {row.name: row}
  rows = [rows[name] for name in sorted(rows)]
  optional = Row._field_defaults
  filled = [
    {k: x for k, x in r._asdict().items() if k not in optional or x}
    for r in rows
  ]
  text = json.dumps(filled, indent=2) + '\n'
  files.write_atomically(directory / 'claims' / f'{room}.json', text)
  files.write_atomically(
    directory / 'claims' / f'{room}.md', room_document(room, rows)
  )


def write_index(directory: pathlib.Path, rooms: list[str]) -> None:
  """Makes the index of all rooms anew.

  What scripts measured of speed, `claims/speed.md`, stands at its end.
  """
  speed = directory / 'claims' / 'speed.md'
  rows = (
    index_line(room, row)
    for room in rooms
    for row in read_rows(directory, room).values()
  )
  files.write_atomically(
    directory / 'claims.md',
    ''.join(
      [
        _INDEX,
        *rows,
        '\n' + speed.read_text(encoding='utf-8') if speed.exists() else '',
      ]
    ),
  )


def index_line(room: str, row: Row) -> str:
  """One line of the index."""
  verdict = 'holds' if row.holds else '**does not hold**'
  verdict += f': {row.because}' if row.because else ''
  cells = row.system, row.claim, verdict, first_figure(row.figure)
  link = f'[{row.name}](claims/{room}.md#{row.name})'
  return f'| {" | ".join(map(cell, cells))} | {row.seconds:.0f} | {link} |\n'


def room_document(room: str, rows: list[Row]) -> str:
  """All that was found in a room."""
  parts = [f'# Claims of {room}\n\nMade by `scripts/reproduce.py --write`.\n']
  for row in rows:
    verdict = 'holds' if row.holds else '**does not hold**'
    because = f'Why not: {row.because}.\n\n' if row.because else ''
    before = f'Before: {row.history}.\n\n' if row.history else ''
    parts.append(
      f'\n## {row.name}\n\n'
      f'{row.system}; [{row.paper}](https://arxiv.org/abs/{row.paper})\n\n'
      f'Claim, which {verdict}: {row.claim}.\n\n'
      f'- {row.figure}\n\nControl:\n\n- {row.control}\n\n'
      f'{because}{before}'
      f'`python scripts/reproduce.py --claim={row.name}`, {row.num_seeds} '
      f'seeds, {row.seconds:.0f} seconds\n'
    )
  return ''.join(parts)


def first_figure(text: str, most: int = 100) -> str:
  """What stands before the first semicolon, cut between words."""
  first = text.split('; ')[0]
  if len(first) <= most:
    return first
  return first[:most].rsplit(' ', 1)[0].rstrip(',:') + ' ...'


def cell(text: str) -> str:
  """Text that does not end a cell of a table."""
  return text.replace('|z|', 'z').replace('|', '\\|')
