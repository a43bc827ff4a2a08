"""Text-to-Testcase: a test from a requirement, before there is any code.

Alagarsamy et al., "Enhancing Large Language Models for Text-to-Testcase
Generation", 2024, arXiv 2402.11910. The model sees what a function shall do and
its signature, not its body. Published, for a tuned GPT-3.5: 78.5% parse, 67.1%
are aligned with the requirement, 61.7% are covered. `training_pair` makes the
pairs that a model is tuned on.
"""

import ast

from ttc import evaluation
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.generated_tests.rule_repair import code_of, repair_python
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.evaluation import Suite
from ttc.tasks import Item

SCHEMA = (
  Field('id'),
  Field('requirement'),
  Field('signature'),  # 'def clip(x, low, high):'
  Field('reference'),  # source of the function, which the model never sees
  Field('test', optional=True),  # a test to tune on
)
FILE = 'solution.py'


def text_to_testcase() -> Benchmark:
  """Makes the benchmark; the score is whether all tests pass the reference."""
  return Benchmark(
    name='text_to_testcase',
    title='Enhancing Large Language Models for Text-to-Testcase Generation',
    paper='2402.11910',
    metric='accepted',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    max_new_tokens=512,
  )


def training_pair(item: Item) -> tuple[str, str]:
  """Prompt and completion to tune a model on.

  Raises:
    ValueError: where the record has no test.
  """
  if not item.meta['test']:
    raise ValueError(f"item {item.id!r} has no field 'test' to tune on")
  return _prompt(item), item.meta['test']


def _to_item(record: Record) -> Item:
  try:
    tree = ast.parse(record['signature'].rstrip(' :') + ': pass')
    (function,) = tree.body
    name = function.name if isinstance(function, ast.FunctionDef) else ''
    evaluation.function_node(record['reference'], name or ' ')
  except (SyntaxError, ValueError):
    raise ValueError(
      f"field 'signature' is {record['signature']!r}; expected the first line "
      "of a function that field 'reference' defines"
    ) from None
  meta = {'name': name, 'test': record.get('test')}
  meta['signature'] = record['signature']
  return Item(record['id'], record['requirement'], record['reference'], meta)


def _prompt(item: Item) -> str:
  name = item.meta['name']
  return (
    f'A function {name} shall be written in the module solution.\n\n'
    f'Requirement: {item.question}\nSignature: {item.meta["signature"]}\n\n'
    f'Write tests for pytest that any right {name} passes. Answer with one '
    'block of Python.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  name = item.meta['name']
  tests = repair_python(code_of(completion), 'solution', [name])
  suite = Suite({FILE: item.answer}, FILE, tests, name)
  (report,) = evaluation.check_suites([suite], allow_execution=True)
  total = report.n_pass + report.n_fail
  parts = {
    'syntax': float(report.syntax_ok),
    'aligned': report.n_pass / total if total else 0.0,
    'line coverage': report.line_cov if report.accepted else 0.0,
    'branch coverage': report.branch_cov if report.accepted else 0.0,
  }
  return Verdict(float(report.accepted), tests, report.detail, parts)
