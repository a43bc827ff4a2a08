"""The table of systems says what there is."""

import itertools
import pathlib

from ttc import claims
from ttc.claims import report, systems

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = systems.read(ROOT / 'docs')


def test_files_and_scripts_exist():
  for system in SYSTEMS:
    assert (ROOT / system.file).exists(), system.file
    assert (ROOT / 'scripts' / f'{system.script}.py').exists(), system.script


def test_every_claim_is_of_a_system():
  named = {name for system in SYSTEMS for name in system.claims.split()}
  assert named == set(claims.NAMES)


def test_every_system_has_a_claim_or_says_why_not():
  for system in SYSTEMS:
    assert bool(system.claims) != bool(system.because.strip()), system.system
    assert not system.because.endswith('.'), system.system


def test_no_system_stands_twice_and_families_stand_together():
  assert len({system.system for system in SYSTEMS}) == len(SYSTEMS)
  families = [system.family for system in SYSTEMS]
  changes = sum(a != b for a, b in itertools.pairwise(families))
  assert changes == len(set(families)) - 1


def test_the_document_is_up_to_date():
  rows = {}
  for room in claims.ROOMS:
    rows |= report.read_rows(ROOT / 'docs', room)
  written = (ROOT / 'docs' / 'systems.md').read_text(encoding='utf-8')
  assert written == systems.document(SYSTEMS, rows, ROOT)


def test_systems_are_counted_by_their_verdicts():
  row = report.Row('', '', '', '', '', '', holds=True, seconds=0, num_seeds=1)
  rows = {'a': row, 'b': row._replace(holds=False)}
  system = SYSTEMS[0]._replace(because='')
  named = [system._replace(claims=x) for x in ('a', 'a', 'a b', 'b', '')]
  said = systems.tally(named, rows)
  numbers = [int(x) for x in said.split() if x.isdigit()]
  assert numbers == [5, 2, 1, 1, 1]


def test_cost_is_the_clause_of_a_docstring(tmp_path):
  path = tmp_path / 'one.py'
  path.write_text(
    '"""A method.\n\nCosts `N T` tokens (eq. 3 of the\npaper). It is good."""\n'
  )
  assert systems.cost(path) == '`N T` tokens (eq. 3 of the paper)'
  path.write_text('"""Its cost is not said."""\n')
  assert systems.cost(path) == ''
