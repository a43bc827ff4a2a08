"""UTFix: tests that fail because the code has changed, and those that should.

"UTFix: Change Aware Unit Test Repairing using LLM", 2025, arXiv 2503.14924. The
old tests run on the new code. Where an assertion fails, a repairer is shown
both versions, their difference, the message, a static and a dynamic slice;
where lines of the method are not covered, it is shown those; and it writes
tests again until they pass and cover all of it. Published: 89.2% of failing
assertions mended, 96 of 369 tests brought to full coverage.

A repairer that writes down what the code now does mends everything, mistakes of
the code included. So a case says whether the change is intended; on the others
the right action is none, and how often a repairer takes it is the third metric.

Cost: one run of the tests a round, and the repairer's.
"""

import ast
import difflib
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ttc import evaluation
from ttc.benchmarks.generated_tests.slices import dynamic_slice, static_slice
from ttc.evaluation import Suite, SuiteReport, function_node
from ttc.tasks.mutations import vary

FILE = 'code_file.py'
_SHOWN = 'value of the expression: '


class Change(NamedTuple):
  """A function that has changed, with the tests of its old version."""

  id: str
  old: str  # source of the file, imported as `code_file`
  new: str
  function: str  # `name` or `Class.name`
  tests: str
  intended: bool  # what the function now does is wanted


class Context(NamedTuple):
  """What a repairer sees."""

  change: Change
  tests: str  # as they are now
  report: SuiteReport  # of them on the new code
  old_method: str
  new_method: str
  diff: str
  message: str  # of the first failure; empty if only coverage is missing
  static_slice: tuple[int, ...]  # lines of the new file
  dynamic_slice: tuple[int, ...]
  uncovered: tuple[int, ...]


class Repair(NamedTuple):
  """What became of a change's tests."""

  tests: str
  before: SuiteReport
  after: SuiteReport
  rounds: int

  @property
  def mended(self) -> bool:
    """Whether tests that failed now pass, and none is gone."""
    whole = self.after.n_pass >= self.before.n_pass + self.before.n_fail
    return not self.before.accepted and self.after.accepted and whole

  @property
  def complete(self) -> bool:
    """Whether all pass and cover every line of the method."""
    return self.after.accepted and not self.after.uncovered


class Rates(NamedTuple):
  """Of a set of changes; NaN where there is none of the kind."""

  mended: float  # of intended changes whose tests failed
  complete: float  # of intended changes
  left_alone: float  # of mistakes that tests found: they still find them


# A new test file, or None to leave the tests as they are.
RepairFn: TypeAlias = Callable[[Context], str | None]


def repair(change: Change, propose: RepairFn, max_rounds: int = 3) -> Repair:
  """Mends the tests of a change until they pass and cover all, or no more.

  A proposal is taken up unless it is worse than what there is: unless fewer
  tests pass, or as many, and they cover less. So leaving out what fails is no
  way to mend.

  Args:
    change: what has changed.
    propose: the repairer.
    max_rounds: proposals asked for.

  Raises:
    ValueError: if there is no such function, or `max_rounds` is negative.
  """
  if max_rounds < 0:
    raise ValueError(f'max_rounds={max_rounds} must not be negative')
  tests, rounds = change.tests, 0
  before = report = run(change, tests)
  while rounds < max_rounds and not (report.accepted and not report.uncovered):
    rounds += 1
    proposal = propose(context_of(change, tests, report))
    if proposal is None:
      break
    new = run(change, proposal)
    if (new.n_pass, new.line_cov) >= (report.n_pass, report.line_cov):
      tests, report = proposal, new
  return Repair(tests, before, report, rounds)


def rates(changes: Sequence[Change], repairs: Sequence[Repair]) -> Rates:
  """The three metrics."""
  pairs = list(zip(changes, repairs, strict=True))
  mean = lambda values: float(np.mean(values)) if values else float('nan')
  failed = lambda wanted: [
    r for c, r in pairs if c.intended is wanted and not r.before.accepted
  ]
  return Rates(
    mean([r.mended for r in failed(True)]),
    mean([r.complete for c, r in pairs if c.intended]),
    mean([not r.after.accepted for r in failed(False)]),
  )


def run(change: Change, tests: str) -> SuiteReport:
  """Tests on the new code."""
  suite = Suite({FILE: change.new}, FILE, tests, change.function)
  return evaluation.check_suites([suite], allow_execution=True)[0]


def context_of(change: Change, tests: str, report: SuiteReport) -> Context:
  """What a repairer is shown of tests and their report."""
  old, new = (
    ast.get_source_segment(text, function_node(text, change.function)) or ''
    for text in (change.old, change.new)
  )
  failed = _failures(report)
  ran: list[int] = []
  influences: list[int] = []
  if failed:
    ran = dynamic_slice(change.new, change.function, report, failed[0].name)
    if ran:
      influences = static_slice(change.new, change.function, ran[-1])
  diff = difflib.unified_diff(
    old.splitlines(), new.splitlines(), 'old', 'new', lineterm=''
  )
  return Context(
    change,
    tests,
    report,
    old,
    new,
    '\n'.join(diff),
    f'{failed[0].name}: {failed[0].detail}' if failed else '',
    tuple(influences),
    tuple(ran),
    report.uncovered,
  )


