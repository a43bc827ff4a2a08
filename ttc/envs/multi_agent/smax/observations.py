"""What the units of a team see and may do, and what a critic sees.

All functions but `world_state` are for the `team` units that come first on the
axis; for the others, see `ttc.envs.multi_agent.smax.battle.reverse`.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ttc.envs.multi_agent.smax.battle import SmaxState, stats_of
from ttc.envs.multi_agent.smax.dynamics import (
  ATTACK,
  EAST,
  NORTH,
  SOUTH,
  STOP,
  WEST,
)
from ttc.envs.multi_agent.smax.scenarios import SmaxParams

NUM_SECTIONS = 32  # of the circle around a unit, in the conic observation
UNITS_PER_SECTION = 2
_PLACE = slice(1, 3)  # of the features of a unit: health, x, y, ...
_ORDERS = slice(3, 6)  # ... way x, way y, target, time to the next shot, kind


def move_of(action: Array) -> tuple[Float[Array, ' *A'], Float[Array, ' *A']]:
  """The direction that an action moves in, a unit vector or zero."""
  x = (action == EAST).astype(jnp.float32) - (action == WEST)
  y = (action == NORTH).astype(jnp.float32) - (action == SOUTH)
  return x, y


def legal_actions(
  state: SmaxState, params: SmaxParams, team: int
) -> Bool[Array, 'T n']:
  """Moves if alive, stop always, attacks on live opponents in reach.

  Returns:
    `[team, 5 + opponents]`.
  """
  alive = state.alive
  here, there = slice(team), slice(team, None)
  reach = stats_of(state, params).reach[here, None]
  dx = state.x[here, None] - state.x[None, there]
  dy = state.y[here, None] - state.y[None, there]
  near = dx * dx + dy * dy < reach * reach
  attacks = near & alive[here, None] & alive[None, there]
  moves = jnp.broadcast_to(alive[here, None], (team, STOP))
  stop = jnp.ones((team, 1), bool)
  return jnp.concatenate([moves, stop, attacks], axis=-1)


def unit_list(
  state: SmaxState, params: SmaxParams, team: int
) -> Float[Array, 'T D']:
  """All others one after another, the own team first, and oneself.

  Of another unit: health as a share, position relative to the observer as a
  share of its sight, last move, last target's number as a share, time to the
  next shot as a share, kind (one-hot); zeros if it is dead or out of sight. Of
  oneself: health, position as a share of the map, time to the next shot, kind;
  the dead see nothing.
  """
  unit = jnp.arange(len(state.x) - 1)[None]
  skip = unit >= jnp.arange(team)[:, None]
  others = lambda x: jnp.where(skip, x[1:], x[:-1])
  dx, dy, seen = _sight(state, params, team, others)
  return _rows(unit + skip, dx, dy, seen, state, params, team)


def conic(
  state: SmaxState, params: SmaxParams, team: int
) -> Float[Array, 'T D']:
  """The first two units in sight in each of 32 sections of the circle.

  Sections go counter-clockwise from the west. Of a unit as in `unit_list`, so
  that the size does not depend on the number of units.
  """
  unit = jnp.arange(len(state.x))
  dx, dy, seen = _sight(state, params, team, lambda x: x[None])
  seen &= unit[None] != unit[:team, None]
  turn = (jnp.arctan2(dy, dx) + np.pi) / (2 * np.pi)
  section = jnp.floor(turn * NUM_SECTIONS).astype(jnp.int32) % NUM_SECTIONS
  same = section[:, None] == section[:, :, None]
  before = same & seen[:, None] & (unit[None] < unit[:, None])[None]
  rank = jnp.sum(before, axis=-1, dtype=jnp.int32)
  slots = jnp.arange(NUM_SECTIONS * UNITS_PER_SECTION)
  slot = section * UNITS_PER_SECTION + rank
  shown = seen & (rank < UNITS_PER_SECTION)
  chosen = (slot[:, None] == slots[None, :, None]) & shown[
    :, None
  ]  # [T, slots, A]
  other = jnp.argmax(chosen, axis=-1)
  pick = lambda d: jnp.sum(jnp.where(chosen, d[:, None], 0), axis=-1)
  any_seen = jnp.any(chosen, axis=-1)
  return _rows(other, pick(dx), pick(dy), any_seen, state, params, team)


def _sight(state, params, team, others):
  """Others relative to each of the team, as shares of its sight; who is seen.

  Args:
    state: of the battle.
    params: of the battle.
    team: how many units look.
    others: of a value of all units `[A]`, those of `S` units for each of the
      team `[team, S]`, or `[1, S]`.
  """
  sight = stats_of(state, params).sight[:team, None]
  dx = (others(state.x) - state.x[:team, None]) / sight
  dy = (others(state.y) - state.y[:team, None]) / sight
  alive = others(state.alive) & state.alive[:team, None]
  return dx, dy, alive & (dx * dx + dy * dy < 1)


def _rows(other, dx, dy, seen, state, params, team):
  """Features of the units in `S` slots, and of the observer.

  One product of matrices: each slot has a one for its unit and the relative
  position for two rows that stand for the axes. Written element by element it
  is a flat index that XLA takes apart again, at three times the time.

  Args:
    other: number of the unit in each slot, `[team, S]`.
    dx: relative to the observer, as a share of its sight, `[team, S]`.
    dy: as `dx`.
    seen: whether anything is in the slot, `[team, S]`.
    state: of the battle.
    params: of the battle.
    team: how many units look.
  """
  num_units = len(state.x)
  features = _features(state, params, team)
  axes = jnp.zeros((2, features.shape[1]), jnp.float32)
  axes = axes.at[:, _PLACE].set(jnp.eye(2, dtype=jnp.float32))
  table = jnp.concatenate([features.at[:, _PLACE].set(0), axes])
  row = jnp.arange(num_units + 2)[None, None]
  weights = (row == other[..., None]).astype(jnp.float32)
  weights = jnp.where(row == num_units, dx[..., None], weights)
  weights = jnp.where(row == num_units + 1, dy[..., None], weights)
  weights = jnp.where(seen[..., None], weights, 0)
  rows = jnp.einsum('tsr,rf->tsf', weights, table, precision='highest')
  return jnp.concatenate(
    [rows.reshape(team, -1), _own(features, state, team)], axis=-1
  )


def _features(state, params, team):
  """Of each unit as the team knows it, places as shares of the map, `[A, F]`.

  Nobody out of the map lives on; for a moment it looks as if on the border.
  """
  stats = stats_of(state, params)
  first = jnp.arange(len(state.x)) < team
  last_action = jnp.where(first, len(state.x) - team, team) + STOP
  target = jnp.where(state.action >= ATTACK, state.action, 0)
  target = target.astype(jnp.float32) / last_action.astype(jnp.float32)
  known = (first | params.see_orders).astype(jnp.float32)
  move_x, move_y = move_of(state.action)
  columns = [
    state.health / stats.health,
    jnp.clip(state.x / params.map_size[0], 0, 1),
    jnp.clip(state.y / params.map_size[1], 0, 1),
    move_x * known,
    move_y * known,
    target * known,
    jnp.clip(state.cooldown / stats.reload, 0, 1),
  ]
  kinds = jnp.arange(len(params.types.speed))[None]
  kind = (state.unit_type[:, None] == kinds).astype(jnp.float32)
  return jnp.concatenate([jnp.stack(columns, axis=-1), kind], axis=-1)


def _own(features, state, team):
  """What each of the team knows of itself; nothing if it is dead."""
  own = [features[:team, : _ORDERS.start], features[:team, _ORDERS.stop :]]
  own = jnp.concatenate(own, axis=-1)
  return jnp.where(state.alive[:team, None], own, 0)


def world_state(
  state: SmaxState, params: SmaxParams, num_allies: int
) -> Float[Array, ' D']:
  """Twelve numbers a unit, for a critic.

  Health as a share, position in cells, time to the next shot in seconds, kind
  (one-hot), all zero for the dead; then the team of each unit, then its kind.
  """
  stats = stats_of(state, params)
  kinds = jnp.arange(len(params.types.speed))[None]
  kind = (state.unit_type[:, None] == kinds).astype(jnp.float32)
  columns = [state.health / stats.health, state.x, state.y, state.cooldown]
  rows = jnp.concatenate([jnp.stack(columns, axis=-1), kind], axis=-1)
  rows = jnp.where(state.alive[:, None], rows, 0)
  enemy = (jnp.arange(len(state.x)) >= num_allies).astype(jnp.float32)
  types = state.unit_type.astype(jnp.float32)
  return jnp.concatenate([rows.reshape(-1), enemy, types])
