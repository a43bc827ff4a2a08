"""Asterix: gather treasure, avoid enemies (MinAtar, 1903.03176).

The player walks over the rows 1 to 8. From time to time something enters a
random empty one of these rows, from the left or the right: one time in three
treasure, else an enemy. All things move one cell at once, every few steps, and
leave the screen on the other side. Treasure pays 1 when touched; an enemy ends
the episode. With `ramping` things come more often and move faster as time goes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.minatar.console import (
  DOWN,
  LEFT,
  NOTHING,
  RIGHT,
  SIDE,
  UP,
  dark,
  draw_screen,
  lit,
  minatar_game,
)
from ttc.envs.rendering import Picture

_NUM_ROWS = 8
_PLAYER, _ENEMY, _TRAIL, _GOLD = range(4)


class AsterixParams(NamedTuple):
  """What a task may set; times are numbers of steps.

  Attributes:
    ramping: whether it becomes more difficult.
    ramp_interval: from one level to the next, less two steps.
    spawn_interval: from one new thing to the next, at first.
    move_interval: from one move to the next, at first.
    sticky_probability: that the last action is repeated; 0.1 in the paper.
    max_steps: before truncation; no limit in the paper.
  """

  ramping: Bool[Array, ''] | bool = True
  ramp_interval: Int[Array, ''] | int = 100
  spawn_interval: Int[Array, ''] | int = 10
  move_interval: Int[Array, ''] | int = 5
  sticky_probability: Float[Array, ''] | float = 0.0
  max_steps: Int[Array, ''] | int = 1000


class AsterixState(NamedTuple):
  """The player, what is in the rows 1 to 8, and clocks."""

  row: Int[Array, '']
  column: Int[Array, '']
  filled: Bool[Array, '8']
  columns: Int[Array, '8']  # of what is there
  rightward: Bool[Array, '8']
  gold: Bool[Array, '8']
  spawn_interval: Int[Array, '']
  spawn_timer: Int[Array, '']
  move_interval: Int[Array, '']
  move_timer: Int[Array, '']
  ramp_timer: Int[Array, '']
  ramp_index: Int[Array, '']  # the level
  last_action: Int[Array, '']
  time: Int[Array, '']


def asterix(full_actions: bool = False) -> Environment:
  """The game; actions are nothing, left, up, right, down.

  Observations are planes of the player, enemies, the cells that things come
  from, and treasure.

  Args:
    full_actions: whether there is `FIRE` too, to no effect.

  Returns:
    The environment; its params are `AsterixParams`.
  """
  return minatar_game(
    'asterix',
    AsterixParams(),
    _reset,
    _move,
    _observe,
    draw,
    actions=None if full_actions else (NOTHING, LEFT, UP, RIGHT, DOWN),
    num_planes=4,
    num_words=1,
  )


def _reset(key, params):
  del key
  number = lambda n: jnp.asarray(n, jnp.int32)
  nobody = jnp.zeros((_NUM_ROWS,), bool)
  return AsterixState(
    row=number(5),
    column=number(5),
    filled=nobody,
    columns=jnp.zeros((_NUM_ROWS,), jnp.int32),
    rightward=nobody,
    gold=nobody,
    spawn_interval=number(params.spawn_interval),
    spawn_timer=number(params.spawn_interval),
    move_interval=number(params.move_interval),
    move_timer=number(params.move_interval),
    ramp_timer=number(params.ramp_interval),
    ramp_index=number(0),
    last_action=number(NOTHING),
    time=number(0),
  )


def _observe(state, params):
  del params
  rows = jnp.arange(1, 1 + _NUM_ROWS, dtype=jnp.int32)
  kind = jnp.where(state.gold, _GOLD, _ENEMY)
  behind = state.columns + jnp.where(state.rightward, -1, 1)
  seen = state.filled & (behind >= 0) & (behind < SIDE)
  screen = lit(dark(4), state.row, state.column, _PLAYER)
  screen = lit(screen, rows, state.columns, kind, state.filled)
  return lit(screen, rows, behind, _TRAIL, seen)


def _move(words, state, action, params):
  state = _spawn(words[0], state)
  is_act = lambda act: (action == act).astype(jnp.int32)
  state = state._replace(
    row=jnp.clip(state.row + is_act(DOWN) - is_act(UP), 1, _NUM_ROWS),
    column=jnp.clip(state.column + is_act(RIGHT) - is_act(LEFT), 0, SIDE - 1),
  )
  state, found, caught = _touch(state)
  moving = state.move_timer == 0
  columns = state.columns + jnp.where(state.rightward, 1, -1)
  columns = jnp.where(moving & state.filled, columns, state.columns)
  state, found_later, caught_later = _touch(
    state._replace(
      columns=columns, filled=state.filled & (columns >= 0) & (columns < SIDE)
    )
  )
  timer = jnp.where(moving, state.move_interval, state.move_timer)
  state = _ramp(
    state._replace(spawn_timer=state.spawn_timer - 1, move_timer=timer - 1),
    params,
  )
  return state, found + found_later, caught | caught_later


def _spawn(word, state):
  """Something enters a random empty row, if it is time and there is one."""
  rightward, kind = word % 2 == 0, word // 2 % 3
  free = ~state.filled
  # Ranks of rows are uniform: 840 is a multiple of all numbers up to 8.
  count = jnp.maximum(jnp.sum(free, dtype=jnp.uint32), 1)
  rank = (word // 6 % 840 % count).astype(jnp.int32)
  order = jnp.cumsum(free, dtype=jnp.int32) - 1
  now = state.spawn_timer == 0
  here = now & free & (order == rank)
  entry = jnp.where(rightward, 0, SIDE - 1)
  return state._replace(
    filled=state.filled | here,
    columns=jnp.where(here, entry, state.columns).astype(jnp.int32),
    rightward=jnp.where(here, rightward, state.rightward),
    gold=jnp.where(here, kind == 0, state.gold),
    spawn_timer=jnp.where(now, state.spawn_interval, state.spawn_timer),
  )


def _touch(state):
  """Takes treasure at the player's place; its number, and if an enemy is."""
  rows = jnp.arange(1, _NUM_ROWS + 1, dtype=jnp.int32)
  here = (rows == state.row) & (state.columns == state.column)
  here = here & state.filled
  found = jnp.sum((here & state.gold).astype(jnp.float32))
  caught = jnp.any(here & ~state.gold)
  return (
    state._replace(filled=state.filled & ~(here & state.gold)),
    found,
    caught,
  )


