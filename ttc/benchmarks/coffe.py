r"""COFFE: is generated code right, and cheaper than the best that is known?

Peng et al., "COFFE: A Code Efficiency Benchmark for Code Generation", 2025,
arXiv 2502.02827. A sample is efficient if it passes all tests of correctness
and the stressful tests cost it strictly less than the cheapest ground truth.

.. math:: \text{efficient@}k = E_p [1 - \binom{n - c_p}{k} / \binom{n}{k}]

with :math:`c_p` efficient ones of n samples; a problem without right samples
counts as 0, one of which no ground truth passes is left out. The speed-up is
the sum of the ground truths' costs over that of the right samples. Published
costs are instructions that the processor counts (`perf`), which many machines
do not; ours are opcodes of CPython, the same in every run. A call may cost ten
times the ground truth's. What raises or costs more costs infinitely much.

Cost: a run of the sample under tracing, and one of each ground truth (cached).
"""

import ast
import functools
import json
import math
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttc import evaluation
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.generated_tests.ladder import pass_at_k
from ttc.benchmarks.generated_tests.rule_repair import code_of
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, check_record, from_records
from ttc.evaluation import CallCost, CostQuestion
from ttc.tasks import Item
from ttc.tasks.data_files import shorten

SCHEMA = (
  Field('prompt'),
  Field('testcases', list, of=dict),  # {input, output}
  Field('stressful_testcases', list, of=dict),
  Field('best_solutions', list, of=str),
  Field('entry_point', optional=True),  # none: a program that reads its input
)
FILES = ('data', 'testcases', 'stressful_testcases', 'best_solutions')
NO_TRUTH = 'no ground truth passes'  # such a problem is left out
LEAST_LIMIT = 10**6  # opcodes; in the paper a tenth of a second, about as much
FACTOR = 10  # of the ground truth's cost
_CORRECTNESS_LIMIT = 10**6
_PROGRAM = """
def _run_program(text):
  import io, sys
  sys.stdin, sys.stdout, kept = io.StringIO(text), io.StringIO(), sys.stdout
  try:
    exec(compile({source!r}, '<program>', 'exec'), {{'__name__': '__main__'}})
  except SystemExit:
    pass
  finally:
    said, sys.stdout = sys.stdout.getvalue(), kept
  return said
"""


def coffe() -> Benchmark:
  """Makes the benchmark; the score is whether a sample is efficient."""
  return Benchmark(
    name='coffe',
    title='COFFE: A Code Efficiency Benchmark for Code Generation',
    paper='2502.02827',
    metric='efficient@1',
    schema=SCHEMA,
    load=_load,
    prompt=_prompt,
    grade=_grade,
    aggregate=_aggregate,
    categories=lambda item: {'level': item.meta['level']},
    max_new_tokens=1024,
  )


def trimmed_mean(costs: Sequence[float]) -> float:
  """Of repeated measurements, without one largest and one smallest.

  The paper's protocol is 12 runs. One that is infinite makes the mean so.

  Raises:
    ValueError: of fewer than three.
  """
  if len(costs) < 3:
    raise ValueError(f'costs={list(costs)}; expected at least three runs')
  if math.inf in costs:
    return math.inf
  return float(np.mean(sorted(costs)[1:-1]))


def efficient_at_k(efficient: Sequence[Sequence[float]], k: int) -> float:
  """Efficient@k over problems.

  Args:
    efficient: for each problem whether each sample is; at least `k` samples.
    k: samples that are drawn.

  Raises:
    ValueError: at a problem with fewer than `k` samples, or without problems.
  """
  if not efficient:
    raise ValueError(
      'efficient=[] is empty; expected an entry for each problem'
    )
  return float(
    np.mean([pass_at_k(len(x), round(sum(x)), k) for x in efficient])
  )


def speedup(reference: Sequence[float], costs: Sequence[float]) -> float:
  """Cost of the ground truths over that of samples, where both are finite.

  Args:
    reference: the ground truth's cost, one for each right sample.
    costs: of the samples.
  """
  pairs = np.array([reference, costs], np.float64)
  pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
  return float(pairs[0].sum() / pairs[1].sum()) if pairs.size else math.nan


def _load(path: str | os.PathLike[str]) -> list[Item]:
  """Records of a JSONL file, or the folder of four files that is published."""
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return from_records(SCHEMA, to_item)(path)
  tables: dict[str, Any] = {}
  for name in FILES:
    file = folder / f'{name}.json'
    if not file.is_file():
      raise FileNotFoundError(2, f'COFFE needs {FILES} as .json', str(file))
    try:
      tables[name] = json.loads(file.read_text('utf-8'))
    except (ValueError, RecursionError) as error:
      raise ValueError(f'{file}: not JSON: {error}') from None
    if not isinstance(tables[name], dict):
      raise ValueError(
        f'{file}: {shorten(tables[name])}; expected an object by prompts'
      )
  items = []
  for prompt, said in tables['data'].items():
    entry = said.get('entry_point') if isinstance(said, dict) else None
    named = re.findall(r'^def (\w+)\(', prompt, re.MULTILINE)
    record = {name: tables[name].get(prompt) for name in FILES[1:]}
    record |= {'prompt': prompt, 'entry_point': entry or (named or [None])[-1]}
    try:
      check_record(SCHEMA, record)
      items.append(to_item(record))
    except ValueError as error:
      raise ValueError(f'{folder}: {prompt[:60]!r}: {error}') from None
  return items


