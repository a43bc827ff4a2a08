r"""A treasure that only a whole episode of one action finds (1908.03568).

A diver starts at the top left of a square of `n` cells a side and sinks one row
a step, one column to the right or to the left of it. To the right costs
`move_cost / n`; a step to the right from the last column, which only `n - 1`
steps to the right have reached before, pays `treasure`. Which of the two
actions goes right is another matter in each cell, so nothing generalises:
uniform play finds the treasure once in :math:`2^n` episodes. The rules end an
episode after `n` steps; there is no limit of time.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Picture, Text, rectangle
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete
from ttc.envs.task_distribution import TaskDistribution

_WATER = ((120, 20), (190, 70), (230, 130))  # RGB above and below


class DeepSeaParams(NamedTuple):
  """What a task may set.

  The stochastic version has `slip_probability` `1 / n` and `noise_std` 1.

  Attributes:
    right_action: which of the two actions goes right, in each cell.
    move_cost: of `n` steps to the right.
    treasure: reward of a step to the right from the last column.
    slip_probability: that a step to the right goes straight down.
    noise_std: of normal noise on the last reward, at both edges.
  """

  right_action: Int[Array, 'n n'] | np.ndarray
  move_cost: Float[Array, ''] | float = 0.01
  treasure: Float[Array, ''] | float = 1.0
  slip_probability: Float[Array, ''] | float = 0.0
  noise_std: Float[Array, ''] | float = 0.0


class DeepSeaState(NamedTuple):
  """Where the diver is; the row is `n` at the end."""

  row: Int[Array, '']
  column: Int[Array, '']


def deep_sea(size: int = 8, mapping_seed: int = 0) -> Environment:
  """The dive; two actions.

  Observations are `[n, n]`, one where the diver is; zeros at the end.

  Args:
    size: `n`, at least 2.
    mapping_seed: from which `right_action` of the default params is drawn.

  Returns:
    The environment; its params are `DeepSeaParams`.

  Raises:
    ValueError: on a sea that is too small.
  """
  if size < 2:
    raise ValueError(f'deep_sea: size={size}, expected >= 2')
  row, column = jnp.indices((size, size), jnp.int32)

  def observe(state, params):
    del params
    return ((row == state.row) & (column == state.column)).astype(jnp.float32)

  def reset(key, params):
    del key, params
    return DeepSeaState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

  def step(key, state, action, params):
    noise_key, slip_key = jax.random.split(key)
    at = (state.row, state.column)
    right = action == jnp.asarray(params.right_action)[at]
    left_edge, right_edge = state.column == 0, state.column == size - 1
    last = state.row >= size - 1
    # Where a constant says never, no random number is drawn.
    noisy = (params.noise_std > 0) & last & (left_edge | right_edge)
    noise = jax.random.normal(noise_key, (), jnp.float32) * params.noise_std
    noise = jnp.where(noisy, noise, 0.0)
    found = jnp.where(right & right_edge, params.treasure, 0.0)
    reward = noise + found - jnp.where(right, params.move_cost / size, 0.0)
    draw = jax.random.uniform(slip_key, (), jnp.float32)
    slips = (params.slip_probability > 0) & (draw < params.slip_probability)
    shift = jnp.where(right, jnp.where(slips, 0, 1), -1).astype(jnp.int32)
    state = DeepSeaState(
      state.row + 1, jnp.clip(state.column + shift, 0, size - 1)
    )
    never = jnp.zeros((), bool)
    return state, reward, last, never, {'found': right & right_edge}

  return single_agent(
    'deep_sea',
    DeepSeaParams(np.asarray(_mapping(jax.random.key(mapping_seed), size))),
    reset,
    step,
    observe,
    Box((size, size), 0.0, 1.0),
    Discrete(2),
    draw,
  )


def deep_sea_tasks(size: int = 8) -> TaskDistribution:
  """Seas that differ in which action goes right, uniform in each cell.

  Args:
    size: `n`, as of the environment.
  """
  return TaskDistribution(lambda key: DeepSeaParams(_mapping(key, size)))


def _mapping(key, size):
  return jax.random.bernoulli(key, 0.5, (size, size)).astype(jnp.int32)


def draw(state: DeepSeaState, params: DeepSeaParams) -> Picture:
  """The sea, darker with depth; each cell says which action goes right."""
  right = np.asarray(params.right_action)
  size, shapes = len(right), []
  for row, column in np.ndindex(size, size):
    y = size - 1 - row
    deep = row / max(size - 1, 1)
    water = tuple(round(a + deep * (b - a)) for a, b in _WATER)
    if column > row:
      water = '#f4f4f4'  # never reached
    shapes.append(rectangle((column, y), (column + 1, y + 1), water, '#ffffff'))
    if column <= row:
      at, word = (column + 0.5, y + 0.5), str(int(right[row, column]))
      shapes.append(Text(at, word, '#ffffff', 0.3 / size))
  shapes.append(Circle((size - 0.5, -0.35), 0.25, '#ffd700', '#997f00'))
  at = (int(state.column) + 0.5, size - 0.5 - int(state.row))
  shapes.append(Circle(at, 0.3, '#d55e00', '#7a3600'))
  return Picture((-0.1, -0.9), (size + 0.1, size + 0.1), shapes)
