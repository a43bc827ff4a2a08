"""Efficient@k on functions and programs whose cost is known."""

import json
import math

import pytest

from ttc import evaluation
from ttc.benchmarks.coffe import (
  FILES,
  coffe,
  efficient_at_k,
  speedup,
  trimmed_mean,
)
from ttc.benchmarks.judges import no_judge
from ttc.testbeds import costly_functions

PROBLEM = costly_functions.PROBLEMS[2]
LOOP = 'def f(n):\n  s = 0\n  for i in range(n):\n    s += i\n  return s\n'
PROGRAM = {
  'prompt': 'Reads n, prints the sum of 1 to n.',
  'testcases': [{'input': '3\n', 'output': '6\n'}],
  'stressful_testcases': [{'input': '50', 'output': '1275'}],
  'best_solutions': [
    'n = int(input())\ns = 0\nfor i in range(n + 1):\n  s += i\nprint(s)'
  ],
}


def count(source, inputs, limit=10**5, **named):
  question = evaluation.CostQuestion(source, 'f', inputs, [limit] * len(inputs))
  return evaluation.count_costs([question], allow_execution=True, **named)[0]


@pytest.fixture(scope='module')
def grade(tmp_path_factory):
  """Grades a completion of the problem, or of the program."""
  benchmark = coffe()
  path = tmp_path_factory.mktemp('coffe') / 'jsonl'
  records = [costly_functions.record(PROBLEM), PROGRAM]
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))
  items = benchmark.load(path)
  assert [x.meta['level'] for x in items] == ['function', 'file']
  assert PROBLEM.says in benchmark.prompt(items[0])
  return lambda index, code: benchmark.grade(items[index], code, no_judge)


def test_opcodes_are_counted_exactly_and_every_time_the_same():
  first = count(LOOP, [(10,), (20,), (110,), ('x',), (10**6,)])
  assert [x.value for x in first] == [45, 190, 5995, None, None]
  ten = first[1].cost - first[0].cost  # of ten rounds
  assert first[2].cost - first[0].cost == 10 * ten > 0 and ten % 10 == 0
  assert first[3].cost == math.inf and 'TypeError' in first[3].detail
  assert first[4].cost == math.inf and first[4].detail == 'beyond the limit'
  assert count(LOOP, [(10,), (20,), (110,)]) == first[:3]
  (exact,) = count(LOOP, [(10,)], limit=round(first[0].cost))
  (short,) = count(LOOP, [(10,)], limit=round(first[0].cost) - 1)
  assert exact.cost == first[0].cost and short.cost == math.inf
  (timed,) = count(LOOP, [(10,)], counter='seconds')
  assert 0 < timed.cost < 1 and timed.counter == 'seconds'


def test_a_function_cannot_hide_its_cost():
  loops = '  for i in range(10**5): pass\n  return 1\n'
  hidden = [
    f'import sys\ndef f():\n  sys.settrace(None)\n{loops}',
    f'import sys\ndef f():\n  sys.setprofile(print)\n{loops}',
    'def f():\n  try:\n    while True: pass\n  except BaseException:\n'
    '    return 1\n',
    'import os\ndef f(): os._exit(0)',
    'raise SystemExit(0)',
    'def f(): return 1 /',
    'def g(): pass',
    '\ud800',
  ]
  costs = [count(source, [()], 10**4, seconds=5.0)[0] for source in hidden]
  assert [x.cost for x in costs] == [math.inf] * len(hidden)
  with pytest.raises(PermissionError, match='allow_execution'):
    evaluation.count_costs([])
  with pytest.raises(ValueError, match=r'limits=\[0\]'):
    count(LOOP, [(1,)], limit=0)


