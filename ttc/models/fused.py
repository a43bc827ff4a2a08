"""Tensors of files that are several parameters, one behind the other.

Phi stores query, key and value as the rows of one matrix, and gate and up as
those of another.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

Read = Callable[[str], np.ndarray]
ShapeOf = Callable[[str], tuple[int, ...]]


class Fused(NamedTuple):
  """A tensor of each layer, and what its rows are.

  Attributes:
    name: of the tensor, the layer's number where `{}` is.
    parts: names of what it consists of, and the rows of each.
  """

  name: str
  parts: tuple[tuple[str, int], ...]


class Tensors(NamedTuple):
  """The tensors of a file, as `weights.assemble` takes them."""

  read: Read
  shape_of: ShapeOf
  present: set[str]


def split(
  tensors: Tensors, fused: Iterable[Fused], num_layers: int, path: str
) -> Tensors:
  """The tensors as if each part was one of its own.

  Raises:
    ValueError: if one does not have the rows of its parts.
  """
  home: dict[str, tuple[str, int, int]] = {}  # of a part: where, from, to
  for one in fused:
    for i in range(num_layers):
      whole, first = one.name.format(i), 0
      if whole not in tensors.present:
        break
      for name, rows in one.parts:
        home[name.format(i)] = whole, first, first + rows
        first += rows
      if (found := tensors.shape_of(whole))[0] != first:
        raise ValueError(
          f'{path}: tensor {whole!r} has shape {found}, its config asks for '
          f'{first} rows'
        )
  if not home:
    return tensors
  whole = functools.lru_cache(1)(tensors.read)  # parts are asked for in a row

  def read(name):
    if name not in home:
      return tensors.read(name)
    where, first, last = home[name]
    return whole(where)[first:last]

  def shape_of(name):
    if name not in home:
      return tensors.shape_of(name)
    where, first, last = home[name]
    return (last - first, *tensors.shape_of(where)[1:])

  wholes = {where for where, _, _ in home.values()}
  return Tensors(read, shape_of, (tensors.present - wholes) | home.keys())


def join(
  tensors: Iterable[tuple[str, np.ndarray]],
  fused: Iterable[Fused],
  num_layers: int,
) -> Iterator[tuple[str, np.ndarray]]:
  """The inverse of `split`: parts one behind the other."""
  home, waiting = {}, {}
  for one in fused:
    for i in range(num_layers):
      names = [name.format(i) for name, _ in one.parts]
      home |= dict.fromkeys(names, (one.name.format(i), names))
  for name, x in tensors:
    if name not in home:
      yield name, x
      continue
    waiting[name] = x
    whole, names = home[name]
    if waiting.keys() >= set(names):
      yield whole, np.concatenate([waiting.pop(part) for part in names])
