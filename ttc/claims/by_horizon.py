"""Figures of seeds at several horizons, `[seeds, horizons]`, in words."""

from collections.abc import Callable, Sequence

import numpy as np

from ttc.claims.claim import Data


class Horizons:
  """Names columns by their horizons.

  Args:
    horizons: of the columns.
  """

  def __init__(self, horizons: Sequence[int]):
    self.horizons = tuple(horizons)

  def at(self, data: Data, name: str, horizon: int) -> np.ndarray:
    """Of one horizon, of all seeds."""
    return data[name][:, self.horizons.index(horizon)]

  def say(self, name: str) -> Callable[[Data], str]:
    """Means over seeds, and each of them."""

    def words(data):
      rows = zip(self.horizons, data[name].T, strict=True)
      each = lambda x: ', '.join(f'{y:.3f}' for y in x)
      return '; '.join(f'N={N} {x.mean():.3f} ({each(x)})' for N, x in rows)

    return words

  def below(
    self, ours: str, theirs: str, horizons: Sequence[int]
  ) -> Callable[[Data], bool]:
    """Whether our mean over seeds is below theirs at each of some horizons."""
    mean = lambda data, name, N: self.at(data, name, N).mean()
    return lambda data: all(
      mean(data, ours, N) < mean(data, theirs, N) for N in horizons
    )
