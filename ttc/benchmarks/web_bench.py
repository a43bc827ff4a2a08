r"""Web-Bench: projects of tasks that build on one another (2505.07473).

Xu et al., "Web-Bench: A LLM Code Benchmark Based on Web Standards and
Frameworks". 50 projects have 20 tasks each; a task is tried twice at most, the
second time with the error, and the project ends where both fail. pass@n is how
far a model comes when a task may be tried n times:

.. math:: \text{pass@}n = \frac{1}{T} \min \{ t : \text{the first } n
  \text{ attempts at } t \text{ fail} \}

with tasks counted from 0, and T if there is no such task. The loop edits files
and runs tests; the projects here are of Python, and their tests run in the
sandbox. Those that are published need node and a browser.

Cost: a call of the model and a run of tests for each attempt.
"""

import ast
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ttc import evaluation
from ttc.benchmarks.schema import Field, check_record
from ttc.evaluation import Suite
from ttc.tasks.data_files import read_jsonl

MAX_ATTEMPTS = 2
SCHEMA = (
  Field('id'),
  Field('description'),
  Field('test_file'),  # path in the project
)

Files: TypeAlias = Mapping[str, str]  # sources by path


class ProjectTask(NamedTuple):
  """One step of a project."""

  id: str
  description: str
  tests: str  # source of a test file


class Project(NamedTuple):
  """Files to begin with, and tasks in their order."""

  name: str
  files: Files
  tasks: tuple[ProjectTask, ...]


class Attempt(NamedTuple):
  """What a model is shown."""

  files: Files  # as the tasks before have left them
  task: ProjectTask
  error: str  # of the attempt before; empty at the first
  number: int  # 0 is the first


class ProjectRun(NamedTuple):
  """What became of a project.

  `passed` has a row for each task and a column for each attempt: True from the
  one that passed on, False in tasks that were not tried.
  """

  passed: np.ndarray
  files: Files


# Changed files by path; None takes a file away.
EditFn: TypeAlias = Callable[[Attempt], Mapping[str, str | None]]
# The error of a task's tests on files; empty if they pass.
TestFn: TypeAlias = Callable[[Files, ProjectTask], str]


def pass_at(passed: np.ndarray, num_attempts: int) -> float:
  """How far a project comes with so many attempts at each task.

  Args:
    passed: `[tasks, attempts]`, whether each attempt passed.
    num_attempts: n; at most as many as there are columns.

  Raises:
    ValueError: at another n.
  """
  passed = np.array(passed, bool, ndmin=2)
  if not 1 <= num_attempts <= passed.shape[1]:
    raise ValueError(
      f'num_attempts={num_attempts} is not in [1, {passed.shape[1]}]'
    )
  failed = np.logical_not(passed[:, :num_attempts].any(axis=1)).tolist()
  return ([*failed, True]).index(True) / len(failed)


def error_at_1(passed: np.ndarray) -> float:
  """Share of tasks that were tried and failed at the first attempt.

  What comes after the end of the project was not tried, and does not count.
  """
  rows = np.array(passed, bool, ndmin=2).tolist()
  lost = [not any(row) for row in rows]
  tried = lost.index(True) + 1 if True in lost else len(rows)
  return sum(not row[0] for row in rows[:tried]) / len(rows)


def run_project(
  project: Project,
  edit: EditFn,
  run_tests: TestFn | None = None,
  max_attempts: int = MAX_ATTEMPTS,
) -> ProjectRun:
  """Lets a model do the tasks of a project, one after another.

  Args:
    project: its files and tasks.
    edit: the model. A second attempt begins from the same files as the first.
    run_tests: by default those of Python in the sandbox.
    max_attempts: at each task.
  """
  run_tests = run_tests or python_tests
  passed = np.zeros((len(project.tasks), max_attempts), bool)
  files = dict(project.files)
  for index, task in enumerate(project.tasks):
    error = ''
    for number in range(max_attempts):
      changes = edit(Attempt(files, task, error, number))
      edited = {**files, **changes}
      new = {path: text for path, text in edited.items() if text is not None}
      error = run_tests(new, task)
      if not error:
        passed[index, number:] = True
        files = new
        break
    else:
      break
  return ProjectRun(passed, files)


def python_tests(files: Files, task: ProjectTask) -> str:
  """Runs a task's tests on files of Python, in the sandbox."""
  sources = {path: x for path, x in files.items() if path.endswith('.py')}
  for path, source in sources.items():
    try:
      ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
      return f'{path}: {type(error).__name__}: {error}'
  if not sources:
    return 'there are no files of Python'
  suite = Suite(sources, min(sources), task.tests)
  (report,) = evaluation.check_suites([suite], allow_execution=True)
  if report.accepted:
    return ''
  failed = [f'{x.name}: {x.detail}' for x in report.outcomes if x.detail]
  return '\n'.join(failed) or report.detail or 'no test ran'


def load_project(folder: str | os.PathLike[str]) -> Project:
  """Reads a project: its files, and `tasks.jsonl` with the tests of each task.

  Raises:
    ValueError: naming file, line and field.
    FileNotFoundError: without `tasks.jsonl`.
  """
  root = pathlib.Path(folder)
  seen: set[str] = set()

  def check(record):
    check_record(SCHEMA, record)
    if record['id'] in seen:
      raise ValueError(f'the key {record["id"]!r} is that of an earlier task')
    seen.add(record['id'])
    if not (root / record['test_file']).is_file():
      raise ValueError(
        f"field 'test_file' is {record['test_file']!r}; expected a file of "
        f'{root}'
      )

  records = read_jsonl(root / 'tasks.jsonl', check)
  tests = {record['test_file'] for record in records}
  files = {
    path.relative_to(root).as_posix(): path.read_text('utf-8')
    for path in sorted(root.rglob('*.py'))
    if path.relative_to(root).as_posix() not in tests
  }
  tasks = [
    ProjectTask(x['id'], x['description'],
                (root / x['test_file']).read_text('utf-8'))
    for x in records
  ]  # fmt: skip
  return Project(root.name, files, tuple(tasks))


def prompt(attempt: Attempt) -> str:
  """An attempt in words, for a language model."""
  shown = ''.join(
    f'{path}:\n```\n{text}```\n\n' for path, text in attempt.files.items()
  )
  text = f'{shown}Task: {attempt.task.description}\n'
  if attempt.error:
    text += f'The last attempt failed:\n{attempt.error}\n'
  return text + (
    'Answer with each file that changes, whole: its path and a colon on one '
    'line, then a block of code.'
  )


def read_edits(completion: str) -> dict[str, str | None]:
  """Files that a completion writes, in the form that `prompt` asks for."""
  import re

  blocks = re.findall(
    r'^[\s*#`]*([\w./-]+\.\w+)[`*]*:?[`*]*\s*\n+```[^\n]*\n(.*?)```',
    completion,
    re.MULTILINE | re.DOTALL,
  )
  return {path: text for path, text in blocks}


def summarize(runs: Sequence[ProjectRun]) -> dict[str, float]:
  """Figures over projects, each the mean of the projects'."""
  if not runs:
    raise ValueError('runs=[] is empty; expected at least one project')
  mean = lambda values: float(np.mean(list(values)))
  most = min(x.passed.shape[1] for x in runs)
  figures = {
    f'pass@{n}': mean(pass_at(x.passed, n) for x in runs)
    for n in range(1, most + 1)
  }
  return figures | {'error@1': mean(error_at_1(x.passed) for x in runs)}
