"""What a level of the grid worlds is, and a moment of an episode in it."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from ttc.types import AnyArray, AnyNumber


class FreeCells(NamedTuple):
  """The cells of a level that are no walls, numbered.

  Attributes:
    cells: the free ones in order, then the walls.
    rank: where in `cells` a cell is.
    size: how many are free.
  """

  cells: Int[AnyArray, ' C']
  rank: Int[AnyArray, ' C']
  size: Int[AnyNumber, '']


class GridWorldParams(NamedTuple):
  """A level; cells are numbered `row * W + column`, the first row on top.

  Attributes:
    walls: where nobody can be; also what pads a smaller grid.
    start: cell.
    object_cell: of each object; means nothing where `free` is not None.
    object_type: which plane of an image shows it.
    used: which objects there are; the others pad.
    reward: of collecting each object.
    p_terminate: chance that collecting it ends the episode.
    p_respawn: chance that it comes back, in each step in which it is absent.
    max_steps: of an episode.
    free: None where objects have cells of their own; else they come, and come
      back, in vacant cells drawn uniformly.
  """

  walls: Bool[AnyArray, 'H W']
  start: Int[AnyNumber, '']
  object_cell: Int[AnyArray, ' K']
  object_type: Int[AnyArray, ' K']
  used: Bool[AnyArray, ' K']
  reward: Float[AnyArray, ' K']
  p_terminate: Float[AnyArray, ' K']
  p_respawn: Float[AnyArray, ' K']
  max_steps: Int[AnyNumber, '']
  free: FreeCells | None = None


class GridWorldState(NamedTuple):
  """Where the agent is, where objects are and which are there, and the time."""

  cell: Int[Array, '']
  object_cell: Int[Array, ' K']
  present: Bool[Array, ' K']
  time: Int[Array, '']
