import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest
from scipy import stats

from ttc import evaluation

sign_flip_test = jax.jit(
  evaluation.sign_flip_test, static_argnames='num_permutations'
)


class PairedDifferenceTest(absltest.TestCase):
  def test_variance_identity_and_sign(self):
    key_a, key_b = jax.random.split(jax.random.key(0))
    a = jax.random.normal(key_a, (50,)) + 1
    b = 0.7 * a + 0.3 * jax.random.normal(key_b, (50,)) - 1
    paired = evaluation.paired_difference(a, b)
    variance = (
      jnp.var(a, ddof=1)
      + jnp.var(b, ddof=1)
      - 2 * paired.correlation * jnp.std(a, ddof=1) * jnp.std(b, ddof=1)
    )
    np.testing.assert_allclose(
      paired.difference.standard_error**2 * 50, variance, rtol=1e-4
    )
    self.assertGreater(float(paired.difference.mean), 1)
    np.testing.assert_allclose(
      paired.correlation, stats.pearsonr(a, b).statistic, rtol=1e-4
    )

  def test_nothing_differs(self):
    a = jnp.array([0.0, 1, 1, 0])
    paired = evaluation.paired_difference(a, a)
    self.assertEqual(float(paired.difference.mean), 0)
    self.assertEqual(float(paired.difference.standard_error), 0)
    self.assertAlmostEqual(float(paired.correlation), 1, places=6)


class McNemarTest(absltest.TestCase):
  def test_oracle(self):
    self.assertAlmostEqual(evaluation.mcnemar_test(3, 9), 0.1460, places=4)

  def test_binomial_test(self):
    for b, c in itertools.product((0, 1, 4, 20), repeat=2):
      expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
      self.assertAlmostEqual(evaluation.mcnemar_test(b, c), expected, places=9)


class SignFlipTest(absltest.TestCase):
  def test_enumeration_of_all_signs(self):
    # Three standard errors of p at R = 20 000 are at most 0.011.
    differences = jnp.array([0.9, 0.4, 0.3, -0.2, 0.6, 0.1])
    signs = np.array(list(itertools.product((-1, 1), repeat=6)))
    totals = np.abs(signs @ np.asarray(differences))
    expected = np.mean(totals >= abs(float(differences.sum())) - 1e-6)
    got = sign_flip_test(jax.random.key(0), differences, 20_000)
    self.assertAlmostEqual(float(got), expected, delta=0.011)

  def test_clusters_flip_together(self):
    # Two clusters of one sign: every flip that keeps or reverses both ties.
    differences = jnp.array([1.0, 1.0, 1.0, 2.0])
    got = sign_flip_test(
      jax.random.key(0), differences, 4000, clusters=jnp.array([0, 0, 0, 3])
    )
    self.assertAlmostEqual(float(got), 0.5, delta=0.024)

  def test_no_difference_is_no_evidence(self):
    got = sign_flip_test(jax.random.key(0), jnp.zeros(6), 20_000)
    self.assertEqual(float(got), 1)

  @pytest.mark.slow
  def test_size_under_the_null(self):
    # 2000 pairs of equal runs; one s.e. of the rejection rate is 0.005.
    data_key, test_key = jax.random.split(jax.random.key(2))
    a, b = jax.random.normal(data_key, (2, 2000, 60))
    p_values = jax.jit(jax.vmap(lambda d: sign_flip_test(test_key, d, 500)))(
      a - b
    )
    paired = jax.jit(jax.vmap(evaluation.paired_difference))(a, b).difference
    low, high = evaluation.confidence_interval(paired)
    self.assertBetween(float(jnp.mean(p_values <= 0.05)), 0.035, 0.065)
    self.assertBetween(float(jnp.mean((low > 0) | (high < 0))), 0.035, 0.065)


class HolmTest(absltest.TestCase):
  def test_by_hand(self):
    # Sorted: .01 * 4, .02 * 3, .03 * 2, .5 * 1.
    adjusted = evaluation.holm(jnp.array([0.03, 0.01, 0.5, 0.02]))
    np.testing.assert_allclose(adjusted, [0.06, 0.04, 0.5, 0.06], rtol=1e-5)

  def test_never_above_one_nor_below_the_raw_value(self):
    p_values = jnp.array([0.4, 0.9, 0.8])
    adjusted = evaluation.holm(p_values)
    self.assertTrue(bool(jnp.all((adjusted <= 1) & (adjusted >= p_values))))


class PowerTest(absltest.TestCase):
  def test_items_and_effect_are_inverse(self):
    items = evaluation.required_items(0.03, 0.2, power=0.9)
    self.assertAlmostEqual(
      float(evaluation.minimum_detectable_effect(items, 0.2, power=0.9)),
      0.03,
      places=6,
    )

  def test_textbook_number(self):
    # (1.959964 + 0.841621)^2 = 7.848880 items of unit effect and variance.
    self.assertAlmostEqual(
      float(evaluation.required_items(1.0, 1.0)), 7.848880, places=4
    )

  def test_the_promised_power_is_reached(self):
    # 4000 experiments; three standard errors are 0.019.
    items = int(np.ceil(evaluation.required_items(0.25, 1.0)))
    differences = 0.25 + jax.random.normal(jax.random.key(5), (4000, items))
    z = jnp.mean(differences, axis=1) * items**0.5
    self.assertAlmostEqual(float(jnp.mean(z > 1.96)), 0.8, delta=0.02)
