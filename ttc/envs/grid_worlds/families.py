"""Distributions of levels: what a life of an agent may take place in.

Ranges are those of GROOVE (Jackson et al., 2023, 2310.02782). A level of side
`s` is the upper left of the largest grid; walls are drawn from all cells of the
largest grid, so that their density, not their number, is that of every level.
One object of each type, as many as drawn; the reward of the first is not
negative. A level of `LEVELS` is a distribution too: over starts and, unless
they are random in each episode, over the places of its objects.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.grid_worlds.levels import (
  LEVELS,
  level_params,
  maze_walls,
  num_objects,
  number_free_cells,
)
from ttc.envs.grid_worlds.mazes import MAZES
from ttc.envs.grid_worlds.world import GridWorldParams
from ttc.envs.spaces import random_index
from ttc.envs.task_distribution import TaskDistribution

P_TERMINATE, P_RESPAWN = (1e-2, 1.0), (1e-3, 1e-1)  # log-uniform


class Family(NamedTuple):
  """Ranges, both ends included, that levels are drawn from.

  Attributes:
    side: of the grid.
    num_objects: each of a type of its own.
    num_walls: in the largest grid.
    max_steps: log-uniform.
    random_objects: whether objects come in cells drawn at random.
    mazes: whose walls, one of them drawn; none for random walls.
    least_reward: of all types but the first; all are at most 1.
  """

  side: tuple[int, int]
  num_objects: tuple[int, int]
  num_walls: int
  max_steps: tuple[int, int]
  random_objects: bool = False
  mazes: tuple[str, ...] = ()
  least_reward: float = -1.0


_ALL = Family((4, 10), (1, 5), 15, (20, 750))
_MAZES = Family((13, 13), (3, 3), 0, (25, 50), least_reward=0.0)

FAMILIES = {
  'all': _ALL,
  'rand_all': _ALL._replace(random_objects=True),
  'small': Family((4, 6), (1, 3), 7, (20, 100)),
  'medium': Family((6, 8), (2, 4), 10, (100, 250)),
  'large': Family((8, 10), (2, 5), 15, (250, 750)),
  'debug': Family((3, 4), (1, 2), 4, (5, 10)),
  'mazes': _MAZES._replace(mazes=tuple(MAZES)),
  **{name: _MAZES._replace(mazes=(name,)) for name in MAZES},
}
# Five levels side by side, padded to one shape.
TABULAR = ('dense', 'sparse', 'long', 'longer', 'long_dense')


class Sizes(NamedTuple):
  """What the shapes of a level depend on."""

  side: int
  objects: int
  types: int
  random_objects: bool


def sizes_of(level: str) -> Sizes:
  """The sizes of all levels of a name.

  Raises:
    ValueError: on a name that is not known.
  """
  if level in LEVELS:
    it = LEVELS[level]
    side = len(it.text.split())
    return Sizes(side, num_objects(it), len(it.reward), it.random_objects)
  if level in FAMILIES:
    it = FAMILIES[level]
    most = it.num_objects[1]
    return Sizes(it.side[1], most, most, it.random_objects)
  if level == 'tabular':
    sizes = [sizes_of(name) for name in TABULAR]
    return Sizes(
      max(size.side for size in sizes),
      max(size.objects for size in sizes),
      max(size.types for size in sizes),
      False,
    )
  names = ', '.join((*LEVELS, 'tabular', *FAMILIES))
  raise ValueError(f'grid worlds: level {level!r}, expected one of {names}')


def grid_world_levels(kind: str = 'all') -> TaskDistribution:
  """Levels of one shape, the params of `grid_world(kind)`.

  Args:
    kind: `'all'`, `'small'`, `'medium'`, `'large'`, `'debug'`: random sides,
      walls, objects and limits; `'rand_all'`: with objects in random cells;
      `'mazes'` or the name of a maze: random objects in it; `'tabular'`: the
      five fixed levels, each as likely; the name of a level: itself. Starts
      and places of objects are always drawn: uniform distinct free cells.

  Returns:
    The distribution, a continuum.

  Raises:
    ValueError: on a name that is not known.
  """
  return TaskDistribution(sampler_of(kind))


def sampler_of(kind: str) -> Callable[[PRNGKeyArray], GridWorldParams]:
  """`key -> params`, of the levels of a name."""
  sizes = sizes_of(kind)
  if kind in FAMILIES:
    return lambda key: _draw_level(key, FAMILIES[kind])
  names = TABULAR if kind == 'tabular' else (kind,)
  levels = [level_params(LEVELS[n], sizes.side, sizes.objects) for n in names]
  stacked = jax.tree.map(lambda *x: np.stack(x), *levels)

  def sample(key):
    level_key, place_key = jax.random.split(key)
    index = random_index(level_key, (), len(names))
    level = jax.tree.map(lambda x: jnp.asarray(x)[index], stacked)
    order = _shuffled(place_key, level.walls.size)
    start, cells = _first_open(order, ~level.walls, sizes.objects)
    return level._replace(start=start, object_cell=cells)

  return sample


def a_level(kind: str) -> GridWorldParams:
  """A level of a name: itself, or one draw."""
  if kind in LEVELS:
    return level_params(LEVELS[kind])
  return jax.jit(sampler_of(kind))(jax.random.key(0))


def _draw_level(key: PRNGKeyArray, family: Family) -> GridWorldParams:
  """A random level of a family."""
  keys = jax.random.split(key, 8)
  most, side = family.num_objects[1], family.side[1]
  inside = jnp.arange(side) < _integer(keys[0], family.side)
  inside = inside & inside[:, None]
  if family.mazes:
    mazes = jnp.asarray(np.stack([maze_walls(name) for name in family.mazes]))
    walls = mazes[random_index(keys[1], (), len(family.mazes))]
    start, cells = _first_open(_shuffled(keys[2], side**2), ~walls, most)
  else:
    # In a random order, places are the first cells inside and walls the last of
    # all: these meet only where there is no other room, and there is no wall.
    order = _shuffled(keys[1], side**2)
    start, cells = _first_open(order, inside, most)
    last = order[side**2 - family.num_walls :]
    is_wall = jnp.zeros((side**2,), bool).at[last].set(True)
    is_wall = is_wall.at[start].set(False).at[cells].set(False)
    walls = is_wall.reshape(side, side) | ~inside
  lowest = jnp.where(jnp.arange(most) == 0, 0.0, family.least_reward)
  share = jax.random.uniform(keys[3], (most,), jnp.float32)
  limit = _log_uniform(keys[4], (), family.max_steps)
  objects = _integer(keys[5], family.num_objects)
  return GridWorldParams(
    walls=walls,
    start=start,
    object_cell=cells,
    object_type=jnp.arange(most, dtype=jnp.int32),
    used=jnp.arange(most) < objects,
    reward=(lowest + (1.0 - lowest) * share).astype(jnp.float32),
    p_terminate=_log_uniform(keys[6], (most,), P_TERMINATE),
    p_respawn=_log_uniform(keys[7], (most,), P_RESPAWN),
    max_steps=jnp.round(limit).astype(jnp.int32),
    free=number_free_cells(walls, jnp) if family.random_objects else None,
  )


def _shuffled(key: PRNGKeyArray, num_cells: int) -> Int[Array, ' C']:
  """All cells in a random order."""
  return jax.random.permutation(key, jnp.arange(num_cells, dtype=jnp.int32))


def _first_open(
  order: Int[Array, ' C'], is_open: Bool[Array, 'H W'], objects: int
) -> tuple[Int[Array, ''], Int[Array, ' K']]:
  """The first cells of an order that are open: a start and one an object."""
  count = jnp.cumsum(is_open.reshape(-1)[order], dtype=jnp.int32)
  places = jnp.arange(objects + 1, dtype=jnp.int32)[:, None]
  cells = order[jnp.sum(count <= places, axis=-1, dtype=jnp.int32)]
  return cells[0], cells[1:]


def _integer(key: PRNGKeyArray, ends: tuple[int, int]) -> Int[Array, '']:
  """Uniform, both ends included."""
  low, high = ends
  return low + random_index(key, (), high - low + 1)


def _log_uniform(
  key: PRNGKeyArray,
  shape: tuple[int, ...],
  ends: tuple[float, float] | tuple[int, int],
) -> Float[Array, ' *shape']:
  """Numbers whose logarithm is uniform."""
  low, high = (float(np.log(end)) for end in ends)
  return jnp.exp(jax.random.uniform(key, shape, jnp.float32, low, high))
