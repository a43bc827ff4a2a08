"""Imports point one way: the table that keeps the house standing."""

import ast
import functools
import pathlib

from absl.testing import absltest

ROOT = pathlib.Path(__file__).parent.parent
ENGINE = {'types', 'kernels', 'models', 'sampling'}
METHODS = ENGINE | {'verifiers', 'search'}
LIBRARY = METHODS | {
  'scaling',
  'strategies',
  'finetuning',
  'tasks',
  'evaluation',
  'benchmarks',
  'envs',
  'agents',
  'metarl',
  'incontext',
  'adaptation',
  'diffusion',
  'experts',
  'io',
}
# What each room may import from, besides itself.
MAY_IMPORT = {
  'types': set(),
  'kernels': set(),
  'models': {'types', 'kernels'},
  'sampling': {'types', 'kernels', 'models'},
  'verifiers': ENGINE,
  'search': ENGINE | {'verifiers'},
  'scaling': METHODS,
  'finetuning': METHODS,
  'strategies': METHODS | {'scaling'},
  'tasks': {'types'},
  'evaluation': {'types'},
  'io': {'types'},
  'benchmarks': {'types', 'tasks', 'evaluation'},
  'envs': {'types', 'models', 'kernels'},
  'agents': {'types', 'models', 'kernels', 'io', 'envs'},
  'metarl': {'types', 'models', 'kernels', 'io', 'envs', 'agents'},
  'incontext': {'types', 'models', 'kernels'},
  'adaptation': ENGINE,
  'diffusion': ENGINE,
  'experts': ENGINE,
  'testbeds': LIBRARY,
  'claims': LIBRARY | {'testbeds'},
  'drivers': LIBRARY | {'testbeds'},
  'scripts': LIBRARY | {'testbeds', 'claims', 'drivers'},
}  # fmt: skip
LONGEST = 80  # lines of a function, its docstring among them
SOURCES = [
  *(p for p in (ROOT / 'ttc').rglob('*.py') if 'kernels' not in p.parts),
  *(ROOT / 'kernels').rglob('*.py'),
  *(ROOT / 'scripts').glob('*.py'),
]


@functools.cache
def parsed(path):
  return ast.parse(path.read_text(encoding='utf-8'))


def room_of(module):
  """`ttc.search.base` -> `search`; None for what is not ours or is `ttc`."""
  parts = module.split('.')
  return parts[1] if parts[0] == 'ttc' and len(parts) > 1 else None


def imported_rooms(path):
  for node in ast.walk(parsed(path)):
    if isinstance(node, ast.Import):
      yield from (room_of(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      if node.module == 'ttc':
        yield from (alias.name for alias in node.names)
      else:
        yield room_of(node.module)


class ArchitectureTest(absltest.TestCase):
  def test_imports_point_one_way(self):
    self.assertGreater(len(SOURCES), 40)
    for path in SOURCES:
      parts = path.relative_to(ROOT).parts
      room = parts[1] if parts[0] == 'ttc' else parts[0]
      room = room.removesuffix('.py')
      if room == '__init__':
        continue
      allowed = MAY_IMPORT[room] | {room, None}
      with self.subTest(str(path.relative_to(ROOT))):
        self.assertLessEqual(set(imported_rooms(path)), allowed)

  def test_every_room_has_a_row(self):
    for path in (ROOT / 'ttc').iterdir():
      if path.suffix == '.py' or (path / '__init__.py').exists():
        if path.stem != '__init__':
          self.assertIn(path.stem, MAY_IMPORT)

  def test_claims_never_import_claims(self):
    of_all = {
      'by_horizon',
      'claim',
      'report',
      'run',
      'store',
    }  # what claims are made with
    for path in (ROOT / 'ttc' / 'claims').glob('*/*.py'):
      for node in ast.walk(parsed(path)):
        if path.name != '__init__.py' and isinstance(node, ast.ImportFrom):
          parts = (node.module or '').split('.')
          if parts[:2] == ['ttc', 'claims']:
            self.assertIn(''.join(parts[2:3]), of_all, str(path))

  def test_scalings_costs_need_only_types(self):
    path = ROOT / 'ttc' / 'scaling' / 'costs.py'
    self.assertLessEqual(set(imported_rooms(path)), {'types', None})

  def test_nothing_imports_scripts_or_configs(self):
    for path in SOURCES:
      for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
          top = (node.module or '').split('.')[0]
          self.assertNotIn(top, ('scripts', 'configs'), str(path))

  def test_no_room_is_called_by_what_has_no_name(self):
    for path in SOURCES:
      self.assertNotIn(path.stem, ('utils', 'util', 'common', 'core', 'misc'))

  def test_functions_are_short(self):
    for path in SOURCES:
      for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
          length = node.end_lineno - node.lineno + 1
          self.assertLessEqual(length, LONGEST, f'{path}: {node.name}')

  def test_kernels_are_linked(self):
    link = ROOT / 'ttc' / 'kernels'
    self.assertTrue(link.is_symlink())
    self.assertEqual(link.resolve(), (ROOT / 'kernels').resolve())


if __name__ == '__main__':
  absltest.main()
