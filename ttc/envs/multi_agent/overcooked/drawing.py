"""Pictures of kitchens."""

import numpy as np

from ttc.envs.multi_agent.overcooked.layouts import (
  FLOOR,
  ONION_PILE,
  PLATE_PILE,
  POT,
  SERVING,
)
from ttc.envs.rendering import (
  AGENT_COLORS,
  Circle,
  Line,
  Picture,
  Polygon,
  Shape,
  Text,
  rectangle,
)

_FLOOR, _COUNTER, _EDGE = '#f3ead7', '#b98d5a', '#8a6438'
_ONION, _PLATE, _SOUP, _METAL = '#f2c230', '#ffffff', '#d9822b', '#3a3f47'
_AHEAD = ((0, 1), (0, -1), (1, 0), (-1, 0))  # of directions; y points up


def draw(state, params) -> Picture:
  """The kitchen from above; over it how long it is open and who holds what."""
  tiles = np.asarray(params.tiles)
  height, width = tiles.shape
  shapes: list[Shape] = []
  for row, column in np.ndindex(height, width):
    x, y = column + 0.5, height - row - 0.5
    tile = tiles[row, column]
    color = _FLOOR if tile == FLOOR else _COUNTER
    low, high = (column, height - row - 1), (column + 1, height - row)
    shapes.append(rectangle(low, high, color, _EDGE))
    onions = int(state.onions[row, column])
    if tile == POT:
      full = onions == int(params.onions_per_soup)
      shapes += _pot(x, y, onions, full, int(state.timer[row, column]), width)
    elif tile == ONION_PILE:
      spots = ((-0.2, -0.14), (0.2, -0.14), (0, 0.2))
      shapes += [_onion(x + dx, y + dy, 0.2) for dx, dy in spots]
    elif tile == PLATE_PILE:
      shapes += [_plate(x, y + dy, 0.26) for dy in (-0.1, 0, 0.1)]
    elif tile == SERVING:
      shapes += _serving(x, y)
    else:
      shapes += _item(int(state.items[row, column]), x, y, 0.24)
  for cook in range(2):
    row, column = (int(i) for i in state.position[cook])
    x, y = column + 0.5, height - row - 0.5
    ahead = _AHEAD[int(state.direction[cook])]
    shapes += _cook(x, y, ahead, AGENT_COLORS[cook], int(state.held[cook]))
  left = f'{int(params.max_steps) - int(state.time)} steps left'
  shapes.append(Text((width / 2, height + 0.25), left, size=0.05))
  return Picture((0.0, 0.0), (float(width), height + 0.5), shapes)


def _onion(x, y, radius):
  return Circle((x, y), radius, _ONION, '#8a6a10')


def _plate(x, y, radius):
  return Circle((x, y), radius, _PLATE, '#777777')


def _item(item, x, y, radius):
  """Nothing, an onion, a plate or a soup on a plate."""
  soup = Circle((x, y), 0.62 * radius, _SOUP, '#8a4a10')
  plate = _plate(x, y, radius)
  return ([], [_onion(x, y, 0.8 * radius)], [plate], [plate, soup])[item]


def _pot(x, y, onions, full, timer, width):
  done = full and timer == 0
  shapes: list[Shape] = [
    Circle((x, y), 0.42, _METAL, '#000000'),
    Circle((x, y), 0.33, _SOUP if full else '#5b6470'),
  ]
  for index in range(0 if full else onions):
    angle = 2 * np.pi * index / max(onions, 3) + np.pi / 2
    place = (x + 0.16 * np.cos(angle), y + 0.16 * np.sin(angle))
    shapes.append(_onion(*place, 0.13))
  if full:
    text = 'done' if done else str(timer)
    shapes.append(Text((x, y), text, '#ffffff', 0.25 / width))
  return shapes


def _serving(x, y):
  low, high = (x - 0.42, y - 0.42), (x + 0.42, y + 0.42)
  tip, left, right = (x, y + 0.28), (x - 0.26, y - 0.05), (x + 0.26, y - 0.05)
  return [
    rectangle(low, high, '#7fb069', '#4a7a3a'),
    Polygon((tip, left, right), '#ffffff'),
    rectangle((x - 0.1, y - 0.28), (x + 0.1, y - 0.05), '#ffffff'),
  ]


def _cook(x, y, ahead, color, held):
  dx, dy = ahead
  nose = ((x + 0.2 * dx, y + 0.2 * dy), (x + 0.47 * dx, y + 0.47 * dy))
  hand = (x + 0.2 * dx, y + 0.2 * dy)
  return [
    Line(nose, color, 0.03),
    Circle((x, y), 0.36, color, '#222222'),
    *_item(held, *hand, 0.2),
  ]
