"""AugMix's operations against the Python Imaging Library, and their mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc.adaptation import augmix
from ttc.adaptation.augmix import OPERATIONS

KEY = jax.random.key(0)
PIXELS = np.asarray(
  40 + 180 * jax.random.uniform(KEY, (36, 36, 3)) ** 2, np.uint8
)


def by_library(name, image, level, sign):
  """The same operation as the library does it."""
  pil = pytest.importorskip('PIL.Image')
  ops = pytest.importorskip('PIL.ImageOps')
  bilinear, affine = pil.Resampling.BILINEAR, pil.Transform.AFFINE
  width, height = image.size
  move = lambda *six: image.transform(image.size, affine, six, bilinear)
  return {
    'autocontrast': lambda: ops.autocontrast(image),
    'equalize': lambda: ops.equalize(image),
    'posterize': lambda: ops.posterize(image, 4 - int(0.4 * level)),
    'rotate': lambda: image.rotate(sign * int(3 * level), bilinear),
    'solarize': lambda: ops.solarize(image, 256 - int(25.6 * level)),
    'shear_x': lambda: move(1, 0.03 * sign * level, 0, 0, 1, 0),
    'shear_y': lambda: move(1, 0, 0, 0.03 * sign * level, 1, 0),
    'translate_x': lambda: move(1, 0, sign * int(level * width / 30), 0, 1, 0),
    'translate_y': lambda: move(1, 0, 0, 0, 1, sign * int(level * height / 30)),
  }[name]()


class AugMixTest(parameterized.TestCase):
  @parameterized.parameters(*[(op,) for op in OPERATIONS])
  def test_operation_is_the_librarys(self, operation):
    pil = pytest.importorskip('PIL.Image')
    image = pil.fromarray(PIXELS)
    changed = jax.jit(operation)
    for level in (0.2, 0.55, 0.95):
      for sign in (-1, 1):
        got = np.asarray(
          changed(
            jnp.asarray(PIXELS, jnp.float32), jnp.float32(level),
            jnp.float32(sign),
          )
        )  # fmt: skip
        wanted = by_library(operation.__name__, image, level, sign)
        gap = abs(got - np.asarray(wanted, np.float32))
        # Rounded down from floats that differ: a few pixels by one.
        self.assertLessEqual(gap.max(), 1)
        self.assertLess((gap > 0).mean(), 0.01)
        np.testing.assert_array_equal(got, np.round(got))

  def test_views_are_of_the_range_and_differ_by_row(self):
    view = jax.jit(augmix.augmix_view())
    images = jnp.asarray(np.stack([PIXELS] * 3), jnp.float32) / 255
    seen = view(KEY, images)
    self.assertEqual(seen.shape, images.shape)
    self.assertTrue(bool((seen >= 0).all() & (seen <= 1).all()))
    self.assertGreater(float(abs(seen[0] - seen[1]).max()), 0.05)
    np.testing.assert_allclose(view(KEY, images[:2]), seen[:2], atol=1e-6)

  def test_a_black_image_stays_black_but_where_it_is_inverted(self):
    black = jnp.zeros((8, 8, 8, 1))
    seen = jax.jit(augmix.augmix_view())(KEY, black)
    np.testing.assert_array_equal(seen, 0)


if __name__ == '__main__':
  absltest.main()
