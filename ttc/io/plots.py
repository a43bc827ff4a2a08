r"""Plots of accuracy against compute.

Functions take arrays and a matplotlib `Axes`, draw on it and return it, so that
figures compose: `fig, ax = plt.subplots(); plot_scaling_curves(ax, curves)`.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Num

from ttc.io.matplotlib_extra import need_matplotlib, save_figure

Axes: TypeAlias = Any  # matplotlib.axes.Axes

# Okabe and Ito, 2008: told apart by everyone. The first is the reader's anchor.
COLORS = (
  '#0072b2',  # blue
  '#d55e00',  # vermilion
  '#009e73',  # green
  '#cc79a7',  # pink
  '#e69f00',  # orange
  '#56b4e9',  # sky
  '#555555',  # grey
)
MARKERS = ('o', 's', 'D', '^', 'v', 'P', 'X')
LINES = ('-', (0, (4, 2)), (0, (1, 1.5)))  # of the first seven, the next, ...
_INK, _FAINT = '#333333', '#e4e4e4'


class PlotCurve(NamedTuple):
  """One method: a point for each budget."""

  compute: Num[ArrayLike, ' budgets']  # tokens or FLOPs of a problem
  accuracy: Num[ArrayLike, ' budgets']  # in 0..1
  low: Num[ArrayLike, ' budgets'] | None = None  # confidence band
  high: Num[ArrayLike, ' budgets'] | None = None


def plot_scaling_curves(
  ax: Axes,
  curves: Mapping[str, PlotCurve],
  *,
  compute_label: str = 'tokens per problem',
  accuracy_label: str = 'accuracy (%)',
  direct_labels: bool = True,
) -> Axes:
  """Draws accuracy (in percent) against compute (log2), a curve per method.

  Args:
    ax: where to draw.
    curves: by the name of the method; colours go by order, so give methods the
      same order in every figure.
    compute_label: what the x axis counts.
    accuracy_label: what the y axis shows.
    direct_labels: write the names at the ends of the curves; otherwise a
      legend.

  Returns:
    `ax`.
  """
  need_matplotlib()
  from matplotlib import ticker

  ends = []
  for i, (name, curve) in enumerate(curves.items()):
    color = COLORS[i % len(COLORS)]
    order = np.argsort(np.asarray(curve.compute))
    x = np.asarray(curve.compute, np.float64)[order]
    y = 100 * np.asarray(curve.accuracy, np.float64)[order]
    if curve.low is not None and curve.high is not None:
      low = 100 * np.asarray(curve.low, np.float64)[order]
      high = 100 * np.asarray(curve.high, np.float64)[order]
      ax.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
    ax.plot(
      x,
      y,
      color=color,
      label=name,
      linestyle=LINES[i // len(COLORS) % len(LINES)],
      linewidth=1.8,
      marker=MARKERS[i % len(MARKERS)],
      markersize=5.5,
      markeredgecolor='white',
      markeredgewidth=0.8,
      zorder=3,
    )
    ends.append((x[-1], y[-1], name, color))

  ax.set_xscale('log', base=2)
  ax.xaxis.set_major_formatter(ticker.FuncFormatter(_short_number))
  ax.xaxis.set_minor_locator(ticker.NullLocator())
  ax.yaxis.set_major_locator(ticker.MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
  ax.set_xlabel(compute_label, color=_INK)
  ax.set_ylabel(accuracy_label, color=_INK)
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
  if direct_labels:
    _label_ends(ax, ends)
  else:
    ax.legend(frameon=False, labelcolor=_INK)
  return ax


def _label_ends(ax, ends):
  """Writes names beside the last points, moved apart where they would meet."""
  figure = ax.figure
  points_high = ax.get_position().height * figure.get_figheight() * 72
  low, high = ax.get_ylim()
  line = 11.5 * (high - low) / points_high  # height of a line of text
  ends = sorted(ends, key=lambda end: end[1])
  wanted = np.array([y for _, y, _, _ in ends])
  for (x, y, name, color), at in zip(ends, _spread(wanted, line), strict=True):
    ax.annotate(
      name,
      (x, y),
      xytext=(9, (at - y) * points_high / (high - low)),
      textcoords='offset points',
      color=color,
      fontsize=9.5,
      va='center',
      annotation_clip=False,
    )


def _spread(positions: np.ndarray, gap: float) -> np.ndarray:
  """Moves sorted positions apart to `gap`, keeping the mean of each group."""
  groups = [[p] for p in positions]
  centre = lambda group: float(np.mean(group))
  i = 0
  while i < len(groups) - 1:
    room = centre(groups[i + 1]) - centre(groups[i])
    if room < gap * (len(groups[i]) + len(groups[i + 1])) / 2:
      groups[i : i + 2] = [groups[i] + groups[i + 1]]
      i = max(0, i - 1)
    else:
      i += 1
  return np.concatenate(
    [
      centre(group) + gap * (np.arange(len(group)) - (len(group) - 1) / 2)
      for group in groups
    ]
  )


def _short_number(x: float, _: Any = None) -> str:
  """4096 -> '4k' (binary), 2.0**40 -> '1T'; fractions as they are."""
  for power, suffix in ((50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'k')):
    if x >= 2**power:
      return f'{x / 2**power:.3g}{suffix}'
  return f'{x:.3g}'


def save_scaling_figure(
  path: str | os.PathLike[str],
  panels: Mapping[str, Mapping[str, Mapping[str, PlotCurve]]],
) -> None:
  """Writes a grid of scaling plots: a row per compute axis, a column per task.

  Args:
    path: of the PNG file.
    panels: curves by method, by task, by the label of the compute axis.
  """
  need_matplotlib()
  from matplotlib.figure import Figure

  columns = max(len(tasks) for tasks in panels.values())
  figure = Figure(figsize=(4.6 * columns, 3.9 * len(panels) + 0.6), dpi=110)
  axes = figure.subplots(len(panels), columns, squeeze=False, sharey='col')
  for row, (label, by_task) in zip(axes, panels.items(), strict=True):
    for ax, (task, curves) in zip(row, by_task.items(), strict=True):
      plot_scaling_curves(ax, curves, compute_label=label, direct_labels=False)
      ax.get_legend().remove()
      ax.set_title(task, color=_INK, fontsize=11)
      if ax is not row[0]:
        ax.set_ylabel('')
  handles, names = axes[0, 0].get_legend_handles_labels()
  ncols = min(len(names), (3 if len(names) < 7 else 2) * columns)
  room = 0.1 + 0.2 * -(-len(names) // ncols)  # for the rows of the legend
  figure.tight_layout(rect=(0, room / figure.get_figheight(), 1, 1))
  figure.legend(
    handles,
    names,
    loc='lower center',
    ncols=ncols,
    frameon=False,
    labelcolor=_INK,
    fontsize=9,
  )
  save_figure(figure, path, bbox_inches='tight')
