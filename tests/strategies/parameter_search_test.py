"""Searches on spaces small enough to know the optimum."""

import math

import numpy as np
import pytest

from ttc import strategies
from ttc.strategies import bayesian, greedy, grid, random_order, run_search

SIZES = (5, 7, 3)
PEAK = (3, 2, 1)
SEARCHES = {'random': random_order, 'grid': grid, 'greedy': greedy}


def bowl(point):
  return -float(sum((i - j) ** 2 for i, j in zip(point, PEAK, strict=True)))


@pytest.mark.parametrize('name', SEARCHES)
def test_a_search_evaluates_each_point_once_and_ends_with_the_space(name):
  asked = []
  objective = lambda point: asked.append(point) or bowl(point)
  history = run_search(SEARCHES[name], objective, SIZES, 10**6)
  assert len(asked) == len(set(asked)) == math.prod(SIZES)
  np.testing.assert_array_equal(history.points, asked)
  assert tuple(history.points[np.argmax(history.values)]) == PEAK
  short = run_search(SEARCHES[name], bowl, SIZES, 9)
  np.testing.assert_array_equal(short.points, history.points[:9])


@pytest.mark.parametrize('name', SEARCHES)
def test_the_seed_is_all_that_matters(name):
  run = lambda seed: run_search(SEARCHES[name], bowl, SIZES, 12, seed).points
  np.testing.assert_array_equal(run(1), run(1))
  assert not np.array_equal(run(1), run(2))


def test_random_order_is_uniform():
  """Rank of the optimum among 105 points: mean 53, s.d. 30.3, of 200 runs."""
  ranks = [
    strategies.evaluations_to(
      run_search(random_order, bowl, SIZES, 105, seed), 0.0
    )
    for seed in range(200)
  ]
  assert abs(np.mean(ranks) - 53) < 3 * 30.3 / math.sqrt(200)


def test_a_grid_begins_at_the_corners():
  points = run_search(grid, bowl, SIZES, 8).points
  assert {tuple(p) for p in points} == {
    (a, b, c) for a in (0, 4) for b in (0, 6) for c in (0, 2)
  }


def test_greedy_needs_two_passes_where_axes_do_not_interact():
  """At most one value of each axis twice: 2 sum(sizes) distinct points."""
  for seed in range(5):
    history = run_search(greedy, bowl, SIZES, 2 * sum(SIZES), seed)
    assert strategies.evaluations_to(history, 0.0) < math.inf


def test_greedy_climbs_to_the_nearer_of_two_peaks_and_restarts():
  ridge = np.array([[5.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 9.0]])
  history = run_search(greedy, lambda p: ridge[p], (3, 3), 9)
  assert history.values.max() == 9


def test_bayesian_finds_the_optimum_within_25_evaluations():
  """Of 105 points; a random order would in 24% of the runs, in all 4 in .3%."""
  pytest.importorskip('bayes_opt')
  for seed in range(4):
    history = run_search(bayesian(), bowl, SIZES, 25, seed)
    assert len({tuple(p) for p in history.points}) == 25
    assert history.values.max() == 0


def test_bayesian_begins_at_random_and_ends_with_the_space():
  pytest.importorskip('bayes_opt')
  history = run_search(bayesian(), lambda p: p[0] * 1.0, (3, 1, 2), 99, 1)
  assert len(history.values) == 6
  with pytest.raises(ValueError, match='num_initial must be positive, got 0'):
    bayesian(0)


def test_what_is_known_is_told_and_not_counted():
  is_free = lambda point: point[0] != 3
  for search in SEARCHES.values():
    history = run_search(search, bowl, SIZES, 10, is_free=is_free)
    assert np.all(history.points[:, 0] == 3)
    assert len(history.values) == 10
    everything = run_search(search, bowl, SIZES, 99, is_free=is_free)
    assert len(everything.values) == 21


def test_incumbents_and_evaluations_by_hand():
  points = np.array([[0], [1], [2], [3]])
  history = strategies.History(points, np.array([1.0, 3.0, 2.0, 3.0]))
  np.testing.assert_array_equal(
    strategies.incumbents(history, 6)[:, 0], [0, 1, 1, 1, 1, 1]
  )
  assert strategies.evaluations_to(history, 2.0) == 2
  assert strategies.evaluations_to(history, 3.5) == math.inf


def test_what_is_beyond_the_budget_is_worse_than_anything_within():
  values = strategies.within_budget(
    np.array([0.0, 0.9, 0.9, 1.0]), np.array([9.0, 10.0, 10.1, 40.0]), 10.0
  )
  np.testing.assert_allclose(values, [0.0, 0.9, 10 / 10.1 - 1, -0.75])


def test_wrong_input_is_refused():
  with pytest.raises(ValueError, match=r'got sizes \(3, 0\)'):
    run_search(grid, bowl, (3, 0), 5)
  with pytest.raises(ValueError, match='num_evaluations must be positive'):
    run_search(grid, bowl, SIZES, 0)

  def outside(sizes, rng):
    del rng
    yield sizes

  with pytest.raises(ValueError, match=r'proposed \(5, 7, 3\) outside'):
    run_search(outside, bowl, SIZES, 5)
