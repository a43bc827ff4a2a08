"""Figures with intervals, side by side: one row each, one colour a run."""

from collections.abc import Mapping, Sequence

from ttc.io import files
from ttc.io.matplotlib_extra import pyplot, save_figure
from ttc.io.plots import COLORS, MARKERS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'


def plot_intervals(
  ax: Axes,
  rows: Mapping[str, Mapping[str, Sequence[float]]],
  *,
  label: str = '',
  heads: Sequence[str] = (),
) -> Axes:
  """Draws points with intervals, the first row at the top.

  Args:
    ax: where to draw.
    rows: by name; of each, `(value, low, high)` by run.
    label: what is measured.
    heads: names of rows that are written bold.

  Returns:
    `ax`.
  """
  runs = list(dict.fromkeys(run for row in rows.values() for run in row))
  for j, run in enumerate(runs):
    shift = 0.22 * (j - (len(runs) - 1) / 2)
    color = COLORS[j % len(COLORS)]
    for i, row in enumerate(rows.values()):
      if run in row:
        value, low, high = row[run]
        ax.plot([low, high], [i + shift] * 2, color=color, alpha=0.55, lw=2.2,
                solid_capstyle='round')  # fmt: skip
        ax.plot(value, i + shift, MARKERS[j % len(MARKERS)], color=color, ms=6)
    ax.plot([], [], MARKERS[j % len(MARKERS)], color=color, ms=6, label=run)
  ax.set_yticks(range(len(rows)), list(rows))
  for tick, name in zip(ax.get_yticklabels(), rows, strict=True):
    tick.set_fontweight('bold' if name in heads else 'normal')
  ax.set_ylim(len(rows) - 0.4, -0.6)
  ax.set_xlabel(label, color=_INK)
  ax.grid(axis='x', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
  if len(runs) > 1:
    ax.legend(frameon=False, loc='upper left', bbox_to_anchor=(0, -0.12),
              ncols=len(runs), bbox_transform=ax.transAxes)  # fmt: skip
  return ax


def save_intervals(
  path: files.Path,
  rows: Mapping[str, Mapping[str, Sequence[float]]],
  *,
  title: str = '',
  label: str = '',
  heads: Sequence[str] = (),
) -> None:
  """Writes a picture of `plot_intervals`.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()
  height = 1.2 + 0.36 * len(rows)
  fig, ax = plt.subplots(figsize=(6.4, height), layout='constrained')
  plot_intervals(ax, rows, label=label, heads=heads)
  ax.set_title(title, color=_INK, fontsize=11, loc='left')
  save_figure(fig, path, dpi=150)
  plt.close(fig)
