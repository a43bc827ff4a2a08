"""Pictures of grid worlds."""

import numpy as np

from ttc.envs.grid_worlds.world import GridWorldParams, GridWorldState
from ttc.envs.rendering import (
  AGENT_COLORS,
  Circle,
  Picture,
  Polygon,
  Text,
  rectangle,
)

_GOOD, _BAD = '#009e73', '#d55e00'


def draw(state: GridWorldState, params: GridWorldParams) -> Picture:
  """Discs are worth collecting, diamonds cost; absent ones are pale.

  On each object is its reward; a black edge warns that taking it may end the
  episode, at least one time in ten.
  """
  walls = np.asarray(params.walls)
  height, width = walls.shape
  center = lambda cell: (cell % width + 0.5, height - cell // width - 0.5)
  shapes = []
  for row, column in np.ndindex(height, width):
    low = (column, height - 1 - row)
    color = '#4a4e57' if walls[row, column] else '#f6f4ee'
    edge = '#3d4149' if walls[row, column] else '#dedacf'
    shapes.append(rectangle(low, (low[0] + 1, low[1] + 1), color, edge))
  size = 0.26 / max(width, 1)
  for k in np.flatnonzero(params.used):
    if not state.present[k] and params.free is not None:
      continue
    reward = float(params.reward[k])
    color = _GOOD if reward >= 0 else _BAD
    edge = '#000000' if params.p_terminate[k] >= 0.1 else color
    words = '#ffffff'
    if not state.present[k]:
      color, edge, words = '#eae6da', '#c9c4b4', '#aaa594'
    x, y = center(int(state.object_cell[k]))
    r = 0.44
    if reward >= 0:
      shapes.append(Circle((x, y), 0.38, color, edge))
    else:
      corners = ((x - r, y), (x, y + r), (x + r, y), (x, y - r))
      shapes.append(Polygon(corners, color, edge))
    label = f'{reward:+.1f}' if reward % 1 else f'{reward:+.0f}'
    shapes.append(Text((x, y), label, words, size))
  x, y = center(int(state.cell))
  shapes.append(Circle((x, y), 0.33, AGENT_COLORS[0], '#ffffff'))
  for side in (-0.12, 0.12):
    shapes.append(Circle((x + side, y + 0.07), 0.065, '#ffffff'))
  title = f'step {int(state.time)} of {int(params.max_steps)}'
  margin = 0.07 * width
  shapes.append(Text((width / 2, height + margin / 2), title, size=0.045))
  return Picture((-0.05, -0.05), (width + 0.05, height + margin), shapes)
