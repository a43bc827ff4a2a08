"""Videos of bouncing digits, and what is wrong with others."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from compiled import compiled_module

from ttc.testbeds import bouncing_digits

bed = compiled_module(bouncing_digits)

BLOT = jnp.zeros((14, 14)).at[5:9, 5:9].set(1.0)


def straight(start, speed):
  time = jnp.arange(bed.NUM_FRAMES, dtype=jnp.float32)[:, None]
  return bed.bounce(jnp.asarray(start) + time * jnp.asarray(speed))


class BouncingDigitsTest(absltest.TestCase):
  def test_walls_throw_back(self):
    free = jnp.array([-3.0, 0.0, 5.0, 14.0, 16.0, 28.0, 31.0])
    np.testing.assert_allclose(
      bed.bounce(free), [3, 0, 5, 14, 12, 0, 3], atol=1e-5
    )

  def test_frames_show_the_digit_where_it_is(self):
    corners = jnp.array([[2.0, 9.0], [2.5, 9.0]])
    shown = bed.film(BLOT, corners)
    np.testing.assert_allclose(shown[0, 2:16, 9:23], 2 * BLOT - 1, atol=1e-6)
    center = bed.centroids(shown)
    np.testing.assert_allclose(center, corners + 6.5, atol=1e-3)
    np.testing.assert_allclose(bed.crop(shown)[0], BLOT, atol=1e-3)

  def test_units_are_undone(self):
    videos, _ = bed.draw_videos(jax.random.key(0), BLOT[None], 2)
    cut = bed.units(videos)
    self.assertEqual(cut.shape, (2, 4, 28, 28, 4))
    np.testing.assert_array_equal(cut[1, 2, :, :, 3], videos[1, 11])
    np.testing.assert_array_equal(bed.frames(cut), videos)

  def test_only_what_is_crooked_is(self):
    fly = bed.film(BLOT, straight([1.0, 3.0], [0.7, 0.9]))
    self.assertLess(float(bed.crooked(fly)), 1e-3)
    jumps = straight([1.0, 3.0], [0.7, 0.9]).at[8].add(3.0)
    self.assertGreater(float(bed.crooked(bed.film(BLOT, jumps))), 1.0)
    # A wall is no fault.
    hits = bed.film(BLOT, straight([1.0, 3.0], [2.0, 0.5]))
    self.assertLess(float(bed.crooked(hits)), 1e-3)

  def test_a_unit_comes_with_the_one_before(self):
    digits = jnp.stack([BLOT, BLOT[::2].repeat(2, axis=0)])
    unit, before, which = bed.draw_unit(jax.random.key(1), digits, 64)
    first = np.asarray((before == 0).all(axis=(1, 2, 3)))
    self.assertBetween(first.mean(), 0.1, 0.45)
    self.assertEqual(set(np.asarray(which)), {0, 1})
    # The flight goes on from the one to the other.
    both = jnp.concatenate([before, unit], axis=-1)[~first]
    bend = jax.vmap(bed.crooked)(jnp.moveaxis(both, -1, 1))
    self.assertLess(float(bend.max()), 0.05)


if __name__ == '__main__':
  absltest.main()
