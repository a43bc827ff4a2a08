"""Plain MinAtar games and random states of ours, for tests.

A plain game takes a state of ours and returns what follows by the rules, cell
by cell: `(changed fields, reward, over)`.
"""

import itertools

import jax
import numpy as np

from ttc import envs
from ttc.envs.minatar.console import DOWN, FIRE, LEFT, RIGHT, UP


def random_states(name, num, seed=0):
  """States `[num]` of a game, far more varied than play comes to."""
  rng = np.random.default_rng(seed)
  env = getattr(envs, name)()
  keys = jax.random.split(jax.random.key(seed), num)
  _, states = jax.vmap(env.reset, (0, None))(keys, env.default_params)
  return jax.tree.map(np.asarray, states)._replace(**_RANDOM[name](rng, num))


def _clock(rng, num, low, high):
  """Often at its end."""
  at_end = rng.random(num) < 0.4
  return np.where(at_end, low, rng.integers(low, high + 1, num)).astype(
    np.int32
  )


def _ints(rng, low, high, shape):
  return rng.integers(low, high, shape).astype(np.int32)


def _asterix_states(rng, num):
  crowd = rng.random((num, 1)) ** 0.3
  player_row = _ints(rng, 1, 9, num)
  columns = _ints(rng, 0, 10, (num, 8))
  near = columns[np.arange(num), player_row - 1] + rng.integers(-2, 3, num)
  return {
    'row': player_row,
    'column': np.clip(near, 0, 9).astype(np.int32),
    'filled': rng.random((num, 8)) < crowd,
    'columns': columns,
    'rightward': rng.random((num, 8)) < 0.5,
    'gold': rng.random((num, 8)) < 0.5,
    'spawn_interval': _ints(rng, 1, 11, num),
    'spawn_timer': _clock(rng, num, 0, 10),
    'move_interval': _ints(rng, 1, 6, num),
    'move_timer': _clock(rng, num, 0, 5),
    'ramp_timer': _clock(rng, num, -1, 100),
    'ramp_index': _ints(rng, 0, 10, num),
  }


def _breakout_states(rng, num):
  row, column = _ints(rng, 0, 9, num), _ints(rng, 0, 10, num)
  row = np.where(rng.random(num) < 0.4, 8, row).astype(np.int32)
  near = np.clip(column + rng.integers(-2, 3, num), 0, 9).astype(np.int32)
  empty = rng.random((num, 1, 1)) < 0.3
  return {
    'paddle': near,
    'row': row,
    'column': column,
    'downward': _ints(rng, 0, 2, num) * 2 - 1,
    'rightward': _ints(rng, 0, 2, num) * 2 - 1,
    'last_row': _ints(rng, 0, 9, num),
    'last_column': _ints(rng, 0, 10, num),
    'bricks': (rng.random((num, 3, 10)) < 0.6) & ~empty,
    'inside': rng.random(num) < 0.3,
  }


def _freeway_states(rng, num):
  speeds = _ints(rng, 1, 6, (num, 8)) * rng.choice([-1, 1], (num, 8))
  columns = np.where(
    rng.random((num, 8)) < 0.5,
    rng.integers(3, 6, (num, 8)),
    rng.integers(0, 10, (num, 8)),
  )
  return {
    'row': _ints(rng, 1, 10, num),
    'move_timer': _clock(rng, num, 0, 3),
    'columns': columns.astype(np.int32),
    'timers': np.where(rng.random((num, 8)) < 0.5, 0, np.abs(speeds)).astype(
      np.int32
    ),
    'speeds': speeds.astype(np.int32),
  }


def _space_invaders_states(rng, num):
  density = rng.random((num, 1, 1)) ** 3
  aliens = rng.random((num, 10, 10)) < density
  aliens[rng.random(num) < 0.6, 9] = False
  aliens[rng.random(num) < 0.3, :, 0] = False
  aliens[rng.random(num) < 0.3, :, 9] = False
  aliens[~aliens.any((1, 2)), 2, 4] = True
  return {
    'cannon': _ints(rng, 0, 10, num),
    'bullets': rng.random((num, 10, 10)) < 0.1,
    'alien_bullets': rng.random((num, 10, 10)) < 0.1,
    'aliens': aliens,
    'rightward': rng.random(num) < 0.5,
    'move_interval': _ints(rng, 6, 13, num),
    'move_timer': _clock(rng, num, 0, 11),
    'alien_shot_timer': _clock(rng, num, 0, 9),
    'shot_timer': _clock(rng, num, 0, 4),
    'ramp_index': _ints(rng, 0, 6, num),
  }


_RANDOM = {
  'asterix': _asterix_states,
  'breakout': _breakout_states,
  'freeway': _freeway_states,
  'space_invaders': _space_invaders_states,
}


def moved(value, action, less, more, low, high):
  return min(max(value + (action == more) - (action == less), low), high)


def asterix_entries(state):
  """What may enter: `(row, rightward, gold)`, or None."""
  rows = [i for i in range(8) if not state.filled[i]]
  if state.spawn_timer or not rows:
    return [None]
  return list(itertools.product(rows, (False, True), (False, True)))


