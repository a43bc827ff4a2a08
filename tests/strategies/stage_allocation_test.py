"""Allocation over two stages whose optimum is known."""

import numpy as np
import pytest

from ttc import strategies

SAMPLES = np.array([1, 2, 4, 8, 16])
# Two models, three times as dear.
COSTS = np.stack([np.outer([1.0, 3.0], SAMPLES)] * 2)
SIZES = (2, 5, 2, 5)


def rise(rate, samples):
  return 1 - (1 - rate) ** SAMPLES[samples]


def value(point):
  """The first stage needs the large model, the second many small samples."""
  first = rise((0.2, 0.8)[point[0]], point[1])
  second = rise((0.3, 0.35)[point[2]], point[3])
  return first * second


def test_costs_of_all_allocations():
  costs = strategies.allocation_costs(COSTS)
  assert costs.shape == SIZES
  assert costs[1, 2, 0, 3] == 3 * 4 + 8


@pytest.mark.parametrize('budget', [4.0, 14.0, 30.0])
def test_it_finds_the_optimum_within_the_budget(budget):
  costs = strategies.allocation_costs(COSTS)
  allowed = [p for p in np.ndindex(*SIZES) if costs[p] <= budget]
  optimum = max(map(value, allowed))
  asked = []
  objective = lambda point: asked.append(point) or value(point)
  search = strategies.guided(COSTS, budget)
  history = strategies.run_search(search, objective, SIZES, 20)
  assert all(costs[p] <= budget for p in asked)
  np.testing.assert_allclose(history.values.max(), optimum)


def test_it_tries_every_model_of_a_stage_first():
  search = strategies.guided(COSTS, 14.0)
  first = strategies.run_search(search, value, SIZES, 5).points
  # 13 are left to a stage: 8 small samples, or 4 large ones.
  assert {tuple(p) for p in first} == {
    (0, 0, 0, 0), (0, 3, 0, 0), (1, 2, 0, 0), (0, 0, 0, 3), (0, 0, 1, 2),
  }  # fmt: skip


def test_all_that_is_connected_is_evaluated_in_the_end():
  costs = strategies.allocation_costs(COSTS)
  history = strategies.run_search(
    strategies.guided(COSTS, 14.0), value, SIZES, 100
  )
  assert len(history.values) == (costs <= 14.0).sum()


def test_wrong_input_is_refused():
  with pytest.raises(ValueError, match='costs must rise with the samples'):
    strategies.guided(COSTS[:, :, ::-1], 14.0)
  with pytest.raises(ValueError, match=r'costs 2.0, over 1.0'):
    strategies.guided(COSTS, 1.0)
