import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from scipy import ndimage

from ttc.adaptation.corruptions import blur, resampling

KEY = jax.random.key(2)
IMAGE = jax.random.uniform(KEY, (20, 24, 1), jnp.float32)
POINT = jnp.zeros((21, 21, 1), jnp.float32).at[10, 10].set(1)
FLAT = jnp.full((20, 24, 3), 0.3, jnp.float32)


class BlurTest(parameterized.TestCase):
  def test_flat_images_stay_flat(self):
    for found in (
      blur.gaussian_blur(FLAT, 2.0),
      blur.defocus_blur(FLAT, 3.0, 0.5),
      blur.motion_blur(KEY, FLAT, 6, 2.0),
      blur.zoom_blur(FLAT, 7, 0.01),
    ):
      np.testing.assert_allclose(found, FLAT, atol=1e-6)

  @parameterized.parameters(0.4, 1.6, 6.0)
  def test_gaussian_is_scipys(self, sigma):
    np.testing.assert_allclose(
      blur.gaussian_blur(IMAGE, sigma)[..., 0],
      ndimage.gaussian_filter(np.asarray(IMAGE)[..., 0], sigma, mode='nearest'),
      atol=1e-5,
    )
    self.assertEqual(
      float(jnp.abs(blur.gaussian_blur(IMAGE, 0.0) - IMAGE).max()), 0
    )

  def test_defocus_of_a_point_is_a_disk(self):
    disk = np.asarray(blur.defocus_blur(POINT, 3.0, 0.1))[..., 0]
    rows, columns = np.mgrid[-10:11, -10:11]
    inside = rows**2 + columns**2 <= 9
    np.testing.assert_allclose(disk, inside / inside.sum(), atol=1e-6)

  def test_motion_is_one_sided_along_its_angle(self):
    found = blur.line_blur(POINT, 3, 2.0, jnp.float32(0.0))[..., 0]
    weights = np.exp(-0.5 * (np.arange(7) / 2) ** 2)
    # A pixel looks to its right, so a point leaves its trace on its left.
    np.testing.assert_allclose(
      found[10, 4:11], weights[::-1] / weights.sum(), atol=1e-6
    )
    self.assertAlmostEqual(float(found.sum()), 1, places=5)
    upright = blur.line_blur(POINT, 3, 2.0, jnp.float32(90.0))[..., 0]
    np.testing.assert_allclose(upright[4:11, 10], found[10, 4:11], atol=1e-6)

  def test_zoom_by_one_and_by_two(self):
    np.testing.assert_array_equal(resampling.zoom_matrix(9, 1.0), np.eye(9))
    zoomed = ndimage.zoom(np.asarray(IMAGE)[5:15, 6:18, 0], 2, order=1)
    np.testing.assert_allclose(
      resampling.separable(
        resampling.zoom_matrix(20, 2.0), resampling.zoom_matrix(24, 2.0), IMAGE
      )[..., 0],
      zoomed,
      atol=1e-5,
    )
    np.testing.assert_allclose(blur.zoom_blur(IMAGE, 1, 0.01), IMAGE, atol=1e-6)

  def test_glass_copies_neighbours(self):
    image = IMAGE[:12, :12]
    levels = jnp.round(255 * image) / 255
    found = np.asarray(blur.glass_blur(KEY, levels, 0.0, 1, 1))[..., 0]
    image = np.asarray(levels)[..., 0]
    moved = found != image
    self.assertBetween(moved.mean(), 0.3, 0.75)
    # The border is never written.
    for edge in (np.s_[:2], np.s_[:, :2]):
      self.assertFalse(moved[edge].any())
    # In one round a value moves down and right by a chain, or up and left by 1.
    self.assertTrue(np.isin(found, image).all())

  def test_box_means_and_nearest(self):
    halve = resampling.box_matrix(6, 3)
    np.testing.assert_allclose(halve @ np.arange(6.0), [0.5, 2.5, 4.5])
    repeat = resampling.box_matrix(3, 6)
    np.testing.assert_allclose(repeat @ np.arange(3.0), [0, 0, 1, 1, 2, 2])
    up = resampling.upsampling_matrix(2, 4)
    np.testing.assert_allclose(up @ np.array([0.0, 1.0]), [0, 0.25, 0.75, 1])


if __name__ == '__main__':
  absltest.main()
