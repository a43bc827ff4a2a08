"""Beds of meta-RL: what is known exactly of them."""

import jax
import numpy as np
from absl.testing import absltest

from ttc.testbeds import bernoulli_bandit as arms
from ttc.testbeds.adaptive_policies import GOALS, best_returns, share_won


class BernoulliBanditTest(absltest.TestCase):
  def test_two_pulls_by_hand(self):
    """After a success stay: 2/3; after a failure go: 1/2."""
    self.assertAlmostEqual(arms.exact_return(1), 1 / 2)
    self.assertAlmostEqual(arms.exact_return(2), 1 / 2 + 1 / 3 + 1 / 4)
    self.assertAlmostEqual(arms.exact_return(7, arms.uniform), 3.5)

  def test_nothing_beats_the_best(self):
    best = arms.exact_return(6)
    greedy = lambda s1, f1, s2, f2: (
      (s1 + 1) * (s2 + f2 + 2) >= (s2 + 1) * (s1 + f1 + 2)
    ).astype(float)
    for policy in (arms.thompson, arms.ucb, arms.uniform, greedy):
      self.assertLess(arms.exact_return(6, policy), best)
    self.assertGreater(arms.exact_return(6, arms.thompson), 3.2)

  def test_thompson_sampling_is_a_comparison_of_draws(self):
    for state in ((0, 0, 0, 0), (3, 1, 0, 2), (1, 4, 2, 0)):
      s1, f1, s2, f2 = state
      keys = jax.random.split(jax.random.key(0))
      one = jax.random.beta(keys[0], s1 + 1.0, f1 + 1.0, (20_000,))
      two = jax.random.beta(keys[1], s2 + 1.0, f2 + 1.0, (20_000,))
      share = arms.thompson(*(np.array(x) for x in state))
      # Standard errors are at most 0.0035.
      np.testing.assert_allclose(share, np.mean(one > two), atol=0.011)


class ShareTest(absltest.TestCase):
  def test_it_is_a_ratio_of_means(self):
    first, best = np.array([0.0, 2.0, 1.0]), np.array([4.0, 4.0, 3.0])
    won = share_won(first, first + np.array([2.0, 0.0, 2.0]), best)
    np.testing.assert_allclose(won.mean, 4 / 8)
    exact = share_won(first, first + 0.3 * (best - first), best)
    np.testing.assert_allclose(
      (exact.mean, exact.standard_error), (0.3, 0.0), atol=1e-6
    )

  def test_who_knows_the_goal_goes_there(self):
    np.testing.assert_allclose(best_returns(GOALS, 0, 5), -4.5, atol=1e-4)


if __name__ == '__main__':
  absltest.main()
