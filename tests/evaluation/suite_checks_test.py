"""Test files of all kinds, hostile ones among them, and what they are worth."""

import ast
import json
import pathlib

import pytest

from ttc import evaluation
from ttc.evaluation import suite_coverage

CODE = '''"""What is tested."""

LIMIT = 3


def clip(x, low, high):
  """Documentation is no statement."""
  if x < low:
    return low
  if x > high:
    return high
  return x


class Tally:
  def run(self, n):
    total = 0
    for i in range(n):
      if i % 2: total += i
      else:
        continue
    while total > LIMIT:
      total -= 1
    match total:
      case 0:
        return 'none'
      case _:
        return 'some'
'''
MIXED = """
import unittest
import pytest
from code_file import clip, Tally

@pytest.fixture
def tally(tmp_path):
  (tmp_path / 'x').write_text('x')
  yield Tally()
  print('end')

def test_low():
  assert clip(1, 2, 3) == 2

def test_wrong():
  assert clip(1, 2, 3) == 5

@pytest.mark.parametrize('x, y', [(1, 2), (5, 3)])
def test_rows(x, y):
  assert clip(x, 2, 3) == pytest.approx(y)

class TestTally:
  def setup_method(self):
    self.n = 5
  def test_some(self, tally):
    assert tally.run(self.n) == 'some'

class Case(unittest.TestCase):
  def setUp(self):
    self.tally = Tally()
  def test_none(self):
    self.assertEqual(self.tally.run(0), 'none')
  def test_other(self):
    self.assertEqual(self.tally.run(0), 'other')
  def test_skip(self):
    self.skipTest('not today')

def test_raises():
  with pytest.raises(TypeError, match='not supported'):
    clip('a', 1, 2)
  with pytest.raises(KeyError):
    {}['x']

def test_prints(capsys, monkeypatch):
  monkeypatch.setattr('code_file.LIMIT' and Tally, 'run', lambda *_: print(1))
  Tally().run(1)
  assert capsys.readouterr().out == '1\\n'

def test_slow():
  while True: pass

def test_leaves():
  raise SystemExit(0)

def test_asks(nothing): pass

@pytest.mark.skip(reason='no')
def test_skipped(): assert False
"""
STATUSES = [
  ('test_low', 'passed', 0),
  ('test_wrong', 'failed', 16),
  ('test_rows[0]', 'passed', 0),
  ('test_rows[1]', 'passed', 0),
  ('TestTally::test_some', 'passed', 0),
  ('Case::test_none', 'passed', 0),
  ('Case::test_other', 'failed', 34),
  ('Case::test_skip', 'skipped', 0),
  ('test_raises', 'passed', 0),
  ('test_prints', 'passed', 0),
  ('test_slow', 'timeout', 50),
  ('test_leaves', 'error', 53),
  ('test_asks', 'error', 0),
  ('test_skipped', 'skipped', 0),
]
STRONG = """
from code_file import clip
def test_clip():
  assert clip(1, 2, 4) == 2
  assert clip(5, 2, 4) == 4
  assert clip(3, 2, 4) == 3
"""
WEAK = 'from code_file import clip\ndef test_clip(): assert clip(3, 2, 4) == 3'
FORGED = json.dumps(
  {
    'nonce': '',
    'syntax': True,
    'imported': True,
    'detail': '',
    'outcomes': [['test_x', 'passed', '', 0]],
    'parts': {'test_x': [list(range(1, 30)), [[8, 0], [8, 1]]]},
  }
)
USES = 'from code_file import clip\n'
# Test files that must not be accepted.
HOSTILE = {
  'network': 'import socket\ndef test_x():\n'
  '  socket.create_connection(("1.1.1.1", 53), 1)',
  'read': 'def test_x(): open("/etc/passwd").read()',
  'source': f'def test_x(): open({__file__!r}).read()',
  'write': 'def test_x(): open("/escaped", "w")',
  'runner': 'def test_x(): open("/runner/suite_child.py", "a")',
  'fork': 'import os\ndef test_x(): os.fork()',
  'bomb': 'import os\ndef test_x():\n  while True:\n    try: os.fork()\n'
  '    except OSError: pass',
  'process': 'import subprocess\ndef test_x(): subprocess.run(["true"])',
  'thread': 'import threading\ndef test_x():\n'
  '  threading.Thread(target=print).start()',
  'memory': 'def test_x(): bytearray(2**32)',
  'disk': 'def test_x():\n  for i in range(99): open(str(i), "w").write("x" * '
  '2**20)',
  'prints': 'def test_x():\n  for _ in range(100): print("x" * 10**6)\n',
  'sleeps': 'import time\ndef test_x(): time.sleep(99)',
  'signal': 'import os\ndef test_x(): os.kill(os.getpid(), 9)',
  'crash': 'import ctypes\ndef test_x(): ctypes.string_at(0)',
  'swallows': 'def test_x():\n  while True:\n    try:\n      while True: pass\n'
  '    except BaseException: pass',
  'exits at import': 'import os\nos._exit(0)',
  'leaves at import': 'raise SystemExit(0)',
  'exits': 'import os\ndef test_x(): os._exit(0)',
  'sends a report': 'import os, struct\n'
  f'm = {FORGED!r}.encode()\n'
  'for fd in range(3, 64):\n'
  '  try: os.write(fd, struct.pack("<Q", len(m)) + m)\n'
  '  except OSError: pass\nos._exit(0)',
  'prints a report': f'print({FORGED!r})\nimport os\nos._exit(0)',
  'other assertions': USES + 'import builtins\n'
  'builtins.AssertionError = SystemExit\n'
  'def test_x(): assert clip(1, 2, 3) == 5',
  'other runner': USES + 'import sys\nimport suite_child, json, __main__\n'
  'suite_child.attempt = lambda *_: ("passed", "", 0)\n'
  'json.dumps = json.JSONEncoder.encode = lambda *_: "{}"\n'
  '__main__.write_frame = lambda *_: None\n'
  'def test_x(): assert clip(1, 2, 3) == 5',
  'other attempt': USES + 'import suite_child\n'
  'suite_child.attempt = lambda *_: ("passed", "", 0)\n'
  'def test_x(): assert clip(1, 2, 3) == 5',
  'other pytest': 'import pytest\npytest.Skipped = BaseException\n'
  'def test_x(): assert False',
  'no tests': USES,
  'no text': '\ud800',
  'nested': '(' * 5000,
  'no program': 'def test_x(: pass',
}
# They are believed to have passed, and shown to have checked nothing.
VACUOUS = {
  'asserts nothing': USES + 'def test_x(): clip',
  'walks frames': USES + 'import sys\ndef test_x():\n'
  '  frame = sys._getframe()\n  while frame:\n'
  '    report = frame.f_locals.get("report")\n'
  '    if report: report["outcomes"] = '
  'type("L", (list,), {"append": lambda s, x: None})('
  '[("test_x", "passed", "", 0)])\n    frame = frame.f_back\n'
  '  assert clip(1, 2, 3) == 5',
}


