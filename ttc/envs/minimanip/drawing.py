"""Pictures of MiniManip: from above, and beside it from the right.

The hand is blue and the object orange; handles are purple and caps red. A green
ring is the goal, as wide as success, and full once the goal is reached.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc.envs.minimanip.families import FAMILIES
from ttc.envs.minimanip.reward import judge
from ttc.envs.minimanip.world import (
  HAND_HIGH,
  HAND_LOW,
  RADIUS,
  ManipulationParams,
  ManipulationState,
  cap_position,
  handle_position,
)
from ttc.envs.rendering import Circle, Line, Picture, Shape, Text, rectangle

_HAND, _OBJECT, _HANDLE, _CAP = '#0072b2', '#e69f00', '#cc79a7', '#d55e00'
_GOAL, _WOOD, _EDGE, _METAL = '#009e73', '#f3ead9', '#b9a988', '#8a8f98'
_REACHED, _SHELF, _PIT = '#a5e3c8', '#d9c39a', '#5b4f3a'
_GAP = 0.06  # between the views
_BELOW = 0.08  # the table, seen from the right
_THICK = 0.01


class _View(NamedTuple):
  """Which coordinates go right and up, and where zero is in the picture."""

  right: int
  up: int
  origin: tuple[float, float]

  def at(self, position):
    """Where a position is in the picture."""
    x, y = self.origin
    return (x + float(position[self.right]), y + float(position[self.up]))

  def box(self, low, high, color, edge=None):
    """An upright box of the world."""
    return rectangle(self.at(low), self.at(high), color, edge)


_FROM_ABOVE = _View(0, 1, (0.0, 0.0))
_FROM_RIGHT = _View(
  1, 2, (float(HAND_HIGH[0] - HAND_LOW[1]) + _GAP, float(HAND_LOW[1]) + _BELOW)
)


def draw(state: ManipulationState, params: ManipulationParams) -> Picture:
  """The world from above and from the right, at one scale."""
  (left, near, _), (right, far, top) = HAND_LOW, HAND_HIGH
  low, high = (left, near, 0.0), (right, far, top)
  state = jax.tree.map(jnp.asarray, state)
  succeeds, _ = jax.jit(judge)(state.scene, params)
  view = _FROM_RIGHT
  shapes: list[Shape] = [
    _FROM_ABOVE.box(low, high, _WOOD, _EDGE),
    view.box(low, high, '#f4f7fa', '#c8d2dc'),
    view.box((left, near, -_BELOW), (right, far, 0.0), _WOOD, _EDGE),
  ]
  for view in (_FROM_ABOVE, _FROM_RIGHT):
    shapes += _surroundings(view, params.surroundings)
    if succeeds:
      at = view.at(params.aim.goal)
      shapes.append(Circle(at, _goal_radius(params), _REACHED))
    shapes += [
      *_mechanisms(view, state, params),
      *_object(view, state, params),
      _ring(view, params),
      *_gripper(view, state),
    ]
  title = list(FAMILIES)[int(params.family)].replace('_', ' ')
  words = f'{title}, step {int(state.time)} of {int(params.max_steps)}'
  width = view.at((0.0, far, 0.0))[0]
  middle, above = (left + width) / 2, far + 0.035
  shapes.append(Text((middle, above), words, size=0.03))
  for text, x in (('from above', 0.0), ('from the right', width - 0.3)):
    shapes.append(Text((x, near - 0.03), text, '#777777', 0.02))
  window = (left - 0.03, near - 0.06), (width + 0.03, far + 0.08)
  return Picture(*window, shapes)


def _surroundings(view, parts):
  """Shelf, pit and wall."""
  x, y, z = (float(c) for c in parts.platform)
  r = float(parts.platform_radius)
  above = view.up == 1
  if r and above:
    yield Circle((x, y), r, _SHELF if z > 0 else _PIT, _EDGE)
  elif r and z > 0:
    yield view.box((x, y - r, z - _THICK), (x, y + r, z), _SHELF, _EDGE)
    yield view.box((x, y - _THICK, 0.0), (x, y + _THICK, z - _THICK), _SHELF)
  elif r:
    yield view.box((x, y - r, z), (x, y + r, 0.0), _PIT)
  if not np.any(parts.normal):
    return
  hole = np.asarray(parts.hole)
  if above:
    end = HAND_LOW[0] if parts.normal[0] > 0 else HAND_HIGH[0]
    sides = ((HAND_LOW[1], hole[1] - RADIUS), (hole[1] + RADIUS, HAND_HIGH[1]))
    for from_y, to_y in sides:
      x0, x1 = sorted((float(end), float(hole[0])))
      yield view.box((x0, from_y, 0.0), (x1, to_y, 0.0), _METAL)
  else:
    yield Circle(view.at(hole), 1.3 * RADIUS, '#ffffff', _METAL)


def _ring(view, params):
  """Around the goal, what is behind it showing through."""
  turn = np.linspace(0.0, 2 * np.pi, 33)
  x, y = view.at(params.aim.goal)
  radius = _goal_radius(params)
  points = zip(
    x + radius * np.cos(turn), y + radius * np.sin(turn), strict=True
  )
  return Line(tuple(points), _GOAL, 0.004)


def _goal_radius(params):
  return max(float(params.aim.threshold), 0.02)


def _mechanisms(view, state, params):
  """The joint with its way, and the button."""
  joint, button = params.joint, params.button
  if joint.present:
    place = lambda angle: view.at(handle_position(joint, angle))
    way = [place(share * joint.limit) for share in jnp.linspace(0.0, 1.0, 12)]
    handle = place(state.scene.angle)
    yield Line(way, '#d0d4da', 0.006)
    if joint.hinge:
      yield Line((view.at(joint.base), handle), _METAL, 0.014)
      yield Circle(view.at(joint.base), 0.014, '#4a4e57')
    else:
      yield Line((way[0], handle), _METAL, 0.014)
      yield Circle(way[0], 0.014, '#4a4e57')
    yield Circle(handle, 0.018, _HANDLE, '#8d4f72')
  if button.present:
    axis = np.asarray(button.axis)
    front = np.asarray(button.front)
    back = view.at(front + axis * float(button.travel + 0.02))
    cap = view.at(cap_position(button, state.scene.depth))
    yield Circle(back, 0.035, _METAL)
    yield Line((back, cap), _METAL, 0.02)
    yield Circle(cap, 0.024, _CAP, '#8c3d00')


def _object(view, state, params):
  """A disc, or a wide box where it cannot be held."""
  if not params.has_object:
    return
  x, y = view.at(state.scene.object)
  if params.graspable:
    yield Circle((x, y), RADIUS, _OBJECT, '#7a5300')
  else:
    low, high = (x - RADIUS, y - RADIUS), (x + RADIUS, y + RADIUS)
    yield rectangle(low, high, _OBJECT, '#7a5300')


def _gripper(view, state):
  """Two fingers, as far apart as they are, and the arm they hang on."""
  x, y = view.at(state.scene.hand)
  apart = 0.012 + 0.022 * float(state.scene.opening)
  if view.up == 1:
    yield Line(((x - apart, y), (x + apart, y)), _HAND, 0.006)
    low, high = -0.016, 0.016
  else:
    top = y + 0.05
    end = view.at((0.0, 0.0, HAND_HIGH[2]))[1]
    yield Line(((x, top), (x, max(end, top))), '#9cc4dd', 0.012)
    yield Line(((x - apart, top), (x + apart, top)), _HAND, 0.012)
    low, high = -0.016, 0.05
  for side in (-apart, apart):
    corner = (x + side - 0.006, y + low)
    yield rectangle(corner, (x + side + 0.006, y + high), _HAND)
