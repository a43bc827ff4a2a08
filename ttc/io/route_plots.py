"""Pictures of routes: which experts read which question, before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ttc.io import files
from ttc.io.matplotlib_extra import pyplot, save_figure

_INK = '#333333'


def save_routes(
  path: files.Path,
  routes: Mapping[str, Any],
  layers: Sequence[int],
  *,
  title: str = '',
) -> None:
  """Draws routing weights, a row of panels for each layer.

  Args:
    path: of the picture.
    routes: by name, in order: `[questions, L, E]` in 0..1.
    layers: to draw.
    title: of the whole.

  Raises:
    ImportError: naming the extra, without matplotlib.
  """
  plt = pyplot()

  shapes = np.shape(next(iter(routes.values())))
  width = np.clip(0.16 * shapes[2] + 1.1, 2.2, 6.0)
  fig, axes = plt.subplots(
    len(layers), len(routes), squeeze=False, sharex=True, sharey=True,
    figsize=(width * len(routes) + 1.2, 2.9 * len(layers) + 0.9),
    layout='constrained',
  )  # fmt: skip
  images = []
  for row, layer in zip(axes, layers, strict=True):
    for ax, (name, weights) in zip(row, routes.items(), strict=True):
      image = ax.imshow(
        np.asarray(weights)[:, layer], cmap='Blues', vmin=0, vmax=1,
        aspect='auto', interpolation='nearest',
      )  # fmt: skip
      images.append(image)
      ax.set_title(
        name if len(layers) == 1 else f'{name}, layer {layer + 1}',
        color=_INK, fontsize=10,
      )  # fmt: skip
      ax.tick_params(length=0, colors=_INK, labelsize=8)
      ax.spines[:].set_color('#cccccc')
    row[0].set_ylabel('question', color=_INK)
  for ax in axes[-1]:
    ax.set_xlabel('expert', color=_INK)
    _ticks(ax.set_xticks, shapes[2])
  _ticks(axes[0, 0].set_yticks, shapes[0])
  bar = fig.colorbar(images[0], ax=axes, shrink=0.8, pad=0.01)
  bar.outline.set_visible(False)
  bar.ax.tick_params(length=0, colors=_INK, labelsize=8)
  bar.set_label('weight of the expert', color=_INK)
  fig.suptitle(title, color=_INK, fontsize=12)
  save_figure(fig, path, dpi=150)
  plt.close(fig)


def _ticks(set_ticks: Any, count: int) -> None:
  """At whole numbers, counted from 1, sixteen at most."""
  step = -(-count // 16)
  set_ticks(range(0, count, step), range(1, count + 1, step))
