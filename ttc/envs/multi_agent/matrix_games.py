"""Games of two agents that are tables: one step, or two.

`two_step_game` (Rashid et al., 2018, 1803.11485, section 6) is the smallest one
in which values of agents that are only added up choose wrong: the first agent
picks one of two tables, in the first everything pays 7, in the second one joint
action pays 8, two pay 1 and one 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment, Step
from ttc.envs.rendering import Picture, Text, rectangle
from ttc.envs.spaces import Box, Discrete


class MatrixGameParams(NamedTuple):
  """What a task may set.

  Attributes:
    payoffs: of each table, each agent's action and each agent.
  """

  payoffs: Float[Array, 'k n n 2'] | np.ndarray


class MatrixGameState(NamedTuple):
  """Which table is played; -1 while it is not chosen, -2 at the end."""

  table: Int[Array, '']


def matrix_game(
  payoffs: Sequence[Sequence[Sequence[float]]] = (
    ((-1.0, -1.0), (-3.0, 0.0)),
    ((0.0, -3.0), (-2.0, -2.0)),
  ),
) -> Environment:
  """One simultaneous action; by default the prisoner's dilemma.

  Observations are `[a game is on]`.

  Args:
    payoffs: `[n, n, 2]`, of both agents by row and column.

  Returns:
    The environment; its params are `MatrixGameParams`.

  Raises:
    ValueError: on a table of another shape.
  """
  table = np.asarray(payoffs, np.float32)
  if table.ndim != 3 or table.shape[0] != table.shape[1] or table.shape[2] != 2:
    raise ValueError(
      f'matrix_game: payoffs of shape {table.shape}, expected (n, n, 2)'
    )
  return _game('matrix_game', MatrixGameParams(table[None]), chosen=True)


def two_step_game() -> Environment:
  """The first agent chooses one of two tables, then both play it.

  Observations are one-hot: nothing chosen, first table, second table.
  """
  tables = np.array([[[7, 7], [7, 7]], [[0, 1], [1, 8]]], np.float32)
  payoffs = np.stack([tables, tables], axis=-1)
  return _game('two_step_game', MatrixGameParams(payoffs), chosen=False)


def _game(name, default_params, chosen):
  """The one or the two steps."""
  num_tables, num_actions = default_params.payoffs.shape[:2]

  def observe(state, params):
    del params
    places = jnp.arange(num_tables) if chosen else jnp.arange(-1, num_tables)
    here = (places == state.table).astype(jnp.float32)
    return jnp.stack([here, here])

  def reset(key, params):
    del key
    state = MatrixGameState(jnp.full((), 0 if chosen else -1, jnp.int32))
    return observe(state, params), state

  def step(key, state, action, params):
    del key
    played = state.table >= 0
    payoffs = jnp.asarray(params.payoffs)[jnp.maximum(state.table, 0)]
    reward = jnp.where(played, payoffs[action[0], action[1]], 0.0)
    table = jnp.where(played, -2, action[0] % num_tables).astype(jnp.int32)
    state = MatrixGameState(table)
    never = jnp.zeros((), bool)
    return Step(observe(state, params), state, reward, played, never, {})

  width = num_tables if chosen else num_tables + 1
  return Environment(
    name=name,
    agents=('agent_0', 'agent_1'),
    default_params=default_params,
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(Box((width,), 0.0, 1.0),) * 2,
    action_spaces=(Discrete(num_actions),) * 2,
    draw=draw,
  )


def draw(state: MatrixGameState, params: MatrixGameParams) -> Picture:
  """All tables; the one that is played is framed."""
  payoffs = np.asarray(params.payoffs)
  num_tables, n = payoffs.shape[:2]
  shapes = []
  for table in range(num_tables):
    left = table * (n + 1) + 0.5
    on = table == int(state.table)
    color = '#cfe8fc' if on else '#eeeeee'
    shapes.append(rectangle((left, 0.5), (left + n, n + 0.5), color, '#333333'))
    for row in range(n):
      for column in range(n):
        a, b = payoffs[table, row, column]
        at = (left + column + 0.5, n - row)
        shapes.append(Text(at, f'{a:g}, {b:g}', size=0.05))
  width = num_tables * (n + 1)
  return Picture((0.0, 0.0), (float(width), n + 1.0), shapes)
