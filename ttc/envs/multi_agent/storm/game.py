"""STORM: a matrix game that two play by walking about and taking coins.

Spatial-temporal representations of matrix games (Khan et al., 2022, openreview
54F8woU8vhq; after the games "in the matrix" of Leibo et al., 2021, 2107.06857),
by the rules of two players in JaxMARL 0.2.0 (2311.10090). Coins of two colours
stand for the two actions of a matrix game. Who has taken at least one may meet
the other by a beam, which reaches the three cells ahead and the one behind the
middle one: then each is paid as if its mixed strategy were the shares of
colours that it holds. Both stand still for some steps and see what the other
one holds; then the coins are back, the players elsewhere, and the next round
begins.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment, Step
from ttc.envs.multi_agent.storm.drawing import draw
from ttc.envs.multi_agent.storm.world import (
  BEAM,
  BLUE,
  FORWARD,
  NOTHING,
  RED,
  STAY,
  TURN_LEFT,
  TURN_RIGHT,
  Chance,
  StormParams,
  StormState,
  corners,
  in_beam,
  players_at,
  relative,
  vectors,
)
from ttc.envs.spaces import Box, Discrete

_CHANNELS = 10


def storm(
  payoff: Sequence | np.ndarray | Array = (((3, 0), (5, 1)), ((3, 5), (0, 1))),
  *,
  grid_size: int = 8,
  view_size: int = 5,
  freeze_steps: int = 5,
  max_steps: int = 152,
  random_coins: bool = False,
) -> Environment:
  """STORM for two players; by default the prisoner's dilemma, red cooperates.

  Observations are flat: `[view, view, 10]` cells, then 6 numbers. A cell is
  seen at `[i, j]` that lies `i - view // 2` to the left of the player and `j`
  ahead; its channels are the player itself, the other one, a red coin, a blue
  coin, a wall, a beam, and where the other one looks: as the player does, to
  its left, towards it, to its right. The numbers are the player's red and blue
  coins, whether it has some, whether the other one has, and the other one's red
  and blue coins while both stand still.

  Args:
    payoff: `[2, 2, 2]`, of each player, for the first one's and the second
      one's action.
    grid_size: cells in each direction, at least 8.
    view_size: cells seen in each direction, odd.
    freeze_steps: in the params.
    max_steps: in the params.
    random_coins: in the params.

  Returns:
    The environment; its params are `StormParams`.

  Raises:
    ValueError: on a size, a number of steps or a payoff that is not possible.
  """
  payoff = np.asarray(payoff, np.float32)
  _check(payoff, grid_size, view_size, freeze_steps, max_steps)

  def see(state, params):
    del params
    return observe(state, view_size)

  def reset(key, params):
    state = start(key, params, grid_size)
    return see(state, params), state

  def step(key, state, action, params):
    chance = draw_chance(jax.random.uniform(key, (4,), jnp.float32), params)
    state, reward = advance(state, action, chance, params)
    done = state.time >= params.max_steps
    no = jnp.zeros((), bool)
    return Step(see(state, params), state, reward, no, done, {})

  box = Box((view_size**2 * _CHANNELS + 6,), 0.0, np.inf)
  coins, starts = corners(grid_size)
  return Environment(
    name='storm',
    agents=('agent_0', 'agent_1'),
    default_params=StormParams(
      payoff=jnp.asarray(payoff),
      coins=jnp.asarray(coins),
      starts=jnp.asarray(starts),
      freeze_steps=freeze_steps,
      max_steps=max_steps,
      random_coins=random_coins,
    ),
    reset=reset,
    step=step,
    observe=see,
    observation_spaces=(box, box),
    action_spaces=(Discrete(5), Discrete(5)),
    draw=draw,
  )


def _check(payoff, grid_size, view_size, freeze_steps, max_steps):
  """See `storm`."""
  if payoff.shape != (2, 2, 2):
    raise ValueError(f'storm: payoff of {payoff.shape}, expected (2, 2, 2)')
  if grid_size < 8:
    raise ValueError(f'storm: grid_size={grid_size}, expected >= 8')
  if view_size < 3 or view_size % 2 == 0:
    raise ValueError(f'storm: view_size={view_size}, expected odd and >= 3')
  if freeze_steps < 0:
    raise ValueError(f'storm: freeze_steps={freeze_steps}, expected >= 0')
  if max_steps < 1:
    raise ValueError(f'storm: max_steps={max_steps}, expected >= 1')


def draw_chance(draws: Float[Array, '4'], params: StormParams) -> Chance:
  """What follows from uniform numbers."""
  index = jnp.floor(draws[0] * params.starts.shape[0]).astype(jnp.int32)
  return Chance(
    first_wins=draws[1] < 0.5,
    position=params.starts[index].astype(jnp.int32),
    direction=jnp.floor(4 * draws[2:]).astype(jnp.int32),
  )


def start(key: PRNGKeyArray, params: StormParams, size: int) -> StormState:
  """The start of an episode."""
  count = params.coins.shape[0]
  draws = jax.random.uniform(key, (5 + count,), jnp.float32)
  chance = draw_chance(draws[:4], params)
  index = jnp.arange(count)
  lots = draws[5:]
  rank = jnp.sum(lots[None] < lots[:, None], axis=1, dtype=jnp.int32)
  red = jnp.where(
    params.random_coins,
    rank < count // 2,
    index % 2 == (draws[4] < 0.5).astype(jnp.int32),
  )
  layout = jnp.zeros((size, size), jnp.int32)
  layout = layout.at[params.coins[:, 0], params.coins[:, 1]].set(
    jnp.where(red, RED, BLUE)
  )
  zero = jnp.zeros((), jnp.int32)
  state = StormState(
    position=chance.position,
    direction=chance.direction,
    inventory=jnp.zeros((2, 2), jnp.int32),
    coins=layout,
    layout=layout,
    beams=jnp.zeros((size, size), bool),
    freeze=zero - 1,
    time=zero,
  )
  return next_round(state, chance)


def next_round(state: StormState, chance: Chance) -> StormState:
  """Coins are back, players elsewhere and with nothing."""
  taken = jnp.any(players_at(chance.position, state.layout.shape[0]), axis=0)
  return state._replace(
    position=chance.position,
    direction=chance.direction,
    inventory=jnp.zeros_like(state.inventory),
    coins=jnp.where(taken, NOTHING, state.layout),
    beams=jnp.zeros_like(state.beams),
    freeze=jnp.full_like(state.freeze, -1),
  )


def advance(
  state: StormState,
  action: Int[Array, ' 2'],
  chance: Chance,
  params: StormParams,
) -> tuple[StormState, Float[Array, ' 2']]:
  """A step, given what is drawn, and what it pays."""
  size = state.coins.shape[0]
  action = jnp.where(state.freeze > 0, STAY, action)
  position = walk(state, action == FORWARD, chance.first_wins)
  turn = (action == TURN_LEFT).astype(jnp.int32) - (action == TURN_RIGHT)
  direction = (state.direction + turn) % 4
  players = players_at(position, size)
  found = jnp.sum(
    jnp.where(players, state.coins, 0), axis=(1, 2), dtype=jnp.int32
  )
  inventory = state.inventory + (found[:, None] == jnp.array([[RED, BLUE]]))
  coins = jnp.where(jnp.any(players, axis=0), NOTHING, state.coins)

  beams = action == BEAM
  ahead, left = relative(position[::-1], position, direction)
  hits = beams & in_beam(ahead, left)
  cells = jnp.stack(jnp.meshgrid(*[jnp.arange(size)] * 2, indexing='ij'), -1)
  lit = beams[:, None, None] & in_beam(
    *relative(cells[None], position[:, None, None], direction[:, None, None])
  )
  free = (coins == NOTHING) & ~jnp.any(players, axis=0)
  held = jnp.sum(inventory, axis=1, dtype=jnp.int32)
  meet = jnp.any(hits) & jnp.all(held > 0)
  share = inventory / jnp.maximum(held, 1)[:, None].astype(jnp.float32)
  one, two = share[0][None, :, None], share[1][None, None]
  pay = jnp.sum(params.payoff * one * two, axis=(1, 2), dtype=jnp.float32)
  freeze = jnp.where(meet, params.freeze_steps, state.freeze)
  freeze = freeze - ((freeze > 0) & ~meet)
  state = StormState(
    position=position,
    direction=direction.astype(jnp.int32),
    inventory=inventory,
    coins=coins,
    layout=state.layout,
    beams=jnp.any(lit, axis=0) & free,
    freeze=freeze.astype(jnp.int32),
    time=state.time + 1,
  )
  over = freeze == 0
  state = jax.tree.map(
    lambda new, old: jnp.where(over, new, old), next_round(state, chance), state
  )
  return state, jnp.where(meet, pay, 0.0)


def walk(
  state: StormState, forward: Bool[Array, ' 2'], first_wins: Bool[Array, '']
) -> Int[Array, '2 2']:
  """Where players are after they walked.

  Who stands still keeps its cell; of two that walk to one cell one gets it.
  """
  end = state.coins.shape[0] - 1
  ahead = state.position + vectors(state.direction) * forward[:, None]
  ahead = jnp.clip(ahead, 0, end)
  walks = jnp.any(ahead != state.position, axis=1)
  both = jnp.all(ahead[0] == ahead[1])
  wins = jnp.stack([first_wins, ~first_wins])
  yields = both & walks & (~walks[::-1] | ~wins)
  return jnp.where(yields[:, None], state.position, ahead).astype(jnp.int32)


def observe(state: StormState, view: int) -> Float[Array, '2 D']:
  """What each player sees."""
  size = state.coins.shape[0]
  left, ahead = np.divmod(np.arange(view**2)[None], view)
  left = left - view // 2
  up, right = jnp.unstack(vectors(state.direction)[:, None], axis=-1)
  row = state.position[:, :1] + ahead * up + left * right
  column = state.position[:, 1:] + ahead * right - left * up
  wall = (row < 0) | (row >= size) | (column < 0) | (column >= size)
  cell = jnp.clip(row, 0, size - 1) * size + jnp.clip(column, 0, size - 1)
  lies = (state.coins + 4 * state.beams).reshape(-1)[cell]
  lies = jnp.where(wall, 0, lies)
  far, aside = relative(state.position[::-1], state.position, state.direction)
  other = (far[:, None] == ahead) & (aside[:, None] == left)
  looks = (state.direction[::-1] - state.direction) % 4
  # An integer a cell, a bit a channel.
  word = (
    ((ahead == 0) & (left == 0)) * 1
    + other * (2 + (64 << looks[:, None]))
    + ((lies & 3) << 2)
    + wall * 16
    + (lies & 4) * 8
  )
  cells = (word[..., None] >> np.arange(_CHANNELS)[None, None]) & 1
  some = jnp.sum(state.inventory, axis=1, keepdims=True, dtype=jnp.int32) > 0
  shown = jnp.where(state.freeze >= 0, state.inventory[::-1], 0)
  numbers = [state.inventory, some, some[::-1], shown]
  parts = [cells.reshape(2, -1), *numbers]
  return jnp.concatenate([x.astype(jnp.float32) for x in parts], axis=1)
