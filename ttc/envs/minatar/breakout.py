"""Breakout: a paddle, a ball, a wall of bricks (MinAtar, 1903.03176).

The ball moves along diagonals, one cell a step, and is thrown back by walls,
bricks and the paddle: by the paddle straight back if it is hit at its edge,
else with the same sideways direction. A brick pays 1 and is gone; when all
three rows are, they come again as the ball comes down. The rules end the
episode when the ball passes the paddle. Nothing becomes more difficult.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.minatar.console import (
  LEFT,
  NOTHING,
  RIGHT,
  SIDE,
  dark,
  draw_screen,
  lit,
  minatar_game,
)
from ttc.envs.rendering import Picture

_NUM_ROWS = 3  # of bricks, from row 1 on
_PADDLE, _BALL, _TRAIL, _BRICK = range(4)


class BreakoutParams(NamedTuple):
  """What a task may set.

  Attributes:
    sticky_probability: that the last action is repeated; 0.1 in the paper.
    max_steps: before truncation; no limit in the paper.
  """

  sticky_probability: Float[Array, ''] | float = 0.0
  max_steps: Int[Array, ''] | int = 1000


class BreakoutState(NamedTuple):
  """Paddle, ball and wall."""

  paddle: Int[Array, '']
  row: Int[Array, '']  # of the ball
  column: Int[Array, '']
  downward: Int[Array, '']  # rows that it moves by, 1 or -1
  rightward: Int[Array, '']  # columns
  last_row: Int[Array, '']  # where it was
  last_column: Int[Array, '']
  bricks: Bool[Array, '3 10']
  inside: Bool[Array, '']  # whether it has not left bricks since it hit one
  last_action: Int[Array, '']
  time: Int[Array, '']


def breakout(full_actions: bool = False) -> Environment:
  """The game; actions are nothing, left, right.

  Observations are planes of the paddle, the ball, the cell that it comes from,
  and the bricks.

  Args:
    full_actions: whether there are `UP`, `DOWN` and `FIRE` too, to no effect.

  Returns:
    The environment; its params are `BreakoutParams`.
  """
  return minatar_game(
    'breakout',
    BreakoutParams(),
    _reset,
    _move,
    _observe,
    draw,
    actions=None if full_actions else (NOTHING, LEFT, RIGHT),
    num_planes=4,
  )


def _reset(key, params):
  """The ball starts at the left or the right wall."""
  del params
  left = jax.random.bits(key, (), jnp.uint32) % 2 == 0
  number = lambda n: jnp.asarray(n, jnp.int32)
  column = jnp.where(left, number(0), number(9))
  return BreakoutState(
    paddle=number(4),
    row=number(3),
    column=column,
    downward=number(1),
    rightward=jnp.where(left, number(1), number(-1)),
    last_row=number(3),
    last_column=column,
    bricks=jnp.ones((_NUM_ROWS, SIDE), bool),
    inside=jnp.zeros((), bool),
    last_action=number(NOTHING),
    time=number(0),
  )


def _observe(state, params):
  del params
  bricks = jnp.asarray(state.bricks, jnp.float32)
  screen = dark(4).at[1 : 1 + _NUM_ROWS, :, _BRICK].set(bricks)
  screen = lit(screen, SIDE - 1, state.paddle, _PADDLE)
  screen = lit(screen, state.row, state.column, _BALL)
  return lit(screen, state.last_row, state.last_column, _TRAIL)


def _move(words, state, action, params):
  del words, params
  is_act = lambda act: (action == act).astype(jnp.int32)
  paddle = jnp.clip(state.paddle + is_act(RIGHT) - is_act(LEFT), 0, SIDE - 1)

  column = state.column + state.rightward
  wall = (column < 0) | (column >= SIDE)
  rightward = jnp.where(wall, -state.rightward, state.rightward)
  column = jnp.clip(column, 0, SIDE - 1)
  row = state.row + state.downward
  roof = row < 0
  row = jnp.maximum(row, 0)

  high = (row >= 1) & (row <= _NUM_ROWS)
  in_brick = high & state.bricks[jnp.clip(row - 1, 0, _NUM_ROWS - 1), column]
  breaks = in_brick & ~state.inside
  low = row == SIDE - 1
  hole = jnp.where(breaks, row - 1, _NUM_ROWS)  # there is no such row
  bricks = state.bricks.at[hole, column].set(False, mode='drop')
  bricks = bricks | (low & ~jnp.any(bricks))
  middle = low & (state.column == paddle)
  edge = low & ~middle & (column == paddle)

  back = breaks | middle | edge
  state = state._replace(
    paddle=paddle,
    row=jnp.where(back, state.row, row),
    column=column,
    downward=jnp.where(back | roof, -state.downward, state.downward),
    rightward=jnp.where(edge, -rightward, rightward),
    last_row=state.row,
    last_column=state.column,
    bricks=bricks,
    inside=in_brick,
  )
  return state, breaks, low & ~middle & ~edge


def draw(state: BreakoutState, params: BreakoutParams) -> Picture:
  """The paddle is blue, the ball yellow, bricks red; the trail is dim."""
  screen = np.asarray(jax.jit(_observe)(state, params))
  paddle, ball, trail, bricks = np.moveaxis(screen, -1, 0)
  things = (
    (trail, '#4a5a68', -0.5),
    (bricks, '#d55e00', 0.86),
    (paddle, '#56b4e9', 0.9),
    (ball, '#ffd700', -0.6),
  )
  return draw_screen(things, f'step {int(state.time)}')
