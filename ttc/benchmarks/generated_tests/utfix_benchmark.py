"""UTFix as a benchmark of single answers; see `utfix` for the loop.

A model is shown a change once, with what its tests say of it, and what the
function shall do. It writes the test file again, or answers that the function
is wrong and the tests are right. The score is whether tests of an intended
change now pass (or, where they did, cover all of the method), and whether those
of a mistake still find it.
"""

import ast
import functools

from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.generated_tests import utfix as loop
from ttc.benchmarks.generated_tests.rule_repair import code_of
from ttc.benchmarks.judges import JudgeFn
from ttc.benchmarks.schema import Field, Record, from_records
from ttc.evaluation import SuiteReport, function_node
from ttc.tasks import Item
from ttc.tasks.graders import reply

SCHEMA = (
  Field('id'),
  Field('requirement'),  # what the function shall do
  Field('old'),  # source of the file, imported as code_file
  Field('new'),
  Field('function'),  # `name` or `Class.name`
  Field('tests'),
  Field('intended', bool),  # the new function does what it shall
)
NO_REPAIR = 'NO REPAIR'


def utfix() -> Benchmark:
  """Makes the benchmark."""
  return Benchmark(
    name='utfix',
    title='UTFix: Change Aware Unit Test Repairing using LLM',
    paper='2503.14924',
    metric='right action',
    schema=SCHEMA,
    load=from_records(SCHEMA, _to_item),
    prompt=_prompt,
    grade=_grade,
    categories=lambda item: {'change': item.answer},
    max_new_tokens=1024,
  )


def _to_item(record: Record) -> Item:
  for field in ('old', 'new'):
    try:
      function_node(record[field], record['function'])
    except (SyntaxError, ValueError) as error:
      raise ValueError(f'field {field!r}: {error}') from None
  try:
    ast.parse(record['tests'])
  except (SyntaxError, ValueError) as error:
    raise ValueError(f"field 'tests': {error}") from None
  names = loop.Change._fields
  change = loop.Change(*(record[name] for name in names))
  answer = 'intended' if change.intended else 'mistake'
  return Item(record['id'], record['requirement'], answer, {'change': change})


def _prompt(item: Item) -> str:
  change = _change(item)
  context = loop.context_of(change, change.tests, _before(change))
  return (
    f'Requirement: {item.question}\n\n{loop.prompt(context)} But if the '
    'function is now wrong, leave its tests, which are right, and answer '
    f'{NO_REPAIR}.'
  )


def _grade(item: Item, completion: str, judge: JudgeFn) -> Verdict:
  del judge
  change, text = _change(item), reply(completion)
  leaves = NO_REPAIR in text.upper() and '```' not in text
  tests = change.tests if leaves or not text.strip() else code_of(completion)
  before = _before(change)
  after = before if tests == change.tests else loop.run(change, tests)
  done = loop.Repair(tests, before, after, 1)
  if not change.intended:
    # An answer is needed; and what does not run finds nothing any more.
    score = float(bool(text.strip()) and (leaves or after.n_fail > 0))
    return Verdict(score, tests, after.detail, {'left alone': score})
  mended, complete = float(done.mended), float(done.complete)
  parts = {'complete': complete}
  if not before.accepted:
    parts['mended'] = mended
  score = complete if before.accepted else mended
  return Verdict(score, tests, after.detail, parts)


def _change(item: Item) -> loop.Change:
  return loop.Change(*item.meta['change'])  # a list, where it came from a file


@functools.lru_cache(maxsize=1024)
def _before(change: loop.Change) -> SuiteReport:
  return loop.run(change, change.tests)
