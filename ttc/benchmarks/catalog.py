"""Benchmarks by name, or by the path of a file of a user's own."""

import difflib
import importlib.util
import inspect
import pathlib
from collections.abc import Callable
from typing import TypeAlias

from ttc.benchmarks.amo_bench import amo_bench
from ttc.benchmarks.bar_exam import bar_exam
from ttc.benchmarks.benchmark import Benchmark, Verdict
from ttc.benchmarks.chronomagic import chronomagic
from ttc.benchmarks.coffe import coffe
from ttc.benchmarks.critpt import critpt
from ttc.benchmarks.dyval import dyval
from ttc.benchmarks.generated_tests.testbench import testbench
from ttc.benchmarks.generated_tests.testgeneval import testgeneval
from ttc.benchmarks.generated_tests.text_to_testcase import text_to_testcase
from ttc.benchmarks.generated_tests.utfix_benchmark import utfix
from ttc.benchmarks.golden_thread import golden_thread, golden_thread_match
from ttc.benchmarks.judges import Question, Unanswered, known
from ttc.benchmarks.longseal import longseal
from ttc.benchmarks.m1_medical import m1_medical
from ttc.benchmarks.meta_critique import meta_critique, meta_critique_match
from ttc.benchmarks.meta_probing import meta_probing
from ttc.benchmarks.mr_gsm8k import mr_gsm8k
from ttc.benchmarks.perception_test import perception_test
from ttc.benchmarks.quicker import quicker
from ttc.benchmarks.sealqa import sealqa, sealqa_match
from ttc.benchmarks.timeqa import timeqa
from ttc.benchmarks.ts_guessing import ts_guessing, ts_guessing_question
from ttc.benchmarks.widesearch import widesearch
from ttc.benchmarks.yourbench import yourbench
from ttc.tasks import Item

# `(official=False) -> Benchmark`. Official reproduces the quirks of the
# released scorer; otherwise the strict reading of the paper.
Factory: TypeAlias = Callable[..., Benchmark]

BENCHMARKS: tuple[Factory, ...] = (
  amo_bench,
  bar_exam,
  chronomagic,
  coffe,
  critpt,
  dyval,
  golden_thread,
  golden_thread_match,
  longseal,
  m1_medical,
  meta_critique,
  meta_critique_match,
  meta_probing,
  mr_gsm8k,
  perception_test,
  quicker,
  sealqa,
  sealqa_match,
  testbench,
  testgeneval,
  text_to_testcase,
  timeqa,
  ts_guessing,
  ts_guessing_question,
  utfix,
  widesearch,
  yourbench,
)


def find(name: str, *, official: bool = False) -> Benchmark:
  """A benchmark.

  Args:
    name: of one of `BENCHMARKS`, or a path that ends in `.py`: a file with a
      function of its own name that returns a `Benchmark`.
    official: with the quirks of the released scorer.

  Raises:
    ValueError: if there is none, naming those there are; if the file is none.
    FileNotFoundError: if there is no file.

  Example:
    >>> timeqa = benchmarks.find('timeqa')
    >>> timeqa.paper, timeqa.metric
    ('2108.06314', 'exact match')
  """
  factory = _from_file(name) if name.endswith('.py') else _from_package(name)
  named = {}
  try:
    if 'official' in inspect.signature(factory).parameters:
      named['official'] = official
    made = factory(**named)
  except Exception as error:
    if factory in BENCHMARKS:
      raise
    raise _raised(name, error) from None
  if not isinstance(made, Benchmark):
    raise ValueError(
      f'{name} returns {type(made).__name__}; expected a Benchmark'
    )
  return made


def _raised(name: str, error: Exception) -> ValueError:
  """What a file of a user's own, which runs any code, raises: in a line."""
  said = ' '.join(f'{type(error).__name__}: {error}'.split())
  return ValueError(f'{name} raises {said}')


def grader(
  name: str, official: bool
) -> Callable[
  [tuple[Item, str, dict[Question, str]]], Verdict | list[Question]
]:
  """The grader of a benchmark, as a worker calls it.

  Args:
    name: as in `find`.
    official: as in `find`.

  Returns:
    `(item, completion, replies of the judge) -> verdict`, or the questions
    that the judge has yet to answer.
  """
  benchmark = find(name, official=official)

  def grade(job):
    item, completion, replies = job
    try:
      return benchmark.grade(item, completion, known(replies))
    except Unanswered as open_:
      return open_.questions

  return grade


def _from_package(name: str) -> Factory:
  by_name = {factory.__name__: factory for factory in BENCHMARKS}
  if name not in by_name:
    close = difflib.get_close_matches(name, by_name, n=1)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    raise ValueError(
      f'there is no benchmark {name!r}.{hint} There are {sorted(by_name)}, '
      'and paths of files .py'
    )
  return by_name[name]


def _from_file(name: str) -> Factory:
  path = pathlib.Path(name)
  if not path.is_file():
    raise FileNotFoundError(2, 'there is no benchmark file', name)
  spec = importlib.util.spec_from_file_location(path.stem, path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:
    raise _raised(name, error) from None
  factory = getattr(module, path.stem, None)
  if not callable(factory):
    raise ValueError(
      f'{name} has no function {path.stem!r} that returns a Benchmark'
    )
  return factory  # type: ignore[return-value]
