"""Pictures of the Kinetics cost model: what costs are made of, what they buy.

Functions take arrays and a matplotlib `Axes`, draw on it and return it, as in
`ttc.io.plots`. `new_figure` makes the axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Num

from ttc.io.matplotlib_extra import need_matplotlib
from ttc.io.plots import COLORS, MARKERS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'


def new_figure(num_panels: int, *, share_y: bool = True) -> tuple[Any, Any]:
  """A figure of panels side by side.

  Args:
    num_panels: how many.
    share_y: all have one y axis.

  Returns:
    The figure and an array of axes.
  """
  need_matplotlib()
  from matplotlib.figure import Figure

  figure = Figure(figsize=(4.4 * num_panels, 3.9), dpi=110, layout='tight')
  axes = figure.subplots(1, num_panels, squeeze=False, sharey=share_y)[0]
  return figure, axes


def plot_shares(
  ax: Axes,
  names: Sequence[str],
  parts: Mapping[str, Num[ArrayLike, ' names']],
) -> Axes:
  """Draws what each cost is made of: a bar of 100% per name.

  Args:
    ax: where to draw.
    names: of the bars, from the top.
    parts: amounts by what they are spent on, in one unit. The first has its
      percentage written beside the bar.

  Returns:
    `ax`.
  """
  amounts = np.array([np.asarray(v, np.float64) for v in parts.values()])
  shares = 100 * amounts / amounts.sum(axis=0)
  left = np.zeros(len(names))
  for label, share, color in zip(parts, shares, COLORS, strict=False):
    ax.barh(names, share, left=left, color=color, label=label, height=0.7)
    left += share
  for row, share in enumerate(shares[0]):
    ax.text(101, row, f'{share:.2g}%', va='center', fontsize=9, color=COLORS[0])
  ax.invert_yaxis()
  ax.set_xlim(0, 100)
  ax.set_xlabel('% of the cost', color=_INK)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[:].set_visible(False)
  return ax


def plot_log_lines(
  ax: Axes,
  lines: Mapping[
    str, tuple[Num[ArrayLike, ' points'], Num[ArrayLike, ' points']]
  ],
  *,
  x_label: str,
  y_label: str,
  markers: bool = False,
) -> Axes:
  """Draws lines on two logarithmic axes, where a power law is straight.

  Args:
    ax: where to draw.
    lines: x and y by name.
    x_label: what the x axis counts.
    y_label: what the y axis counts.
    markers: mark the points.

  Returns:
    `ax`.
  """
  from matplotlib import ticker

  for i, (name, (x, y)) in enumerate(lines.items()):
    ax.plot(
      x,
      y,
      color=COLORS[i % len(COLORS)],
      label=name,
      linewidth=1.8,
      marker=MARKERS[i % len(MARKERS)] if markers else None,
      markersize=5,
    )
  ax.set_xscale('log')
  ax.set_yscale('log')
  for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
    narrow = limits[1] / limits[0] < 1000
    axis.set_major_locator(
      ticker.LogLocator(subs=(1, 2, 5) if narrow else (1,))
    )
    axis.set_major_formatter(ticker.FuncFormatter(_short_number))
    axis.set_minor_locator(ticker.NullLocator())
  ax.set_xlabel(x_label, color=_INK)
  ax.set_ylabel(y_label, color=_INK)
  ax.grid(color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, which='both', colors=_INK)
  ax.spines[:].set_visible(False)
  return ax


def finish_figure(figure: Any, axes: Sequence[Axes]) -> None:
  """Writes the legend under the panels, and y labels at the first alone."""
  handles, names = axes[0].get_legend_handles_labels()
  for ax in axes[1:]:
    ax.set_ylabel('')
  figure.legend(
    handles,
    names,
    loc='upper center',
    bbox_to_anchor=(0.5, 0),
    ncols=min(len(names), 6),
    frameon=False,
    labelcolor=_INK,
    fontsize=9,
  )


def _short_number(x: float, _: Any = None) -> str:
  """12000 -> '12k', 1e15 -> '1P'."""
  for size, suffix in (
    (1e15, 'P'),
    (1e12, 'T'),
    (1e9, 'G'),
    (1e6, 'M'),
    (1e3, 'k'),
  ):
    if x >= size:
      return f'{x / size:.3g}{suffix}'
  return f'{x:.3g}'