def plain_asterix(state, action, params, entry):
  things = {
    i: [int(state.columns[i]), bool(state.rightward[i]), bool(state.gold[i])]
    for i in range(8)
    if state.filled[i]
  }
  spawn_timer = state.spawn_timer or state.spawn_interval
  if entry is not None:
    row, rightward, gold = entry
    things[row] = [0 if rightward else 9, rightward, gold]
  row = moved(state.row, action, UP, DOWN, 1, 8)
  column = moved(state.column, action, LEFT, RIGHT, 0, 9)
  reward, over = 0, False
  for moves in (False, state.move_timer == 0):
    for i in list(things):
      if moves:
        things[i][0] += 1 if things[i][1] else -1
      if not 0 <= things[i][0] <= 9:
        del things[i]
      elif (i + 1, things[i][0]) == (row, column):
        if things[i][2]:
          reward += 1
          del things[i]
        else:
          over = True
  fields = {
    'row': row,
    'column': column,
    'spawn_timer': spawn_timer - 1,
    'move_timer': (state.move_timer or state.move_interval) - 1,
  }
  fields |= _plain_ramp(state, params)
  return fields, things, reward, over


def _plain_ramp(state, params):
  names = ('spawn_interval', 'move_interval', 'ramp_timer', 'ramp_index')
  spawn, move, timer, index = (int(getattr(state, name)) for name in names)
  if params.ramping and (spawn > 1 or move > 1):
    timer -= 1
    if timer < -1:
      timer = params.ramp_interval
      if index % 2 and move > 1:
        move -= 1
      if spawn > 1:
        spawn -= 1
      index += 1
  return dict(zip(names, (spawn, move, timer, index), strict=True))


def plain_breakout(state, action, params):
  del params
  paddle = moved(state.paddle, action, LEFT, RIGHT, 0, 9)
  row, column = state.row + state.downward, state.column + state.rightward
  down, right = int(state.downward), int(state.rightward)
  bricks, reward, over, inside = state.bricks.copy(), 0, False, False
  if not 0 <= column <= 9:
    right, column = -right, int(state.column)
  if row < 0:
    row, down = 0, 1
  elif 1 <= row <= 3 and bricks[row - 1, column]:
    inside = True
    if not state.inside:
      bricks[row - 1, column] = False
      reward, row, down = 1, state.row, -down
  elif row == 9:
    if not bricks.any():
      bricks[:] = True
    if state.column == paddle:
      row, down = 8, -1
    elif column == paddle:
      row, down, right = 8, -1, -right
    else:
      over = True
  fields = {
    'paddle': paddle,
    'row': row,
    'column': column,
    'downward': down,
    'rightward': right,
    'last_row': state.row,
    'last_column': state.column,
    'bricks': bricks,
    'inside': inside,
  }
  return fields, reward, over


def plain_freeway(state, action, params, new_speeds):
  """`new_speeds` are those after a crossing."""
  row, wait = int(state.row), int(state.move_timer)
  if wait == 0 and action in (UP, DOWN):
    row, wait = moved(row, action, UP, DOWN, 0, 9), int(params.player_interval)
  columns, timers = state.columns.copy(), state.timers.copy()
  speeds, reward = state.speeds, 0
  if row == 0:
    row, reward, speeds, timers = 9, 1, new_speeds, np.abs(new_speeds)
  for car in range(8):
    if (columns[car], car + 1) == (4, row):
      row = 9
    if timers[car] == 0:
      timers[car] = abs(speeds[car])
      columns[car] = (columns[car] + (1 if speeds[car] > 0 else -1)) % 10
      if (columns[car], car + 1) == (4, row):
        row = 9
    else:
      timers[car] -= 1
  fields = {
    'row': row,
    'move_timer': max(wait - 1, 0),
    'columns': columns,
    'timers': timers,
    'speeds': speeds,
  }
  return fields, reward, False


def plain_space_invaders(state, action, params):
  cannon = moved(state.cannon, action, LEFT, RIGHT, 0, 9)
  aliens = {tuple(map(int, at)) for at in np.argwhere(state.aliens)}
  shots = {(r - 1, c) for r, c in np.argwhere(state.bullets) if r > 0}
  theirs = {(r + 1, c) for r, c in np.argwhere(state.alien_bullets) if r < 9}
  shot_timer = int(state.shot_timer)
  if action == FIRE and shot_timer == 0:
    shots.add((8, int(state.cannon)))
    shot_timer = int(params.shot_interval)
  over = (9, cannon) in theirs or (9, cannon) in aliens
  right, timer = bool(state.rightward), int(state.move_timer)
  if timer == 0:
    timer = min(len(aliens), int(state.move_interval))
    if any(c == (9 if right else 0) for _, c in aliens):
      right = not right
      over = over or any(r == 9 for r, _ in aliens)
      aliens = {((r + 1) % 10, c) for r, c in aliens}
    else:
      aliens = {(r, c + (1 if right else -1)) for r, c in aliens}
    over = over or (9, cannon) in aliens
  alien_timer = int(state.alien_shot_timer)
  if alien_timer == 0:
    alien_timer = int(params.alien_shot_interval)
    column = min((abs(c - cannon), c) for _, c in aliens)[1]
    theirs.add((max(r for r, c in aliens if c == column), column))
  killed = aliens & shots
  aliens, shots = aliens - killed, shots - killed
  interval, wave = int(state.move_interval), int(state.ramp_index)
  if not aliens:
    aliens = set(itertools.product(range(4), range(2, 8)))
    if params.ramping and interval > params.least_move_interval:
      interval, wave = interval - 1, wave + 1
  fields = {
    'cannon': cannon,
    'bullets': _screen(shots),
    'alien_bullets': _screen(theirs),
    'aliens': _screen(aliens),
    'rightward': right,
    'move_interval': interval,
    'move_timer': timer - 1,
    'alien_shot_timer': alien_timer - 1,
    'shot_timer': max(shot_timer - 1, 0),
    'ramp_index': wave,
  }
  return fields, len(killed), over


def _screen(cells):
  screen = np.zeros((10, 10), bool)
  for cell in cells:
    screen[cell] = True
  return screen
