"""Pictures of STORM's grid."""

import numpy as np

from ttc.envs.multi_agent.storm.world import (
  BLUE,
  NOTHING,
  RED,
  StormParams,
  StormState,
)
from ttc.envs.rendering import Circle, Picture, Polygon, Text, rectangle

_COINS = ('', '#d62728', '#1f77b4')
_PLAYERS = ('#009e73', '#e69f00')


def draw(state: StormState, params: StormParams) -> Picture:
  """The grid from above; below it what players hold."""
  size = state.coins.shape[0]
  shapes = []
  for row, column in np.ndindex(size, size):
    low, high = (column, row), (column + 1, row + 1)
    floor = '#fff1a8' if state.beams[row, column] else '#f4f4f4'
    shapes.append(rectangle(low, high, floor, '#d0d0d0'))
    coin = int(state.coins[row, column])
    if coin != NOTHING:
      color = _COINS[coin]
      shapes.append(Circle((column + 0.5, row + 0.5), 0.22, color, '#333333'))
  frozen = int(state.freeze) >= 0
  for player in range(2):
    row, column = (int(x) + 0.5 for x in state.position[player])
    angle = int(state.direction[player]) * np.pi / 2
    turns = angle + np.array([0.0, 2.45, -2.45])
    corner = [
      (column + 0.42 * np.cos(t), row + 0.42 * np.sin(t)) for t in turns
    ]
    if frozen:
      shapes.append(Circle((column, row), 0.48, '#bfe3ff'))
    shapes.append(Polygon(corner, _PLAYERS[player], '#222222'))
    x = 0.2 + player * size / 2
    shapes.append(rectangle((x, -0.75), (x + 0.4, -0.35), _PLAYERS[player]))
    for coin in (RED, BLUE):
      at = (x + 0.3 + 0.9 * coin, -0.55)
      count = str(int(state.inventory[player, coin - 1]))
      shapes.append(Circle((at[0] - 0.35, at[1]), 0.2, _COINS[coin], '#333333'))
      shapes.append(Text(at, count, size=0.05))
  left = f'{int(params.max_steps) - int(state.time)} steps left'
  words = f'frozen for {int(state.freeze)}, {left}' if frozen else left
  shapes.append(Text((size / 2, size + 0.4), words, size=0.05))
  return Picture((-0.1, -1.0), (size + 0.1, size + 0.8), shapes)
