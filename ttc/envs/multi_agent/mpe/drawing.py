"""Pictures of particle games."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ttc.envs.rendering import (
  AGENT_COLORS,
  Circle,
  Line,
  Picture,
  Shape,
  Text,
  rectangle,
)

GOOD, ADVERSARY, LEADER = AGENT_COLORS[2], AGENT_COLORS[1], '#8c2d04'
LANDMARK, FOOD, FOREST = '#9e9e9e', '#3b5bdb', '#c3e6c3'
CODES = ('#d62728', '#2ca02c', '#1f77b4')
SYMBOLS = 'abcdefghij'

Draw = Callable[[Any, Any], Picture]


def particles(
  agents: Sequence[str],
  landmarks: Sequence[str],
  goal_owners: Sequence[str] = (),
) -> Draw:
  """A function that draws states of a game.

  Landmarks are below, agents with their velocities above, words over them. The
  square `[-1, 1]^2` is outlined; the window grows where somebody leaves it.

  Args:
    agents: a colour for each.
    landmarks: a colour for each.
    goal_owners: colours of those that each goal is of; it is ringed in them.
  """

  def draw(state, params):
    points = np.concatenate([state.position, state.landmarks])
    radii = np.asarray(params.world.landmark_radius)
    reach = float(np.abs(points).max())
    half = max(1.25, np.ceil(2 * reach + 0.2) / 2)
    shapes: list[Shape] = [rectangle((-1, -1), (1, 1), '#fafafa', '#dddddd')]
    for nth, owner in enumerate(goal_owners):
      goal = int(state.goal[nth])
      ring = float(radii[goal]) + 0.03 * (len(goal_owners) - nth)
      shapes.append(Circle(tuple(state.landmarks[goal]), ring, owner))
    order: list[int] = np.argsort(-radii, kind='stable').tolist()
    for i in order:
      center = tuple(state.landmarks[i])
      shapes.append(Circle(center, float(radii[i]), landmarks[i]))
    for i, color in enumerate(agents):
      center, radius = state.position[i], float(params.world.radius[i])
      tip = tuple(center + 0.3 * state.velocity[i])
      shapes.append(Line((tuple(center), tip), '#777777', 0.008))
      shapes.append(Circle(tuple(center), radius, color, '#333333'))
    for i, message in enumerate(state.message):
      if np.any(message):
        x, y = state.position[i]
        above = (x, y + float(params.world.radius[i]) + 0.08)
        shapes.append(Text(above, _word(message), size=0.05))
    return Picture(
      (-half, -half),
      (half, half),
      [*shapes, _clock(state, params, (0.0, half - 0.09))],
    )

  return draw


def draw_crypto(state: Any, params: Any) -> Picture:
  """Alice with secret and key, Bob with the key, Eve between, and their words.

  Codes are squares of one of two colours, the secret the larger one.
  """
  eve, alice, bob = (0.0, -0.45), (-0.75, 0.25), (0.75, 0.25)
  secret, key = (CODES[int(g)] for g in state.goal)
  shapes: list[Shape] = [
    Line((alice, bob), '#bbbbbb', 0.01),
    Line(((0.0, 0.25), eve), '#dddddd', 0.01),
  ]
  colors = (ADVERSARY, AGENT_COLORS[2], AGENT_COLORS[0])
  for i, (x, y) in enumerate((eve, alice, bob)):
    shapes.append(Circle((x, y), 0.18, colors[i], '#333333'))
    shapes.append(Text((x, y), ('Eve', 'Alice', 'Bob')[i], '#ffffff', 0.045))
    if np.any(state.message[i]):
      shapes.append(Text((x, y + 0.28), _word(state.message[i]), size=0.06))
  boxes = ((-0.85, 0.1, secret), (-0.6, 0.07, key), (0.75, 0.07, key))
  for x, half, color in boxes:
    low, high = (x - half, -0.12 - half), (x + half, -0.12 + half)
    shapes.append(rectangle(low, high, color, '#333333'))
  clock = _clock(state, params, (0.0, 0.85))
  return Picture((-1.1, -0.75), (1.1, 0.95), [*shapes, clock])


def _word(message):
  return f'"{SYMBOLS[int(np.argmax(message))]}"'


def _clock(state, params, at):
  text = f'step {int(state.time)} of {int(params.max_steps)}'
  return Text(at, text, '#555555', 0.04)
