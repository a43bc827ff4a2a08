"""The benchmarks of generated tests on records of ours in their schemas."""

import json
import math

import pytest

from ttc.benchmarks.benchmark import MISSING
from ttc.benchmarks.generated_tests import (
  testbench,
  testgeneval,
  text_to_testcase,
)
from ttc.benchmarks.judges import no_judge
from ttc.testbeds import tested_functions

CLIP, FIZZ = tested_functions.FUNCTIONS[:2]
REQUIREMENTS = [
  {
    'id': x.name,
    'requirement': x.requirement,
    'signature': x.signature,
    'reference': x.source,
    'test': tested_functions.weak(x),
  }
  for x in tested_functions.FUNCTIONS[:5]
]
PREAMBLE = 'from pack.clip import clip'
ONE = f'{PREAMBLE}\n\n\ndef test_a():\n  assert clip(5, 0, 9) == 5\n'
FILES = {
  'id': 'pack-1',
  'repo': 'ours/pack',
  'version': '1',
  'code_file': 'pack/clip.py',
  'code_src': CLIP.source.replace('def', 'from pack import low\n\ndef', 1),
  'test_file': 'tests/test_clip.py',
  'test_src': ONE,
  'preds_context': {'preamble': PREAMBLE, 'last_minus_one': ONE, 'last': ONE},
  'local_imports': [PREAMBLE],
  'files': {'pack/low.py': 'LOW = 0\n', 'pack/__init__.py': ''},
}
METHOD = {
  'project_name': 'ours',
  'file_name': 'clip.py',
  'relative_path': 'pack/tool.py',
  'execute_path': '',
  'package': '',
  'docstring': CLIP.requirement,
  'source_code': CLIP.source,
  'class_name': '',
  'method_name': 'clip',
  'argument_name': ['x', 'low', 'high'],
  'full_context': CLIP.source,
  'simple_context': testbench.signatures(CLIP.source),
}
JAVA = METHOD | {
  'relative_path': 'src/Sum.java',
  'package': 'a.b',
  'class_name': 'Sum',
  'method_name': 'add',
  'full_context': 'package a.b;\nimport java.util.List;\nclass Sum {}',
}


def load(benchmark, records, tmp_path):
  path = tmp_path / 'records.jsonl'
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))
  return benchmark.load(path)


def test_text_to_testcase(tmp_path):
  benchmark = text_to_testcase.text_to_testcase()
  items = load(benchmark, REQUIREMENTS, tmp_path)
  prompt = benchmark.prompt(items[0])
  assert 'def clip(x, low, high):' in prompt and 'return high' not in prompt
  assert CLIP.requirement in prompt
  grade = lambda said: benchmark.grade(items[0], said, no_judge)

  tests = tested_functions.strong(CLIP).split('\n', 1)[1]  # without import
  right = grade(f'Here they are:\n```python\n{tests}```')
  assert right.score == 1
  assert right.parts == {
    'syntax': 1,
    'aligned': 1,
    'line coverage': 1,
    'branch coverage': 1,
  }
  wrong = grade(
    tested_functions.test_file(CLIP, [0, 1], 1).replace('code_file', 'solution')
  )
  assert (wrong.score, wrong.parts['aligned']) == (0, 0.5)
  cut = grade('```python\ndef test_x():\n  assert clip(')
  assert (cut.score, cut.parts['syntax'], cut.parts['aligned']) == (0, 0, 0)
  assert text_to_testcase.training_pair(items[1])[1] == (
    tested_functions.weak(FIZZ)
  )
  for change, said in (
    ({'signature': 'clip(x)'}, "'signature' is 'clip\\(x\\)'"),
    ({'reference': 'def other(): pass'}, "'reference' defines"),
    ({'requirement': ''}, "'requirement' is ''"),
  ):
    with pytest.raises(ValueError, match=f'records.jsonl.*1.*{said}'):
      load(benchmark, [REQUIREMENTS[0] | change], tmp_path)
  with pytest.raises(ValueError, match="no field 'test'"):
    untuned = load(benchmark, [REQUIREMENTS[0] | {'test': None}], tmp_path)
    text_to_testcase.training_pair(untuned[0])


