"""Kinds of units: what they can do, as arrays over the kinds.

The numbers are those of SMAX (JaxMARL, 2311.10090), which took them from
StarCraft II: distances in cells of the map, times in seconds.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MARINE, MARAUDER, STALKER, ZEALOT, ZERGLING, HYDRALISK = range(6)
LETTERS = 'mMsZzh'  # of each kind, in pictures


class UnitTypes(NamedTuple):
  """A table with a row of `K` kinds for each property.

  Attributes:
    speed: cells per second.
    damage: of a shot.
    reach: how far it shoots, in cells between centres.
    sight: how far it sees, in cells between centres.
    radius: in cells; units that overlap push each other apart.
    health: at the start.
    reload: mean seconds between two shots.
  """

  speed: Float[Array, ' *K']
  damage: Float[Array, ' *K']
  reach: Float[Array, ' *K']
  sight: Float[Array, ' *K']
  radius: Float[Array, ' *K']
  health: Float[Array, ' *K']
  reload: Float[Array, ' *K']


_ROWS = (
  # speed, damage, reach, sight, radius, health, reload
  (3.15, 9.0, 5.0, 9.0, 0.375, 45.0, 0.61),  # marine
  (2.25, 10.0, 6.0, 10.0, 0.5625, 125.0, 1.07),  # marauder
  (4.13, 13.0, 6.0, 10.0, 0.625, 160.0, 1.87),  # stalker
  (3.15, 8.0, 2.0, 9.0, 0.5, 150.0, 0.86),  # zealot
  (4.13, 5.0, 2.0, 8.0, 0.375, 35.0, 0.5),  # zergling
  (3.15, 12.0, 5.0, 9.0, 0.625, 80.0, 0.59),  # hydralisk
)
UNIT_TYPES = UnitTypes(*np.array(_ROWS, np.float32).T)


def of_units(types: UnitTypes, unit_type: Int[Array, ' A']) -> UnitTypes:
  """The properties of each unit, `[A]`, in place of those of each kind."""
  table = jnp.stack(types, axis=-1)[unit_type]
  return UnitTypes(*jnp.moveaxis(table, -1, 0))
