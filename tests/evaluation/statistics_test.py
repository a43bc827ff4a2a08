import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest
from scipy import stats

from ttc import evaluation
from ttc.evaluation import statistics

mean_and_standard_error = jax.jit(
  evaluation.mean_and_standard_error, static_argnames='finite_correction'
)
variance_split = jax.jit(evaluation.variance_split)


def coverage(interval, truth):
  low, high = np.asarray(interval.low), np.asarray(interval.high)
  return np.mean((low <= truth) & (truth <= high))


class StandardErrorTest(absltest.TestCase):
  def test_without_clusters_it_is_the_usual_standard_error(self):
    scores = jax.random.normal(jax.random.key(0), (37,))
    estimate = mean_and_standard_error(scores)
    np.testing.assert_allclose(estimate.mean, np.mean(scores), rtol=1e-5)
    np.testing.assert_allclose(
      estimate.standard_error, stats.sem(scores), rtol=1e-5
    )
    self.assertEqual(int(estimate.degrees_of_freedom), 36)

  def test_identical_copies_count_once(self):
    scores = jax.random.normal(jax.random.key(1), (12,))
    copies = jnp.repeat(scores, 5)
    clusters = jnp.repeat(jnp.arange(12), 5)
    one = mean_and_standard_error(scores)
    many = mean_and_standard_error(copies, clusters)
    np.testing.assert_allclose(many, one, rtol=1e-5)

  def test_formula_with_unequal_clusters(self):
    scores = np.array([1.0, 0, 1, 1, 0, 0.5, 1], np.float32)
    clusters = np.array([4, 4, 0, 0, 0, 6, 2])
    deviations = scores - scores.mean()
    sums = [deviations[clusters == c].sum() for c in (4, 0, 6, 2)]
    plain = np.sqrt(np.sum(np.square(sums))) / 7
    for finite_correction, factor in ((True, 4 / 3), (False, 1.0)):
      estimate = mean_and_standard_error(
        jnp.asarray(scores),
        jnp.asarray(clusters),
        finite_correction=finite_correction,
      )
      np.testing.assert_allclose(
        estimate.standard_error, plain * factor**0.5, rtol=1e-5
      )
      self.assertEqual(int(estimate.degrees_of_freedom), 3)

  def test_cluster_ids_out_of_range_are_refused(self):
    with self.assertRaisesRegex(ValueError, r'0\.\.2'):
      evaluation.mean_and_standard_error(jnp.ones(3), jnp.array([0, 1, 3]))

  def test_t_interval(self):
    scores = jax.random.normal(jax.random.key(2), (9,))
    got = evaluation.confidence_interval(mean_and_standard_error(scores), 0.9)
    expected = stats.t.interval(
      0.9, 8, np.mean(scores), stats.sem(np.asarray(scores))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4)


class VarianceSplitTest(absltest.TestCase):
  def test_parts_of_a_known_mixture(self):
    # p ~ Uniform(0, 1), K Bernoulli(p) samples: Var E = 1/12, E Var = 1/6.
    p_key, draw_key = jax.random.split(jax.random.key(0))
    p = jax.random.uniform(p_key, (40_000, 1))
    draws = jax.random.bernoulli(draw_key, p, (40_000, 4))
    split = variance_split(draws.astype(jnp.float32))
    # Standard errors are near 0.0006 and 0.0005.
    self.assertAlmostEqual(float(split.between), 1 / 12, delta=0.002)
    self.assertAlmostEqual(float(split.within), 1 / 6, delta=0.002)
    self.assertAlmostEqual(float(split.removable), 1 / 3, delta=0.01)

  def test_the_parts_add_up(self):
    scores = jax.random.uniform(jax.random.key(3), (6, 3))
    split = variance_split(scores)
    total = mean_and_standard_error(scores.mean(axis=1))
    np.testing.assert_allclose(
      (split.between + split.within / 3) / 6,
      total.standard_error**2,
      rtol=1e-4,
    )

  def test_one_sample_says_nothing_about_samples(self):
    with self.assertRaisesRegex(ValueError, 'at least 2'):
      evaluation.variance_split(jnp.ones((5, 1)))


class WilsonTest(absltest.TestCase):
  def test_agrees_with_scipy(self):
    for successes, trials in ((0, 10), (3, 10), (10, 10), (57, 99)):
      expected = stats.binomtest(successes, trials).proportion_ci(
        method='wilson'
      )
      np.testing.assert_allclose(
        evaluation.wilson_interval(successes, trials), expected, atol=1e-6
      )


class CoverageTest(absltest.TestCase):
  """95% intervals of 2000 simulated benchmarks; one s.e. is 0.005."""

  @pytest.mark.slow
  def test_bernoulli_items(self):
    data_key, boot_key = jax.random.split(jax.random.key(0))
    scores = jax.random.bernoulli(data_key, 0.3, (2000, 200))
    scores = scores.astype(jnp.float32)
    estimate = jax.jit(jax.vmap(mean_and_standard_error))(scores)
    clt = coverage(evaluation.confidence_interval(estimate), 0.3)
    # One set of resampling weights serves every benchmark.
    replicates = jax.jit(
      jax.vmap(lambda s: evaluation.bootstrap(boot_key, s, num_resamples=2000))
    )(scores)
    percentile = jax.jit(jax.vmap(evaluation.percentile_interval))(replicates)
    self.assertBetween(clt, 0.93, 0.965)
    self.assertBetween(coverage(percentile, 0.3), 0.93, 0.965)

  def test_forty_clusters_of_five_copies_exactly(self):
    # The interval depends on the number of successes only: 41 benchmarks.
    successes = np.arange(41)
    distinct = jnp.asarray(successes[:, None] > np.arange(40), jnp.float32)
    scores = jnp.repeat(distinct, 5, axis=1)
    clusters = jnp.repeat(jnp.arange(40), 5)
    chance = stats.binom.pmf(successes, 40, 0.3)

    def exact_coverage(clusters):
      estimate = jax.vmap(lambda s: mean_and_standard_error(s, clusters))(
        scores
      )
      low, high = evaluation.confidence_interval(estimate)
      return np.dot(chance, (low <= 0.3) & (0.3 <= high))

    self.assertAlmostEqual(exact_coverage(None), 0.6115, places=4)
    self.assertAlmostEqual(exact_coverage(clusters), 0.9299, places=4)


class ClusterCountTest(absltest.TestCase):
  def test_counts_ids_in_use(self):
    for ids in itertools.product(range(3), repeat=3):
      self.assertEqual(
        int(statistics.count_clusters(jnp.array(ids))), len(set(ids))
      )