def _ramp(state, params):
  """Every other level makes moves faster, each one brings more things."""
  on = params.ramping & ((state.spawn_interval > 1) | (state.move_interval > 1))
  up = on & (state.ramp_timer < 0)
  timer = jnp.where(up, params.ramp_interval, state.ramp_timer - 1)
  faster = up & (state.move_interval > 1) & (state.ramp_index % 2 == 1)
  oftener = up & (state.spawn_interval > 1)
  return state._replace(
    ramp_timer=jnp.where(on, timer, state.ramp_timer).astype(jnp.int32),
    move_interval=state.move_interval - faster,
    spawn_interval=state.spawn_interval - oftener,
    ramp_index=state.ramp_index + up,
  )


def draw(state: AsterixState, params: AsterixParams) -> Picture:
  """The player is blue, treasure yellow, enemies red; trails are dim."""
  screen = np.asarray(jax.jit(_observe)(state, params))
  player, enemy, trail, gold = np.moveaxis(screen, -1, 0)
  things = (
    (trail, '#4a5a68', 0.4),
    (enemy, '#d55e00', 0.8),
    (gold, '#ffd700', -0.7),
    (player, '#56b4e9', 0.8),
  )
  level, time = int(state.ramp_index), int(state.time)
  return draw_screen(things, f'step {time}, level {level}')
