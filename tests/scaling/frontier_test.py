import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import evaluation
from ttc.scaling import frontier as fronts

COSTS = np.array([[1.0, 2, 4, 8], [3, 6, 12, 24]])
ACCURACIES = np.array([[0.5, 0.2, 0.9, 0.9], [0.1, 0.3, 0.2, 0.0]])
LIMITS = np.array([0.5, 1, 3, 5, 100])


class FrontierTest(absltest.TestCase):
  def test_by_hand(self):
    found = fronts.frontier(COSTS, ACCURACIES, LIMITS)
    np.testing.assert_array_equal(
      found.accuracy, [[0, 0.5, 0.5, 0.9, 0.9], [0, 0, 0.1, 0.1, 0.3]]
    )
    # Of equal accuracies the cheapest; nothing is -1.
    np.testing.assert_array_equal(
      found.choice, [[-1, 0, 0, 2, 2], [-1, -1, 0, 0, 1]]
    )

  def test_against_the_loop_of_the_paper(self):
    rng = np.random.default_rng(0)
    costs = rng.lognormal(size=(20, 30))
    accuracies = rng.integers(5, size=(20, 30)) / 4  # many ties
    limits = np.geomspace(0.01, 20, 15)
    found = fronts.frontier(costs, accuracies, limits)
    for task in range(20):
      for j, limit in enumerate(limits):
        best, choice = 0.0, -1
        for config in range(30):
          price, accuracy = costs[task, config], accuracies[task, config]
          if price > limit:
            continue
          cheaper = choice >= 0 and price < costs[task, choice]
          if choice < 0 or accuracy > best or (accuracy == best and cheaper):
            best, choice = accuracy, config
        self.assertEqual(found.accuracy[task, j], best)
        self.assertEqual(found.choice[task, j], choice)

  def test_grows_with_the_limit_and_with_configurations(self):
    rng = np.random.default_rng(1)
    costs, accuracies = rng.uniform(size=(2, 50, 40))
    limits = np.linspace(0, 1, 21)
    every = fronts.frontier(costs, accuracies, limits).accuracy
    some = fronts.frontier(costs[:, :9], accuracies[:, :9], limits).accuracy
    self.assertTrue(np.all(np.diff(every, axis=1) >= 0))
    self.assertTrue(np.all(every >= some))
    np.testing.assert_allclose(every[:, -1], accuracies.max(axis=1))

  def test_one_choice_for_all_tasks_is_never_better(self):
    rng = np.random.default_rng(2)
    accuracies = rng.uniform(size=(50, 40))
    costs = np.broadcast_to(rng.uniform(size=40), (50, 40))
    limits = np.linspace(0, 1, 21)
    each = fronts.frontier(costs, accuracies, limits).accuracy.mean(axis=0)
    means = costs.mean(axis=0)[None], accuracies.mean(axis=0)[None]
    shared = fronts.frontier(*means, limits).accuracy[0]
    self.assertTrue(np.all(each >= shared - 1e-12))
    self.assertGreater(each[-1], shared[-1] + 0.3)  # what hindsight is worth

  def test_tasks_can_be_resampled(self):
    accuracy = fronts.frontier(COSTS, ACCURACIES, LIMITS).accuracy
    means = evaluation.bootstrap(
      jax.random.key(0), jnp.asarray(accuracy), num_resamples=200
    )
    low, high = evaluation.percentile_interval(means)
    np.testing.assert_allclose(low, accuracy.min(axis=0), atol=1e-6)
    np.testing.assert_allclose(high, accuracy.max(axis=0), atol=1e-6)


class TokensTest(absltest.TestCase):
  def test_pass_at_trials(self):
    found = fronts.pass_at_trials(8, np.array([0, 1, 3, 8]), [1, 2, 8])
    expected = [
      [1 - math.comb(8 - c, n) / math.comb(8, n) for n in (1, 2, 8)]
      for c in (0, 1, 3, 8)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)

  def test_equivalent_tokens(self):
    lengths = np.array([[3.0, 4.0], [0.0, 2.0]])
    linear = fronts.equivalent_tokens(lengths, 4)
    np.testing.assert_allclose(linear, [14, 4])
    squares = fronts.equivalent_tokens(lengths, quadratic=True)
    np.testing.assert_allclose(squares, [12.5**0.5, 2**0.5])

  def test_optimal_tokens_are_those_of_the_greediest_task(self):
    choice = fronts.frontier(COSTS, ACCURACIES, LIMITS).choice
    tokens = np.array([[10, 20, 40, 80], [15, 30, 60, 120]])
    np.testing.assert_array_equal(
      fronts.optimal_tokens(choice, tokens), [0, 10, 15, 40, 40]
    )

  def test_growth_per_doubling(self):
    x = np.array([1.0, 3, 10, 50])
    self.assertAlmostEqual(fronts.growth_per_doubling(x, 7 * x), 2)
    self.assertAlmostEqual(
      fronts.growth_per_doubling(x, 7 / np.sqrt(x)), 2**-0.5
    )


if __name__ == '__main__':
  absltest.main()
