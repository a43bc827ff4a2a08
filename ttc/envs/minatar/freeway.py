"""Freeway: a chicken crosses eight lanes (MinAtar, 1903.03176).

The chicken walks up and down in column 4, at most once in `player_interval`
steps. A car in each of the rows 1 to 8 goes round the screen, to the left or
the right, one cell in `speed + 1` steps, its speed 1 to 5; who is hit starts
again at the bottom. To reach the top pays 1, puts the chicken at the bottom and
draws new speeds and directions. `max_steps` truncates the episode and nothing
else ends it; after the paper's 2500 frames the original has one more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.minatar.console import (
  DOWN,
  NOTHING,
  SIDE,
  UP,
  dark,
  draw_screen,
  lit,
  minatar_game,
)
from ttc.envs.rendering import Picture

_NUM_CARS = 8
_COLUMN = 4  # of the chicken
_NUM_SPEEDS = 5


class FreewayParams(NamedTuple):
  """What a task may set.

  Attributes:
    player_interval: steps from one of the chicken's to the next.
    sticky_probability: that the last action is repeated; 0.1 in the paper.
    max_steps: before truncation.
  """

  player_interval: Int[Array, ''] | int = 3
  sticky_probability: Float[Array, ''] | float = 0.0
  max_steps: Int[Array, ''] | int = 2500


class FreewayState(NamedTuple):
  """The chicken's row and the cars."""

  row: Int[Array, '']
  move_timer: Int[Array, '']  # steps until the chicken may walk
  columns: Int[Array, '8']  # of cars
  timers: Int[Array, '8']  # steps until they move
  speeds: Int[Array, '8']  # 1 to 5 to the right, negative to the left
  last_action: Int[Array, '']
  time: Int[Array, '']


def freeway(full_actions: bool = False) -> Environment:
  """The game; actions are nothing, up, down.

  Observations are planes of the chicken, the cars, and, for each speed, the
  cells that such cars come from.

  Args:
    full_actions: whether there are `LEFT`, `RIGHT` and `FIRE` too, to no
      effect.

  Returns:
    The environment; its params are `FreewayParams`.
  """
  return minatar_game(
    'freeway',
    FreewayParams(),
    _reset,
    _move,
    _observe,
    draw,
    actions=None if full_actions else (NOTHING, UP, DOWN),
    num_planes=2 + _NUM_SPEEDS,
    num_words=2,
  )


def _random_speeds(words):
  """Uniform speeds and directions: four digits of each word, base 10."""
  powers = (10 ** jnp.arange(4, dtype=jnp.uint32))[None]
  digit = words[:, None] // powers % 10
  digit = digit.reshape(-1).astype(jnp.int32)
  return jnp.where(digit < _NUM_SPEEDS, digit + 1, _NUM_SPEEDS - 1 - digit)


def _reset(key, params):
  number = lambda n: jnp.asarray(n, jnp.int32)
  speeds = _random_speeds(jax.random.bits(key, (2,), jnp.uint32))
  return FreewayState(
    row=number(SIDE - 1),
    move_timer=number(params.player_interval),
    columns=jnp.zeros((_NUM_CARS,), jnp.int32),
    timers=jnp.abs(speeds),
    speeds=speeds,
    last_action=number(NOTHING),
    time=number(0),
  )


def _observe(state, params):
  del params
  lanes = jnp.arange(1, 1 + _NUM_CARS, dtype=jnp.int32)
  behind = (state.columns - jnp.sign(state.speeds)) % SIDE
  screen = lit(dark(2 + _NUM_SPEEDS), state.row, _COLUMN, 0)
  screen = lit(screen, lanes, state.columns, 1)
  return lit(screen, lanes, behind, 1 + jnp.abs(state.speeds))


def _move(words, state, action, params):
  up, down = action == UP, action == DOWN
  walks = (up | down) & (state.move_timer == 0)
  row = jnp.where(walks, state.row + jnp.where(up, -1, 1), state.row)
  row = jnp.clip(row, 0, SIDE - 1)
  timer = jnp.where(walks, params.player_interval, state.move_timer)

  across = row == 0
  speeds = jnp.where(across, _random_speeds(words), state.speeds)
  timers = jnp.where(across, jnp.abs(speeds), state.timers)
  row = jnp.where(across, SIDE - 1, row)

  moves = timers == 0
  columns = (state.columns + jnp.sign(speeds)) % SIDE
  columns = jnp.where(moves, columns, state.columns)
  # A car hits where it was, and where it comes to.
  hits = (state.columns == _COLUMN) | (columns == _COLUMN)
  lanes = jnp.arange(1, 1 + _NUM_CARS, dtype=jnp.int32)
  row = jnp.where(jnp.any(hits & (lanes == row)), SIDE - 1, row)
  state = state._replace(
    row=row.astype(jnp.int32),
    move_timer=jnp.maximum(timer - 1, 0).astype(jnp.int32),
    columns=columns.astype(jnp.int32),
    timers=jnp.where(moves, jnp.abs(speeds), timers - 1),
    speeds=speeds,
  )
  return state, across, jnp.zeros((), bool)


def draw(state: FreewayState, params: FreewayParams) -> Picture:
  """The chicken is yellow; cars have trails, the brighter the faster."""
  screen = np.asarray(jax.jit(_observe)(state, params))
  chicken, cars, *trails = np.moveaxis(screen, -1, 0)
  shades = ('#8fa3b5', '#72869a', '#5b6e80', '#475867', '#374653')
  things = (
    *((trail, color, 0.5) for trail, color in zip(trails, shades, strict=True)),
    (cars, '#d55e00', 0.8),
    (chicken, '#ffd700', -0.8),
  )
  return draw_screen(things, f'step {int(state.time)}')