def test_samples_are_right_and_cheap(grade):
  quick, truth, slow = (
    grade(0, f'```python\n{PROBLEM.source(body)}```')
    for body in (PROBLEM.quick, PROBLEM.truth, PROBLEM.slow)
  )
  assert (quick.score, truth.score, slow.score) == (1, 0, 0)
  assert truth.parts['cost'] == truth.parts['reference cost']  # not less
  assert quick.parts['cost'] < truth.parts['cost'] < slow.parts['cost']
  wrong = grade(0, PROBLEM.source('return []'))
  assert wrong.score == 0 and wrong.parts == {'correct': 0.0}
  assert grade(0, 'def prefix_sums(').parts == {'correct': 0.0}
  # Right on the small test only: correct, with an infinite cost.
  half = grade(
    0, PROBLEM.source('if len(items) > 9: return 0\n' + PROBLEM.quick)
  )
  assert half.parts == {'correct': 1.0}

  program = grade(1, 'n = int(input())\nprint(n * (n + 1) // 2)')
  assert program.score == 1 and program.parts['correct'] == 1
  assert grade(1, 'print(6)').parts['correct'] == 1.0  # of the one small test
  assert grade(1, 'print(6)').score == 0
  figures = coffe().aggregate([], [[quick, slow], [wrong, half]])
  assert figures['efficient@1'] == 0.25 and figures['pass@1'] == 0.75
  reference = truth.parts['cost']
  assert figures['speedup'] == pytest.approx(
    2 * reference / (quick.parts['cost'] + slow.parts['cost'])
  )


def test_a_problem_without_a_ground_truth_that_passes_is_left_out(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text(json.dumps(PROGRAM | {'best_solutions': ['print(1)']}))
  (item,) = coffe().load(path)
  out = coffe().grade(item, 'print(6)', no_judge)
  assert out.score == 0
  good = out._replace(score=1.0, detail='opcodes', parts={'correct': 1.0})
  figures = coffe().aggregate([], [[good], [out]])
  assert figures['efficient@1'] == figures['pass@1'] == 1
  assert math.isnan(coffe().aggregate([], [[out]])['efficient@1'])


def test_figures_of_counts():
  # Three of ten, five drawn: 1 - C(7,5)/C(10,5); a problem without any is 0.
  one = [1.0] * 3 + [0.0] * 7
  assert efficient_at_k([one], 5) == pytest.approx(1 - 21 / 252)
  assert efficient_at_k([one, [0.0] * 10], 5) == pytest.approx(231 / 504)
  assert speedup([10.0, 20.0, 5.0], [5.0, 10.0, math.inf]) == 2
  assert math.isnan(speedup([], []))
  assert trimmed_mean([9.0] + [2.0] * 5 + [4.0] * 5 + [0.0]) == 3
  assert trimmed_mean([1.0, math.inf, 1.0, 1.0]) == math.inf
  with pytest.raises(ValueError, match='at least three'):
    trimmed_mean([1.0])
  with pytest.raises(ValueError, match='empty'):
    efficient_at_k([], 1)


def test_published_files_and_what_is_wrong_with_them(tmp_path):
  record = costly_functions.record(PROBLEM)
  prompt = record['prompt']
  tables = {name: {prompt: record.get(name)} for name in FILES}
  tables['data'] = {prompt: {}}
  for name, table in tables.items():
    (tmp_path / f'{name}.json').write_text(json.dumps(table))
  (item,) = coffe().load(tmp_path)
  assert item.meta['name'] == 'prefix_sums'
  assert item.meta['testcases'] == [(([1, 2, 3],), [1, 3, 6])]
  (tmp_path / 'testcases.json').write_text(json.dumps({prompt: []}))
  with pytest.raises(ValueError, match=r"prefix_sums.*'testcases' is \[\]"):
    coffe().load(tmp_path)
  for text, said in (('{', 'not JSON'), ('3', 'an object by prompts')):
    (tmp_path / 'testcases.json').write_text(text)
    with pytest.raises(ValueError, match=f'testcases.json.*{said}'):
      coffe().load(tmp_path)
  (tmp_path / 'testcases.json').unlink()
  with pytest.raises(FileNotFoundError, match='COFFE needs'):
    coffe().load(tmp_path)
  path = tmp_path / 'x.jsonl'
  for change, said in (
    ({'best_solutions': []}, "'best_solutions' is"),
    ({'testcases': [{'input': 'open', 'output': 1}]}, 'Python list of arg'),
    ({'testcases': [{'input': '[1]'}]}, 'without input and output'),
    ({'prompt': 3}, "'prompt' is 3"),
  ):
    path.write_text(json.dumps(record | change) + '\n')
    with pytest.raises(ValueError, match=f'x.jsonl.*1.*{said}'):
      coffe().load(path)
