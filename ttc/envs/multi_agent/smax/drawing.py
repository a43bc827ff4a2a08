"""Pictures of battles: units with their health, and who shoots at whom."""

import numpy as np

from ttc.envs.multi_agent.smax.battle import SmaxState
from ttc.envs.multi_agent.smax.dynamics import ATTACK
from ttc.envs.multi_agent.smax.scenarios import SmaxParams
from ttc.envs.multi_agent.smax.units import LETTERS
from ttc.envs.rendering import (
  AGENT_COLORS,
  Circle,
  Line,
  Picture,
  Polygon,
  Shape,
  Text,
  rectangle,
)

_SCALE = 1.25  # units are drawn larger than they are, to be seen
_DEAD, _GROUND, _BORDER = '#c4beb2', '#f6f3ec', '#b8ae9c'
_TEAM = AGENT_COLORS[:2]
_HURT = ('#00304d', '#5c2700')  # dark shades of these


def draw(state: SmaxState, params: SmaxParams, num_allies: int) -> Picture:
  """Allies blue, enemies orange, the dead as crosses; arrows are attacks.

  Letters tell the kind: marine m, marauder M, stalker s, zealot Z, zergling z,
  hydralisk h. A unit is coloured as high as it is healthy. The window has
  where units are and where they started.
  """
  place = np.stack([np.asarray(state.x), np.asarray(state.y)], axis=-1)
  start = np.stack([np.asarray(state.start_x), np.asarray(state.start_y)], -1)
  low, side = _window(np.concatenate([place, start]))
  alive = np.asarray(state.health) > 0
  enemy = np.arange(len(alive)) >= num_allies
  color = [_TEAM[int(is_enemy)] for is_enemy in enemy]
  shapes: list[Shape] = [
    rectangle((0, 0), tuple(params.map_size), _GROUND, _BORDER)
  ]
  for index in np.flatnonzero(~alive):
    shapes += _cross(place[index], 0.3)
  for index in np.flatnonzero(alive):
    kind = int(state.unit_type[index])
    share = float(state.health[index]) / float(params.types.health[kind])
    radius = _SCALE * float(params.types.radius[kind])
    shapes += _unit(place[index], radius, int(enemy[index]), share)
    letter_size = 1.3 * radius / side
    shapes.append(Text(place[index], LETTERS[kind], '#ffffff', letter_size))
  for index in np.flatnonzero(alive & (np.asarray(state.action) >= ATTACK)):
    opponent = int(state.action[index]) - ATTACK
    target = num_allies + (-1 - opponent if enemy[index] else opponent)
    shapes += _attack(place[index], place[target], color[index])
  allies, enemies = int(sum(alive & ~enemy)), int(sum(alive & enemy))
  title = f'step {int(state.time)}    allies {allies}    enemies {enemies}'
  at = (low[0] + side / 2, low[1] + 0.96 * side)
  shapes.append(Text(at, title, '#333333', 0.04))
  return Picture(tuple(low), tuple(low + side), shapes)


def _window(points):
  """Lower corner and side of a square around points."""
  low, high = points.min(axis=0), points.max(axis=0)
  side = max(16.0, 4.0 + float(max(high - low)))
  return (low + high - side) / 2, side


def _cross(place, size):
  x, y = place
  return [
    Line(((x - size, y - way), (x + size, y + way)), _DEAD, 0.006)
    for way in (size, -size)
  ]


def _attack(start, end, color):
  """An arrow between two units."""
  way = end - start
  along = way / max(np.linalg.norm(way), 1e-6)
  across = np.array([-along[1], along[0]])
  tip = end - 0.4 * along
  foot = tip - 0.4 * along
  head = (tip, foot + 0.2 * across, foot - 0.2 * across)
  return [Line((start + 0.5 * along, foot), color), Polygon(head, color)]


def _unit(place, radius, team, share):
  """A disc that is filled as high as the unit is healthy."""
  half = np.arccos(1 - 2 * min(max(share, 0.0), 1.0))  # of the filled arc
  angle = np.linspace(-half, half, 24) - np.pi / 2
  arc = place + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  return [
    Circle(tuple(place), 1.12 * radius, '#ffffff'),
    Circle(tuple(place), radius, _HURT[team]),
    Polygon([tuple(point) for point in arc], _TEAM[team]),
  ]
