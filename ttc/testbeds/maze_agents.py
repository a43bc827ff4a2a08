"""A maze of dead ends, seen one cell at a time, as a world for agents.

The corridors of 5 x 5 cells are a random tree. The agent sees the walls of its
cell, where it came from and whether the goal is here; it may go on, turn back,
or declare that it has arrived, which ends the episode and pays at the goal.
Whoever follows the wall on the right comes by every cell within 48 moves;
whoever never turns back declares at the first dead end, and is right where all
forks before the goal were taken well.

Scripts think before each action, in an episode from 0 to 3 times: a thought
names the action that follows, and who thinks `m` times slips `1 + m` times less
often. So thoughts are worth something; what lies round the corner they do not
tell.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from ttc.testbeds.acting_agents import Site

SIDE, LONGEST, THOUGHTS = 5, 64, 3
NUM_CELLS = SIDE * SIDE
NUM_ACTIONS, DECLARE = 5, 4  # north, east, south, west, "I am there"
_MOVES = np.array([-SIDE, 1, SIDE, -1], np.int32)


def _edges() -> np.ndarray:
  """`[40, 3]`: a cell, the one east or south of it, and the direction."""
  cells = range(NUM_CELLS)
  east = [(c, c + 1, 1) for c in cells if c % SIDE < SIDE - 1]
  south = [(c, c + SIDE, 2) for c in cells if c < NUM_CELLS - SIDE]
  return np.array(east + south, np.int32)


_EDGES = _edges()


class Maze(NamedTuple):
  """The maze and where the agent is."""

  is_open: Bool[Array, 'C 4']  # whether one can go that way
  cell: Int[Array, '']
  goal: Int[Array, '']
  came: Int[Array, '']  # direction of the last move, 4 before the first


def corridors(key: PRNGKeyArray) -> Bool[Array, 'C 4']:
  """A tree over all cells: edges in random order, those that join are kept."""
  order = jax.random.permutation(key, jnp.asarray(_EDGES))

  def join(carry, edge):
    part, is_open = carry
    a, b, direction = edge
    joins = part[a] != part[b]
    part = jnp.where(joins & (part == part[b]), part[a], part)
    is_open = is_open.at[a, direction].max(joins)
    return (part, is_open.at[b, (direction + 2) % 4].max(joins)), None

  none = jnp.zeros((NUM_CELLS, 4), bool)
  (_, is_open), _ = jax.lax.scan(join, (jnp.arange(NUM_CELLS), none), order)
  return is_open


def _reset(key):
  """Start and goal are two different cells."""
  maze_key, cell_key, goal_key = jax.random.split(key, 3)
  cell = jax.random.randint(cell_key, (), 0, NUM_CELLS)
  away = jax.random.randint(goal_key, (), 1, NUM_CELLS)
  maze = Maze(
    corridors(maze_key), cell, (cell + away) % NUM_CELLS, jnp.int32(4)
  )
  return see(maze), maze


def see(maze: Maze) -> Array:
  """Ways out, where the agent came from, and whether it is there."""
  came = jax.nn.one_hot(maze.came, 4)
  here = maze.cell == maze.goal
  return jnp.concatenate([maze.is_open[maze.cell], came, here[None]]).astype(
    jnp.float32
  )


def _step(key, maze, action):
  """A wall stops; declaring ends."""
  del key
  move = jnp.minimum(action, 3)
  goes = (action < 4) & maze.is_open[maze.cell, move]
  maze = maze._replace(
    cell=jnp.where(goes, maze.cell + jnp.asarray(_MOVES)[move], maze.cell),
    came=jnp.where(goes, move, maze.came).astype(jnp.int32),
  )
  ends = action == DECLARE
  reward = (ends & (maze.cell == maze.goal)).astype(jnp.float32)
  return see(maze), maze, reward, ends


def _script(key, maze, mind, explores, odd, num_thoughts):
  """The one that follows the wall, or the one that never turns back."""
  keys = jax.random.split(key, 3)
  ways = maze.is_open[maze.cell]
  is_first = maze.came == 4
  ahead = jnp.where(is_first, 0, maze.came)
  turns = (ahead + jnp.array([1, 0, -1, 2])) % 4  # right, straight, left, back
  follow = turns[jnp.argmax(ways[turns])]
  on = ways & (is_first | (jnp.arange(4) != (maze.came + 2) % 4))
  noise = jax.random.uniform(keys[0], (4,))
  wander = jnp.where(
    jnp.any(on), jnp.argmax(jnp.where(on, noise, -1.0)), DECLARE
  )
  action = jnp.where(explores, follow, wander)
  action = jnp.where(maze.cell == maze.goal, DECLARE, action)
  thoughts = jnp.where(jnp.arange(THOUGHTS) < num_thoughts, action, -1)
  slips = jax.random.uniform(keys[1], ()) < odd / (1 + num_thoughts)
  anything = jax.random.randint(keys[2], (), 0, NUM_ACTIONS)
  action = jnp.where(slips, anything, action).astype(jnp.int32)
  return action, thoughts.astype(jnp.int32), mind


SITE = Site(
  reset=_reset,
  step=_step,
  encode=lambda seen: seen,
  start=lambda maze: jnp.zeros((), jnp.int32),
  script=_script,
  part_of=lambda maze: (
    2 * (maze.cell >= NUM_CELLS // 2) + (maze.cell % SIDE > 2)
  ),
  num_actions=NUM_ACTIONS,
  num_parts=4,
  longest=LONGEST,
  script_thoughts=THOUGHTS,
)
