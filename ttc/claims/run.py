"""Measures the seeds of a claim that are missing, and judges them all."""

import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ttc import claims
from ttc.claims.claim import Verdict, judge
from ttc.claims.store import measured_path
from ttc.io.arrays import read_arrays, write_arrays
from ttc.testbeds import SIZES

Directory = str | os.PathLike[str]


def seeds_of(name: str, num_seeds: int) -> Sequence[int]:
  """The seeds that a claim is run with when so many are asked for."""
  seeds = claims.load(name).seeds
  return range(num_seeds) if seeds is None else seeds


def measured(
  name: str, num_seeds: int, size: str, cache: Directory
) -> Iterator[tuple[int, dict]]:
  """What each seed measures, from the cache or anew.

  Args:
    name: of the claim.
    num_seeds: how many.
    size: one of `testbeds.SIZES`.
    cache: directory of what was trained and measured.

  Yields:
    The seed and its data, with the seconds it took.
  """
  claim, source = claims.load(name), claims.source(name)
  for seed in seeds_of(name, num_seeds):
    path = measured_path(cache, source, seed, size)
    if not path.exists():
      start = time.perf_counter()
      data = dict(claim.measure(seed, SIZES[size], cache))
      seconds = np.float64(time.perf_counter() - start)
      write_arrays(path, {**data, 'seconds': seconds})
    yield seed, read_arrays(path)


def reproduce(
  name: str,
  num_seeds: int,
  size: str,
  cache: Directory,
  on_seed: Callable[[], object] = lambda: None,
) -> tuple[Verdict, float]:
  """The verdict on a claim, and the seconds its measurements took."""
  claim, runs, seconds = claims.load(name), [], 0.0
  for _, data in measured(name, num_seeds, size, cache):
    seconds += float(data.pop('seconds'))
    runs.append(data)
    on_seed()
  start = time.perf_counter()
  picture = pathlib.Path(cache) / f'{name}.png' if size == 'full' else None
  verdict = judge(claim, runs, picture)
  return verdict, seconds + time.perf_counter() - start