def prompt(context: Context) -> str:
  """The context in words, for a language model."""
  text = (
    f'The function was:\n{context.old_method}\n\nIt is now:\n'
    f'{context.new_method}\n\nThe difference:\n{context.diff}\n\n'
    f'Its tests:\n{context.tests}\n\n'
  )
  if context.message:
    text += (
      f'This fails: {context.message}\nLines that the test runs: '
      f'{list(context.dynamic_slice)}; of them the result depends on '
      f'{list(context.static_slice)}.\n'
    )
  if context.uncovered:
    text += f'No test runs the lines {list(context.uncovered)}.\n'
  return text + 'Write the test file again, as one block of Python.'


def rule_repairer(
  blind: bool = False, seed: int = 0, num_variations: int = 40
) -> RepairFn:
  """A repairer without a model.

  Where an equality fails, its expected value becomes what the expression now
  gives; where lines are not covered, arguments of calls in the tests are varied
  until some reach them. It does nothing where the change is not intended.

  Args:
    blind: does it all the same; for comparison only.
    seed: of the variations.
    num_variations: calls that are tried.
  """

  def propose(context: Context) -> str | None:
    if not (context.change.intended or blind):
      return None
    if not context.report.accepted:
      return _expect_what_is(context)
    return _reach(context, random.Random(seed), num_variations)

  return propose


def _failures(report: SuiteReport):
  return [x for x in report.outcomes if x.status in ('failed', 'error')]


def _equality(node: ast.AST) -> tuple[ast.expr, ast.expr] | None:
  """`(expression, expected value)` of an assertion of equality."""
  if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
    test = node.test
    if len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
      return test.left, test.comparators[0]
  if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
    name = getattr(node.value.func, 'attr', '')
    if name in ('assertEqual', 'assertEquals') and len(node.value.args) >= 2:
      return node.value.args[0], node.value.args[1]
  return None


def _expect_what_is(context: Context) -> str | None:
  """Puts the value that an expression now has into each failing equality."""
  if not context.report.syntax_ok:
    return None
  names = {x.line: x.name for x in _failures(context.report)}
  probe, wanted = ast.parse(context.tests), []
  for body, index, step in _places(probe):
    pair = _equality(step)
    if step.lineno in names and pair:
      wanted.append((names[step.lineno], pair[1]))
      body[index] = _raises(pair[0])
  said = run(context.change, ast.unparse(ast.fix_missing_locations(probe)))
  values = {x.name: _value(x.detail) for x in _failures(said)}
  lines = context.tests.splitlines()
  for name, expected in wanted:
    value = values.get(name)
    if value is None or expected.lineno != expected.end_lineno:
      continue
    line = lines[expected.lineno - 1].encode()  # columns count bytes
    head, tail = line[: expected.col_offset], line[expected.end_col_offset :]
    lines[expected.lineno - 1] = (head + value.encode() + tail).decode()
  new = '\n'.join(lines) + '\n'
  return new if new != context.tests else None


def _reach(
  context: Context, rng: random.Random, num_variations: int
) -> str | None:
  """Adds tests of varied calls that run lines which none has run."""
  tree = ast.parse(context.tests)
  name = context.change.function
  calls = [
    node
    for node in ast.walk(tree)
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name
  ]
  literal = []
  for call in calls:
    try:
      literal.append([ast.literal_eval(x) for x in call.args])
    except ValueError:
      continue
  if not literal:
    return None
  tried = []
  for _ in range(num_variations):
    values = list(rng.choice(literal))
    for _ in range(rng.randint(1, 3)):
      values = [vary(rng, x) if rng.random() < 0.7 else x for x in values]
    tried.append(f'{name}({", ".join(map(repr, values))})')
  head = f'from code_file import {name}\n\n'
  texts = [
    f'def test_{i}():\n  {ast.unparse(_raises(ast.parse(x).body[0].value))}\n'  # type: ignore[attr-defined]
    for i, x in enumerate(tried)
  ]
  report = run(context.change, head + '\n'.join(texts))
  missing, added = set(context.uncovered), []
  for outcome in report.outcomes:
    reached = missing & report.lines.get(outcome.name, frozenset())
    value = _value(outcome.detail)
    if reached and value is not None:
      call = tried[int(outcome.name.removeprefix('test_'))]
      number = len(added)
      added.append(f'\n\ndef test_reaches_{min(reached)}_{number}():\n'
                   f'  assert {call} == {value}\n')  # fmt: skip
      missing -= reached
  return context.tests.rstrip() + '\n' + ''.join(added) if added else None


def _places(tree: ast.AST):
  """`(body, index, statement)` of all statements."""
  for node in list(ast.walk(tree)):
    found = getattr(node, 'body', None)
    body = found if isinstance(found, list) else []
    for index, step in enumerate(body):
      if isinstance(step, ast.stmt):
        yield body, index, step


def _raises(expression: ast.expr) -> ast.stmt:
  """A statement that tells the value of an expression by its failure."""
  code = f'raise AssertionError({_SHOWN!r} + repr({ast.unparse(expression)}))'
  return ast.parse(code).body[0]


def _value(detail: str) -> str | None:
  """The value that a failure tells, if it is a literal."""
  text = detail.partition(_SHOWN)[2]
  try:
    ast.literal_eval(text)
  except (ValueError, SyntaxError, MemoryError, RecursionError):
    return None
  return text or None
