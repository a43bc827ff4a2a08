"""The report of a benchmark: tables, picture, and another run beside it."""

import math
from collections.abc import Mapping, Sequence

from ttc import evaluation
from ttc.benchmarks import Benchmark, as_task
from ttc.drivers import benchmark_figures, grading, journal
from ttc.drivers.benchmark_figures import Comparison, Figure, Graded
from ttc.drivers.benchmark_options import BenchmarkOptions
from ttc.drivers.evaluate import aggregate
from ttc.drivers.evaluate_options import Choice
from ttc.evaluation import SampleRecord, ScoreRecord
from ttc.io import files
from ttc.io.interval_plots import save_intervals
from ttc.io.paths import AnyPath, as_path
from ttc.tasks import Item
from ttc.tasks.text_task import GRADER_ERROR

_NAMED = 10  # records whose grader failed that are named


def read_run(
  workdir: files.Path,
  benchmark: Benchmark,
  official: bool,
  items: Sequence[Item],
) -> tuple[str, Graded]:
  """The name and the verdicts of another run, on its items among these.

  Raises:
    ValueError: if it has no scores of this benchmark.
  """
  name = grading.grader_name(benchmark, official)
  scores = journal.read_records(workdir, ScoreRecord)
  graders = {score.grader for score in scores}
  if graders != {name}:
    found = ', '.join(sorted(graders)) or 'nothing'
    raise ValueError(
      f'--compare={workdir} has scores of {found}; expected {name}'
    )
  ids = {score.item_id for score in scores}
  mine = [item for item in items if item.id in ids]
  return as_path(workdir).name, benchmark_figures.gather(mine, scores)


def report(
  chosen: BenchmarkOptions,
  choices: Sequence[Choice],
  workdir: AnyPath,
  benchmark: Benchmark,
  items: Sequence[Item],
  samples: Sequence[SampleRecord],
  scores: Sequence[ScoreRecord],
  other: tuple[str, Graded] | None,
) -> None:
  """Writes report.md, figures.json and figures.png."""
  ids = {item.id for item in items}
  samples = [record for record in samples if record.item_id in ids]
  scores = [score for score in scores if score.item_id in ids]
  graded = benchmark_figures.gather(items, scores)
  count = chosen.num_resamples
  found = benchmark_figures.figures(benchmark, graded, count)
  groups = benchmark_figures.by_category(benchmark, graded, min(count, 200))
  lines = [
    f'# {benchmark.name}: {benchmark.title} ({benchmark.paper})',
    '',
    *_counts(items, samples),
    '',
    _how(benchmark),
    '',
    *evaluation.markdown_table(
      ['figure', 'value', '95% interval', 'items'],
      [[name, *_cells(figure)] for name, figure in found.items()],
      num_left=1,
    ),
  ]
  if groups:
    lines += [
      '',
      f'## {benchmark.metric} by category',
      '',
      *evaluation.markdown_table(
        ['category', '', 'value', '95% interval', 'items'],
        [[*pair, *_cells(figure)] for pair, figure in groups.items()],
        num_left=2,
      ),
    ]
  lines += _failures(scores)
  if chosen.num_samples > 1 and len(samples) == len(items) * chosen.num_samples:
    lines += _methods(chosen, choices, workdir, benchmark, list(items))
  rows = {name: {'this run': figure[:3]} for name, figure in found.items()}
  rows |= {
    f'{name} = {value}': {'this run': figure[:3]}
    for (name, value), figure in groups.items()
  }
  if other is not None:
    name, theirs = other
    compared = benchmark_figures.compare(benchmark, graded, theirs, count)
    lines += _comparison(name, benchmark, compared)
    rows = _beside(rows, name, benchmark, theirs, count)
  files.write_atomically(workdir / 'report.md', '\n'.join(lines) + '\n')
  values = {name: figure._asdict() for name, figure in found.items()}
  text = files.to_json(values, indent=1)
  files.write_atomically(workdir / 'figures.json', text + '\n')
  save_intervals(
    workdir / 'figures.png',
    rows,
    title=f'{benchmark.name} ({len(items)} items)',
    heads=list(found),
  )


