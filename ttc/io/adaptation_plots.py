"""Pictures of test-time adaptation: streams, forgetting, trust, and images.

Functions take arrays and a matplotlib `Axes`, draw on it and return it, as in
`ttc.io.plots`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from ttc.io import files
from ttc.io.learning_curves import plot_learning_curves
from ttc.io.matplotlib_extra import need_matplotlib, save_figure
from ttc.io.plots import COLORS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'
_RIGHT, _WRONG = '#007a59', '#c0392b'
_STYLES = ('-', '--', ':')
_MOST_BANDS = 6  # more of them hide each other


class Reliability(NamedTuple):
  """Of one method: sums over the items of each bin of confidence."""

  confidences: Float[np.ndarray, ' b']
  hits: Float[np.ndarray, ' b']
  sizes: Float[np.ndarray, ' b']

  @property
  def error(self) -> float:
    """The expected calibration error, in 0 to 1."""
    gaps = np.abs(self.hits - self.confidences)
    return float(gaps.sum() / max(self.sizes.sum(), 1))


class Shown(NamedTuple):
  """Images of one domain, and what methods say of them.

  Attributes:
    name: of the domain.
    images: in [0, 1].
    labels: their classes.
    predictions: by method.
  """

  name: str
  images: Float[np.ndarray, 'n H W C']
  labels: Int[np.ndarray, ' n']
  predictions: Mapping[str, Int[np.ndarray, ' n']]


def save_stream_errors(
  path: files.Path,
  errors: Mapping[str, tuple[Num[np.ndarray, ' n'], Num[np.ndarray, 'n S']]],
  visits: Sequence[tuple[int, str]],
  *,
  title: str,
  label: str = 'error (%)',
  steps: str = 'batch',
) -> None:
  """Errors along a stream, with bands over seeds.

  Args:
    path: of the picture.
    errors: where, and how many in percent for each seed, by method.
    visits: first batch and name of each visit, in their order; none for no
      marks.
    title: of the picture.
    label: of the y axis.
    steps: of the x axis.
  """
  figure, ax = _figure(9.2, 4.4)
  for i, (name, (places, values)) in enumerate(errors.items()):
    color, values = COLORS[i % len(COLORS)], np.asarray(values, float)
    mean = values.mean(axis=1)
    if values.shape[1] > 1 and len(errors) <= _MOST_BANDS:
      reach = 2 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
      ax.fill_between(
        places, mean - reach, mean + reach, color=color, alpha=0.13, linewidth=0
      )
    style = _STYLES[i // len(COLORS) % len(_STYLES)]
    ax.plot(places, mean, style, color=color, label=name, linewidth=1.6)
  ax.set_ylim(bottom=0)
  ax.set_title(title, color=_INK, fontsize=11, pad=10)
  ax.set_xlabel(steps, color=_INK)
  ax.set_ylabel(label, color=_INK)
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  _plain(ax)
  longest = max((len(name) for _, name in visits), default=0)
  every = max(1, -(-len(visits) * (longest + 2) // 110))  # as fit side by side
  for i, (start, name) in enumerate(visits):
    ax.axvline(start, color='#d0d0d0', linewidth=0.8, zorder=0)
    if i % every == 0:
      ax.annotate(
        name.replace('_', ' '),
        (start, 1),
        xycoords=('data', 'axes fraction'),
        xytext=(1, 2),
        textcoords='offset points',
        fontsize=6,
        color='#888888',
      )
  _legend_beside(ax)
  save_figure(figure, path, dpi=150)


def save_reliability(
  path: files.Path, found: Mapping[str, Reliability], *, title: str
) -> None:
  """A reliability diagram for each method, with its calibration error.

  Bars are accuracies; their ink is the share of the images in the bin.
  """
  columns = min(4, len(found))
  rows = -(-len(found) // columns)
  figure, axes = _figure(2.5 * columns, 2.5 * rows + 0.4, rows, columns)
  for i, ax in enumerate(np.ravel(axes)):
    if i >= len(found):
      ax.set_axis_off()
      continue
    name, one = list(found.items())[i]
    num_bins = len(one.sizes)
    accuracy = one.hits / np.maximum(one.sizes, 1)
    share = one.sizes / max(one.sizes.max(), 1)
    for b in range(num_bins):
      ax.bar(
        (b + 0.5) / num_bins,
        accuracy[b],
        0.92 / num_bins,
        color=COLORS[i % len(COLORS)],
        alpha=0.15 + 0.75 * share[b],
        linewidth=0,
      )
    ax.plot([0, 1], [0, 1], color='#999999', linewidth=0.8, linestyle=':')
    ax.set_title(f'{name}\nECE {100 * one.error:.1f} %', fontsize=8, color=_INK)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect='equal')
    ax.set_xticks([0, 0.5, 1])
    ax.set_yticks([0, 0.5, 1])
    _plain(ax)
    if i % columns == 0:
      ax.set_ylabel('accuracy', fontsize=8, color=_INK)
    if i >= len(found) - columns:
      ax.set_xlabel('confidence', fontsize=8, color=_INK)
  figure.suptitle(title, fontsize=10, color=_INK)
  save_figure(figure, path, dpi=150)


def save_predictions(
  path: files.Path,
  shown: Sequence[Shown],
  class_names: Sequence[str],
  *,
  title: str,
) -> None:
  """Images of each domain; below each, what every method calls it.

  Green is right and red is wrong.
  """
  columns = len(shown[0].labels)
  methods = list(shown[0].predictions)
  below = 0.34 + 0.145 * len(methods)  # in heights of an image
  width = columns + 1.9
  height = (1 + below) * len(shown) + 0.4
  figure, axes = _figure(width, height, len(shown), columns, layout=None)
  figure.subplots_adjust(
    left=1.8 / width,
    right=1 - 0.05 / width,
    top=1 - 0.5 / height,
    bottom=(below - 0.1) / height,
    hspace=below,
    wspace=0.08,
  )
  axes = np.reshape(axes, (len(shown), columns))
  for one, row in zip(shown, axes, strict=True):
    for j, ax in enumerate(row):
      ax.imshow(np.squeeze(one.images[j]), cmap='gray', vmin=0, vmax=1)
      ax.set_axis_off()
      ax.set_title(class_names[one.labels[j]], fontsize=7, color=_INK, pad=2)
      for k, method in enumerate(methods):
        said = int(one.predictions[method][j])
        ax.text(
          0.5,
          -0.04 - 0.145 * k,
          class_names[said],
          transform=ax.transAxes,
          ha='center',
          va='top',
          fontsize=6,
          color=_RIGHT if said == one.labels[j] else _WRONG,
        )
    row[0].text(
      -0.12,
      0.5,
      one.name.replace('_', '\n'),
      transform=row[0].transAxes,
      ha='right',
      va='center',
      fontsize=8,
      color=_INK,
    )
    for k, method in enumerate(methods):
      row[0].text(
        -0.12,
        -0.04 - 0.145 * k,
        method,
        transform=row[0].transAxes,
        ha='right',
        va='top',
        fontsize=6,
        color='#777777',
      )
  figure.suptitle(title, fontsize=10, color=_INK, y=1 - 0.1 / height)
  save_figure(figure, path, dpi=150)


def save_sweep(
  path: files.Path,
  name: str,
  values: Num[np.ndarray, ' V'],
  errors: Mapping[str, Num[np.ndarray, 'V S']],
  *,
  title: str,
) -> None:
  """Error over the values of a hyper-parameter, with bands over seeds."""
  figure, ax = _figure(6.4, 4.0)
  curves = {method: (values, x) for method, x in errors.items()}
  plot_learning_curves(
    ax, curves, title=title, label='error (%)', steps=name.replace('_', ' ')
  )
  if (np.asarray(values) > 0).all():
    ax.set_xscale('log')
  save_figure(figure, path, dpi=150)


def _figure(
  width: float,
  height: float,
  rows: int = 1,
  columns: int = 1,
  layout: Literal['constrained'] | None = 'constrained',
) -> tuple[Any, Any]:
  """A figure without a screen."""
  need_matplotlib()
  from matplotlib.figure import Figure

  figure = Figure(figsize=(width, height), layout=layout)
  return figure, figure.subplots(rows, columns)


def _plain(ax: Axes) -> None:
  """Without a frame."""
  ax.tick_params(length=0, colors=_INK, labelsize=7)
  ax.spines[['top', 'right']].set_visible(False)
  ax.spines[['left', 'bottom']].set_color('#bbbbbb')


def _legend_beside(ax: Axes) -> None:
  """Moves the legend out of the curves."""
  handles, labels = ax.get_legend_handles_labels()
  if handles:
    ax.legend(
      handles,
      labels,
      frameon=False,
      loc='center left',
      bbox_to_anchor=(1.0, 0.5),
      fontsize=8,
    )
