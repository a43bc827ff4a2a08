"""Reproduces claims of papers at small scale, each beside its control.

  python scripts/reproduce.py --claim=best_of_n
  python scripts/reproduce.py --claim=all --write  # updates docs/claims.md

A claim is a file in scripts/claims whose function `reproduce` returns a row of
the table. Intervals are 95%, over problems pooled over seeds.
"""

import importlib
import pathlib
import sys
import time

from absl import app, flags, logging

from ttc import io

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_NAMES = sorted(
  path.stem
  for path in (_ROOT / 'scripts' / 'claims').glob('*.py')
  if 'def reproduce(' in path.read_text(encoding='utf-8')
)
_CLAIM = flags.DEFINE_string(
  'claim', None, f"One of {', '.join(_NAMES)}, or 'all'."
)
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Seeds, 0 up to this.', 1)
_WRITE = flags.DEFINE_bool('write', False, 'Update docs/claims.md.')
flags.DEFINE_string('workdir', 'runs/claims', 'Trained models.')
flags.mark_flag_as_required('claim')

_HEADER = """# Claims

Every figure is made by its command, on two CPU cores; accuracies in percent
with 95% intervals over problems, three seeds. A claim that does not hold here
says so.

| system | claim | our figure | control | command | seconds |
|---|---|---|---|---|---|
"""


def write_row(path, command, row, seconds):
  """Replaces the row of a command in the table, or appends it."""
  text = path.read_text() if path.exists() else _HEADER
  verdict = '' if row.holds else '**does not hold**: '
  cells = [row.system, row.claim, verdict + row.figure, row.control]
  cells = [cell.replace('|z|', 'z') for cell in cells]
  line = f'| {" | ".join(cells)} | `{command}` | {seconds:.0f} |'
  lines = text.splitlines()
  places = [i for i, old in enumerate(lines) if f'| `{command}` |' in old]
  if places:
    lines[places[0]] = line
  else:
    lines.append(line)
  path.parent.mkdir(exist_ok=True)
  path.write_text('\n'.join(lines) + '\n')


def main(argv):
  """Runs one claim, or all."""
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
  io.enable_compilation_cache()
  if len(argv) > 1:
    sys.exit(f'reproduce: unexpected argument {argv[1]!r}')
  names = _NAMES if _CLAIM.value == 'all' else [_CLAIM.value]
  if unknown := set(names) - set(_NAMES):
    sys.exit(f'reproduce: no claim {unknown.pop()!r}; there are {_NAMES}')
  failed = []
  for name in names:
    start = time.perf_counter()
    row = importlib.import_module(f'claims.{name}').reproduce(_SEEDS.value)
    seconds = time.perf_counter() - start
    verdict = 'holds' if row.holds else 'DOES NOT HOLD'
    print(
      f'{name} {verdict} ({seconds:.0f} s): {row.figure}\n'
      f'  control: {row.control}',
      flush=True,
    )
    if not row.holds:
      failed.append(name)
    if _WRITE.value:
      command = f'python scripts/reproduce.py --claim={name}'
      write_row(_ROOT / 'docs' / 'claims.md', command, row, seconds)
  if failed:
    sys.exit(f'reproduce: {", ".join(failed)} did not hold')


if __name__ == '__main__':
  app.run(main)
