"""STORM's records and the geometry of its grid.

Rows are counted from below, so that a turn to the left is one.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

TURN_LEFT, TURN_RIGHT, FORWARD, BEAM, STAY = range(5)
EAST, NORTH, WEST, SOUTH = range(4)
NOTHING, RED, BLUE = range(3)


class StormParams(NamedTuple):
  """What a task may set.

  Attributes:
    payoff: `payoff[i, a, b]` is what player `i` gets if the first one plays `a`
      and the second one `b`; red coins are action 0.
    freeze_steps: that both stand still after they met.
    max_steps: of an episode.
    random_coins: whether colours of coins are shuffled at the start of an
      episode; otherwise one of two fixed colourings is drawn.
    coins: cells of coins, every other one of a colour if they are not shuffled.
    starts: pairs of cells that players may start from.
  """

  payoff: Float[Array, '2 2 2']
  coins: Int[Array, 'n 2']
  starts: Int[Array, 'm 2 2']
  freeze_steps: Int[Array, ''] | int = 5
  max_steps: Int[Array, ''] | int = 152
  random_coins: Bool[Array, ''] | bool = False


class StormState(NamedTuple):
  """Where players and coins are.

  Attributes:
    position: row, counted from below, and column of each player.
    direction: that it looks in, `EAST, NORTH, WEST` or `SOUTH`.
    inventory: red and blue coins that it has.
    coins: what lies in each cell, `NOTHING, RED` or `BLUE`.
    layout: the same at the start of a round.
    beams: cells that were lit in this step.
    freeze: steps to stand still; -1 while players move.
    time: steps done.
  """

  position: Int[Array, '2 2']
  direction: Int[Array, ' 2']
  inventory: Int[Array, '2 2']
  coins: Int[Array, 'G G']
  layout: Int[Array, 'G G']
  beams: Bool[Array, 'G G']
  freeze: Int[Array, '']
  time: Int[Array, '']


class Chance(NamedTuple):
  """What a step draws.

  Attributes:
    first_wins: whether the first player gets a cell that both walk to.
    position: of the next round.
    direction: of the next round.
  """

  first_wins: Bool[Array, '']
  position: Int[Array, '2 2']
  direction: Int[Array, ' 2']


def corners(size: int) -> tuple[np.ndarray, np.ndarray]:
  """Cells of coins, three in each corner, and pairs of starts around them."""
  end = size - 1
  coins = [
    (1, 1),
    (1, 2),
    (2, 1),
    (1, end - 1),
    (2, end - 1),
    (1, end - 2),
    (end - 1, 2),
    (end - 2, 1),
    (end - 1, 1),
    (end - 1, end - 1),
    (end - 1, end - 2),
    (end - 2, end - 1),
  ]
  first = [
    *((0, 0), (0, 1), (0, 2), (1, 0), (1, 2)),
    *((0, end), (0, end - 1), (0, end - 2), (1, end)),
    *((end, 0), (end, 1), (end, 2), (end - 1, 0)),
    *((end, end), (end, end - 1), (end, end - 2)),
    *((end - 1, end), (end - 1, end - 2)),
  ]
  first = np.array(first, np.int32)[:, ::-1]
  return np.array(coins, np.int32), np.stack([first, end - first], axis=1)


def vectors(direction: Int[Array, ' *n']) -> Int[Array, '*n 2']:
  """Rows and columns that a step in a direction changes."""
  rows = (direction == NORTH).astype(jnp.int32) - (direction == SOUTH)
  columns = (direction == EAST).astype(jnp.int32) - (direction == WEST)
  return jnp.stack([rows, columns], axis=-1)


def relative(
  cells: Int[Array, '... 2'],
  position: Int[Array, '*m 2'],
  direction: Int[Array, ' *m'],
) -> tuple[Int[Array, '...'], Int[Array, '...']]:
  """How far cells are ahead and to the left of who looks in a direction."""
  away = cells - position
  rows, columns = away[..., 0], away[..., 1]
  up, right = jnp.unstack(vectors(direction), axis=-1)
  return rows * up + columns * right, rows * right - columns * up


def in_beam(
  ahead: Int[Array, ' *n'], left: Int[Array, ' *n']
) -> Bool[Array, ' *n']:
  """Whether a beam reaches: three cells ahead, and one behind the middle."""
  return ((ahead == 1) & (jnp.abs(left) <= 1)) | ((ahead == 2) & (left == 0))


def players_at(
  position: Int[Array, '2 2'], size: int
) -> Bool[Array, '2 size size']:
  """Where each player is."""
  row, column = position[:, 0, None, None], position[:, 1, None, None]
  index = jnp.arange(size)
  return (index[None, :, None] == row) & (index[None, None] == column)