def test_testgeneval(tmp_path):
  benchmark = testgeneval.testgeneval()
  items = load(benchmark, [FILES], tmp_path)
  assert [x.id for x in items] == [
    'pack-1/full', 'pack-1/first', 'pack-1/last', 'pack-1/extra'
  ]  # fmt: skip
  assert 'all of it' in benchmark.prompt(items[0])
  assert ONE in benchmark.prompt(items[3])
  full, first, _, extra = items
  grade = lambda item, said: benchmark.grade(item, said, no_judge)

  # Two lines, `def` and `import`, run at the import; three more of five.
  passes = grade(full, f'```python\n{ONE}```')
  assert passes.score == 1 and passes.parts['any'] == 1
  assert passes.parts['coverage'] == 5 / 7
  assert 0 < passes.parts['mutation'] < 1
  partly = grade(full, ONE + '\ndef test_b(): assert clip(1, 2, 3) == 0\n')
  assert partly.score == 0 and partly.parts['any'] == 1
  assert partly.parts['mutation'] == 0
  below = 'def test_b():\n  assert clip(-1, 0, 9) == 0\n'
  new = grade(extra, below)
  assert new.score == 1 and new.parts['coverage'] == pytest.approx(1 / 7)
  assert grade(first, below).parts['coverage'] == pytest.approx(2 / 7)
  fails = grade(extra, below.replace('== 0', '== 1'))
  assert (fails.score, fails.parts['coverage']) == (0, 0)
  again = grade(extra, ONE)  # the same test once more adds nothing
  assert again.score == 0

  figures = benchmark.aggregate(
    [full, extra], [[passes, partly], [new, fails, fails, fails, new]]
  )
  assert figures['full all-pass@1'] == 0.5 and figures['full pass@1'] == 1
  assert figures['full mutation@pass'] == passes.parts['mutation']
  assert figures['extra pass@1'] == pytest.approx(0.4)
  assert figures['extra pass@5'] == 1
  assert figures['extra coverage gain'] == pytest.approx(2 / 35)
  assert figures['extra coverage gain@pass'] == pytest.approx(1 / 7)
  assert math.isnan(figures['first pass@1'])
  assert next(iter(figures)) == benchmark.metric
  missing = benchmark.aggregate([extra, extra], [[MISSING], [new] * 5])
  assert missing['extra pass@5'] == 0.5
  with pytest.raises(ValueError, match="'preds_context' has"):
    load(benchmark, [FILES | {'preds_context': {'first': 'x'}}], tmp_path)
  with pytest.raises(ValueError, match='that of an earlier record'):
    load(benchmark, [FILES, FILES], tmp_path)


def test_testbench(tmp_path):
  benchmark = testbench.testbench()
  items = load(benchmark, [METHOD, JAVA], tmp_path)
  assert (
    len(items) == 6
    and items[0].id == 'ours/pack/tool.py/clip(x,low,high)/self-contained'
  )
  assert 'return high' in benchmark.prompt(items[1])
  assert 'return high' not in benchmark.prompt(items[2])
  assert 'def clip(x, low, high):' in benchmark.prompt(items[2])
  strong = tested_functions.strong(CLIP).split('\n', 1)[1]
  found = benchmark.grade(items[0], strong, no_judge)
  assert (found.score, found.detail) == (1, 'accept')
  assert found.parts == {
    'syntax': 1,
    'compile': 1,
    'accept': 1,
    'line coverage': 1,
    'branch coverage': 1,
    'defects found': 5 / 7,  # two mutants do the same
  }
  failed = benchmark.grade(items[0], 'def test_x(): assert clip(1, 2, 3) == 0',
                           no_judge)  # fmt: skip
  assert failed.detail == 'test error' and 'defects found' not in failed.parts
  assert benchmark.grade(items[0], '', no_judge).detail == 'test error'
  mended = testbench.repair(items[3], 'void testAdd() {}')
  assert mended.startswith('package a.b;\nimport java.util.List;')
  with pytest.raises(ValueError, match='not run'):
    benchmark.grade(items[3], 'void testAdd() {}', no_judge)
  with pytest.raises(ValueError, match="no function 'clop'"):
    load(benchmark, [METHOD | {'method_name': 'clop'}], tmp_path)
  with pytest.raises(ValueError, match=r"'relative_path' is 'x\.rs'"):
    load(benchmark, [METHOD | {'relative_path': 'x.rs'}], tmp_path)
