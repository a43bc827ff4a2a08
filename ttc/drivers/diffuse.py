"""Compares searches over noise at equal cost, and shows what they find."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc.drivers import options, processes, training_files
from ttc.drivers.diffuse_options import DiffuseOptions, check
from ttc.drivers.diffuse_videos import diffuse_videos, mean_and_error
from ttc.drivers.journal import Journal
from ttc.evaluation.tables import markdown_table
from ttc.io import files, sample_pictures, search_plots
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.paths import AnyPath, as_path
from ttc.testbeds import image_search, mixture_diffusion, trained_denoisers

_CHUNK = 16  # seeds that are run side by side
_LABELS = {
  'reward': 'reward',
  'log_density': 'log density of the best',
  'judged': 'log-probability by another network',
  'diversity': 'distance in the population',
}


def diffuse(config: Mapping[str, Any], workdir: files.Path) -> None:
  """Measures what is missing, then draws all of it.

  Writes config.json, metrics.jsonl (a line for each search, budget and chunk of
  seeds), curves.png, table.md and samples: of images a grid, a row for each
  search; of videos a GIF and the tree. Run again after a kill, it goes on where
  it was.

  Args:
    config: see `DiffuseOptions`.
    workdir: of the run.

  Raises:
    ValueError: for a value that means nothing; if the workdir holds another run
      or is in use; if a reward is no number.
    FileNotFoundError: if images are not on this machine.
    OSError: if a file cannot be written.
  """
  chosen = options.parse(DiffuseOptions, config)
  check(chosen)
  workdir = as_path(workdir)
  if chosen.bed not in ('linear', 'rare') and jax.process_count() > 1:
    raise ValueError(
      f"--distributed takes the beds 'linear' and 'rare', not {chosen.bed!r}, "
      'whose networks one process keeps'
    )
  with training_files.hold(dataclasses.asdict(chosen), workdir):
    if chosen.bed == 'video':
      diffuse_videos(chosen, workdir)
      return
    journal = processes.open_journal(workdir / 'metrics.jsonl')
    measure = _measure_fn(chosen, workdir)
    jobs = processes.share(list(_jobs(chosen)))
    for job in tqdm.tqdm(jobs, unit='job', disable=len(jobs) < 2):
      if job.what not in journal:
        _run(measure, job, journal, workdir)
    processes.wait_for_all('measured')
    if processes.is_first():
      journal.merge()
      _show(chosen, journal, workdir)


class Job(NamedTuple):
  """A search with a budget on some seeds."""

  search: str
  budget: int
  seeds: range

  @property
  def what(self) -> dict[str, Any]:
    """As the journal knows it."""
    return {
      'search': self.search,
      'budget': self.budget,
      'first': self.seeds.start,
      'seeds': len(self.seeds),
    }


def _jobs(chosen: DiffuseOptions) -> Iterator[Job]:
  for budget in sorted(chosen.budgets):
    for search in chosen.searches:
      for first in range(0, chosen.num_seeds, _CHUNK):
        last = min(first + _CHUNK, chosen.num_seeds)
        yield Job(search, budget, range(first, last))


# `(search, budget, seeds [n]) -> outcome`, leaves `[n]`.
MeasureFn = Callable[[str, int, jax.Array], Any]


def _measure_fn(chosen: DiffuseOptions, workdir: AnyPath) -> MeasureFn:
  """How a bed is searched."""
  key = jax.random.key(chosen.seed)
  seed_keys = jax.vmap(lambda seed: jax.random.fold_in(key, seed))
  if chosen.bed in ('linear', 'rare'):
    make = getattr(mixture_diffusion, f'{chosen.bed}_target')

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def on_mixtures(name, budget, seeds):
      run = functools.partial(mixture_diffusion.run_search, make, name, budget)
      return jax.vmap(run)(seed_keys(seeds))

    return on_mixtures
  model = trained_denoisers.load_model(chosen.model)
  if model.context:
    raise ValueError(f'config.model={chosen.model!r} draws videos, not images')
  bed = image_search.image_bed(
    model, chosen.seed, workdir / 'classifiers', chosen.classifier_steps
  )

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def on_images(name, budget, seeds):
    # One after another: the particles of one fill the machine.
    one = lambda both: image_search.search_images(
      bed, both[0], both[1], name, budget, chosen.num_steps
    )
    return jax.lax.map(one, (seed_keys(seeds), seeds % 10))

  return on_images


def _run(measure, job, journal, workdir):
  """Measures a job, keeps its pictures, then its line."""
  seeds = jnp.arange(job.seeds.start, job.seeds.stop, dtype=jnp.int32)
  found = measure(job.search, job.budget, seeds)._asdict()
  if not np.isfinite(found['reward']).all():
    raise ValueError(f'a reward of {job.search} is no number')
  if 'image' in found:
    write_arrays(_picture_path(workdir, job), {'image': found.pop('image')})
  journal.append(
    job.what,
    **{name: np.asarray(x, float).tolist() for name, x in found.items()},
  )


def _picture_path(workdir: AnyPath, job: Job) -> AnyPath:
  name = job.search.replace(' ', '_')
  return workdir / 'images' / f'{name}-{job.budget}-{job.seeds.start}.npz'


def _show(chosen: DiffuseOptions, journal: Journal, workdir: AnyPath):
  """Curves, table and samples."""
  values: dict[tuple[str, int], dict[str, list[float]]] = {}
  for job in _jobs(chosen):
    line = journal[job.what]
    of_both = values.setdefault((job.search, job.budget), {})
    for name in ('nfe', *_LABELS):
      if name in line:
        of_both.setdefault(name, []).extend(line[name])
  measures = [x for x in _LABELS if x in next(iter(values.values()))]
  budgets = sorted(chosen.budgets)
  curve = lambda search, what: (
    [np.mean(values[search, b]['nfe']) for b in budgets],
    np.array([values[search, b][what] for b in budgets]),
  )
  search_plots.save_search_curves(
    workdir / 'curves.png',
    {
      _LABELS[what]: {search: curve(search, what) for search in chosen.searches}
      for what in measures
    },
    title=f'{chosen.model or chosen.bed}, {chosen.num_seeds} seeds',
  )
  table = _table(chosen, values, measures)
  files.write_atomically(workdir / 'table.md', table)
  print(table)
  if chosen.bed == 'images':
    rows = [
      np.concatenate(
        [
          read_arrays(_picture_path(workdir, job))['image']
          for job in _jobs(chosen)
          if job.search == search and job.budget == budgets[-1]
        ]
      )[:20]
      for search in chosen.searches
    ]
    sample_pictures.save_grid(workdir / 'samples.png', np.stack(rows))
  print(f'{workdir}: curves.png, table.md')


def _table(chosen, values, measures) -> str:
  """Means and standard errors by search and budget."""
  rows = []
  for search, budget in sorted(values, key=lambda both: (both[1], both[0])):
    found = values[search, budget]
    cells = [mean_and_error(found[what]) for what in measures]
    rows.append([search, f'{np.mean(found["nfe"]):.0f}', *cells])
  head = ['search', 'calls', *(_LABELS[what] for what in measures)]
  return '\n'.join(markdown_table(head, rows, num_left=1)) + '\n'
