"""Beside the PyPI package `imagecorruptions`, Pillow and OpenCV."""

import io
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc.adaptation import corruptions
from ttc.adaptation.corruptions import blur, digital, weather

pytestmark = pytest.mark.oracle
pytest.importorskip('imagecorruptions')
PIL = pytest.importorskip('PIL.Image')
skimage_data = pytest.importorskip('skimage.data')
peer = pytest.importorskip('imagecorruptions.corruptions')

BYTES = skimage_data.astronaut()[40:168, 160:288].copy()  # 128 x 128
IMAGE = jnp.asarray(BYTES, jnp.float32) / 255
KEY = jax.random.key(0)
FIXED = (
  'brightness',
  'contrast',
  'defocus_blur',
  'jpeg_compression',
  'pixelate',
  'saturate',
  'zoom_blur',
)


class CorruptionsOracleTest(parameterized.TestCase):
  @parameterized.product(name=FIXED, severity=(1, 2, 3, 4, 5))
  def test_what_is_fixed_agrees(self, name, severity):
    theirs = np.uint8(getattr(peer, name)(PIL.fromarray(BYTES), severity))
    ours = corruptions.corrupt(KEY, IMAGE[None], name, severity, 'imagenet')
    error = np.abs(255 * np.asarray(ours[0]) - theirs).mean()
    self.assertLess(error, 2)

  @parameterized.product(quality=(80, 50, 25, 7), channels=(1, 3))
  def test_jpeg_is_pillows(self, quality, channels):
    image = BYTES[:45, :37, :channels].squeeze()
    file = io.BytesIO()
    PIL.fromarray(image).save(file, 'JPEG', quality=quality)
    theirs = np.asarray(PIL.open(file), np.float32).reshape(45, 37, channels)
    ours = digital.jpeg_compression(
      jnp.asarray(image, jnp.float32).reshape(45, 37, channels) / 255, quality
    )
    self.assertLess(np.abs(255 * np.asarray(ours) - theirs).mean(), 1)

  @parameterized.parameters(-40.0, 10.0, 33.0)
  def test_motion_is_theirs_at_the_same_angle(self, degrees):
    theirs = peer._motion_blur(BYTES, radius=10, sigma=3, angle=degrees)
    ours = blur.line_blur(IMAGE, 10, 3.0, jnp.float32(degrees))
    np.testing.assert_allclose(255 * np.asarray(ours), theirs, atol=0.01)

  @parameterized.parameters(
    'gaussian_noise', 'shot_noise', 'impulse_noise', 'speckle_noise', 'snow',
    'frost', 'spatter', 'motion_blur',
  )  # fmt: skip
  def test_moments_of_what_is_random(self, name):
    """Means over images and pixels, and the distance from the clean image."""
    np.random.seed(0)  # noqa: NPY002
    count = 20
    theirs = np.stack([
      np.uint8(getattr(peer, name)(PIL.fromarray(BYTES), 4))
      for _ in range(count)
    ]) / 255  # fmt: skip
    ours = np.asarray(
      corruptions.corrupt(
        KEY,
        jnp.broadcast_to(IMAGE, (count, *IMAGE.shape)),
        name,
        4,
        'imagenet',
        textures=corruptions.frost_textures(stride=1),
      )
    )
    self.assertAlmostEqual(ours.mean(), theirs.mean(), delta=0.03)
    distance = lambda x: np.sqrt(((x - np.asarray(IMAGE)) ** 2).mean())
    self.assertAlmostEqual(distance(ours) / distance(theirs), 1, delta=0.1)

  def test_plasma_has_their_spectrum(self):
    """Theirs asks numpy for a name that it has no more."""
    np.random.seed(0)  # noqa: NPY002
    with mock.patch.object(np, 'float_', np.float64, create=True):
      theirs = np.stack([peer.plasma_fractal(32, 1.75) for _ in range(200)])
    keys = jax.random.split(KEY, 200)
    ours = np.asarray(jax.vmap(lambda k: weather.plasma(k, 32, 1.75))(keys))
    for by in (1, 2, 4, 8, 16):
      roughness = [
        ((x - np.roll(x, by, axis)) ** 2).mean()
        for x in (ours, theirs)
        for axis in (1, 2)
      ]
      self.assertLess(max(roughness) / min(roughness), 1.15)
    self.assertAlmostEqual(ours.mean(), theirs.mean(), delta=0.02)


if __name__ == '__main__':
  absltest.main()
