"""The state of a battle, how it starts, and how one team looks from the other.

Allies come first on the unit axis. Whatever a team sees, may do or is told by
the script is written for the team that comes first; the other one is served by
`reverse`, which turns the unit axis around. That is also the rule of SMAX:
enemies count all units, and the targets of their attacks, from the last one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.multi_agent.smax.dynamics import STOP, push_apart
from ttc.envs.multi_agent.smax.scenarios import SmaxParams
from ttc.envs.multi_agent.smax.units import UnitTypes, of_units


class SmaxState(NamedTuple):
  """A battle.

  Attributes:
    x: of each unit, in cells from the west.
    y: of each unit, in cells from the south.
    health: of each unit, 0 for the dead.
    cooldown: seconds until a unit may fire; negative if it could have before.
    unit_type: its kind.
    action: the last one.
    start_x: where it started.
    start_y: where it started.
    time: steps.
  """

  x: Float[Array, ' A']
  y: Float[Array, ' A']
  health: Float[Array, ' A']
  cooldown: Float[Array, ' A']
  unit_type: Int[Array, ' A']
  action: Int[Array, ' A']
  start_x: Float[Array, ' A']
  start_y: Float[Array, ' A']
  time: Int[Array, '']

  @property
  def alive(self) -> Bool[Array, '*E A']:
    """Which units have not died."""
    return self.health > 0


def reverse(state: SmaxState) -> SmaxState:
  """The same battle counted from the last unit, so that enemies come first."""
  return SmaxState(*(x[::-1] for x in state[:-1]), time=state.time)


def start(key: PRNGKeyArray, params: SmaxParams, num_allies: int) -> SmaxState:
  """The first state of an episode.

  Args:
    key: consumed.
    params: whose kinds and places they are, or laws of these.
    num_allies: how many units come first.

  Returns:
    All units in full health, none overlapping much, all inside of the map.
  """
  num_units = params.unit_type.shape[0]
  # Two more columns for what is drawn once for all units.
  draws = uniform_pairs(key, 2 * (num_units + 2)).reshape(4, -1)
  twin = _twins(num_allies, num_units)
  kind = jnp.cumsum(params.type_weights)
  drawn = jnp.sum(draws[2, twin, None] * kind[-1] >= kind[None], axis=-1)
  unit_type = jnp.where(params.random_types, drawn, params.unit_type)
  unit_type = unit_type.astype(jnp.int32)
  enemy = jnp.arange(num_units) >= num_allies
  x, y = jnp.where(
    params.random_places,
    _random_places(draws, params, enemy, twin),
    _two_teams(draws, params, enemy),
  )
  stats = of_units(params.types, unit_type)
  x, y = push_apart(x, y, stats.radius, jnp.ones(x.shape, bool))
  x = jnp.clip(x, stats.radius, params.map_size[0] - stats.radius)
  y = jnp.clip(y, stats.radius, params.map_size[1] - stats.radius)
  return SmaxState(
    x,
    y,
    health=stats.health,
    cooldown=jnp.zeros_like(x),
    unit_type=unit_type,
    action=jnp.full(x.shape, STOP, jnp.int32),
    start_x=x,
    start_y=y,
    time=jnp.zeros((), jnp.int32),
  )


def _twins(num_allies: int, num_units: int) -> Int[np.ndarray, ' A']:
  """For each unit the one that its draw is taken from.

  Enemies copy the allies of the same rank; those without one draw their own.
  """
  units = np.arange(num_units)
  has_twin = (units >= num_allies) & (units < 2 * num_allies)
  return np.where(has_twin, units - num_allies, units)


def _two_teams(draws, params, enemy):
  """Around a quarter and three quarters of the width."""
  x = 0.25 + 0.5 * enemy.astype(jnp.float32)
  center = jnp.stack([x, jnp.full_like(x, 0.5)])
  noise = params.spread * (2 * draws[:2, : len(enemy)] - 1)
  return center * params.map_size[:, None] + noise


def _random_places(draws, params, enemy, twin):
  """As in SMACv2: mirror images, or one team around the other.

  Those around are in four groups, each somewhere between a corner and the
  centre; each unit draws its group.
  """
  num_units = len(enemy)
  size = params.map_size[:, None]
  half, height = draws[0, twin] / 2, draws[1, twin]
  mirrored = jnp.stack([jnp.where(enemy, 1 - half, half), height]) * size
  corner = jnp.array([[0, 0, 1, 1], [0, 1, 0, 1]], jnp.float32)
  way = draws[None, :, num_units]
  groups = way * 0.5 + (1 - way) * corner
  group = jnp.floor(4 * draws[3, :num_units]).astype(jnp.int32)
  inside = enemy == (draws[0, -1] < 0.5)
  noise = params.spread * (2 * draws[:2, :num_units] - 1)
  around = jnp.where(inside, 0.5, groups[:, group]) * size + noise
  return jnp.where(draws[1, -1] < params.surround, around, mirrored)


def uniform_pairs(key: PRNGKeyArray, count: int) -> Float[Array, '2 n']:
  """Uniform numbers in [0, 1), multiples of 1 / 65536, two from each word.

  The words are hashes of the key and of 0 .. count - 1, by the two-round mixer
  of least bias that Wellons' "hash prospector" (2018) found. A key is random
  already; spreading it over units this way fuses with what uses the numbers,
  where the generator of `jax.random` takes longer than a tick of the physics
  and more compile time than a whole step.

  Args:
    key: consumed.
    count: of words.
  """
  words = jnp.arange(count, dtype=jnp.uint32)
  for seed in jax.random.key_data(key).reshape(-1):
    words = words ^ seed
    words = (words ^ (words >> 16)) * jnp.uint32(0x21F0AAAD)
    words = (words ^ (words >> 15)) * jnp.uint32(0x735A2D97)
    words = words ^ (words >> 15)
  halves = jnp.stack([words >> 16, words & 0xFFFF])
  return halves.astype(jnp.float32) / 65536


def stats_of(state: SmaxState, params: SmaxParams) -> UnitTypes:
  """The properties of each unit, `[A]`."""
  return of_units(params.types, state.unit_type)
