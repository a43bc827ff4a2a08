"""Paths in the plane, episode after episode of a task."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ttc.io import files
from ttc.io.matplotlib_extra import pyplot, save_figure
from ttc.io.plots import Axes

_INK, _FAINT = '#333333', '#dddddd'


class Paths(NamedTuple):
  """Where a robot was in a task.

  Attributes:
    positions: at every step.
    episode: that the step is a part of; `N` and more means none.
    goal: where it should go; None for nowhere.
    title: of the panel.
  """

  positions: Float[np.ndarray, 'T 2']
  episode: Int[np.ndarray, ' T']
  goal: Float[np.ndarray, '2'] | None
  title: str


def plot_paths(
  ax: Axes, paths: Paths, num_episodes: int, word: str = 'episode'
) -> Axes:
  """Draws the paths of a task, the first episode lightest.

  Args:
    ax: where to draw.
    paths: of the task.
    num_episodes: `N`.
    word: for an episode, in a legend.

  Returns:
    `ax`.
  """
  for i in range(num_episodes):
    path = paths.positions[paths.episode == i]
    color = _shade(i, num_episodes)
    ax.plot(*path.T, color=color, linewidth=1.6, solid_capstyle='round',
            label=f'{word} {i + 1}', zorder=2 + i)  # fmt: skip
    ax.plot(*path.T, 'o', color=color, markersize=2.4, zorder=2 + i)
  ax.plot(0, 0, 'o', color=_INK, markersize=4, zorder=20)
  if paths.goal is not None:
    ax.plot(*paths.goal, '*', color='#d55e00', markersize=13,
            markeredgecolor='white', zorder=21)  # fmt: skip
  ax.set_title(paths.title, color=_INK, fontsize=9)
  ax.set_aspect('equal')
  ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
  for spine in ax.spines.values():
    spine.set_color(_FAINT)
  return ax


def save_paths(
  path: files.Path,
  panels: Sequence[Paths],
  num_episodes: int,
  title: str = '',
  word: str = 'episode',
) -> None:
  """Writes a picture, a panel a task, all to one scale.

  Args:
    path: of the file.
    panels: of tasks.
    num_episodes: of each.
    title: above all.
    word: for an episode.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()

  columns = min(4, len(panels))
  rows = -(-len(panels) // columns)
  fig, axes = plt.subplots(
    rows,
    columns,
    figsize=(2.4 * columns, 1.7 * rows + 0.7),
    layout='constrained',
    squeeze=False,
    sharex=True,
    sharey=True,
  )
  for ax in axes.ravel()[len(panels) :]:
    ax.set_visible(False)
  for ax, paths in zip(axes.ravel(), panels, strict=False):
    plot_paths(ax, paths, num_episodes, word)
  handles, labels = axes[0, 0].get_legend_handles_labels()
  fig.legend(
    handles, labels, loc='outside lower center', ncols=num_episodes,
    frameon=False, fontsize=9,
  )  # fmt: skip
  fig.suptitle(title, color=_INK, fontsize=11)
  save_figure(fig, path, dpi=150)
  plt.close(fig)


def _shade(i: int, count: int) -> tuple[float, ...]:
  """From light to dark blue."""
  import matplotlib

  share = 1.0 if count == 1 else i / (count - 1)
  return matplotlib.colormaps['YlGnBu'](0.35 + 0.6 * share)
