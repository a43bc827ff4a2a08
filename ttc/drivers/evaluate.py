"""Draws samples, grades them, and shows accuracy against compute.

Four stages, each a function of what the one before wrote into the workdir:

  sample     model and tasks  -> run.json, samples.jsonl
  grade      samples.jsonl    -> scores.jsonl
  aggregate  both             -> metrics.jsonl
  report     the curves       -> report.md, scaling.png

Only the first touches the model. It can be killed at any time and run again: it
goes on with the (item, sample) pairs that are missing, and since a sample
depends on nothing but the seed, its problem and its index, the records are the
same. With several processes each takes its share of the items.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import evaluation, io, tasks
from ttc.drivers import journal, options, processes, runs
from ttc.drivers.draw_samples import draw_samples
from ttc.drivers.evaluate_options import Choice, EvaluateOptions, check
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import files

_GRADER_VERSION = '2'


def evaluate(
  config: Mapping[str, Any],
  workdir: files.Path,
  *,
  allow_config_change: bool = False,
) -> None:
  """Samples, grades, aggregates and reports.

  Args:
    config: see `EvaluateOptions`.
    workdir: of the run; goes on from what is there.
    allow_config_change: resume although the configuration differs.

  Raises:
    ValueError: for a value that means nothing, before anything is computed, or
      if the workdir holds another run or is in use.
    OSError: if something is missing, or cannot be written.
  """
  chosen = options.parse(EvaluateOptions, config)
  choices = check(chosen)
  loaded_tasks = [
    tasks.load(
      name,
      num_items=chosen.num_items,
      seed=chosen.task_seed,
      path=chosen.task_path or None,
    )
    for name in chosen.tasks
  ]
  workdir = pathlib.Path(workdir)
  with processes.hold(workdir):
    _run(chosen, choices, loaded_tasks, workdir, allow_config_change)


def _run(chosen, choices, loaded_tasks, workdir, allow_config_change) -> None:
  """The four stages; process 0 alone does the last three."""

  def begin(inputs: dict[str, str]) -> None:
    if jax.process_index() == 0:
      runs.start_run(
        workdir,
        dataclasses.asdict(chosen),
        chosen.seed,
        dtype=chosen.dtype,
        inputs={'data': _data_digest(loaded_tasks), **inputs},
        has_records=bool(journal.read_records(workdir, SampleRecord)),
        allow_config_change=allow_config_change,
      )
    processes.wait_for_all('started')

  draw_samples(chosen, workdir, loaded_tasks, begin)
  processes.wait_for_all('sampled')
  if jax.process_index() == 0:
    journal.merge_shards(workdir, SampleRecord)
    grade(workdir, loaded_tasks)
    report(chosen, workdir, aggregate(chosen, workdir, loaded_tasks, choices))


def grade(workdir: pathlib.Path, loaded_tasks: Sequence[tasks.TextTask]):
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
  workdir: pathlib.Path,
  loaded_tasks: Sequence[tasks.TextTask],
  choices: Sequence[Choice],
) -> dict[str, evaluation.TaskSummary]:
  """Curves of every method on every task, written to metrics.jsonl."""
  samples = journal.read_records(workdir, SampleRecord)
  scores = journal.read_records(workdir, ScoreRecord)
  lines, results = [], {}
  for task in loaded_tasks:
    ids = {item.id for item in task.items}
    mine = [record for record in samples if record.item_id in ids]
    grades = evaluation.cluster_scores(
      [score for score in scores if score.item_id in ids],
      {task.name: task.same},
    )
    table = evaluation.tabulate(mine, grades)
    curves = {c.label: _curve(chosen, table, c) for c in choices}
    for label, summary in curves.items():
      for i, n in enumerate(chosen.budgets):
        prefix = f'{task.name}/{label}/'
        values = evaluation.scalars(summary, i, prefix)
        lines.append(files.to_json({'step': n, **values}))
    reasons = [record.finish_reason for record in mine]
    results[task.name] = evaluation.TaskSummary(
      curves=curves,
      num_items=len(table.item_ids),
      num_samples=table.correct.shape[1],
      prompt_tokens=float(table.prompt_tokens.mean()),
      finish_rates={r: reasons.count(r) / len(reasons) for r in set(reasons)},
    )
  files.write_atomically(workdir / 'metrics.jsonl', '\n'.join([*lines, '']))
  return results


def _curve(
  chosen: EvaluateOptions, table: evaluation.Table, choice: Choice
) -> evaluation.CurveSummary:
  """Accuracy and cost of one method over random orders of the samples."""
  samples = table.samples
  if choice.verifier == 'exact':
    samples = samples._replace(scores=table.correct.astype(np.float32))
  key = jax.random.key(chosen.seed)
  curve = evaluation.scaling_curve(
    key,
    choice.select,
    jax.tree.map(jnp.asarray, samples),
    jnp.asarray(table.gold),
    jnp.asarray(chosen.budgets),
    chosen.num_permutations,
  )
  flops_per_token = table.flops.sum(1) / table.samples.lengths.sum(1)
  return evaluation.summarize_curve(
    key, curve, flops_per_token, chosen.num_resamples
  )


def report(
  chosen: EvaluateOptions,
  workdir: pathlib.Path,
  results: Mapping[str, evaluation.TaskSummary],
) -> None:
  """Writes report.md and scaling.png."""
  text = evaluation.markdown_report(
    f'{chosen.model} on {", ".join(results)}', chosen.budgets, results
  )
  files.write_atomically(workdir / 'report.md', text)
  panels = {
    label: {
      task: {
        name: io.PlotCurve(getattr(c, field), c.accuracy, c.low, c.high)
        for name, c in result.curves.items()
      }
      for task, result in results.items()
    }
    for field, label in (
      ('tokens', 'generated tokens per item'),
      ('flops', 'FLOPs per item'),
    )
  }
  io.save_scaling_figure(workdir / 'scaling.png', panels)
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