def to_item(record: Record) -> Item:
  """The problem of a record; `ValueError` names a field that is wrong."""
  name = record.get('entry_point')
  meta: dict[str, Any] = {'level': 'function' if name else 'file', 'name': name}
  for field in ('testcases', 'stressful_testcases'):
    if not record[field]:
      raise ValueError(f'field {field!r} is []; expected at least one test')
    meta[field] = [_test(field, test, bool(name)) for test in record[field]]
  if not record['best_solutions']:
    raise ValueError("field 'best_solutions' is []; expected at least one")
  meta['solutions'] = tuple(record['best_solutions'])
  key = f'{name or "program"}-{_checksum(record["prompt"])}'
  return Item(key, record['prompt'], record['best_solutions'][0], meta)


def _checksum(text: str) -> str:
  import zlib

  return f'{zlib.crc32(text.encode()):08x}'


def _test(field: str, test: Any, literal: bool) -> tuple[tuple[Any, ...], Any]:
  """Arguments and expected value of a test."""
  if not {'input', 'output'} <= set(test):
    raise ValueError(f'field {field!r} has a test without input and output')
  if not literal:
    return (test['input'],), test['output']
  try:
    arguments = tuple(ast.literal_eval(test['input']))
  except (ValueError, SyntaxError, TypeError):
    raise ValueError(
      f'field {field!r} has the input {str(test["input"])[:80]!r}; expected '
      'a Python list of arguments'
    ) from None
  expected = test['output']
  if isinstance(expected, str):
    try:
      expected = ast.literal_eval(expected)
    except (ValueError, SyntaxError):
      pass  # the text itself
  return arguments, expected


def _prompt(item: Item) -> str:
  kind = 'function' if item.meta['name'] else 'program'
  return (
    f'{item.question}\n\nWrite the {kind} in Python, right and as cheap as '
    'possible. Answer with one block of code.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  meta, code = item.meta, code_of(completion)
  tests = [*meta['testcases'], *meta['stressful_testcases']]
  num_tests = len(meta['testcases'])
  reference = _reference(
    meta['solutions'], meta['name'], _frozen(meta['stressful_testcases'])
  )
  if reference is None:
    return Verdict(0.0, code, NO_TRUTH, {})
  limits = [_CORRECTNESS_LIMIT] * num_tests
  limits += [max(LEAST_LIMIT, FACTOR * round(x)) for x in reference]
  costs = _costs(code, meta['name'], [x for x, _ in tests], limits)
  right = [
    math.isfinite(x.cost) and _same(x.value, expected)
    for x, (_, expected) in zip(costs, tests, strict=True)
  ]
  correct = all(right[:num_tests])
  stressed = zip(costs[num_tests:], right[num_tests:], strict=True)
  cost = sum(x.cost if is_right else math.inf for x, is_right in stressed)
  wrong = next(
    (x.detail for x, y in zip(costs, right, strict=True) if not y), ''
  )
  parts = {'correct': float(correct)}
  if correct and math.isfinite(cost):
    parts |= {'cost': cost, 'reference cost': sum(reference)}
  efficient = correct and cost < sum(reference)
  return Verdict(float(efficient), code, wrong or 'opcodes', parts)


def _frozen(tests: Sequence[Any]) -> str:
  return repr(tests)


@functools.lru_cache(maxsize=256)
def _reference(
  solutions: tuple[str, ...], name: str | None, tests: str
) -> list[float] | None:
  """Costs of the cheapest ground truth, by stressful test."""
  pairs = ast.literal_eval(tests)
  best = None
  for source in solutions:
    limits = [50 * _CORRECTNESS_LIMIT] * len(pairs)
    costs = _costs(source, name, [x for x, _ in pairs], limits)
    right = [_same(x.value, y) for x, (_, y) in zip(costs, pairs, strict=True)]
    total = [x.cost for x in costs]
    if all(right) and (best is None or sum(total) < sum(best)):
      best = total
  return best


def _costs(
  source: str, name: str | None, inputs: Sequence[Any], limits: Sequence[int]
) -> list[CallCost]:
  if name is None:
    source, name = _PROGRAM.format(source=source), '_run_program'
  question = CostQuestion(source, name, inputs, limits)
  return evaluation.count_costs([question], allow_execution=True)[0]


def _same(value: Any, expected: Any) -> bool:
  """Equal as JSON would have it: tuples are lists, and floats are near."""
  if isinstance(value, list | tuple) and isinstance(expected, list | tuple):
    return len(value) == len(expected) and all(map(_same, value, expected))
  if isinstance(value, float) or isinstance(expected, float):
    if not isinstance(value, int | float):
      return False
    return isinstance(expected, int | float) and math.isclose(
      value, expected, rel_tol=1e-6, abs_tol=1e-9
    )
  if isinstance(value, str) and isinstance(expected, str):
    return value.strip() == expected.strip()
  return bool(value == expected)


def _aggregate(
  items: Sequence[Item], verdicts: Sequence[Sequence[Verdict]]
) -> Mapping[str, float]:
  """Efficient@k and pass@k, NaN where a problem has too few, and speed-up."""
  del items
  verdicts = [r for r in verdicts if all(x.detail != NO_TRUTH for x in r)]
  efficient = [[x.score for x in row] for row in verdicts]
  correct = [[x.parts.get('correct', 0.0) for x in row] for row in verdicts]
  figures = {}
  for k in (1, 5, 10):
    enough = verdicts and all(len(row) >= k for row in verdicts)
    for name, rows in ((f'efficient@{k}', efficient), (f'pass@{k}', correct)):
      figures[name] = efficient_at_k(rows, k) if enough else math.nan
  found = [x.parts for row in verdicts for x in row if 'cost' in x.parts]
  figures['speedup'] = speedup(
    [x['reference cost'] for x in found], [x['cost'] for x in found]
  )
  return figures
