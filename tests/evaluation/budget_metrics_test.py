import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import evaluation


class BudgetMetricsTest(absltest.TestCase):
  def test_control_counts_both_limits(self):
    lengths = jnp.array([9, 10, 15, 20, 21])
    self.assertAlmostEqual(
      float(evaluation.budget_control(lengths, 10, 20)), 0.6, places=6
    )

  def test_scaling_of_a_line_is_its_slope(self):
    budgets = jnp.array([512.0, 128.0, 256.0])
    self.assertAlmostEqual(
      float(evaluation.budget_scaling(budgets, 0.1 + 0.001 * budgets)),
      0.001,
      places=7,
    )

  def test_scaling_by_hand(self):
    # Slopes (1, 2): .2, (1, 4): .1, (2, 4): .05.
    got = evaluation.budget_scaling(
      jnp.array([1.0, 2, 4]), jnp.array([0.2, 0.4, 0.5])
    )
    self.assertAlmostEqual(float(got), 0.35 / 3, places=6)
    worse = evaluation.budget_scaling(
      jnp.array([1.0, 2, 4]), jnp.array([0.5, 0.4, 0.2])
    )
    self.assertLess(float(worse), 0)

  def test_performance_is_the_best_budget(self):
    got = evaluation.budget_performance(jnp.array([0.2, 0.6, 0.5]))
    self.assertAlmostEqual(float(got), 0.6, places=6)

  def test_tokens_per_correct_is_a_ratio_of_sums(self):
    tokens, correct = jnp.array([100, 300]), jnp.array([1.0, 0.0])
    self.assertEqual(float(evaluation.tokens_per_correct(tokens, correct)), 400)
    self.assertTrue(
      np.isinf(evaluation.tokens_per_correct(tokens, 0 * correct))
    )
