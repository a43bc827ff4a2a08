import colorsys

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation.corruptions import geometric

KEY = jax.random.key(5)
IMAGE = jax.random.uniform(KEY, (15, 15, 1), jnp.float32)


class GeometricTest(absltest.TestCase):
  def test_quarter_turns_are_numpys(self):
    for turns in (1, 2, 3):
      np.testing.assert_allclose(
        geometric.rotated(IMAGE, 90.0 * turns),
        np.rot90(IMAGE, turns),
        atol=1e-4,
      )

  def test_angles_add_up(self):
    smooth = jax.image.resize(IMAGE[:4, :4], (15, 15, 1), 'linear')
    twice = geometric.rotated(geometric.rotated(smooth, 20.0), 25.0)
    once = geometric.rotated(smooth, 45.0)
    np.testing.assert_allclose(twice[5:10, 5:10], once[5:10, 5:10], atol=0.05)

  def test_rotate_goes_both_ways(self):
    turn = jax.jit(lambda key: geometric.rotate(key, IMAGE, 30.0))
    found = [turn(key) for key in jax.random.split(KEY, 10)]
    ways = [
      [bool(jnp.allclose(x, geometric.rotated(IMAGE, way * 30.0), atol=1e-5))
       for way in (1, -1)]
      for x in found
    ]  # fmt: skip
    self.assertTrue(all(sum(way) == 1 for way in ways))
    self.assertLen({tuple(way) for way in ways}, 2)

  def test_translate_shifts_whole_pixels(self):
    found = np.asarray(geometric.translate(KEY, IMAGE, 4.0))
    shifts = [np.roll(IMAGE, (a, b), (0, 1)) for a in (4, -4) for b in (4, -4)]
    inside = np.s_[4:11, 4:11]
    self.assertEqual(
      sum(np.allclose(found[inside], x[inside], atol=1e-4) for x in shifts), 1
    )
    self.assertEqual((found == 0).all(axis=1).sum(), 4)  # black came in

  def test_scale_shrinks_area(self):
    white = jnp.ones((30, 30, 1), jnp.float32)
    self.assertAlmostEqual(
      float(geometric.scale(white, 0.6).mean()), 0.36, delta=0.03
    )
    np.testing.assert_allclose(geometric.scale(IMAGE, 1.0), IMAGE, atol=1e-5)

  def test_shear_leaves_the_middle_row(self):
    found = geometric.shear(KEY, IMAGE, 0.3)
    np.testing.assert_allclose(found[7], IMAGE[7], atol=1e-5)
    self.assertGreater(float(jnp.abs(found - IMAGE).max()), 0.1)
    # Rows above and below move opposite ways: the sums agree turned round.
    np.testing.assert_allclose(
      geometric.shear(KEY, IMAGE[::-1, ::-1], 0.3), found[::-1, ::-1], atol=1e-4
    )

  def test_stripe_inverts_a_third(self):
    found = geometric.stripe(IMAGE, 1.0)
    np.testing.assert_allclose(found[:, 5:10], 1 - IMAGE[:, 5:10], atol=1e-6)
    np.testing.assert_array_equal(found[:, :5], IMAGE[:, :5])
    np.testing.assert_array_equal(found[:, 10:], IMAGE[:, 10:])

  def test_lines_cross_the_image(self):
    black = jnp.zeros((28, 28, 1), jnp.float32)
    dots = jax.jit(geometric.dotted_line, static_argnums=2)(KEY, black, 1.0)[
      ..., 0
    ]
    line = jax.jit(geometric.zigzag, static_argnums=2)(KEY, black, 1.0)[..., 0]
    self.assertTrue((line.max(axis=0) == 1).all())  # in every column
    # A dot every three columns, at most as wide as two.
    touched = dots.max(axis=0) == 1
    self.assertTrue(bool(touched[::3].all()) and not bool(touched.all()))
    self.assertLess(float(dots.sum()), float(line.sum()))

  def test_colours_are_pure_hues(self):
    black_and_white = jnp.array([0.0, 1.0], jnp.float32).reshape(1, 2, 1)
    for low, high in ((0.0, 0.3), (0.6, 0.9)):
      dark, bright = np.asarray(
        geometric.coloured(KEY, black_and_white, low, high)
      )[0]
      for pixel, value in ((dark, 0.25), (bright, 1.0)):
        hue, saturation, found = colorsys.rgb_to_hsv(*map(float, pixel))
        self.assertBetween(hue, low - 1e-3, high + 1e-3)
        self.assertAlmostEqual(saturation, 1, places=4)
        self.assertAlmostEqual(found, value, places=4)


if __name__ == '__main__':
  absltest.main()
