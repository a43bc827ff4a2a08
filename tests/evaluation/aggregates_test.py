import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from scipy import stats

from ttc import evaluation

# 0.1 .. 1.2 with one outlier.
SCORES = jnp.arange(0.1, 1.25, 0.1).at[0].set(-5).reshape(3, 4)


class AggregatesTest(absltest.TestCase):
  def test_oracle(self):
    self.assertAlmostEqual(float(SCORES.mean()), 0.225, places=5)
    self.assertAlmostEqual(
      float(evaluation.interquartile_mean(SCORES)), 0.65, places=5
    )
    self.assertAlmostEqual(
      float(evaluation.optimality_gap(SCORES)), 0.80, places=5
    )

  def test_interquartile_mean_is_the_trimmed_mean(self):
    for size in (1, 5, 7, 18):
      scores = jax.random.normal(jax.random.key(size), (size, 3))
      np.testing.assert_allclose(
        evaluation.interquartile_mean(scores),
        stats.trim_mean(scores, 0.25, axis=None),
        rtol=1e-4,
        atol=1e-6,
      )

  def test_median_is_over_task_means(self):
    scores = jnp.array([[0.0, 1.0, 8.0], [2.0, 3.0, 0.0]])  # means 1, 2, 4
    self.assertEqual(float(evaluation.median_of_task_means(scores)), 2)

  def test_probability_of_improvement_is_mann_whitney(self):
    key_x, key_y = jax.random.split(jax.random.key(0))
    x = jax.random.randint(key_x, (6, 3), 0, 5).astype(jnp.float32) + 1
    y = jax.random.randint(key_y, (4, 3), 0, 5).astype(jnp.float32)
    expected = np.mean(
      [stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 24 for t in range(3)]
    )
    got = evaluation.probability_of_improvement(x, y)
    self.assertAlmostEqual(float(got), expected, places=5)
    self.assertAlmostEqual(
      float(got + evaluation.probability_of_improvement(y, x)), 1, places=5
    )
    self.assertEqual(float(evaluation.probability_of_improvement(x, x)), 0.5)

  def test_profiles(self):
    scores = jnp.array([[0.0, 1.0], [1.0, 1.0]])
    taus = jnp.array([-0.1, 0.0, 0.4, 0.6, 1.0])
    np.testing.assert_allclose(
      evaluation.run_score_profile(scores, taus), [1, 0.75, 0.75, 0.75, 0]
    )
    np.testing.assert_allclose(
      evaluation.mean_score_profile(scores, taus), [1, 1, 1, 0.5, 0]
    )

  def test_stratified_bootstrap_keeps_runs_in_their_task(self):
    # Runs differ within task 0 only: the mean of task 1 never moves.
    scores = jnp.stack([jnp.arange(8.0), jnp.full(8, 3.0)], axis=1)
    replicates = evaluation.stratified_bootstrap(
      jax.random.key(0), scores, lambda s: jnp.mean(s, axis=0), 2000
    )
    np.testing.assert_allclose(replicates[:, 1], 3.0, rtol=1e-6)
    # Independent runs: sd(ddof=0) / sqrt(8), its s.e. is 1.6%.
    np.testing.assert_allclose(
      jnp.std(replicates[:, 0]), jnp.std(jnp.arange(8.0)) / 8**0.5, rtol=0.05
    )

  def test_stratified_bootstrap_of_two_algorithms(self):
    x, y = jax.random.normal(jax.random.key(1), (2, 10, 4))
    replicates = evaluation.stratified_bootstrap(
      jax.random.key(2),
      (x + 1, y),
      lambda pair: evaluation.probability_of_improvement(*pair),
      2000,
    )
    low, high = evaluation.percentile_interval(replicates)
    self.assertGreater(float(low), 0.5)
    # 1 standard deviation apart: Phi(1 / sqrt 2) = 0.760.
    self.assertBetween(0.760, float(low), float(high))
