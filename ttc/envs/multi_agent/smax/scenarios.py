"""Scenarios: who fights whom, and everything else that a task may set.

The names and the armies are those of SMAX (2311.10090), after SMAC (1902.04043)
and SMACv2 (2212.07489): `2s3z` has 2 stalkers and 3 zealots on either side,
`5m_vs_6m` 5 marines against 6, and in `smacv2_10_units` kinds and places of 10
against 10 are drawn anew in every episode.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ttc.envs.multi_agent.smax.units import (
  HYDRALISK,
  MARINE,
  STALKER,
  UNIT_TYPES,
  ZEALOT,
  UnitTypes,
)
from ttc.types import AnyArray, AnyNumber


class Scenario(NamedTuple):
  """Two armies.

  Attributes:
    name: for tables and files.
    allies: kind of each ally.
    enemies: kind of each enemy.
    random: whether kinds and places are drawn in every episode (SMACv2).
  """

  name: str
  allies: tuple[int, ...]
  enemies: tuple[int, ...]
  random: bool = False


def _marines(allies: int, enemies: int) -> Scenario:
  name = f'{allies}m' if allies == enemies else f'{allies}m_vs_{enemies}m'
  return Scenario(name, (MARINE,) * allies, (MARINE,) * enemies)


def _smacv2(units: int) -> Scenario:
  army = (MARINE,) * units
  return Scenario(f'smacv2_{units}_units', army, army, random=True)


def _army(stalkers: int = 0, zealots: int = 0, hydralisks: int = 0):
  return (STALKER,) * stalkers + (ZEALOT,) * zealots + (HYDRALISK,) * hydralisks


SCENARIOS = (
  _marines(3, 3),
  _marines(8, 8),
  _marines(25, 25),
  _marines(5, 6),
  _marines(10, 11),
  _marines(27, 30),
  Scenario('2s3z', _army(2, 3), _army(2, 3)),
  Scenario('3s5z', _army(3, 5), _army(3, 5)),
  Scenario('3s5z_vs_3s6z', _army(3, 5), _army(3, 6)),
  Scenario('3s_vs_5z', _army(3), _army(0, 5)),
  Scenario('6h_vs_8z', _army(hydralisks=6), _army(0, 8)),
  _smacv2(5),
  _smacv2(10),
  _smacv2(20),
)


def find_scenario(scenario: str | Scenario) -> Scenario:
  """A scenario by its name; one of your own is returned as it is.

  Raises:
    ValueError: on an unknown name, an empty army, or an unknown kind of unit.
  """
  if isinstance(scenario, str):
    for known in SCENARIOS:
      if known.name == scenario:
        return known
    names = ', '.join(known.name for known in SCENARIOS)
    raise ValueError(f'smax: scenario={scenario!r}, expected one of {names}')
  kinds = range(len(UNIT_TYPES.speed))
  for side in ('allies', 'enemies'):
    army = getattr(scenario, side)
    if not army or any(kind not in kinds for kind in army):
      raise ValueError(
        f'smax: {side}={army} of {scenario.name}, expected at least one kind, '
        f'each in 0..{kinds[-1]}'
      )
  return scenario


class SmaxParams(NamedTuple):
  """What a task may set; armies of equal sizes share a program.

  Attributes:
    types: the table of kinds.
    unit_type: kind of each unit, allies first, where kinds are not drawn.
    random_types: whether kinds are drawn in every episode.
    type_weights: of each kind in that draw; need not sum to 1.
    random_places: whether units start as in SMACv2 rather than as two teams.
    surround: probability that one team surrounds the other in that case;
      otherwise places are mirror images.
    map_size: width and height, in cells.
    spread: how far a unit starts from its team's (or group's) centre at most,
      along each axis.
    tick: seconds of a tick of the physics.
    reload_noise: least and greatest deviation of a reload, in seconds.
    walls_kill: whether touching the border kills.
    see_orders: whether the moves and targets of opponents are seen.
    damage_reward: weight of the opponents' mean loss of health, as a share.
    win_reward: to all of a team that alone survives.
    loss_penalty: taken from all of a team that alone is dead.
    script_shoots: whether scripted units shoot.
    script_random_targets: whether they pick random targets in reach, rather
      than the closest.
    max_steps: before an episode is truncated.
  """

  types: UnitTypes
  unit_type: Int[AnyArray, ' A']
  random_types: Bool[AnyNumber, '']
  type_weights: Float[AnyArray, ' K']
  random_places: Bool[AnyNumber, '']
  surround: Float[AnyNumber, '']
  map_size: Float[AnyArray, ' 2']
  spread: Float[AnyNumber, '']
  tick: Float[AnyNumber, '']
  reload_noise: Float[AnyArray, ' 2']
  walls_kill: Bool[AnyNumber, '']
  see_orders: Bool[AnyNumber, '']
  damage_reward: Float[AnyNumber, '']
  win_reward: Float[AnyNumber, '']
  loss_penalty: Float[AnyNumber, '']
  script_shoots: Bool[AnyNumber, '']
  script_random_targets: Bool[AnyNumber, '']
  max_steps: Int[AnyNumber, '']


def params_of(scenario: Scenario, zero_sum: bool) -> SmaxParams:
  """Those of SMAX.

  Args:
    scenario: the armies.
    zero_sum: the rewards of self-play: 1 to the winners, -1 to the losers, and
      nothing for damage.
  """
  number = lambda x: np.asarray(x, np.float32)
  flag = lambda x: np.asarray(x, bool)
  return SmaxParams(
    types=UNIT_TYPES,
    unit_type=np.array(scenario.allies + scenario.enemies, np.int32),
    random_types=flag(scenario.random),
    type_weights=np.ones_like(UNIT_TYPES.speed),
    random_places=flag(scenario.random),
    surround=number(0.5),
    map_size=number([32.0, 32.0]),
    spread=number(2.0),
    tick=number(1 / 16),
    reload_noise=number([-1 / 16, 2 / 16]),
    walls_kill=flag(True),
    see_orders=flag(True),
    damage_reward=number(0.0 if zero_sum else 1.0),
    win_reward=number(1.0),
    loss_penalty=number(1.0 if zero_sum else 0.0),
    script_shoots=flag(True),
    script_random_targets=flag(False),
    max_steps=np.asarray(100, np.int32),
  )
