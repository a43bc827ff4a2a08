"""Kitchens as text: the five classic ones, and what a kitchen must have.

One character a cell, one line a row: `X` counter, `P` pot, `O` pile of onions,
`D` pile of dishes, `S` where soups are served, `1` and `2` the players, a
space the floor. These are the letters of Carroll et al. (2019, 1910.05789).
"""

import numpy as np
from jaxtyping import Int

FLOOR, COUNTER, POT, ONION_PILE, PLATE_PILE, SERVING = range(6)
_TILES = {
  ' ': FLOOR,
  '1': FLOOR,
  '2': FLOOR,
  'X': COUNTER,
  'P': POT,
  'O': ONION_PILE,
  'D': PLATE_PILE,
  'S': SERVING,
}

LAYOUTS = {
  'cramped_room': """
XXPXX
O1 2O
X   X
XDXSX
""",
  'asymm_advantages': """
XXXXXXXXX
O XSXOX S
X   P   X
X 1 P2  X
XXXDXDXXX
""",
  'coord_ring': """
XXXPX
X 1 P
D2X X
O   X
XOSXX
""",
  'forced_coord': """
XXXPX
O X2P
O1X X
D X X
XXXSX
""",
  'counter_circuit': """
XXXPPXXX
X 1    X
D XXXX S
X     2X
XXXOOXXX
""",
}


def read_layout(
  layout: str,
) -> tuple[Int[np.ndarray, 'H W'], Int[np.ndarray, '2 2']]:
  """The cells of a kitchen and where its players start.

  Args:
    layout: a name of `LAYOUTS`, or a kitchen as text of more than one line.

  Returns:
    The kinds of the cells, and the row and the column of each player.

  Raises:
    ValueError: on a name that is not known or a kitchen that cannot be played.
  """
  if '\n' not in layout:
    if layout not in LAYOUTS:
      names = ', '.join(LAYOUTS)
      raise ValueError(
        f'overcooked: layout={layout!r}, expected a map or one of {names}'
      )
    layout = LAYOUTS[layout]
  rows = layout.strip('\n').split('\n')
  _check(rows)
  cells = np.array([list(row) for row in rows])
  tiles = np.vectorize(_TILES.get, otypes=[np.int32])(cells)
  start = np.concatenate([np.argwhere(cells == player) for player in '12'])
  return tiles, start.astype(np.int32)


def _check(rows: list[str]) -> None:
  widths = sorted({len(row) for row in rows})
  if len(widths) > 1:
    raise ValueError(f'overcooked: rows of {widths} cells, expected equal ones')
  cells = ''.join(rows)
  unknown = sorted(set(cells) - set(_TILES))
  if unknown:
    raise ValueError(
      f'overcooked: cell {unknown[0]!r}, expected one of {"".join(_TILES)!r}'
    )
  for player in '12':
    if cells.count(player) != 1:
      raise ValueError(
        f'overcooked: {cells.count(player)} players {player!r}, expected 1'
      )
  needed = {
    'P': 'pot',
    'O': 'pile of onions',
    'D': 'pile of dishes',
    'S': 'place to serve',
  }
  for letter, name in needed.items():
    if letter not in cells:
      raise ValueError(f'overcooked: no {name} ({letter!r}), expected >= 1')
  border = rows[0] + rows[-1] + ''.join(row[0] + row[-1] for row in rows)
  if any(_TILES[cell] == FLOOR for cell in border):
    raise ValueError('overcooked: floor at the border, expected counters there')
