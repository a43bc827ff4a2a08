"""TestBench: tests for one method, from three kinds of context (2409.17561).

Zhang et al., "TestBench: Evaluating Class-Level Test Case Generation Capability
of Large Language Models". The published records are Java; its form is mended by
`repair_java`, and running it takes a JDK with JUnit, which is not done here. A
Python record of the same schema is run: the ladder, coverage of the focal
method, and mutants that its tests find.
"""

import ast

from ttc import evaluation
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.generated_tests.ladder import rung
from ttc.benchmarks.generated_tests.rule_repair import (
  code_of,
  repair_java,
  repair_python,
)
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.evaluation import Suite
from ttc.tasks import Item
from ttc.tasks.mutations import mutants

SCHEMA = (
  Field('project_name'),
  Field('file_name'),
  Field('relative_path'),
  Field('execute_path', empty=True),
  Field('package', empty=True),
  Field('docstring', empty=True),
  Field('source_code'),
  Field('class_name', empty=True),
  Field('method_name'),
  Field('argument_name', list, of=str),
  Field('full_context'),
  Field('simple_context'),
)
# What the prompt shows: the method alone, its whole file, or signatures.
CONTEXTS = {
  'self-contained': 'source_code',
  'full': 'full_context',
  'simple': 'simple_context',
}
NUM_MUTANTS = 20


def testbench() -> Benchmark:
  """Makes the benchmark; a record is an item for each context."""
  return Benchmark(
    name='testbench',
    title='TestBench: Class-Level Test Case Generation',
    paper='2409.17561',
    metric='accept',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_items),
    prompt=_prompt,
    grade=_grade,
    cluster=lambda item: item.meta['project'],
    categories=lambda item: {'context': item.meta['context']},
    max_new_tokens=1024,
  )


def signatures(source: str) -> str:
  """The simple context of a Python file: imports, classes and first lines."""
  tree = ast.parse(source)
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      node.body = [ast.Expr(ast.Constant(...))]
  return ast.unparse(tree)


def repair(item: Item, completion: str) -> str:
  """The tests of a completion, with the rules of its language."""
  meta, tests = item.meta, code_of(completion)
  if meta['language'] == 'java':
    return repair_java(tests, meta['package'], meta['imports'], meta['class'])
  names = [meta['function'].split('.')[0]]
  return repair_python(tests, meta['module'], names)


def _to_items(record: Record) -> list[Item]:
  path = record['relative_path']
  language = 'java' if path.endswith('.java') else 'python'
  if language == 'python' and not path.endswith('.py'):
    raise ValueError(
      f"field 'relative_path' is {path!r}; expected a file .java or .py"
    )
  owner, method = record['class_name'], record['method_name']
  function = f'{owner}.{method}' if owner else method
  imports = []
  if language == 'python':
    try:
      evaluation.function_node(record['full_context'], function)
    except (SyntaxError, ValueError) as error:
      raise ValueError(f"field 'full_context': {error}") from None
  else:
    lines = record['full_context'].splitlines()
    imports = [x[7:].rstrip('; ') for x in lines if x.startswith('import ')]
  meta = {
    'project': record['project_name'],
    'language': language,
    'package': record['package'],
    'imports': imports,
    'class': owner,
    'function': function,
    'module': path.removesuffix('.py').replace('/', '.'),
    'path': path,
    'arguments': record['argument_name'],
    'docstring': record['docstring'],
  }
  key = f'{record["project_name"]}/{path}/{function}'
  key += f'({",".join(record["argument_name"])})'  # methods may share a name
  return [
    Item(
      f'{key}/{context}',
      record[field],
      record['full_context'],
      meta | {'context': context},
    )
    for context, field in CONTEXTS.items()
  ]


def _prompt(item: Item) -> str:
  meta = item.meta
  kind = 'JUnit' if meta['language'] == 'java' else 'pytest'
  place = meta['package'] or meta['module']
  return (
    f'{item.question}\n\nWrite tests with {kind} for {meta["function"]} of '
    f'{place}. Reach all of its branches. Answer with one block of code.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  meta, tests = item.meta, repair(item, completion)
  if meta['language'] == 'java':
    raise ValueError('Java tests are mended here, but not run')
  changed = mutants(
    item.answer, meta['function'], NUM_MUTANTS, 0, statements=True
  )
  suite = Suite(
    {meta['path']: item.answer}, meta['path'], tests, meta['function'], changed
  )
  (report,) = evaluation.check_suites([suite], allow_execution=True)
  step = rung(report)
  parts = {
    'syntax': float(report.syntax_ok),
    'compile': float(report.import_ok),
    'accept': float(report.accepted),
  }
  if report.accepted:
    parts |= {'line coverage': report.line_cov}
    parts |= {'branch coverage': report.branch_cov}
    if report.mutation_score is not None:
      parts |= {'defects found': report.mutation_score}
  return Verdict(float(report.accepted), tests, step, parts)
