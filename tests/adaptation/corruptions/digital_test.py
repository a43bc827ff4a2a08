import colorsys

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.adaptation.corruptions import digital

KEY = jax.random.key(4)
COLOURS = jax.random.uniform(KEY, (4, 5, 3), jnp.float32)
COLOURS = COLOURS.at[0, 0].set(0).at[0, 1].set(0.4)  # black and grey
RAMP = jnp.linspace(0.2, 0.8, 16, dtype=jnp.float32)
SLOPE = jnp.broadcast_to(RAMP[:, None, None], (16, 16, 1))


def by_colorsys(image, change):
  """Applies a change to hue, saturation and value of each pixel."""
  return np.array([
    [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*map(float, pixel))))
     for pixel in row]
    for row in np.asarray(image)
  ])  # fmt: skip


elastic = jax.jit(digital.elastic_transform, static_argnums=(2, 3, 4))
jpeg = jax.jit(digital.jpeg_compression, static_argnums=1)


class DigitalTest(parameterized.TestCase):
  def test_brightness_is_of_value(self):
    np.testing.assert_allclose(
      digital.brightness(COLOURS, 0.3),
      by_colorsys(COLOURS, lambda h, s, v: (h, s, min(v + 0.3, 1))),
      atol=1e-5,
    )
    np.testing.assert_allclose(
      digital.brightness(SLOPE, 0.3), jnp.minimum(SLOPE + 0.3, 1), atol=1e-6
    )

  @parameterized.parameters((0.3, 0.0), (2.0, 0.1), (20.0, 0.2))
  def test_saturate_is_of_saturation(self, factor, amount):
    np.testing.assert_allclose(
      digital.saturate(COLOURS, factor, amount),
      by_colorsys(COLOURS, lambda h, s, v: (h, min(s * factor + amount, 1), v)),
      atol=1e-5,
    )
    np.testing.assert_array_equal(
      digital.saturate(SLOPE, factor, amount), SLOPE
    )

  def test_contrast_shrinks_about_the_mean(self):
    found = digital.contrast(SLOPE, 0.15)
    self.assertAlmostEqual(float(found.mean()), float(SLOPE.mean()), places=5)
    self.assertAlmostEqual(
      float(found.std()), 0.15 * float(SLOPE.std()), places=5
    )
    np.testing.assert_allclose(digital.contrast(SLOPE, 1.0), SLOPE, atol=1e-6)

  def test_pixelate_repeats_means(self):
    found = digital.pixelate(SLOPE, 0.5)
    pairs = SLOPE.reshape(8, 2, 16, 1).mean(axis=1).repeat(2, axis=0)
    np.testing.assert_allclose(found, pairs, atol=0.51 / 255)
    np.testing.assert_allclose(
      digital.pixelate(SLOPE, 1.0), SLOPE, atol=0.51 / 255
    )

  def test_jpeg_keeps_flat_blocks_and_forgets_detail(self):
    flat = jnp.full((16, 16, 3), 128 / 255, jnp.float32)
    np.testing.assert_allclose(jpeg(flat, 7), flat, atol=1e-6)
    checks = jnp.indices((16, 16)).sum(axis=0)[..., None] % 2 * 0.05 + 0.45
    coarse = jpeg(checks, 7)
    self.assertLess(float(coarse.std()), 0.2 * float(checks.std()))
    fine = jpeg(checks, 100)
    np.testing.assert_allclose(fine, checks, atol=1.5 / 255)

  def test_jpeg_of_sizes_that_are_no_multiples_of_a_block(self):
    found = jpeg(SLOPE[:13, :11], 90)
    np.testing.assert_allclose(found, SLOPE[:13, :11], atol=0.03)

  def test_elastic_moves_by_what_it_is_told(self):
    still = elastic(KEY, SLOPE, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(still, SLOPE, atol=1e-5)
    # On a slope the change of value is the way that was moved.
    slope = float(RAMP[1] - RAMP[0])
    moved = elastic(KEY, SLOPE, 0.0, 0.0, 0.08)
    steps = (moved - SLOPE)[5:11, 5:11] / slope
    self.assertBetween(float(jnp.abs(steps).max()), 0.1, 3 * 0.08 * 16)
    # An affine map of a slope is a plane.
    bends = jnp.diff(steps, n=2, axis=0), jnp.diff(steps, n=2, axis=1)
    for bend in bends:
      self.assertLess(float(jnp.abs(bend).max()), 1e-3)


if __name__ == '__main__':
  absltest.main()
