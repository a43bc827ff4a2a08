"""Reproduces claims of papers at small scale, each beside its control.

  python scripts/reproduce.py --claim=best_of_n
  python scripts/reproduce.py --claim=all --room=search
  python scripts/reproduce.py --claim=all --write  # updates docs/claims
  python scripts/reproduce.py --list
  python scripts/reproduce.py --systems  # makes docs/systems.md anew

A claim is a file of ttc/claims/<room>. What it measures is kept below the
workdir for each seed, and what is trained for it too: killed, or asked for more
seeds, it goes on where it was. Intervals are 95%, over problems pooled over
seeds. --size=tiny only shows that a claim runs. The exit code says whether all
hold.
"""

import pathlib

import tqdm
from absl import flags

from ttc import claims
from ttc.claims import report, run, systems
from ttc.drivers import command
from ttc.io import paths
from ttc.testbeds import SIZES

_DOCS = pathlib.Path(__file__).resolve().parent.parent / 'docs'
_CLAIM = flags.DEFINE_list('claim', [], "Names of claims, or 'all'.")
_ROOM = flags.DEFINE_string('room', None, f'One of {", ".join(claims.ROOMS)}.')
_LIST = flags.DEFINE_bool('list', False, 'Name all claims; measure nothing.')
_SYSTEMS = flags.DEFINE_bool('systems', False, 'Only write docs/systems.md.')
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Seeds, 0 up to this.', 1, 1000)
_SIZE = flags.DEFINE_enum('size', 'full', sorted(SIZES), 'Of the beds.')
_WRITE = flags.DEFINE_bool('write', False, 'Update docs/claims.')
_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/claims', 'What was trained and measured.'
)


def main():
  """Runs claims; returns which do not hold."""
  if _SYSTEMS.value:
    return write_systems()
  paths.local_only(_WORKDIR.value, '--workdir')
  asked = ['all'] if _LIST.value else _CLAIM.value
  names = claims.chosen(asked, _ROOM.value)
  if not names:
    raise ValueError('give --claim=NAME, --claim=all or --list')
  if _WRITE.value and _SIZE.value != 'full':
    raise ValueError(f'--write needs --size=full, not {_SIZE.value}')
  if _LIST.value:
    for name in names:
      print(f'{claims.room_of(name)}/{name}: {claims.load(name).says}')
    return None
  failed = []
  total = sum(len(run.seeds_of(name, _SEEDS.value)) for name in names)
  with tqdm.tqdm(total=total, unit='seed', dynamic_ncols=True) as bar:
    for name in names:
      bar.set_description(name)
      if not reproduce(name, bar):
        failed.append(name)
  return f'{", ".join(failed)} did not hold' if failed else None


def reproduce(name, bar):
  """Measures one claim, prints and writes its row; whether it holds."""
  verdict, seconds = run.reproduce(
    name, _SEEDS.value, _SIZE.value, _WORKDIR.value, bar.update
  )
  says = 'holds' if verdict.holds else 'DOES NOT HOLD'
  tqdm.tqdm.write(
    f'{name} {says} ({seconds:.0f} s): {verdict.figure}\n'
    f'  control: {verdict.control}'
  )
  if _WRITE.value:
    claim, room = claims.load(name), claims.room_of(name)
    num_seeds = len(run.seeds_of(name, _SEEDS.value))
    row = report.to_row(name, claim, verdict, seconds, num_seeds)
    report.write_row(_DOCS, room, row)
    report.write_index(_DOCS, list(claims.ROOMS))
    write_systems()
  return verdict.holds


def write_systems():
  """Makes the table of all systems anew from the rows of all claims."""
  rows = {}
  for room in claims.ROOMS:
    rows |= report.read_rows(_DOCS, room)
  systems.write(_DOCS, rows)


if __name__ == '__main__':
  command.run('reproduce', main, resumes=True)
