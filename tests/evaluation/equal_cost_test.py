"""Outcomes pooled over seeds, and differences at equal tokens."""

import numpy as np
import pytest

from ttc import evaluation


def line(budget, items, right, tokens, seed=0):
  return {
    'budget': budget,
    'seed': seed,
    'items': items,
    'right': right,
    'tokens': tokens,
    'depth': tokens,
    'verifier_calls': [budget] * len(items),
    'flops_per_token': 2.0,
    'flops_per_call': 10.0,
  }


def test_seeds_of_one_problem_are_averaged():
  outcomes = evaluation.pool_outcomes(
    [
      line(2, ['b', 'a'], [1.0, 0.0], [8, 4]),
      line(1, ['a', 'b'], [0.0, 1.0], [2, 4]),
      line(1, ['a', 'b'], [1.0, 1.0], [4, 4], seed=1),
      line(2, ['a', 'b'], [1.0, 1.0], [6, 8], seed=1),
    ]
  )
  assert outcomes.budgets == [1, 2]
  np.testing.assert_array_equal(outcomes.accuracy, [[0.5, 1], [0.5, 1]])
  np.testing.assert_array_equal(outcomes.tokens, [[3, 4], [5, 8]])
  np.testing.assert_array_equal(outcomes.flops, [[16, 18], [30, 36]])
  mean, low, high = outcomes.accuracy_interval()
  np.testing.assert_allclose(mean, [0.75, 0.75])
  assert np.all(low < mean) and np.all(mean < high)


def test_budgets_must_have_the_same_problems():
  lines = [line(1, ['a'], [1.0], [2]), line(2, ['b'], [1.0], [2])]
  with pytest.raises(ValueError, match='different problems'):
    evaluation.pool_outcomes(lines)


def test_the_baseline_is_read_at_the_tokens_spent():
  items = ['a', 'b', 'c']
  baseline = evaluation.pool_outcomes(
    [
      line(1, items, [0.0, 0.2, 1.0], [10, 10, 10]),
      line(4, items, [1.0, 0.6, 1.0], [40, 40, 40]),
    ]
  )
  at = lambda tokens: evaluation.accuracy_at(baseline, tokens)
  np.testing.assert_allclose(at(20.0), [0.5, 0.4, 1.0])  # half way, in log
  np.testing.assert_allclose(at(1.0), baseline.accuracy[0])
  np.testing.assert_allclose(at(99.0), baseline.accuracy[1])

  method = evaluation.pool_outcomes([line(2, items, [1.0, 0.4, 0.0], [20] * 3)])
  gap = evaluation.against(method, baseline, 0).difference
  differences = np.array([0.5, 0.0, -1.0])
  np.testing.assert_allclose(gap.mean, differences.mean(), atol=1e-6)
  error = differences.std(ddof=1) / 3**0.5
  np.testing.assert_allclose(gap.standard_error, error, atol=1e-6)


def test_report_has_a_row_for_each_method():
  items = ['a', 'b']
  rows = {
    'vote': evaluation.pool_outcomes(
      [line(n, items, [0.0, 1.0], [4 * n] * 2) for n in (1, 2, 4)]
    ),
    'search': evaluation.pool_outcomes([line(2, items, [1.0, 1.0], [8, 8])]),
  }
  text = evaluation.comparison_report({'world': rows}, 'vote')
  cells = next(x for x in text.splitlines() if x.startswith('| search'))
  assert cells.count('|') == text.splitlines()[-3].count('|')
  assert '100.0 [100.0, 100.0] (8)' in cells
  assert '+50.0' in cells
