"""Spaces and pictures of environments that come from other libraries."""

from typing import Any

import numpy as np
from jaxtyping import Float

from ttc.envs.rendering import Picture, Text, rectangle
from ttc.envs.spaces import Box, Discrete, Space


def our_space(space: Any) -> Space:
  """A space with `n`, or with `low`, `high` and `shape`, as one of ours."""
  if hasattr(space, 'n'):
    return Discrete(int(space.n))
  low, high = float(np.min(space.low)), float(np.max(space.high))
  return Box(tuple(space.shape), low, high)


def draw_observations(obs: Float[np.ndarray, 'A *shape']) -> Picture:
  """A row of grey cells for each agent; large values are dark.

  Images `[H, W]` or `[H, W, C]` are rows below each other, the planes of the
  latter side by side.
  """
  if obs.ndim == 4:
    obs = np.moveaxis(obs, -1, 2)
  # Rows of an image, or one of each agent.
  height = obs.shape[1] if obs.ndim > 2 else 1
  rows = obs.reshape(len(obs) * height, -1)
  low, width = rows.min(), max(np.ptp(rows), 1e-9)
  columns, shapes = rows.shape[1], []
  for i, row in enumerate(rows[::-1]):
    for j, value in enumerate(row):
      grey = round(245 - 200 * float((value - low) / width))
      shapes.append(rectangle((j, i), (j + 0.9, i + 0.9), (grey, grey, grey)))
  shapes.append(Text((columns / 2, len(rows) + 0.4), 'observations', size=0.03))
  return Picture((0.0, 0.0), (float(columns), len(rows) + 1.0), shapes)
