"""Timing: engines in turns, the fastest of several, and how it is written."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


def interleaved(
  engines: Mapping[str, Callable[[], object]],
  repetitions: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
  """Seconds of each run of each engine; one more run warms up.

  Engines run in turns, so that what else the machine does hits all of them.
  """
  seconds = {name: [] for name in engines}
  for repetition in range(repetitions + 1):
    for name, draw in engines.items():
      start = clock()
      draw()
      if repetition:
        seconds[name].append(clock() - start)
  return seconds


def fastest(fn: Callable, *args: Any, repetitions: int = 9) -> float:
  """Seconds of the fastest of several calls, each long enough to time."""
  compiled = jax.jit(fn).lower(*args).compile()
  inner, seconds = 1, []
  while True:
    start = time.perf_counter()
    jax.block_until_ready([compiled(*args) for _ in range(inner)][-1])
    elapsed = time.perf_counter() - start
    if elapsed < 2e-3:
      inner *= 2
      continue
    seconds.append(elapsed / inner)
    if len(seconds) == repetitions:
      return min(seconds)


def fastest_in_place(fn: Callable, x: jax.Array, repetitions: int = 9) -> float:
  """Like `fastest`, into the memory of `x`: fresh pages are slow to touch."""
  compiled = jax.jit(fn, donate_argnums=0).lower(x).compile()
  seconds = []
  for _ in range(repetitions):
    start = time.perf_counter()
    x = jax.block_until_ready(compiled(x))
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def spread(values: Sequence[float], form: str) -> str:
  """Median, smallest and largest."""
  middle, low, high = statistics.median(values), min(values), max(values)
  return f'{middle:{form}} ({low:{form}} to {high:{form}})'
