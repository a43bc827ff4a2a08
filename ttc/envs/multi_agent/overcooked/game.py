"""Overcooked (Carroll et al., 2019, 1910.05789): two cooks, onions and soups.

A soup is three onions in a pot and a time of cooking, which starts by itself
with the last onion; it is taken with a plate and carried to where it is served,
for a reward that both cooks share. A cook holds one thing, and `INTERACT` does
what there is to do with the cell in front of it. Both move at once: whoever
would meet in a cell, or change places, stays. The first cook interacts before
the second. Rules of the first version in JaxMARL 0.2.0 (2311.10090).

Observations are images `[H, W, 26]`, the own channels first:

  0, 1    place of the cook itself, of the other
  2-9     the same by direction: north, south, east, west; other's behind
  10-15   pots, free counters, piles of onions, of tomatoes, of plates, serving
  16, 17  onions, tomatoes in pots that do not cook yet
  18, 19  onions, tomatoes in soups, in pots that cook or elsewhere
  20, 21  time that a soup has to cook still; soups that are done
  22-24   plates, onions, tomatoes on counters or in hands
  25      ones in the last 39 steps

There are no tomatoes: channels 13, 17, 19 and 24 are zeros.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment, Step
from ttc.envs.multi_agent.overcooked.drawing import draw
from ttc.envs.multi_agent.overcooked.layouts import (
  COUNTER,
  FLOOR,
  ONION_PILE,
  PLATE_PILE,
  POT,
  SERVING,
  read_layout,
)
from ttc.envs.spaces import Box, Discrete

UP, DOWN, RIGHT, LEFT, STAY, INTERACT = range(6)
NOTHING, ONION, PLATE, SOUP = range(4)

# Bits of each channel; the first ten, of a cook, are in a word of their own.
_CHANNELS = np.arange(26)
_BITS = np.array([1] * 10 + [1, 1, 1, 0, 1, 1, 4, 0, 4, 0, 8, 1, 1, 1, 0, 1])
_STARTS = np.cumsum(_BITS) - _BITS
_SHIFTS = np.where(_CHANNELS < 10, _STARTS, _STARTS - 10).astype(np.int32)
_MASKS = (2**_BITS - 1).astype(np.int32)


class OvercookedParams(NamedTuple):
  """What a task may set; kitchens of one size are one `vmap`.

  Attributes:
    tiles: kinds of the cells, from `layouts.read_layout`.
    start: row and column of each cook.
    random_reset: whether also places, pots and what cooks hold are random at
      the start; directions always are.
    cook_time: steps from the last onion to the soup, at least 1; the step that
      adds the onion counts.
    onions_per_soup: in a full pot.
    max_steps: of an episode.
    urgent_steps: the last channel is on when fewer steps remain.
    delivery_reward: of a soup, to both.
    onion_reward: shaped, for an onion that is put in a pot.
    plate_reward: shaped, for a plate from a pile while no plate lies about and
      fewer are in hands than pots are in use.
    soup_reward: shaped, for a soup that is taken from a pot.
  """

  tiles: Int[Array, 'H W']
  start: Int[Array, 'A 2']
  random_reset: Bool[Array, ''] | bool = False
  cook_time: Int[Array, ''] | int = 20
  onions_per_soup: Int[Array, ''] | int = 3
  max_steps: Int[Array, ''] | int = 400
  urgent_steps: Int[Array, ''] | int = 40
  delivery_reward: Float[Array, ''] | float = 20.0
  onion_reward: Float[Array, ''] | float = 3.0
  plate_reward: Float[Array, ''] | float = 3.0
  soup_reward: Float[Array, ''] | float = 5.0


class OvercookedState(NamedTuple):
  """Where cooks and things are.

  Attributes:
    position: row and column of each cook.
    direction: that it looks in, one of `UP, DOWN, RIGHT, LEFT`.
    held: `NOTHING, ONION, PLATE` or `SOUP`.
    items: the same, on counters.
    onions: in pots.
    timer: of pots, steps until the soup is done once the pot is full.
    time: steps done.
  """

  position: Int[Array, 'A 2']
  direction: Int[Array, ' A']
  held: Int[Array, ' A']
  items: Int[Array, 'H W']
  onions: Int[Array, 'H W']
  timer: Int[Array, 'H W']
  time: Int[Array, '']


class Cell(NamedTuple):
  """What is in a cell, or in all of them."""

  item: Int[Array, ' *cells']
  onions: Int[Array, ' *cells']
  timer: Int[Array, ' *cells']


class Deed(NamedTuple):
  """What an interaction leads to: in the hands, in the cell, for the score."""

  held: Int[Array, '']
  cell: Cell
  serves: Bool[Array, '']
  shaped: Float[Array, '']


def overcooked(
  layout: str = 'cramped_room',
  *,
  random_reset: bool = False,
  cook_time: int = 20,
  onions_per_soup: int = 3,
  max_steps: int = 400,
) -> Environment:
  """Overcooked with onion soups.

  `info['shaped_reward'] [A]` is what a learner may add to the rewards.

  Args:
    layout: `cramped_room`, `asymm_advantages`, `coord_ring`, `forced_coord`,
      `counter_circuit`, or a map as text (see `layouts`).
    random_reset: in the params, as are the following.
    cook_time: 1 to 255.
    onions_per_soup: 1 to 15.
    max_steps: at least 1.

  Returns:
    The environment; its params are `OvercookedParams`.

  Raises:
    ValueError: on a layout that is not known or cannot be played, or a number
      out of its range.
  """
  if not 1 <= cook_time <= 255:
    raise ValueError(f'overcooked: cook_time={cook_time}, expected 1 .. 255')
  if not 1 <= onions_per_soup <= 15:
    raise ValueError(
      f'overcooked: onions_per_soup={onions_per_soup}, expected 1 .. 15'
    )
  if max_steps < 1:
    raise ValueError(f'overcooked: max_steps={max_steps}, expected >= 1')
  tiles, start = read_layout(layout)
  box = Box((*tiles.shape, 26), 0.0, 255.0)
  return Environment(
    name='overcooked',
    agents=('agent_0', 'agent_1'),
    default_params=OvercookedParams(
      tiles=jnp.asarray(tiles),
      start=jnp.asarray(start),
      random_reset=random_reset,
      cook_time=cook_time,
      onions_per_soup=onions_per_soup,
      max_steps=max_steps,
    ),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(box, box),
    action_spaces=(Discrete(6), Discrete(6)),
    draw=draw,
  )


def reset(
  key: PRNGKeyArray, params: OvercookedParams
) -> tuple[Float[Array, 'A H W 26'], OvercookedState]:
  """Cooks at their places, looking anywhere; or all at random."""
  shape, random = params.tiles.shape, params.random_reset
  size = shape[0] * shape[1]
  # One draw for all, which compiles in a third of the time of four.
  draws = jax.random.uniform(key, (4 + 2 * size,), jnp.float32)
  direction, held = jnp.floor(4 * draws[:4]).astype(jnp.int32).reshape(2, 2)
  # The two largest draws of free cells are two places without replacement.
  lots = jnp.where(params.tiles.reshape(-1) == FLOOR, draws[4 : 4 + size], -1.0)
  first = jnp.argmax(lots)
  second = jnp.argmax(jnp.where(jnp.arange(size) == first, -1.0, lots))
  cells = jnp.stack([first, second]).astype(jnp.int32)
  places = jnp.stack([cells // shape[1], cells % shape[1]], axis=-1)
  # Uniform among 0, 1, ... onions, and full with any time left.
  full = params.onions_per_soup
  stages = params.cook_time + full + 1
  stage = jnp.floor(stages * draws[4 + size :]).astype(jnp.int32).reshape(shape)
  stage = jnp.where((params.tiles == POT) & random, stage, 0)
  state = OvercookedState(
    position=jnp.where(random, places, params.start),
    direction=direction,
    held=jnp.where(random, held, NOTHING),
    items=jnp.zeros(shape, jnp.int32),
    onions=jnp.minimum(stage, full),
    timer=params.cook_time - jnp.maximum(stage - full, 0),
    time=jnp.zeros((), jnp.int32),
  )
  return observe(state, params), state


def step(
  key: PRNGKeyArray,
  state: OvercookedState,
  action: Int[Array, ' A'],
  params: OvercookedParams,
) -> Step:
  """Both move, one after the other interacts, then pots cook."""
  del key
  moves, acts = action < STAY, action == INTERACT
  direction = jnp.where(moves, action, state.direction).astype(jnp.int32)
  ahead = state.position + offsets(direction)
  looks = cells_at(ahead, params.tiles.shape)
  # One integer a cell, so that one sum finds all: few kernels compile faster.
  word = params.tiles | state.items << 3 | state.onions << 5
  word |= state.timer << 13
  word = jnp.sum(jnp.where(looks, word[None], 0), axis=(1, 2), dtype=jnp.int32)
  tile = word & 7
  goes = moves & (tile == FLOOR)
  position = jnp.where(goes[:, None], ahead, state.position)
  meet = same_cell(position[0], position[1])
  swap = same_cell(position[0], state.position[1])
  swap &= same_cell(position[1], state.position[0])
  position = jnp.where(meet | swap, state.position, position)

  cells = Cell(word >> 3 & 3, word >> 5 & 255, word >> 13)
  one, two = (Cell(*(x[cook] for x in cells)) for cook in range(2))
  plates = state.held == PLATE
  count = lambda mask: jnp.sum(mask, dtype=jnp.int32)
  spare = count(state.onions > 0) - count(plates)
  lying = count(state.items == PLATE)
  first = interact(
    acts[0], state.held[0], tile[0], one, (spare > 0) & (lying == 0), params
  )
  # What the first one did, the second one finds.
  spare += (first.cell.onions > 0).astype(jnp.int32) - (one.onions > 0)
  spare -= (first.held == PLATE).astype(jnp.int32) - plates[0]
  lying += (first.cell.item == PLATE).astype(jnp.int32) - (one.item == PLATE)
  same = same_cell(ahead[0], ahead[1])
  two = jax.tree.map(lambda a, b: jnp.where(same, a, b), first.cell, two)
  second = interact(
    acts[1], state.held[1], tile[1], two, (spare > 0) & (lying == 0), params
  )
  items, onions, timer = (
    jnp.where(looks[1], b, jnp.where(looks[0], a, grid))
    for grid, a, b in zip(
      (state.items, state.onions, state.timer),
      first.cell,
      second.cell,
      strict=True,
    )
  )
  cooks = (onions == params.onions_per_soup) & (timer > 0)
  state = OvercookedState(
    position=position,
    direction=direction,
    held=jnp.stack([first.held, second.held]),
    items=items,
    onions=onions,
    timer=(timer - cooks).astype(jnp.int32),
    time=state.time + 1,
  )
  soups = first.serves.astype(jnp.float32) + second.serves
  shaped = jnp.stack([first.shaped, second.shaped])
  return Step(
    observe(state, params),
    state,
    jnp.full((2,), soups * params.delivery_reward, jnp.float32),
    jnp.zeros((), bool),
    state.time >= params.max_steps,
    {'shaped_reward': shaped.astype(jnp.float32)},
  )


def interact(
  acts: Bool[Array, ''],
  held: Int[Array, ''],
  tile: Int[Array, ''],
  cell: Cell,
  wanted: Bool[Array, ''],
  params: OvercookedParams,
) -> Deed:
  """What a cook does with the cell in front of it.

  Args:
    acts: whether it interacts at all.
    held: what it holds.
    tile: kind of the cell.
    cell: what is there.
    wanted: whether a plate earns the shaped reward.
    params: of the game.
  """
  empty = held == NOTHING
  full = cell.onions == params.onions_per_soup
  pot, counter = acts & (tile == POT), acts & (tile == COUNTER)
  adds = pot & (held == ONION) & ~full
  ladles = pot & (held == PLATE) & full & (cell.timer == 0)
  takes = counter & empty & (cell.item != NOTHING)
  puts = counter & ~empty & (cell.item == NOTHING)
  onion = acts & empty & (tile == ONION_PILE)
  plate = acts & empty & (tile == PLATE_PILE)
  serves = acts & (held == SOUP) & (tile == SERVING)
  holds = jnp.where(adds | puts | serves, NOTHING, held)
  holds = jnp.where(takes, cell.item, holds)
  holds = jnp.where(onion, ONION, jnp.where(plate, PLATE, holds))
  holds = jnp.where(ladles, SOUP, holds)
  cell = Cell(
    item=jnp.where(takes, NOTHING, jnp.where(puts, held, cell.item)),
    onions=jnp.where(ladles, 0, cell.onions + adds),
    timer=jnp.where(ladles, params.cook_time, cell.timer),
  )
  shaped = (
    adds * params.onion_reward
    + (plate & wanted) * params.plate_reward
    + ladles * params.soup_reward
  )
  return Deed(holds, cell, serves, shaped)


def offsets(direction: Int[Array, ' *A']) -> Int[Array, ' *A 2']:
  """Rows and columns that a step in a direction changes."""
  rows = (direction == DOWN).astype(jnp.int32) - (direction == UP)
  columns = (direction == RIGHT).astype(jnp.int32) - (direction == LEFT)
  return jnp.stack([rows, columns], axis=-1)


def same_cell(one: Int[Array, ' 2'], two: Int[Array, ' 2']) -> Bool[Array, '']:
  """Whether two places are one."""
  return (one[0] == two[0]) & (one[1] == two[1])


def cells_at(
  position: Int[Array, 'A 2'], shape: tuple[int, ...]
) -> Bool[Array, 'A H W']:
  """Where places are in a kitchen."""
  row, column = position[:, 0, None, None], position[:, 1, None, None]
  rows, columns = (jnp.arange(n) for n in shape)
  return (rows[None, :, None] == row) & (columns[None, None] == column)


def observe(
  state: OvercookedState, params: OvercookedParams
) -> Float[Array, 'A H W 26']:
  """What each cook sees."""
  tiles = params.tiles
  here = cells_at(state.position, tiles.shape)
  facing = 4 << state.direction[:, None, None]
  own, other = here * (1 + facing), here * (2 + (facing << 4))
  items = jnp.where(here[0], state.held[0], state.items)
  items = jnp.where(here[1], state.held[1], items)
  full = state.onions == params.onions_per_soup
  cooks, soup = full & (state.timer < params.cook_time), items == SOUP
  kitchen = (
    tiles == POT,
    (tiles == COUNTER) & (state.items == NOTHING),
    tiles == ONION_PILE,
    0,
    tiles == PLATE_PILE,
    tiles == SERVING,
    jnp.where(cooks, 0, state.onions),
    0,
    (cooks | soup) * params.onions_per_soup,
    0,
    jnp.where(cooks, state.timer, 0),
    (full & (state.timer == 0)) | soup,
    items == PLATE,
    items == ONION,
    0,
    params.max_steps - state.time < params.urgent_steps,
  )
  # One integer a cell for the cook's channels, one for the kitchen's, and a
  # channel is a field of bits: to stack 26 arrays takes five times as long.
  word = jnp.zeros_like(tiles)
  for value, shift in zip(kitchen, _SHIFTS[10:], strict=True):
    word += jnp.asarray(value).astype(jnp.int32) << int(shift)
  words = jnp.where(
    _CHANNELS < 10, (own + other[::-1])[..., None], word[..., None]
  )
  every = (None,) * (words.ndim - 1)
  return ((words >> _SHIFTS[every]) & _MASKS[every]).astype(jnp.float32)
