"""Learning curves: what was reached after how many steps, over seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ttc.io import files
from ttc.io.matplotlib_extra import pyplot, save_figure
from ttc.io.plots import COLORS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'


def plot_learning_curves(
  ax: Axes,
  curves: Mapping[str, tuple[Any, Any]],
  *,
  title: str = '',
  label: str = 'return of an episode',
  steps: str = 'environment steps',
  log_steps: bool = False,
) -> Axes:
  """Draws means over seeds with bands of two standard errors.

  Args:
    ax: where to draw.
    curves: steps `[n]` and `values [n, seeds]`, by name.
    title: of the panel.
    label: what is measured.
    steps: after what.
    log_steps: on a logarithmic axis.

  Returns:
    `ax`.
  """
  for i, (name, (done, values)) in enumerate(curves.items()):
    color, values = COLORS[i % len(COLORS)], np.asarray(values, float)
    mean = values.mean(axis=1)
    if values.shape[1] > 1:
      error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
      low, high = mean - 2 * error, mean + 2 * error
      ax.fill_between(done, low, high, color=color, alpha=0.13, linewidth=0)
    ax.plot(done, values, color=color, alpha=0.25, linewidth=0.8)
    ax.plot(done, mean, color=color, label=name, linewidth=1.8)
  if log_steps:
    ax.set_xscale('log', base=2)
    ax.xaxis.set_major_formatter('{x:g}')
  ax.set_title(title, color=_INK, fontsize=11)
  ax.set_xlabel(steps, color=_INK)
  ax.set_ylabel(label, color=_INK)
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
  if len(curves) > 1:
    ax.legend(frameon=False)
  return ax


def save_learning_curves(
  path: files.Path,
  curves: Mapping[str, tuple[Any, Any]],
  *,
  title: str = '',
  label: str = 'return of an episode',
  steps: str = 'environment steps',
  log_steps: bool = False,
) -> None:
  """Writes a picture of `plot_learning_curves`.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()

  fig, ax = plt.subplots(figsize=(6.4, 4), layout='constrained')
  plot_learning_curves(
    ax, curves, title=title, label=label, steps=steps, log_steps=log_steps
  )
  save_figure(fig, path, dpi=150)
  plt.close(fig)