def check(tests, function='', mutants=(), **named):
  suites = [
    evaluation.Suite(
      {'code_file.py': CODE}, 'code_file.py', source, function, mutants
    )
    for source in tests
  ]
  return evaluation.check_suites(suites, allow_execution=True, **named)


def test_outcomes_and_coverage():
  calls = []
  mixed, strong, weak = check(
    [MIXED, STRONG, WEAK],
    'clip',
    [
      CODE.replace('x < low', 'x > low'),
      CODE.replace('x < low', 'x <= low'),  # does the same
      CODE.replace('x < low', 'x < low or low < x < low + 1'),
      CODE.replace('  if x < low', '  while x < low: pass\n  if x < low'),
      CODE + '1 / 0',
      CODE.replace('return high', 'import os; os._exit(0)'),
    ],
    test_seconds=0.3,
    progress=lambda: calls.append(1),
  )
  assert [(x.name, x.status, x.line) for x in mixed.outcomes] == STATUSES
  assert (mixed.syntax_ok, mixed.import_ok) == (True, True)
  assert (mixed.n_pass, mixed.n_fail, mixed.accepted) == (7, 5, False)
  # No test returns `x`: a line of five, and an arm of four.
  assert (mixed.line_cov, mixed.branch_cov) == (4 / 5, 3 / 4)
  assert mixed.lines['test_low'] == {8, 9}
  assert mixed.lines['test_wrong'] == {8, 9}
  assert 17 in mixed.lines['Case::test_none'] and mixed.mutation_score is None
  assert mixed.detail.startswith('AssertionError')

  fates = ('killed', 'survived', 'survived', 'timeout', 'killed', 'killed')
  assert strong.fates == fates and strong.mutation_score == 3 / 5
  assert (strong.line_cov, strong.branch_cov, strong.uncovered) == (1, 1, ())
  # Only the lines 8, 10 and 12 of five run, and two of four arms.
  assert (weak.line_cov, weak.branch_cov) == (3 / 5, 2 / 4)
  assert weak.uncovered == (9, 11)
  assert not strong.vacuous and not weak.vacuous
  assert weak.fates[0] == 'killed' and weak.fates[5] == 'survived'
  assert len(calls) == 3


def test_hostile_suites_are_contained():
  tests = [*HOSTILE.values(), *VACUOUS.values(), STRONG]
  reports = check(tests, 'clip', seconds=2.0, test_seconds=0.5)
  names = [*HOSTILE, *VACUOUS, 'strong']
  accepted = [
    n for n, r in zip(names, reports, strict=True) if r.accepted and r.n_pass
  ]
  assert accepted == [*VACUOUS, 'strong']
  vacuous = [n for n, r in zip(names, reports, strict=True) if r.vacuous]
  assert vacuous == list(VACUOUS)
  found = dict(zip(names, reports, strict=True))
  assert 'printed more than' in found['prints'].detail
  assert 'timeout' in found['sleeps'].detail
  assert 'not permitted' in found['fork'].detail
  assert not found['no program'].syntax_ok and found['exits'].n_pass == 0
  assert found['no tests'].import_ok and found['no tests'].line_cov == 0.0


