import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation.corruptions import noise

KEY = jax.random.key(1)
SIDE = 200
GREY = jnp.full((SIDE, SIDE, 1), 0.5, jnp.float32)


class NoiseTest(absltest.TestCase):
  def test_gaussian_moments_and_clipping(self):
    found = noise.gaussian_noise(KEY, GREY, 0.1)
    self.assertAlmostEqual(float(found.mean()), 0.5, delta=0.0025)
    self.assertAlmostEqual(float(found.std()), 0.1, delta=0.002)
    # Half of a normal is cut off: the mean is s / sqrt(2 pi).
    black = noise.gaussian_noise(KEY, jnp.zeros_like(GREY), 0.1)
    self.assertAlmostEqual(
      float(black.mean()), 0.1 / np.sqrt(2 * np.pi), delta=0.002
    )

  def test_shots_have_mean_x_and_variance_x_over_c(self):
    shots = jax.jit(noise.shot_noise, static_argnums=2)
    found = shots(KEY, GREY, 50.0)
    self.assertAlmostEqual(float(found.mean()), 0.5, delta=0.0025)
    self.assertAlmostEqual(float(found.var()), 0.5 / 50, delta=4e-4)
    self.assertEqual(float(shots(KEY, 0 * GREY, 50.0).max()), 0)

  def test_impulses_are_half_salt_half_pepper(self):
    found = noise.impulse_noise(KEY, GREY, 0.2)
    for value in (0.0, 1.0):
      self.assertAlmostEqual(float((found == value).mean()), 0.1, delta=0.006)
    self.assertAlmostEqual(float((found == 0.5).mean()), 0.8, delta=0.008)

  def test_speckles_grow_with_the_image(self):
    for level in (0.2, 0.4):
      found = noise.speckle_noise(KEY, jnp.full_like(GREY, level), 0.2)
      self.assertAlmostEqual(float(found.std()), 0.2 * level, delta=0.002)

  def test_nothing_of_nothing(self):
    for function in (
      noise.gaussian_noise,
      noise.impulse_noise,
      noise.speckle_noise,
    ):
      np.testing.assert_array_equal(function(KEY, GREY, 0.0), GREY)


if __name__ == '__main__':
  absltest.main()
