"""Grid worlds of Learned Policy Gradients (Oh et al., 2020, 2007.08794).

An agent walks among walls and objects. It collects an object by being in its
cell, which pays the object's reward, may end the episode, and takes the object
away until, by chance, it comes back. Objects, walls and chances are those of a
level (`ttc.envs.grid_worlds.levels`), of which there are named ones and random
ones (`ttc.envs.grid_worlds.families`); both follow GROOVE (Jackson et al.,
2023, 2310.02782). A step moves the agent, then collects what has been in the
cell, then lets objects come back: one that does so under the agent is
collected in the next step, if the agent stays.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from ttc.envs.environment import Environment, Step
from ttc.envs.grid_worlds.drawing import draw
from ttc.envs.grid_worlds.families import a_level, sizes_of
from ttc.envs.grid_worlds.world import (
  FreeCells,
  GridWorldParams,
  GridWorldState,
)
from ttc.envs.spaces import Box, Discrete

UP, DOWN, LEFT, RIGHT, STAY = range(5)
OBSERVATIONS = ('tabular', 'index', 'image', 'planes')


def grid_world(
  level: str = 'dense', observations: str = 'tabular'
) -> Environment:
  """A grid world of one agent that moves up, down, left, right, or stays.

  With `C` cells and `K` objects, an agent observes one of

  - `tabular`: `[C * 2^K + 1]`, one-hot over cells and sets of present objects
    (`tabular_index`), then a thousandth of the time;
  - `index`: `[2]`, that index itself and a thousandth of the time: the same at
    a fraction of the cost, for agents that look rows of a table up;
  - `image`: `[H, W, 1 + types]`, planes of the agent and of types of objects;
  - `planes`: the same, flat, and a thousandth of the time.

  No observation shows walls: those are to be learned in a life on a level.

  Args:
    level: `'dense'`, `'sparse'`, `'long'`, `'longer'`, `'long_dense'`, or with
      objects in random cells `'rand_dense'`, `'rand_long'`, `'rand_small'`,
      `'rand_sparse'`, `'rand_very_dense'`, `'rand_tiny'`; or what
      `grid_world_levels` takes, of which the default params are one draw.
    observations: `tabular` and `index` need objects in fixed cells.

  Returns:
    The environment; its params are `GridWorldParams`.

  Raises:
    ValueError: on a level or observations that are not known, or that do not
      go together.
  """
  sizes = sizes_of(level)
  kinds = OBSERVATIONS[2:] if sizes.random_objects else OBSERVATIONS
  if observations not in kinds:
    raise ValueError(
      f'grid_world: observations={observations!r}, expected one of '
      f'{", ".join(kinds)} for level={level!r}'
    )
  cells, planes = sizes.side**2, 1 + sizes.types
  space, observe = {
    'tabular': (Box((cells * 2**sizes.objects + 1,), 0.0), _one_hot),
    'index': (Box((2,), 0.0), _index),
    'image': (Box((sizes.side, sizes.side, planes), 0.0, 1.0), _image(planes)),
    'planes': (Box((cells * planes + 1,), 0.0), _flat_image(planes)),
  }[observations]

  def reset(key, params):
    state = GridWorldState(
      jnp.asarray(params.start, jnp.int32),
      jnp.asarray(params.object_cell, jnp.int32),
      jnp.asarray(params.used),
      jnp.zeros((), jnp.int32),
    )
    if params.free is not None:
      bits = jax.random.bits(key, params.used.shape, jnp.uint32)
      nobody = jnp.zeros(params.used.shape, bool)
      places = _vacant_cells(bits, state._replace(present=nobody), params.free)
      state = state._replace(object_cell=places)
    return observe(state, params), state

  def step(key, state, action, params):
    state, reward, terminated = transition(key, state, action[0], params)
    truncated = ~terminated & (state.time >= params.max_steps)
    obs = observe(state, params)
    return Step(obs, state, reward[None], terminated, truncated, {})

  return Environment(
    name='grid_world',
    agents=('agent',),
    default_params=a_level(level),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(space,),
    action_spaces=(Discrete(5),),
    draw=draw,
  )


def transition(
  key: PRNGKeyArray,
  state: GridWorldState,
  action: Int[Array, ''],
  params: GridWorldParams,
) -> tuple[GridWorldState, Float[Array, ''], Bool[Array, '']]:
  """State, reward and whether the rules end the episode, after an action.

  One number an object says what chance does to it: one that is collected may
  end the episode, one that is absent may come back, and none is both.
  """
  cell = move(state.cell, action, params)
  draws = 1 if params.free is None else 2
  bits = jax.random.bits(key, (draws, *params.used.shape), jnp.uint32)
  chance = (bits[0] >> 8).astype(jnp.float32) * jnp.float32(2**-24)
  collected = state.present & (state.object_cell == cell)
  respawns = params.used & ~state.present & (chance < params.p_respawn)
  reward = jnp.sum(jnp.where(collected, params.reward, 0.0), dtype=jnp.float32)
  terminated = jnp.any(collected & (chance < params.p_terminate))
  left = state._replace(
    cell=cell, present=state.present & ~collected, time=state.time + 1
  )
  object_cell = state.object_cell
  if params.free is not None:
    places = _vacant_cells(bits[1], left, params.free)
    object_cell = jnp.where(respawns, places, object_cell)
  state = left._replace(
    object_cell=object_cell, present=left.present | respawns
  )
  return state, reward, terminated


def move(
  cell: Int[Array, ''], action: Int[Array, ''], params: GridWorldParams
) -> Int[Array, '']:
  """The cell that an action leads to: its own where a wall or an edge is."""
  height, width = params.walls.shape
  row, column = cell // width, cell % width
  toward = lambda more, less: (
    (action == more).astype(jnp.int32) - (action == less).astype(jnp.int32)
  )
  row = jnp.clip(row + toward(DOWN, UP), 0, height - 1)
  column = jnp.clip(column + toward(RIGHT, LEFT), 0, width - 1)
  target = row * width + column
  walls = jnp.asarray(params.walls).reshape(-1)
  blocked = walls.at[target].get(mode='promise_in_bounds')
  return jnp.where(blocked, cell, target)


def tabular_index(
  cell: Int[Array, ''], present: Bool[Array, ' K'], num_cells: int
) -> Int[Array, '']:
  """A number of its own for each cell and set of present objects.

  The cell plus `num_cells` times the set, in which object `k` counts `2^k`.
  """
  bits = jnp.left_shift(1, jnp.arange(present.shape[-1], dtype=jnp.int32))
  objects = jnp.sum(jnp.where(present, bits, 0), axis=-1, dtype=jnp.int32)
  return cell + num_cells * objects


def _clock(state):
  """A thousandth of the time."""
  return state.time.astype(jnp.float32) * jnp.float32(0.001)


def _one_hot(state, params):
  index = tabular_index(state.cell, state.present, params.walls.size)
  width = params.walls.size * 2 ** params.used.shape[0]
  at = jnp.arange(width + 1, dtype=jnp.int32)
  here = (at == index).astype(jnp.float32)
  return jnp.where(at == width, _clock(state), here)[None]


def _index(state, params):
  index = tabular_index(state.cell, state.present, params.walls.size)
  return jnp.stack([index.astype(jnp.float32), _clock(state)])[None]


def _image(planes):
  def observe(state, params):
    # Bit 0 of a cell is the agent, bit `1 + type` an object.
    at = jnp.arange(params.walls.size, dtype=jnp.int32)
    here = state.present & (state.object_cell == at[:, None])
    bit = jnp.left_shift(2, jnp.asarray(params.object_type, jnp.int32))
    content = jnp.bitwise_or.reduce(jnp.where(here, bit, 0), axis=-1)
    content = content | (at == state.cell)
    shown = content[:, None] >> jnp.arange(planes, dtype=jnp.int32) & 1
    image = shown.reshape(*params.walls.shape, planes)
    return image.astype(jnp.float32)[None]

  return observe


def _flat_image(planes):
  def observe(state, params):
    image = _image(planes)(state, params).reshape(1, -1)
    return jnp.concatenate([image, _clock(state)[None, None]], axis=-1)

  return observe


def _vacant_cells(
  bits: UInt32[Array, ' K'], state: GridWorldState, free: FreeCells
) -> Int[Array, ' K']:
  """Uniform distinct cells without wall, agent or present object, one for each.

  Works with numbers of free cells: without those that are taken, number `r` is
  `r` plus how many taken ones `e` have `e - (taken ones below e) <= r`.
  """
  slots = jnp.arange(bits.shape[0], dtype=jnp.int32)
  count = free.size - 1 - jnp.sum(state.present, dtype=jnp.int32)
  left = jnp.maximum(count - slots, 1).astype(jnp.uint32)
  numbers = _distinct((bits % left).astype(jnp.int32))
  rank = jnp.asarray(free.rank)
  beyond = free.cells.shape[0] + slots  # of absent objects, which take nothing
  taken = jnp.where(state.present, rank[state.object_cell], beyond)
  taken = jnp.concatenate([rank[state.cell][None], taken])
  below = jnp.sum(taken < taken[:, None], axis=-1, dtype=jnp.int32)
  skipped = taken - below <= numbers[:, None]
  numbers = numbers + jnp.sum(skipped, axis=-1, dtype=jnp.int32)
  return jnp.asarray(free.cells)[numbers]


def _distinct(digits: Int[Array, ' K']) -> Int[Array, ' K']:
  """Digit `i` picks one of the numbers that those before it have left over."""
  slots = jnp.arange(digits.shape[0])
  last = digits.shape[0] - 2

  def insert(i, numbers):
    mine = numbers[last - i]
    return numbers + ((slots > last - i) & (numbers >= mine))

  return jax.lax.fori_loop(0, last + 1, insert, digits, unroll=True)
