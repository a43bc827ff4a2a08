import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from scipy import stats

from ttc import evaluation

bootstrap = jax.jit(
  evaluation.bootstrap,
  static_argnames=('statistic', 'num_resamples', 'batch_size'),
)
bca_interval = jax.jit(evaluation.bca_interval)


class BootstrapTest(absltest.TestCase):
  def test_spread_of_the_mean(self):
    # The sd of resampled means is sd(ddof=0) / sqrt(n); its s.e. is 2.2%.
    data = jax.random.exponential(jax.random.key(0), (20,))
    replicates = bootstrap(jax.random.key(1), data, num_resamples=999)
    spread = jnp.std(data) / 20**0.5
    np.testing.assert_allclose(jnp.std(replicates), spread, rtol=0.067)
    np.testing.assert_allclose(
      jnp.mean(replicates), jnp.mean(data), atol=3 * spread / 999**0.5
    )

  def test_batches_do_not_change_the_result(self):
    data = jax.random.normal(jax.random.key(0), (12, 3))
    whole = bootstrap(jax.random.key(1), data, num_resamples=50)
    parts = bootstrap(jax.random.key(1), data, num_resamples=50, batch_size=7)
    np.testing.assert_allclose(whole, parts, rtol=1e-5)

  def test_clusters_are_drawn_whole(self):
    # Weighted sums of the indicator of a cluster are multiples of its size.
    clusters = jnp.array([5, 5, 5, 1, 1, 0])
    sizes = {0: 1, 1: 2, 5: 3}
    for cluster, size in sizes.items():
      counts = bootstrap(
        jax.random.key(3),
        (clusters == cluster).astype(jnp.float32),
        statistic=jnp.dot,
        num_resamples=300,
        clusters=clusters,
      )
      np.testing.assert_allclose(counts % size, 0, atol=1e-6)
      # Three draws out of three clusters: each is expected once.
      self.assertAlmostEqual(float(counts.mean()) / size, 1.0, delta=0.15)

  def test_clustered_spread_is_that_of_cluster_means(self):
    # The relative s.e. of the spread is 1 / sqrt(2 * 999) = 2.2%.
    means = jax.random.normal(jax.random.key(4), (20,))
    data, clusters = jnp.repeat(means, 3), jnp.repeat(jnp.arange(20), 3)
    replicates = bootstrap(
      jax.random.key(5), data, num_resamples=999, clusters=clusters
    )
    np.testing.assert_allclose(
      jnp.std(replicates), jnp.std(means) / 20**0.5, rtol=0.067
    )


class IntervalTest(absltest.TestCase):
  def test_percentiles_of_a_curve(self):
    replicates = jnp.stack([jnp.arange(101.0), 10 * jnp.arange(101.0)], axis=1)
    low, high = evaluation.percentile_interval(replicates, 0.9)
    np.testing.assert_allclose(low, [5, 50], rtol=1e-5)
    np.testing.assert_allclose(high, [95, 950], rtol=1e-5)

  def test_bca_agrees_with_scipy_on_skewed_data(self):
    data = jax.random.exponential(jax.random.key(7), (20,))
    replicates = bootstrap(jax.random.key(8), data, num_resamples=20_000)
    got = bca_interval(replicates, data)
    expected = stats.bootstrap(
      (np.asarray(data),), np.mean, n_resamples=20_000, rng=0
    ).confidence_interval
    # Monte Carlo error of the ends is near 0.003; percentile is 0.03 lower.
    np.testing.assert_allclose(got, expected, atol=0.012)
    percentile = evaluation.percentile_interval(replicates)
    self.assertGreater(float(got.high - percentile.high), 0.02)

  def test_bca_of_every_point_of_a_curve(self):
    data = jax.random.exponential(jax.random.key(9), (20, 2))
    replicates = bootstrap(jax.random.key(1), data, num_resamples=999)
    both = bca_interval(replicates, data)
    for column in range(2):
      one = bca_interval(replicates[:, column], data[:, column])
      np.testing.assert_allclose(
        [both.low[column], both.high[column]], one, rtol=1e-4
      )

  def test_bca_with_clusters_of_copies_ignores_the_copies(self):
    means = jax.random.exponential(jax.random.key(2), (20,))
    data, clusters = jnp.repeat(means, 3), jnp.repeat(jnp.arange(20), 3)
    replicates = bootstrap(
      jax.random.key(3), data, num_resamples=999, clusters=clusters
    )
    copies = bca_interval(replicates, data, clusters=clusters)
    single = bca_interval(replicates, means)
    np.testing.assert_allclose(copies, single, rtol=1e-3)

  def test_constant_data_have_a_point_interval(self):
    data = jnp.full(20, 0.5)
    replicates = bootstrap(jax.random.key(0), data, num_resamples=999)
    interval = bca_interval(replicates, data)
    np.testing.assert_allclose(interval, 0.5, rtol=1e-6)
