"""Compares a tree with linear search over videos, and shows both."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc import diffusion
from ttc.drivers.diffuse_options import DiffuseOptions
from ttc.drivers.journal import Journal
from ttc.evaluation.tables import markdown_table
from ttc.io import files, sample_pictures, search_plots
from ttc.io.arrays import read_arrays, write_arrays
from ttc.io.paths import AnyPath
from ttc.testbeds import bouncing_digits, trained_denoisers, video_search

_SHOWN = 10  # videos in the picture


def diffuse_videos(chosen: DiffuseOptions, workdir: AnyPath) -> None:
  """Measures the seeds that are missing, then draws all of them.

  Args:
    chosen: of the comparison; each seed wants its own digit.
    workdir: where metrics.jsonl, videos.gif, tree.png and table.md go.

  Raises:
    ValueError: if the model draws images.
  """
  model = trained_denoisers.load_model(chosen.model)
  if not model.context:
    raise ValueError(f'config.model={chosen.model!r} draws images, not videos')
  bed = video_search.video_bed(
    model, chosen.seed, workdir / 'classifiers', chosen.classifier_steps
  )
  plans = {
    'tree': video_search.tree_plan(chosen.num_steps),
    'linear': video_search.linear_plan(chosen.num_steps),
  }
  journal = Journal(workdir / 'metrics.jsonl')

  @functools.partial(jax.jit, static_argnums=0)
  def run(plan, seed):
    key = jax.random.fold_in(jax.random.key(chosen.seed), seed)
    found, levels = video_search.search_videos(
      bed, key, seed % 10, plan, chosen.num_steps
    )
    judged = video_search.video_reward(
      bed.judge, found.best[None], bouncing_digits.NUM_UNITS, seed % 10
    )[0]
    return found, judged, levels

  jobs = [(seed, name) for seed in range(chosen.num_seeds) for name in plans]
  for seed, name in tqdm.tqdm(jobs, unit='search'):
    what = {'search': name, 'seed': seed}
    if what in journal:
      continue
    found, judged, _ = run(plans[name], jnp.int32(seed))
    diffusion.refuse_nan(found)
    path = workdir / 'videos' / f'{name}-{seed}.npz'
    write_arrays(path, {'video': np.asarray(found.best)})
    journal.append(
      what,
      reward=float(found.rewards.max()),
      judged=float(judged),
      nfe=int(found.nfe),
    )
  _show(chosen, journal, plans, workdir)
  _, _, levels = run(plans['tree'], jnp.int32(0))
  _draw_tree(levels, workdir)


def _show(chosen, journal, plans, workdir):
  """A table, and the videos side by side."""
  rows = []
  for name in plans:
    of_seed = [
      journal[{'search': name, 'seed': seed}]
      for seed in range(chosen.num_seeds)
    ]
    cells = [
      mean_and_error([line[what] for line in of_seed])
      for what in ('reward', 'judged')
    ]
    rows.append([name, of_seed[0]['nfe'], *cells])
  head = ['search', 'calls', 'reward', 'by another network']
  table = '\n'.join(markdown_table(head, rows, num_left=1)) + '\n'
  files.write_atomically(workdir / 'table.md', table)
  print(table)
  shown = range(min(_SHOWN, chosen.num_seeds))
  video = lambda name, seed: bouncing_digits.frames(
    jnp.asarray(
      read_arrays(workdir / 'videos' / f'{name}-{seed}.npz')['video']
    )[None]
  )[0]
  grid = np.stack(
    [np.stack([video(name, seed) for seed in shown]) for name in plans]
  )
  sample_pictures.save_gif(workdir / 'videos.gif', grid)
  print(f'{workdir}: videos.gif (tree above, linear below), tree.png, table.md')


def mean_and_error(values: Sequence[float]) -> str:
  """Mean and standard error over seeds, as a cell of a table."""
  x = np.asarray(values, float)
  return f'{x.mean():.3f} ± {x.std(ddof=1) / np.sqrt(len(x)):.3f}'


def _draw_tree(levels, workdir):
  """The tree of the first seed."""
  levels = jax.tree.map(np.asarray, levels)
  search_plots.save_tree(
    workdir / 'tree.png',
    [(level.parents, level.rewards, level.lives) for level in levels],
    [level.units[..., -1] for level in levels],
    title='last frame of each branch, and what its video was worth',
  )
