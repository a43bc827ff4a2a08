"""Imports point one way: the table that keeps the house standing."""

import ast
import pathlib

from absl.testing import absltest

ROOT = pathlib.Path(__file__).parent.parent
# What each room may import from, besides itself.
MAY_IMPORT = {
  'types': set(),
  'kernels': set(),
  'models': {'types', 'kernels'},
  'sampling': {'types', 'kernels', 'models'},
  'verifiers': {'types', 'kernels', 'models', 'sampling'},
  'search': {'types', 'kernels', 'models', 'sampling', 'verifiers'},
  'scaling': {
    'types', 'kernels', 'models', 'sampling', 'verifiers', 'search',
  },
  'finetuning': {
    'types', 'kernels', 'models', 'sampling', 'verifiers', 'search',
  },
  'strategies': {
    'types', 'kernels', 'models', 'sampling', 'verifiers', 'search', 'scaling',
  },
  'envs': {'types'},
  'metarl': {'types', 'envs', 'models', 'kernels'},
  'adaptation': {'types', 'models', 'kernels'},
  'diffusion': {'types', 'models', 'kernels'},
  'experts': {'types', 'models', 'kernels'},
  'tasks': {'types'},
  'evaluation': {'types'},
  'io': {'types'},
}  # fmt: skip
SOURCES = [
  *(p for p in (ROOT / 'ttc').rglob('*.py') if 'kernels' not in p.parts),
  *(ROOT / 'kernels').rglob('*.py'),
]


def room_of(module):
  """`ttc.search.base` -> `search`; None for what is not ours or is `ttc`."""
  parts = module.split('.')
  return parts[1] if parts[0] == 'ttc' and len(parts) > 1 else None


def imported_rooms(path):
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
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
      room = 'kernels' if parts[0] == 'kernels' else parts[1]
      room = room.removesuffix('.py')
      if room == '__init__':
        continue
      allowed = MAY_IMPORT[room] | {room, None}
      with self.subTest(str(path.relative_to(ROOT))):
        self.assertLessEqual(set(imported_rooms(path)), allowed)

  def test_scalings_costs_need_only_types(self):
    path = ROOT / 'ttc' / 'scaling' / 'costs.py'
    self.assertLessEqual(set(imported_rooms(path)), {'types', None})

  def test_nothing_imports_scripts_or_configs(self):
    for path in [*SOURCES, *(ROOT / 'scripts').glob('*.py')]:
      for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
          top = (node.module or '').split('.')[0]
          self.assertNotIn(top, ('scripts', 'configs'), str(path))

  def test_no_room_is_called_by_what_has_no_name(self):
    for path in SOURCES:
      self.assertNotIn(path.stem, ('utils', 'util', 'common', 'core', 'misc'))

  def test_kernels_are_linked(self):
    link = ROOT / 'ttc' / 'kernels'
    self.assertTrue(link.is_symlink())
    self.assertEqual(link.resolve(), (ROOT / 'kernels').resolve())


if __name__ == '__main__':
  absltest.main()
