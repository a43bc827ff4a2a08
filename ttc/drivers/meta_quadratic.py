"""Learns step sizes of a noisy quadratic and compares them with exact ones."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from ttc.evaluation import tables
from ttc.io import files
from ttc.io.matplotlib_extra import save_figure
from ttc.io.paths import as_path
from ttc.io.plots import COLORS
from ttc.testbeds import learned_rates, noisy_quadratic
from ttc.testbeds.noisy_quadratic import Quadratic

ROWS = {
  'evolution': 'evolution, whole lifetimes, [n/N, log N]',
  'blind': 'evolution, no inputs',
  'one_step': 'gradients through one update',
  'greedy': 'greedy schedule (exact)',
  'constant': 'best constant of each horizon (exact)',
}


@dataclasses.dataclass(frozen=True)
class QuadraticOptions:
  """What may be chosen.

  Attributes:
    problem: spectrum, noise and start.
    trained: horizons that rules are learned for.
    unseen: horizons that they are tried on besides.
    num_seeds: of learning.
    num_generations: of evolution.
  """

  problem: Quadratic
  trained: Sequence[int]
  unseen: Sequence[int]
  num_seeds: int
  num_generations: int


def meta_quadratic(chosen: QuadraticOptions, workdir: files.Path) -> None:
  """Prints and writes a table of losses, and draws the schedules.

  Writes losses.md and schedules.png.

  Raises:
    ValueError: for what means nothing, before anything is learned.
  """
  check(chosen)
  workdir = as_path(workdir)
  horizons = (*chosen.trained, *chosen.unseen)
  losses: dict[str, list] = {name: [] for name in ROWS}
  by_seed = []
  for seed in tqdm.tqdm(range(chosen.num_seeds), unit='seed'):
    learned = learned_rates.learn(
      chosen.problem, seed, chosen.trained, chosen.num_generations
    )
    by_seed.append(learned)
    found = learned_rates.relative_losses(chosen.problem, learned, horizons)
    for name, row in found.items():
      losses[name].append(row)
  seen = {N: '' if N in chosen.trained else ' (unseen)' for N in horizons}
  lines = tables.markdown_table(
    ['final loss over the best', *(f'N={N}{seen[N]}' for N in horizons)],
    [
      [label, *(_cell(x) for x in np.array(losses[name]).T)]
      for name, label in ROWS.items()
    ],
  )
  table = '\n'.join(lines)
  print(table)
  files.write_atomically(workdir / 'losses.md', table + '\n')
  draw(chosen, by_seed[-1], workdir / 'schedules.png')


def check(chosen: QuadraticOptions) -> None:
  """Raises ValueError with a line for what means nothing."""
  curvature, noise, start = chosen.problem
  if not curvature or min(curvature) <= 0:
    raise ValueError(f'--curvature={list(curvature)} must be positive numbers')
  if len(start) != len(curvature) or min(start) < 0:
    raise ValueError(
      f'--start={list(start)} must be {len(curvature)} numbers of at least 0, '
      'one for each of --curvature'
    )
  if noise < 0:
    raise ValueError(f'--noise={noise} must be at least 0')
  for name in ('trained', 'unseen'):
    horizons = getattr(chosen, name)
    if any(not 2 <= N <= 10_000 for N in horizons):
      raise ValueError(f'--{name}={list(horizons)} must be from 2 to 10000')
  if len(chosen.trained) < 2:
    raise ValueError(f'--trained={list(chosen.trained)} must be at least two')


def _cell(values):
  """A mean over seeds and the largest."""
  if len(set(np.round(values, 6))) == 1:
    return f'{values[0]:.3f}'
  return f'{values.mean():.3f} (at most {values.max():.3f})'


def draw(
  chosen: QuadraticOptions,
  learned: learned_rates.Learned,
  path: files.Path,
) -> None:
  """The learned step sizes of the last seed, and the greedy ones."""
  from matplotlib.figure import Figure

  panels = len(chosen.trained)
  figure = Figure(figsize=(3.4 * panels, 3.2), layout='constrained')
  axes = np.atleast_1d(figure.subplots(1, panels, sharey=True))
  for ax, N in zip(axes, chosen.trained, strict=True):
    times = jnp.arange(N)
    for i, (name, params) in enumerate(learned._asdict().items()):
      rates = jax.vmap(
        lambda n, params=params, N=N, name=name: learned_rates.rate(
          params, n, jnp.int32(N), sees_time=name != 'blind'
        )
      )(times)
      ax.plot(times / N, rates, color=COLORS[i], label=ROWS[name])
    greedy, _ = noisy_quadratic.greedy_lifetime(chosen.problem, N)
    ax.plot(times / N, greedy, color='#333333', ls=':', label=ROWS['greedy'])
    ax.set_title(f'N = {N}', fontsize=11)
    ax.set_xlabel('n / N')
    ax.set_yscale('log')
    ax.spines[['top', 'right']].set_visible(False)
  axes[0].set_ylabel('step size')
  figure.legend(
    *axes[0].get_legend_handles_labels(),
    loc='outside lower center',
    ncols=2,
    frameon=False,
    fontsize=9,
  )
  save_figure(figure, path, dpi=150)
