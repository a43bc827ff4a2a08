"""Draws samples, searches, grades, and shows accuracy against compute.

Five stages, each a function of what those before wrote into the workdir:

  sample     model and tasks  -> run.json, samples.jsonl
  search     model and tasks  -> searches.jsonl
  grade      samples.jsonl    -> scores.jsonl
  aggregate  all of them      -> metrics.jsonl
  report     the curves       -> report.md, scaling.png

Methods that choose among samples share those of the first stage; methods that
steer decoding run in the second. Only these two touch the model. They can be
killed at any time and run again: they go on with the (item, sample) pairs and
the (item, method, budget) triples that are missing, and since a sample depends
on nothing but the seed, its problem and its index, the records are the same.
With several processes each takes its share of the items.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tqdm

from ttc import evaluation, tasks
from ttc.drivers import journal, options, processes, runs, tool_files
from ttc.drivers.draw_samples import Job, Opened, draw_samples
from ttc.drivers.draw_searches import SearchJob, draw_searches
from ttc.drivers.evaluate_options import (
  VERIFIERS,
  Choice,
  EvaluateOptions,
  SearchOptions,
  check_search,
)
from ttc.drivers.outcomes import (
  save_picture,
  searched_outcomes,
  selected_outcomes,
)
from ttc.drivers.score_functions import load_verifier
from ttc.evaluation import Outcomes, SampleRecord, ScoreRecord, SearchRecord
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, fetched

_GRADER_VERSION = '2'


def evaluate(
  config: Mapping[str, Any],
  workdir: files.Path,
  *,
  allow_config_change: bool = False,
) -> None:
  """Samples, grades, aggregates and reports.

  Args:
    config: see `SearchOptions`.
    workdir: of the run; goes on from what is there.
    allow_config_change: resume although the configuration differs.

  Raises:
    ValueError: for a value that means nothing, before anything is computed, or
      if the workdir holds another run or is in use.
    OSError: if something is missing, or cannot be written.
  """
  chosen = options.parse(SearchOptions, config)
  choices, baseline = check_search(chosen)
  tools = tool_files.read(chosen.tools) if chosen.tools else ()
  as_text = lambda given: given.replace('\\n', '\n')
  loaded_tasks = [
    tasks.load(
      name,
      num_items=chosen.num_items,
      seed=chosen.task_seed,
      path=fetched(chosen.task_path) or None,
    ).asked(as_text(chosen.system), as_text(chosen.prefill), tools)
    for name in chosen.tasks
  ]
  workdir = as_path(workdir)
  with processes.hold(workdir):
    _run(chosen, choices, baseline, loaded_tasks, workdir, allow_config_change)


def _run(
  chosen, choices, baseline, loaded_tasks, workdir, allow_config_change
) -> None:
  """The five stages; process 0 alone does the last three."""

  def begin(inputs: dict[str, str]) -> None:
    if processes.is_first():
      runs.start_run(
        workdir,
        chosen.recorded,
        chosen.seed,
        dtype=chosen.dtype,
        inputs={'data': _data_digest(loaded_tasks), **inputs},
        has_records=any(
          journal.read_records(workdir, kind)
          for kind in (SampleRecord, SearchRecord)
        ),
        allow_config_change=allow_config_change,
      )
    processes.wait_for_all('started')

  @functools.cache
  def open_jobs() -> tuple[Opened, dict[str, SearchJob]]:
    opened = Opened.of(chosen, _verifiers(chosen, choices), chosen.max_steps)
    jobs = {
      task.name: SearchJob(chosen, Job(chosen, opened, task), _GRADER_VERSION)
      for task in loaded_tasks
    }
    for job in jobs.values():
      job.check(choices)
    begin(opened.digests)
    return opened, jobs

  if not all(choice.decodes for choice in choices):
    draw_samples(chosen, workdir, loaded_tasks, begin, lambda: open_jobs()[0])
  draw_searches(
    chosen, choices, workdir, loaded_tasks, _GRADER_VERSION, begin, open_jobs
  )
  processes.wait_for_all('sampled')
  if processes.is_first():
    for kind in (SampleRecord, SearchRecord):
      if journal.read_records(workdir, kind):
        journal.merge_shards(workdir, kind)
    grade(workdir, loaded_tasks)
    results = aggregate(chosen, workdir, loaded_tasks, choices)
    report(chosen, workdir, results, baseline.label)


def _verifiers(chosen, choices):
  """The verifiers that are models, by name; those that somebody asks."""
  asked = {choice.verifier for choice in choices} - set(VERIFIERS)
  return {name: load_verifier(chosen.directories[name]) for name in asked}


def grade(workdir: AnyPath, loaded_tasks: Sequence[tasks.TextTask]):
  """Grades the samples that have no grade yet."""
  known = journal.read_records(workdir, ScoreRecord)
  for score in known:
    if score.grader_version != _GRADER_VERSION:
      raise ValueError(
        f'{workdir}/scores.jsonl was graded by version {score.grader_version}, '
        f'now {_GRADER_VERSION}; remove it, and everything is graded again'
      )
  done = {score.key for score in known}
  records = journal.read_records(workdir, SampleRecord)
  home = {item.id: (task, item) for task in loaded_tasks for item in task.items}
  scores = []
  for record in records:
    if record.item_id not in home:
      continue
    task, item = home[record.item_id]
    if (*record.key, task.name) in done:
      continue
    found = task.grade(item, record.completion)
    cut = record.finish_reason == 'length'
    scores.append(
      ScoreRecord(
        item_id=record.item_id,
        sample_idx=record.sample_idx,
        grader=task.name,
        grader_version=_GRADER_VERSION,
        extracted=None if cut else found.extracted,
        score=0.0 if cut else found.score,
        detail='cut by the length limit' if cut else found.detail,
        category=[task.name],
      )
    )
  same = {task.name: task.same for task in loaded_tasks}
  journal.append_records(
    workdir, evaluation.cluster_scores(scores, same, known)
  )


def aggregate(
  chosen: EvaluateOptions,
  workdir: AnyPath,
  loaded_tasks: Sequence[tasks.TextTask],
  choices: Sequence[Choice],
) -> dict[str, evaluation.TaskSummary]:
  """Curves of every method on every task, written to metrics.jsonl."""
  samples = journal.read_records(workdir, SampleRecord)
  scores = journal.read_records(workdir, ScoreRecord)
  searches = journal.read_records(workdir, SearchRecord)
  key = jax.random.key(chosen.seed)
  lines, results = [], {}
  for task in loaded_tasks:
    ids = {item.id for item in task.items}
    mine = [record for record in samples if record.item_id in ids]
    searched = [record for record in searches if record.item_id in ids]
    grades = evaluation.cluster_scores(
      [score for score in scores if score.item_id in ids],
      {task.name: task.same},
    )
    outcomes = {
      choice.label: searched_outcomes(chosen, searched, choice)
      if choice.decodes
      else selected_outcomes(chosen, mine, grades, choice)
      for choice in choices
    }
    curves = {
      label: evaluation.summarize_outcomes(key, found, chosen.num_resamples)
      for label, found in outcomes.items()
    }
    for label, summary in curves.items():
      for i, n in enumerate(chosen.budgets):
        prefix = f'{task.name}/{label}/'
        values = evaluation.scalars(summary, i, prefix)
        lines.append(files.to_json({'step': n, **values}))
    reasons = [record.finish_reason for record in mine]
    prompts = {r.item_id: r.prompt_tokens for r in [*mine, *searched]}
    results[task.name] = evaluation.TaskSummary(
      curves=curves,
      num_items=len(prompts),
      num_samples=len(mine) // len(prompts),
      prompt_tokens=float(np.mean(list(prompts.values()))),
      finish_rates={r: reasons.count(r) / len(reasons) for r in set(reasons)},
      outcomes=outcomes,
    )
  files.write_atomically(workdir / 'metrics.jsonl', '\n'.join([*lines, '']))
  return results


def report(
  chosen: EvaluateOptions,
  workdir: AnyPath,
  results: Mapping[str, evaluation.TaskSummary],
  baseline: str,
) -> None:
  """Writes report.md and scaling.png."""
  text = evaluation.markdown_report(
    f'{chosen.model} on {", ".join(results)}',
    chosen.budgets,
    results,
    baseline,
  )
  files.write_atomically(workdir / 'report.md', text)
  key = jax.random.key(chosen.seed)

  def intervals(outcomes: Outcomes):
    found = evaluation.summarize_outcomes(key, outcomes, chosen.num_resamples)
    return found.accuracy, found.low, found.high

  outcomes = {task: result.outcomes for task, result in results.items()}
  save_picture(workdir / 'scaling.png', outcomes, intervals, 'item')
  tqdm.tqdm.write(text)
  tqdm.tqdm.write(f'wrote {workdir}/report.md and {workdir}/scaling.png')


def _data_digest(loaded_tasks: Sequence[tasks.TextTask]) -> str:
  """Of every question as it is asked, and its answer."""
  return runs.hash_texts(
    *(
      text
      for task in loaded_tasks
      for item in task.items
      for text in (item.id, task.prompt(item), item.answer)
    )
  )