def test_a_suite_that_leaves_something_behind_gets_new_processes():
  leaves = (
    'import code_file, math\n'
    'def test_x():\n'
    '  assert math.floor(1.5) == 1 and code_file.clip(1, 2, 3) == 2\n'
    '  math.floor = lambda x: 0\n'
  )
  same = CODE.replace('x < low', 'low > x')
  (report,) = check([leaves], 'clip', [same, same])
  assert report.accepted and report.fates == ('survived', 'survived')


def test_a_measured_source_does_as_before():
  source = (
    '"""Doc."""\nfrom __future__ import annotations\n'
    'def f(n):\n  """Doc."""\n  global seen\n  seen = []\n'
    '  for i in range(n):\n    if i == 2: break\n    seen.append(i)\n'
    '  else:\n    seen.append(-1)\n'
    '  while True:\n    break\n  try:\n    1 / (n - 1)\n'
    '  except ZeroDivisionError:\n    seen.append(-2)\n  finally:\n'
    '    seen.append(-3)\n  return seen\n'
  )
  tree = ast.parse(source)
  assert suite_coverage.lines_of(tree) == [
    3, 6, 7, 8, 9, 11, 12, 13, 14, 15, 17, 19, 20
  ]  # fmt: skip
  assert suite_coverage.arms_of(tree) == [(7, 0), (7, 1), (8, 0), (8, 1)]
  recorder = suite_coverage.Recorder()
  suite_coverage.instrument(tree)
  names = {
    '__line__': recorder.line,
    '__arm__': recorder.arm,
    '__test__': recorder.test,
  }
  exec(compile(tree, 'f', 'exec'), names)
  plain = {}
  exec(source, plain)
  names['f'](1)
  _, arms = recorder.parts['import']
  assert arms == {(7, 0), (8, 1), (7, 1)}
  for n in range(5):
    assert names['f'](n) == plain['f'](n)
  lines, arms = recorder.parts['import']
  assert sorted(lines) == suite_coverage.lines_of(ast.parse(source))
  assert sorted(arms) == suite_coverage.arms_of(ast.parse(source))


def test_bad_requests_are_refused_before_anything_runs():
  suite = evaluation.Suite({'a.py': 'x = 1'}, 'b.py', '')
  with pytest.raises(PermissionError, match='allow_execution'):
    evaluation.check_suites([suite])
  with pytest.raises(ValueError, match=r"measured='b.py' is none of"):
    evaluation.check_suites([suite], allow_execution=True)
  suite = suite._replace(measured='a.py', function='C.f')
  with pytest.raises(ValueError, match=r"no function 'C.f'"):
    evaluation.check_suites([suite], allow_execution=True)
  with pytest.raises(ValueError, match='must be positive'):
    evaluation.check_suites([suite], allow_execution=True, test_seconds=0.0)


def test_what_is_laid_into_the_sandbox_stands_alone():
  for name in ('suite_child', 'suite_coverage', 'suite_fixtures'):
    source = pathlib.Path(suite_coverage.__file__).with_name(f'{name}.py')
    assert 'ttc' not in source.read_text()


@pytest.mark.oracle
def test_coverage_is_what_coverage_counts(tmp_path):
  coverage = pytest.importorskip('coverage')
  path = tmp_path / 'code_file.py'
  # The other tool sees no branch within a line, and statements in `case`s.
  code = CODE.replace('if i % 2: total += i', 'if i % 2:\n        total += i')
  code = code.replace('match total:\n      case 0:', 'if total == 0:')
  code = code.replace(
    "      case _:\n        return 'some'", "    return 'some'"
  )
  assert 'match' not in code and 'case' not in code
  path.write_text(code)
  names = {}
  for call in ('clip(1, 2, 3)', 'clip(5, 2, 3)', 'Tally().run(3)'):
    measured = coverage.Coverage(
      branch=True, data_file=None, include=[str(path)]
    )
    with measured.collect():
      source = compile(path.read_text(), str(path), 'exec')
      exec(source, names)
      eval(call, names)
    numbers = measured._analyze(str(path)).numbers
    tests = f'from code_file import *\ndef test_x(): {call}\n'
    suite = evaluation.Suite(
      {'code_file.py': path.read_text()}, 'code_file.py', tests
    )
    (report,) = evaluation.check_suites([suite], allow_execution=True)
    total = len(report.covered) + len(report.uncovered)
    assert (len(report.covered), total) == (
      numbers.n_executed,
      numbers.n_statements,
    )
    assert report.branch_cov == numbers.n_executed_branches / numbers.n_branches
