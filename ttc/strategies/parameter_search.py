"""Search over a few discrete parameters of a strategy, in few evaluations.

An evaluation is expensive, as it runs a strategy on many problems, so searches
are compared at equal numbers of distinct evaluations. A search is a generator
that yields points and is sent their values; `run_search` asks, remembers and
counts. A new search is ten lines and is compared with all others.

- `random_order`: every point is as likely to be next.
- `grid`: from coarse to fine, in a fixed order.
- `greedy`: one axis after another (coordinate ascent), restarted at random;
  the greedy search of Archon, 2409.15254.
- `bayesian`: Gaussian process and expected improvement, as in Archon; needs
  the extra `strategies`.

A point is a tuple of indices, one for each axis. Functions of the host; cost:
`E` evaluations, and for `bayesian` `O(E^3)` arithmetic for each of them. Axes:
`E` evaluations, `A` axes of the space.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

Point: TypeAlias = tuple[int, ...]
# Yields the next point and is sent its value, higher is better.
Proposals: TypeAlias = Generator[Point, float, None]
# `(sizes of the axes, random generator) -> proposals`.
ProposeFn: TypeAlias = Callable[
  [tuple[int, ...], np.random.Generator], Proposals
]


class History(NamedTuple):
  """What a search evaluated, in order, each point once."""

  points: Int[np.ndarray, 'E A']
  values: Float[np.ndarray, ' E']


def run_search(
  propose: ProposeFn,
  objective: Callable[[Point], float],
  sizes: tuple[int, ...],
  num_evaluations: int,
  seed: int = 0,
  is_free: Callable[[Point], bool] = lambda point: False,
) -> History:
  """Runs a search until it has used its evaluations.

  Args:
    propose: the search. A point that it proposes again is answered from memory
      and costs nothing.
    objective: the value of a point, higher is better. One that is NaN never
      wins: the history has it, and the search is told minus infinity.
    sizes: how many choices each axis has.
    num_evaluations: distinct points that may be evaluated.
    seed: of the search.
    is_free: whether the value of a point is known without running anything,
      such as that it is beyond the budget. The search is told it, and it is
      neither counted nor part of the history.

  Returns:
    The history, shorter than asked for if the search ends by itself or nothing
    is left to evaluate.

  Raises:
    ValueError: unless there is an axis and every axis a choice, if no
      evaluation is allowed, or if a proposal lies outside the space.
  """
  if not sizes or min(sizes) < 1:
    raise ValueError(f'every axis needs a choice, got sizes {sizes}')
  if num_evaluations < 1:
    raise ValueError(f'num_evaluations must be positive, got {num_evaluations}')
  values: dict[Point, float] = {}
  counted: list[tuple[Point, float]] = []
  proposals = propose(sizes, np.random.default_rng(seed))
  point = next(proposals, None)
  while point is not None:
    if not all(0 <= i < size for i, size in zip(point, sizes, strict=True)):
      raise ValueError(f'proposed {point} outside a space of sizes {sizes}')
    if point not in values:
      value = float(objective(point))
      values[point] = -math.inf if math.isnan(value) else value
      if not is_free(point):
        counted.append((point, value))
    if len(counted) == num_evaluations or len(values) == math.prod(sizes):
      break
    try:
      point = proposals.send(values[point])
    except StopIteration:
      break
  proposals.close()
  points = np.array([point for point, _ in counted], int)
  found = np.array([value for _, value in counted], float)
  return History(points.reshape(-1, len(sizes)), found)


def random_order(sizes: tuple[int, ...], rng: np.random.Generator) -> Proposals:
  """All points in random order."""
  for flat in rng.permutation(math.prod(sizes)):
    yield _point(np.unravel_index(flat, sizes))


def grid(sizes: tuple[int, ...], rng: np.random.Generator) -> Proposals:
  """Ever finer grids: the ends of all axes, then points between them.

  The order is fixed, but among the new points of a grid, which are shuffled: an
  order by axes would leave some of them at their first choice for long.
  """
  seen = set()
  for level in itertools.count(1):
    marks = [
      np.unique(np.linspace(0, size - 1, min(size, 2**level)).round())
      for size in sizes
    ]
    new = [
      point
      for point in map(_point, itertools.product(*marks))
      if point not in seen
    ]
    seen.update(new)
    for i in rng.permutation(len(new)):
      yield new[i]
    if len(seen) == math.prod(sizes):
      return


def greedy(sizes: tuple[int, ...], rng: np.random.Generator) -> Proposals:
  """Takes the best choice of one axis after another, from random points.

  A pass over the axes, in random order, that changes nothing ends in a local
  optimum, and the search begins anew.
  """
  while True:
    point = _random_point(sizes, rng)
    value = yield point
    changed = True
    while changed:
      changed = False
      for axis in rng.permutation(len(sizes)):
        for choice in range(sizes[axis]):
          other = (*point[:axis], choice, *point[axis + 1 :])
          other_value = yield other
          if other_value > value:
            point, value, changed = other, other_value, True


def bayesian(num_initial: int = 5, exploration: float = 0.01) -> ProposeFn:
  """Expected improvement under a Gaussian process over the indices.

  The acquisition is the library's (`bayesian-optimization`), the process has
  its kernel, Matern-5/2. Archon's code maximises over the box and rounds; here
  the improvement of every point that was not evaluated is computed, as the
  nearest point to a maximum often has been.

  Args:
    num_initial: random points before the first model.
    exploration: improvement, in units of the objective, that counts as none.

  Returns:
    The search, for spaces whose points fit in memory.
  """
  if num_initial < 1:
    raise ValueError(f'num_initial must be positive, got {num_initial}')

  def propose(sizes: tuple[int, ...], rng: np.random.Generator) -> Proposals:
    try:
      import threadpoolctl
      from bayes_opt import acquisition
      from sklearn import gaussian_process
    except ImportError as error:
      raise ImportError(
        "bayesian needs bayes_opt: pip install 'ttc-jax[strategies]'"
      ) from error

    points = np.array(list(np.ndindex(*sizes)))
    improvement = acquisition.ExpectedImprovement(exploration)
    process = gaussian_process.GaussianProcessRegressor(
      # A step is 1: scales far below it would say that nothing is known.
      gaussian_process.kernels.Matern(1.0, (0.1, 100.0), nu=2.5),
      alpha=1e-6,
      normalize_y=True,
      n_restarts_optimizer=1,
      random_state=int(rng.integers(2**31)),
    )
    seen = list(rng.permutation(len(points))[:num_initial])
    values = []
    for flat in seen:
      values.append((yield _point(points[flat])))
    while len(seen) < len(points):
      with (
        threadpoolctl.threadpool_limits(1),  # the matrices are small
        warnings.catch_warnings(),
      ):
        warnings.simplefilter('ignore')  # of a scale at its bound
        process.fit(points[seen], _finite(values))
        mean, deviation = process.predict(points, return_std=True)
      improvement.y_max = max(_finite(values))
      gain = improvement.base_acq(
        np.asarray(mean), np.asarray(deviation, np.float64)
      )
      gain[seen] = -np.inf
      seen.append(np.argmax(gain))
      values.append((yield _point(points[seen[-1]])))

  return propose


def _finite(values: list[float]) -> Float[np.ndarray, ' E']:
  """The least known value for minus infinity, which no process fits."""
  found = np.array(values, float)
  known = found[found > -np.inf]
  return np.maximum(found, known.min() if known.size else 0.0)


def incumbents(
  history: History, num_evaluations: int
) -> Int[np.ndarray, 'E A']:
  """The best point after each evaluation, the first of equals.

  Args:
    history: of a search.
    num_evaluations: `E`; what a search did not use changes nothing.
  """
  known = np.where(np.isnan(history.values), -np.inf, history.values)
  first = [int(np.argmax(known[: i + 1])) for i in range(known.size)]
  used = np.minimum(np.arange(num_evaluations), known.size - 1)
  return history.points[np.array(first)[used]]


def evaluations_to(history: History, target: float) -> float:
  """Evaluations until a value of at least `target`; infinite if none was."""
  reached = history.values >= target
  return float(np.argmax(reached) + 1) if reached.any() else math.inf


def within_budget(
  accuracies: Float[np.ndarray, '*S'],
  tokens: Float[np.ndarray, '*S'],
  budget: float,
) -> Float[np.ndarray, '*S']:
  """Accuracy where the tokens suffice; below 0, the more is missing, elsewhere.

  So that no strategy beyond the budget is preferred to one within, and a search
  that starts beyond it is told the way back.

  Args:
    accuracies: in 0..1.
    tokens: mean tokens per problem.
    budget: most of them.
  """
  return np.where(tokens <= budget, accuracies, budget / tokens - 1.0)


def _point(indices) -> Point:
  return tuple(int(i) for i in indices)


def _random_point(sizes, rng) -> Point:
  return _point(rng.integers(sizes))
