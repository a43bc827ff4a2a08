"""Runs a benchmark: samples or reads completions, grades, reports, compares.

Like `evaluate`, in stages that each go on from what is in the workdir; of
several processes each samples its share, and the first one does the rest:

  sample     model and items, or a file of predictions -> samples.jsonl
  grade      samples.jsonl and a judge -> scores.jsonl, judgements.jsonl
  report     both -> report.md, figures.json, figures.png
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tqdm

from ttc import benchmarks, evaluation
from ttc.benchmarks import Benchmark
from ttc.drivers import (
  benchmark_report,
  draw_samples,
  grading,
  journal,
  judging,
  options,
  processes,
  runs,
  sample_logs,
)
from ttc.drivers.benchmark_options import BenchmarkOptions
from ttc.drivers.evaluate_options import check
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import files
from ttc.io.paths import AnyPath, as_path, fetched
from ttc.tasks import Item
from ttc.tasks.text_task import choose


def benchmark(
  config: Mapping[str, Any],
  source: str,
  data: files.Path,
  workdir: files.Path,
  *,
  predictions: files.Path | None = None,
  official: bool = False,
  compare: files.Path | None = None,
  write_logs: bool = False,
  allow_config_change: bool = False,
) -> None:
  """Samples, grades and reports what is missing.

  Args:
    config: see `BenchmarkOptions`.
    source: a benchmark's name or file; see `benchmarks.find`.
    data: file of the published records.
    workdir: of the run; goes on from what is there.
    predictions: file of completions; see `sample_logs`. Without it samples are
      drawn from the model of the configuration.
    official: with the quirks of the released scorer.
    compare: workdir of another run of the same benchmark and data.
    write_logs: also write the logs of lm-evaluation-harness and inspect_ai.
    allow_config_change: resume although the configuration differs.

  Raises:
    ValueError: for a value that means nothing, bad data, or a workdir that
      holds another run or is in use.
    OSError: if something is missing, or cannot be written.
  """
  chosen = options.parse(
    BenchmarkOptions, {'tasks': (source,), 'task_path': str(data), **config}
  )
  choices = check(chosen)
  made = benchmarks.find(source, official=official)
  loaded = made.load(fetched(str(data)))
  items = choose(loaded, chosen.num_items or None, chosen.task_seed)
  other = None
  if compare is not None:
    other = benchmark_report.read_run(compare, made, official, items)
  workdir = as_path(workdir)
  drawn = None
  if predictions is not None:
    drawn = sample_logs.read_predictions(predictions, items, loaded)
  read = {'data': _digest(made, items)} | _files_read(source, predictions)

  def begin(inputs: Mapping[str, str]) -> None:
    if processes.is_first():
      runs.start_run(
        workdir,
        _identity(chosen, official, predictions is not None),
        chosen.seed,
        dtype=chosen.dtype,
        inputs=read | dict(inputs),
        has_records=bool(journal.read_records(workdir, SampleRecord)),
        allow_config_change=allow_config_change,
      )
    processes.wait_for_all('started')

  with processes.hold(workdir):
    answer = judging.make_judge(chosen, workdir)
    _collect(chosen, workdir, made, items, drawn, begin)
    if not processes.is_first():
      return
    grading.grade(
      workdir, source, made, items, answer, official=official,
      seconds=chosen.grade_seconds, num_workers=chosen.num_workers or None,
    )  # fmt: skip
    samples = journal.read_records(workdir, SampleRecord)
    scores = journal.read_records(workdir, ScoreRecord)
    benchmark_report.report(
      chosen, choices, workdir, made, items, samples, scores, other
    )
    if write_logs:
      _write_logs(workdir, chosen.model, made, items, samples, scores)
    tqdm.tqdm.write((workdir / 'report.md').read_text(encoding='utf-8'))
    tqdm.tqdm.write(f'wrote {workdir}/report.md and {workdir}/figures.png')


def _collect(chosen, workdir, made, items, drawn, begin) -> None:
  """Samples of all processes, or those that another engine drew, as records."""
  if drawn is not None:
    begin({})
    if processes.is_first():
      _keep(workdir, drawn)
    return
  task = benchmarks.as_task(made, items)
  draw_samples.draw_samples(chosen, workdir, [task], begin)
  processes.wait_for_all('sampled')
  if processes.is_first() and journal.read_records(workdir, SampleRecord):
    journal.merge_shards(workdir, SampleRecord)


def _files_read(source: str, predictions: files.Path | None) -> dict[str, str]:
  """Digests of the files of a user's own that decide what is found."""
  read = {}
  if source.endswith('.py'):
    read['benchmark'] = files.digest(source)
  if predictions is not None:
    read['predictions'] = files.digest(sample_logs.file_of(predictions))
  return read


def _keep(workdir: AnyPath, drawn: Sequence[SampleRecord]) -> None:
  """Appends the records that are not there yet."""
  done = journal.recorded_keys(workdir, SampleRecord)
  new = [record for record in drawn if record.key not in done]
  journal.append_records(workdir, new)


def _identity(
  chosen: BenchmarkOptions, official: bool, is_read: bool
) -> dict[str, Any]:
  """What of the configuration a run is known by."""
  found = chosen.recorded | {'official': official}
  for harmless in ('task_path', 'grade_seconds', 'num_workers'):
    del found[harmless]  # the digest of the data says more than its path
  return found | {'model': 'predictions'} if is_read else found


def _digest(made: Benchmark, items: Sequence[Item]) -> str:
  """Of every item as it is asked, and all that is known of it."""
  return runs.hash_texts(
    *(
      text
      for item in items
      for text in (
        item.id,
        made.prompt(item),
        item.answer,
        _spell(item.meta),
      )
    )
  )


def _spell(value: Any) -> str:
  """A value as text that is the same in every process."""
  if isinstance(value, Mapping):
    pairs = (f'{_spell(k)}: {_spell(x)}' for k, x in value.items())
    return f'{{{", ".join(sorted(pairs))}}}'
  if isinstance(value, set | frozenset):
    return f'{{{", ".join(sorted(map(_spell, value)))}}}'
  if isinstance(value, list | tuple):
    return f'[{", ".join(map(_spell, value))}]'
  if hasattr(value, 'tolist'):  # an array
    return _spell(value.tolist())
  if hasattr(value, '__dict__'):  # its text may tell where it lies
    return f'{type(value).__name__} {_spell(vars(value))}'
  return repr(value)


def _write_logs(
  workdir: AnyPath,
  model: str,
  made: Benchmark,
  items: Sequence[Item],
  samples: Sequence[evaluation.SampleRecord],
  scores: Sequence[evaluation.ScoreRecord],
) -> None:
  name = made.name
  sample_logs.write_harness_log(
    workdir / f'samples_{name}.jsonl',
    items,
    made.prompt,
    samples,
    scores,
    made.metric,
  )
  sample_logs.write_inspect_log(
    workdir / f'inspect_{name}.json',
    name,
    model,
    items,
    made.prompt,
    samples,
    scores,
  )


def list_benchmarks() -> str:
  """The table of benchmarks: name, paper, metric and schema."""
  rows = []
  for factory in benchmarks.BENCHMARKS:
    made = factory()
    schema = '; '.join(map(str, made.schema))
    rows.append(
      [made.name, f'{made.title} ({made.paper})', made.metric, schema]
    )
  header = ['name', 'paper', 'headline', 'schema']
  return '\n'.join(evaluation.markdown_table(header, rows))
