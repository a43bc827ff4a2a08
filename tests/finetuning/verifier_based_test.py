"""Cloning, reward models and the ball, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import finetuning
from ttc.testbeds import planted_subsequence as bed


class PlantedSubsequenceTest(parameterized.TestCase):
  @parameterized.parameters(
    (30, 17.91, 25.46), (60, 42.12, 55.46), (120, 101.18, 115.46)
  )
  def test_returns_of_fixed_speeds(self, horizon, free, based):
    found = bed.verifier_free_return(bed.SPEEDS, horizon)
    self.assertAlmostEqual(found, free, delta=0.006)
    found = bed.verifier_based_return(bed.SPEEDS, horizon)
    self.assertAlmostEqual(found, based, delta=0.006)

  def test_the_gap_grows_with_scaled_speeds_and_is_0_for_one_speed(self):
    for horizon, gap in ((30, 7.50), (60, 13.39), (120, 21.28)):
      speeds = bed.scaled_speeds(horizon)
      found = bed.verifier_based_return(
        speeds, horizon
      ) - bed.verifier_free_return(speeds, horizon)
      self.assertAlmostEqual(found, gap, delta=0.006)
    one = bed.scaled_speeds(60)[1:2] * 3
    self.assertAlmostEqual(
      bed.verifier_based_return(one, 60), bed.verifier_free_return(one, 60)
    )

  def test_traces_follow_the_law(self):
    horizon, speeds = 30, jnp.array(bed.SPEEDS, jnp.float32)
    draw = jax.jit(bed.draw_traces, static_argnums=(2, 3))
    trace = draw(jax.random.key(0), speeds, horizon, 6000)
    got = bed.returned(trace, horizon)
    error = float(jnp.std(got)) / 6000**0.5
    want = bed.base_return(bed.SPEEDS, horizon)
    self.assertAlmostEqual(float(got.mean()), want, delta=3 * error)
    self.assertTrue(np.all((trace.time <= horizon) == (trace.progress == 5)))

  def test_heterogeneity_is_the_variance_of_the_return(self):
    """The law of total variance: steps add up to `Var E[R | actions]`.

    With one speed a return is a function of the hits alone, so the sum is its
    whole variance.
    """
    horizon, speed = 20, 0.3
    chance, _ = bed.law(speed, horizon)
    after = np.arange(horizon, 0, -1)
    variance = after**2 @ chance - (after @ chance) ** 2
    self.assertAlmostEqual(
      bed.heterogeneity((speed,), horizon), variance, delta=1e-6 * variance
    )
    self.assertGreater(
      bed.heterogeneity(bed.SPEEDS, horizon),
      bed.heterogeneity((0.9,), horizon),
    )


class LearningTest(parameterized.TestCase):
  def test_clones_find_the_mixture_and_ignore_padding(self):
    weights = jnp.array([0.5, 0.3, 0.2])
    logs = jnp.log(jnp.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1],
                              [0.1, 0.1, 0.8]]))  # fmt: skip
    names = jax.random.categorical(
      jax.random.key(0), jnp.log(weights), shape=(4000,)
    )
    words = jax.random.categorical(jax.random.key(1), logs[names])
    rows = logs.T[words]  # likelihood of the word under each policy
    start = jnp.ones(3) / 3
    found = finetuning.clone(rows, start)
    np.testing.assert_allclose(found, weights, atol=0.05)
    padded = jnp.concatenate([rows, jnp.full((10, 3), -jnp.inf)])
    np.testing.assert_allclose(finetuning.clone(padded, start), found, 1e-5)
    # A row that only a policy outside the support can have made.
    other = jnp.array([[-jnp.inf, -1.0], [-1.0, -2.0]])
    alone = finetuning.clone(other, jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(alone, [1, 0])
    nothing = finetuning.clone(jnp.full((4, 3), -jnp.inf), start)
    np.testing.assert_array_equal(nothing, start)

  def test_returns_of_policies_that_traces_tell_apart_are_plain_means(self):
    rows = jnp.log(jnp.array([[1, 1e-30], [1, 1e-30], [1e-30, 1.0]]))
    model = finetuning.fit_returns(
      rows, jnp.array([0.5, 0.5]), jnp.array([1.0, 3.0, 7.0])
    )
    np.testing.assert_allclose(model.returns, [2, 7], rtol=1e-6)
    np.testing.assert_allclose(model.standard_errors[0], 1.0, rtol=1e-5)

  @parameterized.parameters(0.0, 0.05, 0.5, 1.0, 100.0)
  def test_the_ball_is_kept_and_used(self, radius):
    base, values = jnp.array([0.6, 0.3, 0.1, 0.0]), jnp.array([1.0, 2, 4, 9])
    w = finetuning.improve_in_ball(base, values, radius)
    self.assertAlmostEqual(float(w.sum()), 1, places=5)
    self.assertEqual(float(w[3]), 0.0)  # outside the support
    divergence = float(jnp.sum((w[:3] - base[:3]) ** 2 / base[:3]))
    self.assertLessEqual(divergence, radius + 1e-4)
    if radius < 1:  # Cauchy-Schwarz, while nothing is cut off
      mean = base @ values
      spread = jnp.sqrt(base @ (values - mean) ** 2)
      bound = float(mean + spread * radius**0.5)
      got = float(w @ values)
      self.assertLessEqual(got, bound + 1e-3)
      if radius <= 0.05:
        self.assertAlmostEqual(got, bound, delta=2e-3)
    if radius > 10:
      np.testing.assert_array_equal(w, [0, 0, 1, 0])


if __name__ == '__main__':
  absltest.main()
