"""What test files that nobody has read are worth: pass, coverage, mutants.

A test file runs in a sandbox of its own together with the files that it tests.
Of one of these the lines and branches are measured, and versions with mistakes
of it (mutants) are run to see which of them the tests find. All versions run in
one sandbox, one after another; where one ends the process, the next begins in a
new one. At the end the true version is run again: if it now fails, the tests
leave something behind, and each version gets a sandbox of its own.

A report is believed if it answers the secret of its question and comes before
anything ends. Tests share a process with what they test and with what watches
them, so one that looks for it can claim to have passed; and one that passes may
check nothing. Therefore the tests are run once more on a version whose
functions only raise: a suite that does not notice is `vacuous`. Beyond that,
the mutants that it finds speak for it.

Cost: one run of the tests, and if they pass two more, and one up to the first
failure for each mutant.
"""

import ast
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from ttc.evaluation import suite_coverage
from ttc.evaluation.sandbox import (
  Box,
  Limits,
  SandboxError,
  check_permission,
  map_workers,
)

_MAX_SHOWN = 300  # characters of what a process or a failure said

Fate = Literal['killed', 'survived', 'timeout']
Status = Literal['passed', 'failed', 'error', 'skipped', 'timeout']
Arms = frozenset[tuple[int, int]]


class Suite(NamedTuple):
  """A test file and what it tests.

  Attributes:
    files: sources by path, `package/module.py`.
    measured: the path of the file that is covered and mutated.
    tests: source of the test file.
    function: `name` or `Class.name` to measure; all of the file where empty.
    mutants: versions of the measured file.
    test_path: of the test file.
  """

  files: Mapping[str, str]
  measured: str
  tests: str
  function: str = ''
  mutants: Sequence[str] = ()
  test_path: str = 'test_generated.py'


class Outcome(NamedTuple):
  """What became of one test."""

  name: str
  status: Status
  detail: str
  line: int = 0  # of the test file, where it went wrong


class SuiteReport(NamedTuple):
  """What is known of a test file.

  Coverages are shares of the measured function, or file. Branches are what
  `if`, `while`, `for` and `match` may do; without any the share is 1.
  """

  syntax_ok: bool
  import_ok: bool  # what compiling is elsewhere
  outcomes: tuple[Outcome, ...]
  line_cov: float
  branch_cov: float
  covered: tuple[int, ...]  # lines of the function, or file
  uncovered: tuple[int, ...]
  lines: Mapping[str, frozenset[int]]  # of the file, by test; and 'import'
  fates: tuple[Fate, ...]  # of the mutants; none unless all tests pass
  vacuous: bool  # all tests pass, whatever the function does
  detail: str  # what went wrong first

  @property
  def n_pass(self) -> int:
    """Tests that passed."""
    return sum(x.status == 'passed' for x in self.outcomes)

  @property
  def n_fail(self) -> int:
    """Tests that failed, raised, or took too long."""
    return sum(x.status not in ('passed', 'skipped') for x in self.outcomes)

  @property
  def accepted(self) -> bool:
    """Whether there are tests, and all pass."""
    return self.n_pass > 0 and self.n_fail == 0

  @property
  def mutation_score(self) -> float | None:
    """Share of killed ones among mutants that ended; None without any."""
    ended = [fate for fate in self.fates if fate != 'timeout']
    return ended.count('killed') / len(ended) if ended else None


def check_suites(
  suites: Sequence[Suite],
  *,
  allow_execution: bool = False,
  seconds: float = 10.0,
  test_seconds: float = 1.0,
  memory: int = 256 * 2**20,
  num_workers: int = 2,
  progress: Callable[[], None] | None = None,
) -> list[SuiteReport]:
  """Runs test files, each in a sandbox of its own.

  Args:
    suites: test files with what they test.
    allow_execution: must be True; says that running unread code is wanted.
    seconds: of wall-clock time for all tests on one version.
    test_seconds: of processor time for each test.
    memory: bytes of address space of a sandbox, interpreter included.
    num_workers: sandboxes at a time.
    progress: called after each suite, by any thread.

  Returns:
    A `SuiteReport` for each.

  Raises:
    PermissionError: without `allow_execution`.
    ValueError: at a limit that is not positive, or a measured file or function
      that there is not.
    RuntimeError: if there are no namespaces; says how to get them.
  """
  limits = Limits(seconds, memory)
  check_permission(allow_execution, limits)
  if not test_seconds > 0:
    raise ValueError(f'test_seconds={test_seconds} must be positive')
  spans = [_span(suite) for suite in suites]

  def work(pair):
    suite, span = pair
    report = _report(suite, span, limits=limits, test_seconds=test_seconds)
    if progress:
      progress()
    return report

  return map_workers(work, list(zip(suites, spans, strict=True)), num_workers)


def function_node(source: str, function: str) -> Any:
  """The syntax tree of a function, `name` or `Class.name`, of a source."""
  node: Any = ast.parse(source)
  for part in function.split('.'):
    named = [x for x in ast.walk(node) if getattr(x, 'name', None) == part]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    named = [x for x in named if isinstance(x, kinds)]
    if not named:
      raise ValueError(f'the source has no function {function!r}')
    node = named[0]
  return node


class _Span(NamedTuple):
  """What may be covered."""

  lines: frozenset[int]
  arms: Arms


