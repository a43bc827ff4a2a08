import functools
import tempfile
import unittest.mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc.adaptation import corruptions
from ttc.adaptation.corruptions import photographs
from ttc.adaptation.corruptions.weather import FrostTextures

KEY = jax.random.key(0)
_ALL = (*corruptions.BENCHMARK, *corruptions.HELD_OUT)
_MONOTONE = (
  ('cifar', 'jpeg_compression'),
  ('small', 'gaussian_blur'),
  ('imagenet', 'brightness'),
  ('mnist_ours', 'stripe'),
)
_MORE = (
  ('cifar', 'gaussian_noise'),
  ('cifar', 'zoom_blur'),
  ('cifar', 'pixelate'),
  ('small', 'impulse_noise'),
  ('small', 'contrast'),
  ('small', 'brightness'),
  ('imagenet', 'speckle_noise'),
  ('mnist_ours', 'rotate'),
)


def pictures(count, channels):
  """Smooth blots of different brightness."""
  coarse = jax.random.uniform(jax.random.key(5), (count, 4, 4, channels))
  images = jax.image.resize(coarse, (count, 16, 16, channels), 'linear')
  return jnp.round(255 * images) / 255


IMAGES = pictures(4, 1)
TEXTURES = FrostTextures(
  np.asarray(jax.random.uniform(jax.random.key(6), (2, 40, 30, 3))),
  np.array([[40, 30], [30, 24]], np.int32),
)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def corrupt(images, name, severity, table, numbers=None):
  return corruptions.corrupt(
    KEY, images, name, severity, table, numbers=numbers, textures=TEXTURES
  )


class CorruptTest(parameterized.TestCase):
  def test_an_image_depends_on_key_and_number_only(self):
    name, table = 'gaussian_noise', 'cifar'
    whole = corrupt(IMAGES, name, 5, table)
    piece = corrupt(IMAGES[2:], name, 5, table, jnp.array([2, 3]))
    np.testing.assert_array_equal(whole[2:], piece)
    again = corrupt(IMAGES[2:], name, 5, table)
    self.assertGreater(float(jnp.abs(whole[2:] - again).max()), 0.01)
    with jax.disable_jit():
      step_by_step = corrupt(IMAGES, name, 5, table)
    np.testing.assert_allclose(step_by_step, whole, atol=1.01 / 255)

  def test_every_value_is_a_byte_in_range(self):
    found = corrupt(IMAGES, 'speckle_noise', 5, 'imagenet')
    levels = 255 * np.asarray(found)
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    self.assertGreaterEqual(levels.min(), 0)
    self.assertLessEqual(levels.max(), 255.001)

  @parameterized.parameters(*_MONOTONE)
  def test_severity_takes_images_further_away(self, table, name):
    self.check_monotone(table, name)

  def check_monotone(self, table, name):
    distances = [
      float(jnp.abs(corrupt(IMAGES, name, severity, table) - IMAGES).mean())
      for severity in (1, 3, 5)
    ]
    self.assertGreater(distances[0], 0)
    self.assertEqual(distances, sorted(distances))
    self.assertLess(distances[0], distances[-1])

  @pytest.mark.slow
  @parameterized.parameters(*_MORE)
  def test_severity_takes_others_too(self, table, name):
    self.check_monotone(table, name)

  def test_tables_hold_the_same_names_five_times(self):
    for table in ('cifar', 'imagenet', 'small'):
      self.assertCountEqual(corruptions.TABLES[table], _ALL)
    for rows in corruptions.TABLES.values():
      for row in rows.values():
        self.assertLen(row, 5)
    (factor,) = corruptions.parameters('contrast', 5, 'small')
    self.assertAlmostEqual(factor, 0.15)
    self.assertEqual(corruptions.parameters('fog', 5, 'small'), (0.8, 1.75))

  @parameterized.parameters(
    ('fogg', 5, 'cifar', "'fogg'.*fog"),
    ('rotate', 5, 'cifar', "'rotate'.*cifar"),
    ('fog', 6, 'cifar', 'severity=6, expected 1'),
    ('fog', 5, 'cifar10', "table='cifar10', expected one of cifar"),
    ('spatter', 3, 'cifar', 'water'),
  )
  def test_unknown_values_are_named(self, name, severity, table, message):
    with self.assertRaisesRegex(ValueError, message):
      corrupt(IMAGES, name, severity, table)

  def test_images_of_another_shape(self):
    with self.assertRaisesRegex(ValueError, r'\(4, 16, 16, 2\)'):
      corrupt(IMAGES[..., [0, 0]], 'fog', 5, 'cifar')

  def test_frost_without_its_photographs(self):
    photographs.frost_textures.cache_clear()
    with (
      unittest.mock.patch('importlib.util.find_spec', return_value=None),
      self.assertRaisesRegex(ImportError, r'ttc-jax\[corruptions\]'),
    ):
      corruptions.corrupt(KEY, IMAGES, 'frost')
    with self.assertRaisesRegex(FileNotFoundError, 'frost1.png'):
      corruptions.frost_textures('/nowhere')
    with self.assertRaisesRegex(ValueError, '48 x 16'):
      corrupt(jnp.zeros((1, 48, 16, 1)), 'frost', 5, 'cifar')

  def test_textures_are_read_from_a_directory(self):
    Image = pytest.importorskip('PIL.Image')
    place = self.enterContext(tempfile.TemporaryDirectory())
    for i, name in enumerate(photographs._FILES):
      level = np.full((10 * i + 20, 30, 3), 50 * i, np.uint8)
      Image.fromarray(level).save(f'{place}/{name}')
    found = corruptions.frost_textures(place, 5)
    np.testing.assert_array_equal(found.sizes[:, 0], [4, 6, 8, 10, 12])
    np.testing.assert_array_equal(found.sizes[:, 1], 6)
    np.testing.assert_allclose(found.images[2, 0, 0], 100 / 255, atol=0.01)


if __name__ == '__main__':
  absltest.main()
