import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation.corruptions import weather

KEY = jax.random.key(3)
IMAGE = jax.random.uniform(KEY, (16, 16, 1), jnp.float32)
RED = jnp.zeros((16, 16, 3), jnp.float32).at[..., 0].set(0.5)


plasma = jax.jit(weather.plasma, static_argnums=(1, 2))
fog = jax.jit(weather.fog, static_argnums=(2, 3))


class WeatherTest(absltest.TestCase):
  def test_plasma_is_smooth_periodic_and_from_0_to_1(self):
    cloud = plasma(KEY, 16, 3.0)
    self.assertEqual(float(cloud.min()), 0)
    self.assertEqual(float(cloud.max()), 1)
    steps = [
      float(jnp.abs(cloud - jnp.roll(cloud, by, axis)).mean())
      for by, axis in ((1, 0), (1, 1), (8, 0), (8, 1))
    ]
    self.assertLess(max(steps[:2]), 0.5 * min(steps[2:]))
    seam = float(jnp.abs(cloud[0] - cloud[-1]).mean())
    self.assertLess(seam, 3 * steps[0])

  def test_plasma_without_decay_is_rougher(self):
    rough = lambda decay: float(
      jnp.abs(jnp.diff(plasma(KEY, 16, decay), axis=0)).mean()
    )
    self.assertLess(rough(3.0), rough(1.5))

  def test_fog_keeps_the_brightest_in_range(self):
    none = fog(KEY, IMAGE, 0.0, 2.0)
    np.testing.assert_allclose(none, IMAGE, atol=1e-6)
    cloud = plasma(KEY, 16, 2.0)[..., None]
    most = IMAGE.max()
    np.testing.assert_allclose(
      fog(KEY, IMAGE, 0.8, 2.0),
      (IMAGE + 0.8 * cloud) * most / (most + 0.8),
      atol=1e-6,
    )

  def test_frost_adds_a_crop_that_is_filled(self):
    place = np.zeros((2, 40, 40, 3), np.float32)
    place[0, :20, :40], place[1, :40, :20] = 0.4, 0.4
    textures = weather.FrostTextures(
      place, np.array([[20, 40], [40, 20]], np.int32)
    )
    keys = jax.random.split(KEY, 20)
    found = jax.jit(
      jax.vmap(lambda key: weather.frost(key, IMAGE, 0.5, 0.75, textures))
    )(keys)
    expected = jnp.broadcast_to(0.5 * IMAGE + 0.3, found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-6)

  def test_snow_falls_twice(self):
    # Without whitening the difference is the layer and the layer turned round.
    image = jnp.full((16, 16, 1), 0.1, jnp.float32)
    layer = weather.snow(KEY, image, 0.2, 0.2, 1.0, 0.5, 4, 2.0, 1.0) - image
    self.assertGreater(float(layer.max()), 0.05)
    np.testing.assert_allclose(layer, jnp.rot90(layer, 2), atol=1e-6)
    none = weather.snow(KEY, image, -9.0, 0.2, 1.0, 0.5, 4, 2.0, 0.8)
    np.testing.assert_allclose(none, 0.8 * 0.1 + 0.2 * 0.65, atol=1e-6)

  def test_mud_is_brown_where_there_is_some(self):
    covered = weather.spatter(KEY, RED, 0.9, 0.01, 1.0, 0.5, 0.5)
    np.testing.assert_allclose(255 * covered[3, 4], [63, 42, 20], atol=1e-3)
    clean = weather.spatter(KEY, RED, 0.1, 0.01, 1.0, 0.5, 0.5)
    np.testing.assert_array_equal(clean, RED)


if __name__ == '__main__':
  absltest.main()
