"""Pictures of searches: curves over calls of the network, and trees."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttc.io import files
from ttc.io.matplotlib_extra import pyplot, save_figure
from ttc.io.plots import COLORS, MARKERS

_INK, _FAINT = '#333333', '#e4e4e4'


def save_search_curves(
  path: files.Path,
  panels: Mapping[str, Mapping[str, tuple[Any, Any]]],
  *,
  title: str = '',
) -> None:
  """Draws what searches reach by their calls, a panel for each measure.

  Args:
    path: of the picture.
    panels: by what is measured, then by search: calls `[n]`, and values
      `[n, seeds]`, whose mean is drawn with two standard errors.
    title: of the whole.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()
  fig, axes = plt.subplots(
    1, len(panels), figsize=(4.4 * len(panels), 4.2), layout='constrained'
  )
  for ax, (label, curves) in zip(
    np.atleast_1d(axes), panels.items(), strict=True
  ):
    for i, (name, (calls, values)) in enumerate(curves.items()):
      color = COLORS[i % len(COLORS)]
      values = np.asarray(values, float)
      mean = values.mean(axis=1)
      error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
      ax.fill_between(
        calls, mean - 2 * error, mean + 2 * error, color=color, alpha=0.13,
        linewidth=0,
      )  # fmt: skip
      ax.plot(
        calls, mean, color=color, label=name, marker=MARKERS[i % len(MARKERS)],
        markersize=4.5, linewidth=1.8,
      )  # fmt: skip
    ax.set_xscale('log', base=2)
    ax.xaxis.set_major_formatter('{x:g}')
    ax.set_xlabel('calls of the network', color=_INK)
    ax.set_title(label, color=_INK, fontsize=11)
    _clean(ax)
  handles, names = np.atleast_1d(axes)[0].get_legend_handles_labels()
  fig.legend(
    handles, names, loc='outside lower center', ncols=len(names), frameon=False
  )
  fig.suptitle(title, color=_INK, fontsize=12)
  save_figure(fig, path, dpi=150)
  plt.close(fig)


def save_tree(
  path: files.Path,
  levels: Sequence[tuple[Any, Any, Any]],
  pictures: Sequence[Any],
  *,
  title: str = '',
) -> None:
  """Draws a tree of paths, each with a picture of where it is.

  Args:
    path: of the picture.
    levels: at each depth parents `[n]`, places among those that lived on, in
      order, rewards `[n]`, and which live `[n]`.
    pictures: at each depth `[n, H, W]` in [-1, 1].
    title: of the whole.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()
  from matplotlib import patches

  widest = max(len(parents) for parents, _, _ in levels)
  fig, ax = plt.subplots(
    figsize=(2.1 * len(levels) + 1, 0.72 * widest + 1), layout='constrained'
  )
  before = np.array([0.5])  # heights of those that lived on
  for depth, (parents, rewards, lives) in enumerate(levels):
    parents, lives = np.asarray(parents), np.asarray(lives)
    num = len(parents)
    heights = 1 - (np.arange(num) + 0.5) / num
    for i in range(num):
      color = COLORS[0] if lives[i] else '#c4c4c4'
      at = (depth, heights[i])
      if depth:
        ax.plot(
          [depth - 0.82, depth - 0.2], [before[parents[i]], at[1]],
          color=color, linewidth=1.8 if lives[i] else 1.0, zorder=1,
        )  # fmt: skip
      half = 0.36 / widest
      ax.imshow(
        -np.asarray(pictures[depth][i]), cmap='gray', vmin=-1, vmax=1,
        extent=(depth - 0.18, depth + 0.18, at[1] - half, at[1] + half),
        aspect='auto', alpha=1.0 if lives[i] else 0.35, zorder=2,
      )  # fmt: skip
      ax.add_patch(
        patches.Rectangle(
          (depth - 0.18, at[1] - half), 0.36, 2 * half, fill=False,
          edgecolor=color, linewidth=0.8, zorder=3,
        )
      )  # fmt: skip
      ax.text(
        depth, at[1] - half - 0.005, f'{rewards[i]:.1f}' if rewards[i] else '',
        ha='center', va='top', fontsize=8, color=color,
      )  # fmt: skip
    before = heights[np.flatnonzero(lives)]
  ax.set_xlim(-0.4, len(levels) - 0.5)
  ax.set_ylim(0, 1)
  ax.set_xticks(
    range(len(levels)), [f'unit {i + 1}' for i in range(len(levels))]
  )
  ax.set_yticks([])
  ax.set_title(title, color=_INK, fontsize=11)
  _clean(ax)
  ax.grid(visible=False)
  save_figure(fig, path, dpi=150)
  plt.close(fig)


def _clean(ax):
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
