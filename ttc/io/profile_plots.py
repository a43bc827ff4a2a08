"""Pictures of performance profiles: who solves how much within how much time.

Functions take arrays and a matplotlib `Axes`, draw on it and return it, as in
`ttc.io.plots`.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ttc.io.plots import COLORS, Axes

_INK, _FAINT = '#333333', '#e4e4e4'
_STYLES = ('-', (0, (5, 1.5)), (0, (1.5, 1.2)), '-.')


def plot_performance_profiles(
  ax: Axes,
  taus: Float[np.ndarray, ' n'],
  profiles: Mapping[str, Float[np.ndarray, ' n']],
  *,
  title: str = '',
) -> Axes:
  """Draws the share of workloads solved within a multiple of the fastest time.

  Args:
    ax: where to draw.
    taus: multiples, from 1.
    profiles: shares in 0..1, by the name of who solves them.
    title: of the panel.

  Returns:
    `ax`.
  """
  for i, (name, shares) in enumerate(profiles.items()):
    color, style = COLORS[i % len(COLORS)], _STYLES[i // len(COLORS)]
    # Lines that lie on each other are drawn a little apart.
    apart = 0.4 * (i - (len(profiles) - 1) / 2)
    ax.step(
      taus,
      100 * np.asarray(shares) + apart,
      where='post',
      color=color,
      linestyle=style,
      label=name,
      linewidth=1.6,
    )
  ax.set_xlim(taus[0], taus[-1])
  ax.set_ylim(-3, 103)
  ax.set_title(title, color=_INK, fontsize=11)
  ax.set_xlabel('time over the fastest', color=_INK)
  ax.set_ylabel('workloads solved (%)', color=_INK)
  ax.grid(axis='y', color=_FAINT, linewidth=0.8)
  ax.set_axisbelow(True)
  ax.tick_params(length=0, colors=_INK)
  ax.spines[['top', 'right', 'left']].set_visible(False)
  ax.spines['bottom'].set_color('#bbbbbb')
  return ax