def _span(suite: Suite) -> _Span:
  if suite.measured not in suite.files:
    raise ValueError(
      f'measured={suite.measured!r} is none of the files {sorted(suite.files)}'
    )
  source = suite.files[suite.measured]
  tree = ast.parse(source)
  if suite.function:
    tree = ast.Module(function_node(source, suite.function).body, [])
  return _Span(
    frozenset(suite_coverage.lines_of(tree)),
    frozenset(suite_coverage.arms_of(tree)),
  )


def _report(
  suite: Suite, span: _Span, *, limits: Limits, test_seconds: float
) -> SuiteReport:
  ask = lambda sources: _ask(suite, sources, limits, test_seconds)
  try:
    ((answer, detail),) = ask([None])
  except UnicodeEncodeError:
    answer, detail = None, 'the source is not text'
  if answer is None:
    return SuiteReport(
      False, False, (), 0.0, 0.0, (), (), {}, (), False, detail
    )
  outcomes, parts = answer['outcomes'], answer['parts']
  lines = {name: frozenset(x[0]) for name, x in parts.items()}
  arms = {tuple(arm) for x in parts.values() for arm in x[1]}
  covered = frozenset().union(*lines.values()) & span.lines
  share = lambda part, whole: len(part) / len(whole) if whole else 1.0
  failed = [x.detail for x in outcomes if x.status not in ('passed', 'skipped')]
  report = SuiteReport(
    answer['syntax'],
    answer['imported'],
    outcomes,
    share(covered, span.lines),
    share(arms & span.arms, span.arms),
    tuple(sorted(covered)),
    tuple(sorted(span.lines - covered)),
    lines,
    (),
    False,
    answer['detail'] or (failed or [''])[0],
  )
  if not report.accepted:
    return report
  num_mutants = len(suite.mutants)
  answers = ask([*suite.mutants, _sabotaged(suite), None])
  if not _is_clean(answers[-1][0]):
    answers = [
      ask([source])[0] for source in (*suite.mutants, _sabotaged(suite))
    ]
  fates = tuple(_fate(*pair) for pair in answers[:num_mutants])
  vacuous = _is_clean(answers[num_mutants][0])
  return report._replace(fates=fates, vacuous=vacuous)


def _sabotaged(suite: Suite) -> str:
  """The measured file with functions that only raise."""
  tree = ast.parse(suite.files[suite.measured])
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      node.body = ast.parse('raise RuntimeError("sabotaged")').body
  return ast.unparse(tree)


def _ask(
  suite: Suite,
  sources: Sequence[str | None],
  limits: Limits,
  test_seconds: float,
) -> list[tuple[dict[str, Any] | None, str]]:
  """What the sandbox says of each version, or why it says nothing."""
  answers = []
  measure = list(sources) == [None]
  while len(answers) < len(sources):
    rest = sources[len(answers) :]
    request = {
      'sources': dict(suite.files),
      'measured': suite.measured,
      'test_path': suite.test_path,
      'tests': suite.tests,
    }
    whole = limits._replace(seconds=limits.seconds * len(rest))
    with Box('suite', whole, **request) as box:
      try:
        box.receive()
        for source in rest:
          box.deadline = time.monotonic() + limits.seconds
          question = {
            'nonce': secrets.token_hex(8),
            'source': source,
            'measure': measure,
            'test_seconds': test_seconds,
          }
          box.send(json.dumps(question).encode())
          frame = box.receive()
          if frame is None:
            box.finish()  # reads the rest of what it printed
            said = box.printed.decode(errors='replace').split()
            raise SandboxError(' '.join(said)[-_MAX_SHOWN:])
          answers.append((_read(frame, question), ''))
      except TimeoutError:
        answers.append((None, f'timeout after {limits.seconds} s'))
      except SandboxError as error:
        answers.append((None, f'ended before its report: {error}'))
  return answers


def _read(frame: bytes, question: dict[str, Any]) -> dict[str, Any]:
  """A report, if it is one."""
  try:
    answer = json.loads(frame)
    if answer['nonce'] != question['nonce']:
      raise ValueError
    outcomes = tuple(
      Outcome(str(name), _status(status), str(detail), int(line))
      for name, status, detail, line in answer['outcomes']
    )
    parts = {
      str(name): (
        [int(line) for line in lines],
        [(int(line), int(arm)) for line, arm in arms],
      )
      for name, (lines, arms) in answer.get('parts', {}).items()
    }
    return {
      'syntax': answer['syntax'] is True,
      'imported': answer['imported'] is True,
      'detail': str(answer['detail'])[:_MAX_SHOWN],
      'outcomes': outcomes,
      'parts': parts,
    }
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    raise SandboxError('what was sent is no report') from None


def _status(text: Any) -> Any:
  if text not in get_args(Status):
    raise ValueError
  return text


def _is_clean(answer: dict[str, Any] | None) -> bool:
  return answer is not None and _failure(answer) is None


def _failure(answer: dict[str, Any]) -> str | None:
  """The status of the first test that does not pass; None where all do."""
  if not answer['imported']:
    return 'error'
  bad = [x.status for x in answer['outcomes']]
  return next((x for x in bad if x not in ('passed', 'skipped')), None)


def _fate(answer: dict[str, Any] | None, detail: str) -> Fate:
  """Of a mutant; one that ends the process or breaks the import is found."""
  failure = _failure(answer) if answer is not None else detail.split()[0]
  if failure is None:
    return 'survived'
  return 'timeout' if failure == 'timeout' else 'killed'
