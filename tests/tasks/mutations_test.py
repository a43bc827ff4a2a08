"""Every operator of mutation testing, and only one edit at a time."""

import ast

import pytest

from ttc.tasks import mutations

SOURCE = '''
def other(x):
  return x + 1

class Tally:
  def run(self, x, y):
    """Adds 1 and 2."""
    total = x + 2
    if x < y and True:
      total -= y
    for _ in range(x):
      break
    return total
'''


def lines_of(source):
  return ast.unparse(ast.parse(source)).splitlines()


def changed(mutant):
  """The lines that differ, as (old, new)."""
  old, new = lines_of(SOURCE), mutant.splitlines()
  assert len(old) == len(new)
  return [
    (a.strip(), b.strip()) for a, b in zip(old, new, strict=True) if a != b
  ]


def test_each_operator_edits_one_place():
  edits = []
  for mutant in mutations.mutants(SOURCE, 'Tally.run', 99, 0, True):
    (edit,) = changed(mutant)
    edits.append(edit)
  assert sorted(edits) == sorted(
    [
      ('total = x + 2', 'total = x - 2'),  # arithmetic
      ('total = x + 2', 'total = x + 3'),  # constants
      ('total = x + 2', 'total = x + 1'),
      ('total = x + 2', 'pass'),  # statements
      ('if x < y and True:', 'if x <= y and True:'),  # comparison
      ('if x < y and True:', 'if x < y or True:'),  # boolean
      ('if x < y and True:', 'if x < y and False:'),
      ('if x < y and True:', 'if not (x < y and True):'),
      ('total -= y', 'total += y'),
      ('total -= y', 'pass'),
      ('break', 'pass'),
      ('return total', 'return None'),  # results
    ]
  )


def test_statements_are_left_alone_unless_asked():
  made = mutations.mutants(SOURCE, 'Tally.run', 99, 0)
  assert len(made) == 8 and all('pass' not in x for x in made)


def test_a_seed_chooses_and_a_number_limits():
  some = [mutations.mutants(SOURCE, 'Tally.run', 3, seed) for seed in range(5)]
  assert all(len(set(made)) == 3 for made in some)
  assert len({tuple(made) for made in some}) > 1
  assert some[2] == mutations.mutants(SOURCE, 'Tally.run', 3, 2)


def test_a_function_that_is_not_there_is_named():
  for name in ('run', 'Tally.walk', 'Other.run'):
    with pytest.raises(ValueError, match=f'no function {name!r}'):
      mutations.mutants(SOURCE, name, 1, 0)
