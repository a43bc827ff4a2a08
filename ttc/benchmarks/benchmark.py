"""What a benchmark is: pure functions and data, one value for each.

A benchmark is a module of this room with a function of the module's name, which
returns a `Benchmark`; a file of a user's own is the same (`catalog.find`).
`timeqa` is a good one to read first. Everything but the scores is optional: the
figures of a benchmark are the means of its scores and of the named parts of its
verdicts, with intervals over items or clusters, unless it has an `aggregate`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from ttc import tasks
from ttc.benchmarks.judges import JudgeFn, no_judge
from ttc.benchmarks.schema import LoadFn, Schema
from ttc.tasks import Item
from ttc.tasks.text_task import same_text


class Verdict(NamedTuple):
  """What a grader says about one completion.

  Attributes:
    score: in 0..1; what is averaged.
    extracted: the answer that was found in the completion, if any.
    detail: how it was found, or why not.
    parts: named figures of this completion. One that does not apply is left
      out, and its mean is over the others.
  """

  score: float
  extracted: str | None = None
  detail: str = ''
  parts: Mapping[str, float] = {}


MISSING = Verdict(0.0, None, 'missing')  # of an item without a completion

GradeFn: TypeAlias = Callable[[Item, str, JudgeFn], Verdict]
# Verdicts of all samples of each item; an item without any has `[MISSING]`.
AggregateFn: TypeAlias = Callable[
  [Sequence[Item], Sequence[Sequence[Verdict]]], Mapping[str, float]
]


class Benchmark(NamedTuple):
  """A published benchmark: how it is read, asked and scored.

  Attributes:
    name: of the module.
    title: of the paper.
    paper: arXiv id.
    metric: the name of the headline figure.
    schema: of the published records.
    load: `path -> items`; mostly `schema.from_records`.
    prompt: of an item.
    grade: `(item, completion, judge) -> Verdict`. Runs in another process, so
      it may hang or crash; what it raises costs one record.
    aggregate: figures by name, `metric` among them; None for the means.
    cluster: what items share, such as a passage; None where they are alone.
    categories: named groups of an item, for tables.
    max_new_tokens: of a completion.
    stop: texts that end one.
    is_chat: the prompt is a user's turn.
    grades_cut: a completion that the length limit cut is graded all the same,
      not wrong as such.
    same: whether two extracted answers are one, for votes.
  """

  name: str
  title: str
  paper: str
  metric: str
  schema: Schema
  load: LoadFn
  prompt: Callable[[Item], str]
  grade: GradeFn
  aggregate: AggregateFn | None = None
  cluster: Callable[[Item], str] | None = None
  categories: Callable[[Item], Mapping[str, str]] = lambda item: {}
  max_new_tokens: int = 1024
  stop: tuple[str, ...] = ()
  is_chat: bool = True
  grades_cut: bool = False
  same: Callable[[str, str], bool] = same_text


def as_task(benchmark: Benchmark, items: list[Item]) -> tasks.TextTask:
  """The text task that samples of a benchmark are drawn for."""

  def grade(item: Item, completion: str) -> tasks.Grade:
    found = benchmark.grade(item, completion, no_judge)
    return tasks.Grade(found.score, found.extracted, found.detail)

  return tasks.TextTask(
    name=benchmark.name,
    items=items,
    prompt=benchmark.prompt,
    stop=benchmark.stop,
    max_new_tokens=benchmark.max_new_tokens,
    grade=grade,
    is_chat=benchmark.is_chat,
    same=benchmark.same,
  )
