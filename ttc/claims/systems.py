"""The table of all systems: paper, file, script, cost, verdict and a figure.

Which systems there are, `docs/systems.tsv` says. Verdicts and figures come from
the rows that `scripts/reproduce.py --write` keeps, costs from docstrings.
"""

import ast
import csv
import pathlib
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ttc import claims
from ttc.claims import report
from ttc.io import files

_HEAD = """# Systems

What is in the library, by family. A verdict is that of the claims measured at
small scale beside their controls ([claims.md](claims.md)); where there is none
the row says why, and the system is tested against closed forms, enumeration or
the released code. What runs a system is `python scripts/NAME.py --help`, or its
claim alone, `python scripts/reproduce.py --claim=NAME`.

Made by `scripts/reproduce.py --systems` from the code and its claims.
"""
_COST = re.compile(r'\bCosts? (.+?)(?:[;:]|\.(?=\s+[A-Z]|$))', re.DOTALL)
_COLUMNS = '| system | file | script | costs | verdict | figure |\n'


class System(NamedTuple):
  """One system.

  Attributes:
    family: of systems that stand together.
    system: its name.
    papers: arXiv ids, apart by spaces.
    file: where it is, a file or a folder below the repository.
    script: what runs it.
    claims: names of the claims that measure it, apart by spaces.
    because: of a system without one, in a sentence: why there is none here.
  """

  family: str
  system: str
  papers: str
  file: str
  script: str
  claims: str
  because: str


def read(directory: pathlib.Path) -> list[System]:
  """The systems that the documents of a directory name."""
  with open(directory / 'systems.tsv', encoding='utf-8', newline='') as file:
    return [System(**row) for row in csv.DictReader(file, delimiter='\t')]


def write(directory: pathlib.Path, rows: Mapping[str, report.Row]) -> None:
  """Makes `systems.md` anew.

  Args:
    directory: of the documents.
    rows: of all claims, by name.
  """
  text = document(read(directory), rows, directory.parent)
  files.write_atomically(directory / 'systems.md', text)


def document(
  systems: Iterable[System],
  rows: Mapping[str, report.Row],
  root: pathlib.Path,
) -> str:
  """The text of `systems.md`; `root` is the folder that files are below."""
  systems = list(systems)
  parts, family = [_HEAD, tally(systems, rows)], None
  for system in systems:
    if system.family != family:
      family = system.family
      parts.append(f'\n## {family}\n\n{_COLUMNS}|{"---|" * 6}\n')
    found = [rows[name] for name in system.claims.split() if name in rows]
    links = [
      f'[{system.system}](https://arxiv.org/abs/{paper})'
      if i == 0
      else f'[{paper}](https://arxiv.org/abs/{paper})'
      for i, paper in enumerate(system.papers.split())
    ]
    cells = (
      ', '.join(links) or system.system,
      f'[{pathlib.PurePath(system.file).name}](../{system.file})',
      system.script,
      report.cell(cost(root / system.file)),
      ', '.join(map(verdict, found))
      or f'by tests: {report.cell(system.because)}',
      report.cell(report.first_figure(found[0].figure)) if found else '',
    )
    parts.append(f'| {" | ".join(cells)} |\n')
  return ''.join(parts)


def tally(systems: Sequence[System], rows: Mapping[str, report.Row]) -> str:
  """How many systems have claims that all hold, and who says why not."""
  found = [
    [rows[name].holds for name in system.claims.split() if name in rows]
    for system in systems
  ]
  hold, some, none = (
    sum(map(of_system, found))
    for of_system in (
      lambda x: bool(x) and all(x),
      lambda x: any(x) and not all(x),
      lambda x: bool(x) and not any(x),
    )
  )
  said = (
    f'Of {len(systems)} systems {hold} have claims that all hold with their '
    f'controls, {some} some that hold and some that do not, {none} only such '
    f'as do not, and {len(systems) - hold - some - none} have none. Each row '
    'without a claim that holds says why.'
  )
  return f'\n{textwrap.fill(said, 80)}\n'


def verdict(row: report.Row) -> str:
  """The verdict of a claim, which leads to it."""
  says = 'holds' if row.holds else '**does not hold**'
  return f'[{says}](claims/{claims.room_of(row.name)}.md#{row.name})'


def cost(path: pathlib.Path) -> str:
  """What a file says that its system costs; empty if it says nothing.

  The first clause of its docstrings that begins with "Cost". Of a folder, that
  of its files in turn.
  """
  paths = sorted(path.glob('*.py')) if path.is_dir() else [path]
  for node in (n for p in paths for n in ast.walk(ast.parse(p.read_text()))):
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      continue
    found = _COST.search(ast.get_docstring(node) or '')
    if found:
      return ' '.join(found[1].split())
  return ''
