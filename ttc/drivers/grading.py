"""The stage that turns completions into scores, in processes of its own.

A completion that its grader does not survive scores 0 with a detail that begins
with 'grader_error'. Questions to a judge are collected from all graders, asked
at once, and the graders that asked run again with the replies.
"""

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm

from ttc import evaluation
from ttc.benchmarks import Benchmark, Verdict, catalog
from ttc.benchmarks.judges import AnswerFn, Question
from ttc.drivers import journal
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io.paths import AnyPath
from ttc.tasks import Item
from ttc.tasks.data_files import shorten
from ttc.tasks.text_task import GRADER_ERROR

GRADER_VERSION = '1'
CUT = 'cut by the length limit'
_ROUNDING = 1e-6  # by which a mean may be above 1
_BATCH = 500  # scores that are written at a time
_SECONDS = 5.0  # or those of so long, for a kill loses what is not written


def grade(
  workdir: AnyPath,
  source: str,
  benchmark: Benchmark,
  items: Sequence[Item],
  answer: AnswerFn | None,
  *,
  official: bool,
  seconds: float,
  num_workers: int | None,
) -> None:
  """Grades the samples that have no grade yet, with a bar.

  Args:
    workdir: where samples are, and where scores go.
    source: of the benchmark, as `catalog.find` takes it.
    benchmark: which.
    items: those that are run.
    answer: the judge; None for none.
    official: as `catalog.find` takes it.
    seconds: for one completion.
    num_workers: processes; None for one for each processor.

  Raises:
    ValueError: if there are scores of another grader; if a judge is needed and
      there is none.
  """
  name = grader_name(benchmark, official)
  known = journal.read_records(workdir, ScoreRecord)
  for old in known:
    if (old.grader, old.grader_version) != (name, GRADER_VERSION):
      raise ValueError(
        f'{workdir}/scores.jsonl was graded by {old.grader} '
        f'{old.grader_version}, now {name} {GRADER_VERSION}; remove it, and '
        'everything is graded again'
      )
  done = {(old.item_id, old.sample_idx) for old in known}
  of_id = {item.id: item for item in items}
  todo = [
    record
    for record in journal.read_records(workdir, SampleRecord)
    if record.item_id in of_id and record.key not in done
  ]
  if not todo:
    return

  def score(record: SampleRecord, found: Verdict) -> ScoreRecord:
    item = of_id[record.item_id]
    return ScoreRecord(
      item_id=record.item_id,
      sample_idx=record.sample_idx,
      grader=name,
      grader_version=GRADER_VERSION,
      extracted=found.extracted,
      score=float(found.score),
      detail=found.detail,
      category=[f'{k}={v}' for k, v in benchmark.categories(item).items()],
      parts={k: float(v) for k, v in found.parts.items()} or None,
    )

  with tqdm.tqdm(total=len(todo), unit=' graded', dynamic_ncols=True) as bar:
    verdicts = _verdicts(
      source, benchmark, todo, of_id, answer, official, seconds, num_workers
    )
    batch: list[ScoreRecord] = []
    written = time.monotonic()
    try:
      for pair in verdicts:
        batch.append(score(*pair))
        bar.update()
        if len(batch) == _BATCH or time.monotonic() > written + _SECONDS:
          journal.append_records(workdir, batch)
          batch, written = [], time.monotonic()
    finally:
      journal.append_records(workdir, batch)
  journal.merge_shards(workdir, ScoreRecord)  # in an order that is always one


def grader_name(benchmark: Benchmark, official: bool) -> str:
  """As it stands in records."""
  return benchmark.name + ('/official' if official else '')


def _verdicts(
  source: str,
  benchmark: Benchmark,
  records: Sequence[SampleRecord],
  of_id: Mapping[str, Item],
  answer: AnswerFn | None,
  official: bool,
  seconds: float,
  num_workers: int | None,
) -> Iterator[tuple[SampleRecord, Verdict]]:
  """The verdict on each record, in any order."""
  replies: dict[int, dict[Question, str]] = {}
  for index, record in enumerate(records):
    is_cut = record.finish_reason == 'length'
    if is_cut and not (official or benchmark.grades_cut):
      yield record, Verdict(0.0, None, CUT)
    else:
      replies[index] = {}
  while replies:
    open_ = list(replies)
    jobs = (
      (of_id[records[i].item_id], records[i].completion, replies[i])
      for i in open_
    )
    asked: dict[int, list[Question]] = {}
    for position, outcome in evaluation.map_guarded(
      catalog.grader,
      (source, official),
      jobs,
      seconds=seconds,
      num_workers=num_workers,
    ):
      index = open_[position]
      if isinstance(outcome.value, list):
        asked[index] = outcome.value
        continue
      found = outcome.value
      if problem := outcome.error or _fault(found):
        found = Verdict(0.0, None, f'{GRADER_ERROR}: {problem}')
      del replies[index]
      yield records[index], found
    if not asked:
      return
    questions = list(dict.fromkeys(itertools.chain(*asked.values())))
    if answer is None:
      raise ValueError(
        f'{benchmark.name} needs a judge for {len(questions)} questions; set '
        'config.judge to a model, or to a file of judgements'
      )
    said = dict(zip(questions, answer(questions), strict=True))
    for index, mine in asked.items():
      replies[index] |= {question: said[question] for question in mine}


def _fault(found: Any) -> str:
  """Why what a grader returns is no verdict; nothing if it is one."""
  if not isinstance(found, Verdict):
    return f'the grader returns {type(found).__name__}'
  try:
    score = float(found.score)
  except (TypeError, ValueError):
    score = math.nan
  if not -_ROUNDING <= score <= 1 + _ROUNDING:
    return f'the grader gives the score {shorten(found.score)}, not 0 to 1'
  if not isinstance(found.extracted, str | None):
    return f'the grader extracts {shorten(found.extracted)}, no text'
  return ''
