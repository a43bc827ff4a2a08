"""Pictures of searches: how far the best found is from the best there is.

Functions take arrays and a matplotlib `Axes`, draw on it and return it, as in
`ttc.io.plots`.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ttc.io.plots import COLORS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'


def plot_regret(
  ax: Axes,
  regrets: Mapping[str, Float[np.ndarray, 'runs E']],
  *,
  title: str = '',
) -> Axes:
  """Draws regret against evaluations, a curve for each search.

  Args:
    ax: where to draw.
    regrets: after each evaluation of each run, in 0..1, by the name of the
      search; drawn in percent, the mean with a band of two standard errors.
    title: of the panel.

  Returns:
    `ax`.
  """
  for i, (name, runs) in enumerate(regrets.items()):
    color = COLORS[i % len(COLORS)]
    evaluations = np.arange(1, runs.shape[1] + 1)
    mean = 100 * runs.mean(axis=0)
    error = 100 * runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    ax.fill_between(
      evaluations,
      np.maximum(mean - 2 * error, 0.0),
      mean + 2 * error,
      color=color,
      alpha=0.13,
      linewidth=0,
    )
    ax.plot(evaluations, mean, color=color, label=name, linewidth=1.8)
  ax.set_ylim(bottom=0)
  ax.set_title(title, color=_INK, fontsize=11)
  ax.set_xlabel('evaluations', color=_INK)
  ax.set_ylabel('regret (points)', color=_INK)
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
  return ax
