import itertools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from ttc import scaling


def hypergeometric(n, c, k):
  """Exact law of the number of correct ones among `k` of `n`."""
  return [
    Fraction(math.comb(c, j) * math.comb(n - c, k - j), math.comb(n, k))
    for j in range(k + 1)
  ]


def tail(n, c, k, threshold):
  return float(sum(hypergeometric(n, c, k)[threshold:]))


class PassAtKTest(parameterized.TestCase):
  @parameterized.parameters(
    (10, 3, 5, 0.9166666667),
    (16, 1, 4, 0.25),
    (200, 7, 100, 0.9929911172),
  )
  def test_oracles(self, n, c, k, expected):
    self.assertAlmostEqual(
      float(scaling.pass_at_k(n, c, k)), expected, places=6
    )

  def test_pass_hat_k_oracle(self):
    self.assertAlmostEqual(
      float(scaling.pass_hat_k(10, 7, 3)), 0.2916666667, places=6
    )

  @parameterized.parameters((7, 3), (200, 100), (1024, 400))
  def test_exact_for_every_count(self, n, k):
    counts = np.arange(0, n + 1, max(1, n // 16))
    at_least_one = [tail(n, c, k, 1) for c in counts]
    all_of_them = [tail(n, c, k, k) for c in counts]
    np.testing.assert_allclose(
      scaling.pass_at_k(n, counts, k), at_least_one, atol=2e-6
    )
    np.testing.assert_allclose(
      scaling.pass_hat_k(n, counts, k), all_of_them, atol=2e-6
    )

  @parameterized.parameters(1, 25)
  def test_g_pass_is_the_tail_of_the_hypergeometric_law(self, k):
    n, counts = 60, np.arange(61)
    for tau in (0.0, 0.28, 0.75, 1.0):
      threshold = max(1, math.ceil(Fraction(str(tau)) * k))
      np.testing.assert_allclose(
        scaling.g_pass_at_k(n, counts, k, tau),
        [tail(n, c, k, threshold) for c in counts],
        atol=2e-6,
      )

  def test_g_pass_interpolates_between_pass_at_k_and_pass_hat_k(self):
    n, counts, k = 20, np.arange(21), 6
    np.testing.assert_allclose(
      scaling.g_pass_at_k(n, counts, k, 1e-6),
      scaling.pass_at_k(n, counts, k),
      atol=1e-6,
    )
    np.testing.assert_allclose(
      scaling.g_pass_at_k(n, counts, k, 1.0),
      scaling.pass_hat_k(n, counts, k),
      atol=1e-6,
    )

  @parameterized.parameters(1, 2, 5)
  def test_mg_pass_averages_thresholds_above_one_half(self, k):
    n, counts = 24, np.arange(25)
    thresholds = range(math.ceil(k / 2) + 1, k + 1)
    expected = [
      2 / k * sum(tail(n, c, k, i) for i in thresholds) for c in counts
    ]
    np.testing.assert_allclose(
      scaling.mg_pass_at_k(n, counts, k), expected, atol=2e-6
    )

  def test_enumeration_of_draws(self):
    correct = np.array([1, 0, 0, 1, 1, 0])
    draws = [
      correct[list(d)].sum() for d in itertools.combinations(range(6), 4)
    ]
    law = np.array(draws)
    self.assertAlmostEqual(
      float(scaling.pass_at_k(6, 3, 4)), np.mean(law >= 1), places=6
    )
    self.assertAlmostEqual(
      float(scaling.g_pass_at_k(6, 3, 4, 0.6)), np.mean(law >= 3), places=6
    )

  def test_jit_and_vmap_with_traced_counts(self):
    n, c = jnp.array([10, 16, 30]), jnp.array([3, 1, 29])
    for fn in (scaling.pass_at_k, scaling.pass_hat_k, scaling.mg_pass_at_k):
      jitted = jax.jit(fn, static_argnums=2)(n, c, 4)
      mapped = jax.jit(jax.vmap(lambda n, c, fn=fn: fn(n, c, 4)))(n, c)
      direct = [float(fn(int(a), int(b), 4)) for a, b in zip(n, c, strict=True)]
      np.testing.assert_allclose(jitted, direct, atol=1e-6)
      np.testing.assert_allclose(mapped, direct, atol=1e-6)

  def test_too_few_samples_is_an_error_never_a_clip(self):
    with self.assertRaisesRegex(ValueError, 'needs at least 5'):
      scaling.pass_at_k(4, 1, 5)
    with self.assertRaisesRegex(ValueError, 'needs at least 5'):
      scaling.g_pass_at_k(np.array([8, 4]), np.array([1, 1]), 5, 0.5)
    with self.assertRaisesRegex(ValueError, 'correct of'):
      scaling.pass_hat_k(4, 5, 2)
    with self.assertRaisesRegex(ValueError, 'at least 1'):
      scaling.pass_at_k(4, 1, 0)
    traced = jax.jit(lambda n: scaling.pass_at_k(n, 1, 5))(jnp.array([4, 5]))
    np.testing.assert_array_equal(np.isnan(traced), [True, False])

  def test_the_plug_in_estimator_would_be_biased(self):
    # c ~ Binomial(n, p): the mean of pass@k over c is 1 - (1 - p)^k exactly.
    n, k, p = 12, 4, 0.2
    weights = [
      math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)
    ]
    counts = np.arange(n + 1)
    mean = np.dot(weights, scaling.pass_at_k(n, counts, k))
    self.assertAlmostEqual(mean, 1 - (1 - p) ** k, places=6)
    self.assertLess(
      np.dot(weights, 1 - (1 - counts / n) ** k), 1 - (1 - p) ** k - 0.01
    )
