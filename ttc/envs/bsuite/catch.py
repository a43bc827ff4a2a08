"""A ball falls, a paddle in the last row catches it (1908.03568).

The ball starts in the first row, in a uniformly random column, and falls one
row a step; the paddle starts in the middle and moves by at most one column a
step. The step in which the ball comes to the last row ends the episode, by the
rules: +1 if the paddle is there, -1 if not. So all episodes last `rows - 1`
steps, and there is no limit of time.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Picture, Shape, rectangle
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete, random_index


class CatchParams(NamedTuple):
  """What a task may set.

  Attributes:
    caught: reward of a caught ball.
    missed: reward of a missed one.
  """

  caught: Float[Array, ''] | float = 1.0
  missed: Float[Array, ''] | float = -1.0


class CatchState(NamedTuple):
  """Row and column of the ball, column of the paddle."""

  ball_row: Int[Array, '']
  ball_column: Int[Array, '']
  paddle: Int[Array, '']


def catch(rows: int = 10, columns: int = 5) -> Environment:
  """The ball and the paddle; actions are left, stay, right.

  Observations are the board `[rows, columns]`, ones at ball and paddle.

  Args:
    rows: of the board, at least 2.
    columns: of the board.

  Returns:
    The environment; its params are `CatchParams`.

  Raises:
    ValueError: on a board that is too small.
  """
  if rows < 2 or columns < 1:
    raise ValueError(
      f'catch: rows={rows}, columns={columns}, expected at least 2 and 1'
    )
  row, column = np.indices((rows, columns), np.int32)

  def observe(state, params):
    del params
    ball = (row == state.ball_row) & (column == state.ball_column)
    paddle = (row == rows - 1) & (column == state.paddle)
    return (ball | paddle).astype(jnp.float32)

  def reset(key, params):
    del params
    return CatchState(
      jnp.zeros((), jnp.int32),
      random_index(key, (), columns),
      jnp.full((), columns // 2, jnp.int32),
    )

  def step(key, state, action, params):
    del key
    paddle = jnp.clip(state.paddle + action - 1, 0, columns - 1)
    state = CatchState(state.ball_row + 1, state.ball_column, paddle)
    over = state.ball_row >= rows - 1
    caught = state.paddle == state.ball_column
    reward = jnp.where(caught, params.caught, params.missed)
    never = jnp.zeros((), bool)
    return state, jnp.where(over, reward, 0.0), over, never, {}

  def draw(state, params) -> Picture:
    """The board; the ball is round."""
    del params
    shapes: list[Shape] = [
      rectangle((c, r), (c + 1, r + 1), '#f4f4f4', '#d0d0d0')
      for r in range(rows)
      for c in range(columns)
    ]
    x, ball = int(state.paddle), int(state.ball_column)
    y = rows - 1 - int(state.ball_row)
    shapes.append(rectangle((x + 0.05, 0.05), (x + 0.95, 0.35), '#0072b2'))
    shapes.append(Circle((ball + 0.5, y + 0.6), 0.25, '#d55e00', '#7a3600'))
    return Picture((-0.1, -0.1), (columns + 0.1, rows + 0.1), shapes)

  return single_agent(
    'catch',
    CatchParams(),
    reset,
    step,
    observe,
    Box((rows, columns), 0.0, 1.0),
    Discrete(3),
    draw,
  )
