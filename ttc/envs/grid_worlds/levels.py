"""What a level of the grid worlds is, and those that are named as text.

One character a cell, one line a row: `#` wall, `.` floor, `@` the start, and
each object by the number of its type. Walls, types, rewards and chances are
those of the public code of GROOVE (Jackson et al., 2023, 2310.02782), after LPG
(Oh et al., 2020, 2007.08794), whose `longer` has 7 objects. There start and
objects are drawn anew for each life of an agent (`grid_world_levels`); of the
places below, only those of `dense` are GROOVE's.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool

from ttc.envs.grid_worlds.mazes import MAZES
from ttc.envs.grid_worlds.world import FreeCells, GridWorldParams


class Level(NamedTuple):
  """A level as text, and what its types of objects do.

  Attributes:
    text: a character a cell.
    reward: of each type.
    p_terminate: of each type.
    p_respawn: of each type.
    max_steps: of an episode.
    random_objects: whether objects come in cells drawn at random.
  """

  text: str
  reward: tuple[float, ...]
  p_terminate: tuple[float, ...]
  p_respawn: tuple[float, ...]
  max_steps: int
  random_objects: bool = False


_DENSE = Level(
  """
@..........
...0.......
...........
.......0...
...........
...........
...........
...........
.......1...
..2........
...........
""",
  reward=(1.0, -1.0, -1.0),
  p_terminate=(0.0, 0.5, 0.0),
  p_respawn=(0.05, 0.1, 0.5),
  max_steps=500,
)
_LONG = Level(
  """
...........
.0.......1.
...........
...........
...........
.....@.....
...........
...........
...........
.1.......0.
...........
""",
  reward=(1.0, -1.0),
  p_terminate=(0.0, 0.5),
  p_respawn=(0.01, 1.0),
  max_steps=1000,
)

LEVELS = {
  'dense': _DENSE,
  'sparse': Level(
    """
.............
.............
.........0...
.............
.............
.............
..@..........
.............
.............
.............
.........1...
.............
.............
""",
    reward=(1.0, -1.0),
    p_terminate=(1.0, 1.0),
    p_respawn=(0.0, 0.0),
    max_steps=50,
  ),
  'long': _LONG,
  'longer': Level(
    """
....#....
.......1.
....#....
....#.0..
.@..#.1..
....#.0..
....#....
.......1.
....#....
""",
    reward=(1.0, -1.0),
    p_terminate=(0.1, 0.8),
    p_respawn=(0.01, 1.0),
    max_steps=2000,
  ),
  'long_dense': Level(
    """
...........
.0...#...0.
.....#.....
.....#.....
##.#####.##
.....#.....
..@..#.....
...........
.....#.....
.0...#...0.
.....#.....
""",
    reward=(1.0,),
    p_terminate=(0.0,),
    p_respawn=(0.005,),
    max_steps=2000,
  ),
  'rand_dense': _DENSE._replace(random_objects=True),
  'rand_long': _LONG._replace(random_objects=True),
  'rand_small': Level(
    """
.0.....
..#..1.
.......
....#..
.@.....
.......
...1.0.
""",
    reward=(1.0, -1.0),
    p_terminate=(0.0, 0.5),
    p_respawn=(0.05, 0.1),
    max_steps=500,
    random_objects=True,
  ),
  'rand_sparse': Level(
    """
.......
..0..1.
.......
...@...
.......
.....1.
.......
""",
    reward=(1.0, -1.0),
    p_terminate=(1.0, 1.0),
    p_respawn=(1.0, 1.0),
    max_steps=50,
    random_objects=True,
  ),
  'rand_very_dense': Level(
    """
...........
...........
...........
...........
...........
.....@.....
...........
...........
........0..
...........
...........
""",
    reward=(1.0,),
    p_terminate=(0.0,),
    p_respawn=(1.0,),
    max_steps=2000,
    random_objects=True,
  ),
  'rand_tiny': Level(
    """
..0
.@.
0..
""",
    reward=(1.0,),
    p_terminate=(0.0,),
    p_respawn=(1.0,),
    max_steps=50,
    random_objects=True,
  ),
}


def characters(text: str) -> np.ndarray:
  """A map as characters `[H, W]`."""
  return np.array([list(row) for row in text.split()])


def num_objects(level: Level) -> int:
  """How many objects its map shows."""
  return int(np.char.isdigit(characters(level.text)).sum())


def level_params(
  level: Level, side: int | None = None, slots: int | None = None
) -> GridWorldParams:
  """A level of `LEVELS` as arrays, objects in the order of their types.

  Args:
    level: as text.
    side: of the grid, the level being on its upper left and walls elsewhere;
      None for the level's own.
    slots: objects `K` with those that pad; None for the level's own.

  Returns:
    Arrays of numpy.
  """
  text = characters(level.text)
  side = side or len(text)
  slots = slots or num_objects(level)
  walls = np.ones((side, side), bool)
  walls[: len(text), : len(text)] = text == '#'
  cell = lambda at: at[:, 0] * side + at[:, 1]
  places = cell(np.argwhere(np.char.isdigit(text)))
  types = text[np.char.isdigit(text)].astype(np.int32)
  order = np.argsort(types, kind='stable')
  places, types = places[order], types[order]
  extra = (0, slots - len(types))
  of_type = lambda x: np.pad(np.array(x, np.float32)[types], extra)
  return GridWorldParams(
    walls=walls,
    start=np.int32(cell(np.argwhere(text == '@'))[0]),
    object_cell=np.pad(places, extra).astype(np.int32),
    object_type=np.pad(types, extra),
    used=np.arange(slots) < len(types),
    reward=of_type(level.reward),
    p_terminate=of_type(level.p_terminate),
    p_respawn=of_type(level.p_respawn),
    max_steps=np.int32(level.max_steps),
    free=number_free_cells(walls, np) if level.random_objects else None,
  )


def maze_walls(name: str) -> Bool[np.ndarray, '13 13']:
  """The walls of a maze of `MAZES`."""
  return characters(MAZES[name]) == '#'


def number_free_cells(
  walls: Bool[Array, 'H W'] | Bool[np.ndarray, 'H W'], xp=np
) -> FreeCells:
  """Numbers the cells that are no walls.

  Args:
    walls: of a level.
    xp: numpy, or jax.numpy where traced.
  """
  flat = walls.reshape(-1)
  count = xp.sum(~flat, dtype=xp.int32)
  walls_after = count + xp.cumsum(flat, dtype=xp.int32) - 1
  rank = xp.where(flat, walls_after, xp.cumsum(~flat, dtype=xp.int32) - 1)
  return FreeCells(xp.argsort(rank).astype(xp.int32), rank, count)
