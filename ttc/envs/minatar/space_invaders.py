"""Space Invaders: a cannon below, aliens above (MinAtar, 1903.03176).

Aliens move sideways together, and where one is at the edge, down and about.
They move the faster the fewer there are; the one that is nearest to the
cannon's column shoots. A hit alien pays 1. When all are gone a new wave comes,
with `ramping` a faster one. The rules end the episode when a bullet or an alien
hits the cannon, or aliens in the last row would go down.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.minatar.console import (
  FIRE,
  LEFT,
  NOTHING,
  RIGHT,
  SIDE,
  dark,
  draw_screen,
  lit,
  minatar_game,
  plane_of,
)
from ttc.envs.rendering import Picture


class SpaceInvadersParams(NamedTuple):
  """What a task may set; times are numbers of steps.

  Attributes:
    ramping: whether waves become faster.
    shot_interval: from one shot of the cannon to the next.
    alien_shot_interval: from one shot of an alien to the next.
    move_interval: from one move of many aliens to the next, in the first wave.
    least_move_interval: of the fastest wave.
    sticky_probability: that the last action is repeated; 0.1 in the paper.
    max_steps: before truncation; no limit in the paper.
  """

  ramping: Bool[Array, ''] | bool = True
  shot_interval: Int[Array, ''] | int = 5
  alien_shot_interval: Int[Array, ''] | int = 10
  move_interval: Int[Array, ''] | int = 12
  least_move_interval: Int[Array, ''] | int = 6
  sticky_probability: Float[Array, ''] | float = 0.0
  max_steps: Int[Array, ''] | int = 1000


class SpaceInvadersState(NamedTuple):
  """Where everything is, and clocks."""

  cannon: Int[Array, '']
  bullets: Bool[Array, '10 10']  # of the cannon
  alien_bullets: Bool[Array, '10 10']
  aliens: Bool[Array, '10 10']
  rightward: Bool[Array, '']
  move_interval: Int[Array, '']
  move_timer: Int[Array, '']
  alien_shot_timer: Int[Array, '']
  shot_timer: Int[Array, '']
  ramp_index: Int[Array, '']  # the wave
  last_action: Int[Array, '']
  time: Int[Array, '']


def space_invaders(full_actions: bool = False) -> Environment:
  """The game; actions are nothing, left, right, fire.

  Observations are planes of the cannon, the aliens, the aliens again if they
  move to the left, and if to the right, its bullets, and theirs.

  Args:
    full_actions: whether there are `UP` and `DOWN` too, to no effect.

  Returns:
    The environment; its params are `SpaceInvadersParams`.
  """
  return minatar_game(
    'space_invaders',
    SpaceInvadersParams(),
    _reset,
    _move,
    _observe,
    draw,
    actions=None if full_actions else (NOTHING, LEFT, RIGHT, FIRE),
    num_planes=6,
  )


def _wave():
  row, column = np.indices((SIDE, SIDE))
  return jnp.array((row < 4) & (column >= 2) & (column < 8))


def _reset(key, params):
  del key
  number = lambda n: jnp.asarray(n, jnp.int32)
  empty = jnp.zeros((SIDE, SIDE), bool)
  return SpaceInvadersState(
    cannon=number(5),
    bullets=empty,
    alien_bullets=empty,
    aliens=_wave(),
    rightward=jnp.zeros((), bool),
    move_interval=number(params.move_interval),
    move_timer=number(params.move_interval),
    alien_shot_timer=number(params.alien_shot_interval),
    shot_timer=number(0),
    ramp_index=number(0),
    last_action=number(NOTHING),
    time=number(0),
  )


def _observe(state, params):
  del params
  planes = (
    state.aliens,
    state.aliens & ~state.rightward,
    state.aliens & state.rightward,
    state.bullets,
    state.alien_bullets,
  )
  screen = lit(dark(6), SIDE - 1, state.cannon, 0)
  for i, plane in enumerate(planes, start=1):
    screen = screen.at[:, :, i].set(plane.astype(jnp.float32))
  return screen


def _shifted(screen, axis, step):
  """A screen moved by one cell; what leaves it is gone."""
  pads = [(0, 0), (0, 0)]
  pads[axis] = (1, 0) if step > 0 else (0, 1)
  padded = jnp.pad(screen, pads)
  return padded[:SIDE, :SIDE] if step > 0 else padded[-SIDE:, -SIDE:]


def _move(words, state, action, params):
  del words
  fires = (action == FIRE) & (state.shot_timer == 0)
  is_act = lambda act: (action == act).astype(jnp.int32)
  cannon = jnp.clip(state.cannon + is_act(RIGHT) - is_act(LEFT), 0, SIDE - 1)
  # A new bullet has left the last row when the step ends.
  shot = plane_of(SIDE - 1, state.cannon) & fires
  bullets = _shifted(state.bullets | shot, 0, -1)
  alien_bullets = _shifted(state.alien_bullets, 0, 1)
  at_cannon = jnp.arange(SIDE, dtype=jnp.int32) == cannon
  hit = jnp.any((alien_bullets[-1] | state.aliens[-1]) & at_cannon)
  state, landed = _march(state)
  over = hit | landed | jnp.any(state.aliens[-1] & at_cannon)

  shoots = state.alien_shot_timer == 0
  alien_bullets = alien_bullets | (_nearest(state.aliens, cannon) & shoots)
  killed = state.aliens & bullets
  aliens = state.aliens & ~killed
  cleared = ~jnp.any(aliens)
  faster = cleared & params.ramping
  faster = faster & (state.move_interval > params.least_move_interval)
  shot_timer = jnp.where(fires, params.shot_interval, state.shot_timer)
  alien_timer = jnp.where(
    shoots, params.alien_shot_interval, state.alien_shot_timer
  )
  state = state._replace(
    cannon=cannon,
    bullets=bullets & ~killed,
    alien_bullets=alien_bullets,
    aliens=aliens | (cleared & _wave()),
    move_interval=state.move_interval - faster,
    alien_shot_timer=(alien_timer - 1).astype(jnp.int32),
    shot_timer=jnp.maximum(shot_timer - 1, 0).astype(jnp.int32),
    ramp_index=state.ramp_index + faster,
  )
  return state, jnp.sum(killed, dtype=jnp.float32), over


def _march(state):
  """Moves aliens if it is time; whether some would leave the last row."""
  now = state.move_timer == 0
  aliens, right = state.aliens, state.rightward
  edge = jnp.where(right, jnp.any(aliens[:, -1]), jnp.any(aliens[:, 0]))
  sideways = jnp.where(right, _shifted(aliens, 1, 1), _shifted(aliens, 1, -1))
  # Those that leave the last row come in above, but the game is over then.
  moved = jnp.where(edge, jnp.roll(aliens, 1, axis=0), sideways)
  count = jnp.sum(aliens, dtype=jnp.int32)
  interval = jnp.minimum(count, state.move_interval)
  state = state._replace(
    aliens=jnp.where(now, moved, aliens),
    rightward=right ^ (now & edge),
    move_timer=jnp.where(now, interval, state.move_timer) - 1,
  )
  return state, now & edge & jnp.any(aliens[-1])


def _nearest(aliens, cannon):
  """The lowest alien of the nearest column that has some, the left of two."""
  at = jnp.arange(SIDE, dtype=jnp.int32)
  distance = 2 * jnp.abs(at - cannon) + (at > cannon)
  distance = jnp.where(jnp.any(aliens, axis=0), distance, 2 * SIDE)
  column = aliens & (distance == jnp.min(distance))[None]
  lowest = jnp.max(jnp.where(column, at[:, None], -1))
  return column & (at[:, None] == lowest)


def draw(state: SpaceInvadersState, params: SpaceInvadersParams) -> Picture:
  """The cannon is blue, aliens green; bullets are small."""
  planes = np.asarray(jax.jit(_observe)(state, params))
  things = (
    (planes[..., 1], '#009e73', 0.8),
    (planes[..., 4], '#ffffff', -0.3),
    (planes[..., 5], '#d55e00', -0.4),
    (planes[..., 0], '#56b4e9', 0.85),
  )
  wave, time = int(state.ramp_index), int(state.time)
  return draw_screen(things, f'step {time}, wave {wave}')