def _how(benchmark: Benchmark) -> str:
  """What the figures and their intervals are."""
  unit = 'clusters of items' if benchmark.cluster else 'items'
  if benchmark.aggregate is None:
    return f'Means over items of the mean of their samples; 95% over {unit}.'
  return f'Figures of all items, with 95% intervals by resampling {unit}.'


def _counts(
  items: Sequence[Item], samples: Sequence[SampleRecord]
) -> list[str]:
  """Coverage, and how samples ended."""
  answered = len({record.item_id for record in samples})
  reasons = [record.finish_reason for record in samples]
  ended = ', '.join(
    f'{reason} {100 * reasons.count(reason) / len(reasons):.1f}%'
    for reason in sorted(set(reasons))
  )
  said = (
    f'{len(items)} items, {len(samples)} samples; {answered} items have any '
    f'(coverage {100 * answered / len(items):.1f}%), the others score 0.'
  )
  return [said, f'Samples ended by: {ended}.']


def _cells(figure: Figure) -> list[str]:
  interval = f'[{figure.low:.4f}, {figure.high:.4f}]'
  if math.isnan(figure.low):
    interval = ''
  return [f'{figure.value:.4f}', interval, str(figure.num_items)]


def _failures(scores: Sequence[ScoreRecord]) -> list[str]:
  """Records whose grader failed: how many, and some by name."""
  failed = {
    f'{score.item_id} ({score.sample_idx})': score.detail
    for score in scores
    if (score.detail or '').startswith(GRADER_ERROR)
  }
  if not failed:
    return []
  shown = list(failed.items())[:_NAMED]
  return [
    '',
    f'## Graders that failed: {len(failed)} of {len(scores)}',
    '',
    'Each scores 0.'
    + (f' The first {_NAMED}:' if len(failed) > _NAMED else ''),
    '',
    *evaluation.markdown_table(['item (sample)', 'why'], shown),
  ]


def _methods(chosen, choices, workdir, benchmark, items) -> list[str]:
  """Accuracy of selections among the samples, as `evaluate` reports it."""
  task = as_task(benchmark, items)
  results = aggregate(chosen, workdir, [task], choices)
  text = evaluation.markdown_report('Methods', chosen.budgets, results)
  return ['', '#' + text.strip().replace('\n## ', '\n### ')]


def _comparison(
  name: str, benchmark: Benchmark, found: Comparison
) -> list[str]:
  """A paired comparison in words."""
  difference, mcnemar = found.difference, found.p_mcnemar
  rows = [
    ['this run', *_cells(found.this)],
    [name, *_cells(found.other)],
    ['difference', *_cells(difference)],
  ]
  said = [
    f'Paired on {difference.num_items} items. Sign flips: p = '
    f'{found.p_sign_flip:.4f}.',
    f'Correlation of the scores: {found.correlation:.3f}. Least difference of '
    f'mean scores found with power 0.8: {found.detectable:.4f}.',
  ]
  if mcnemar is not None:
    said.insert(1, f"McNemar's exact test: p = {mcnemar:.4f}.")
  header = [benchmark.metric, 'value', '95% interval', 'items']
  return [
    '',
    f'## Against {name}',
    '',
    *evaluation.markdown_table(header, rows, num_left=1),
    '',
    *said,
  ]


def _beside(
  rows: Mapping[str, Mapping[str, Sequence[float]]],
  name: str,
  benchmark: Benchmark,
  theirs: Graded,
  count: int,
) -> dict[str, dict[str, Sequence[float]]]:
  """The rows of the picture with those of another run."""
  found = benchmark_figures.figures(benchmark, theirs, count)
  beside = {key: figure[:3] for key, figure in found.items()}
  groups = benchmark_figures.by_category(benchmark, theirs, min(count, 200))
  beside |= {f'{k} = {v}': figure[:3] for (k, v), figure in groups.items()}
  return {
    key: {**row, **({name: beside[key]} if key in beside else {})}
    for key, row in rows.items()
  }
