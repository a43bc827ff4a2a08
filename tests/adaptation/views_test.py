"""Views: what is drawn once, what for each image, and within which bounds."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.adaptation import views

KEY = jax.random.key(3)
IMAGES = jax.random.uniform(jax.random.key(1), (4, 12, 10, 3))


class CottaViewTest(parameterized.TestCase):
  @parameterized.parameters((1, False), (3, True))
  def test_shape_range_and_batch_size(self, channels, per_image):
    view = jax.jit(views.cotta_view(per_image=per_image))
    images = IMAGES[..., :channels]
    seen = view(KEY, images)
    self.assertEqual(seen.shape, images.shape)
    self.assertEqual(seen.dtype, images.dtype)
    self.assertTrue(bool((seen >= 0).all() & (seen <= 1).all()))
    np.testing.assert_allclose(view(KEY, images[:2]), seen[:2], atol=1e-6)
    self.assertGreater(float(abs(seen - images).mean()), 0.01)

  def test_one_draw_for_all_or_one_for_each(self):
    twins = jnp.stack([IMAGES[0]] * 3)
    for per_image in (False, True):
      view = views.cotta_view(noise=0.0, per_image=per_image)
      seen = jax.jit(view)(KEY, twins)
      differ = bool((abs(seen[0] - seen[1]) > 1e-3).any())
      self.assertEqual(differ, per_image)

  def test_noise_is_of_its_size_and_for_each_image(self):
    grey = jnp.full((64, 12, 12, 1), 0.5)
    noisy = jax.jit(views.cotta_view(noise=0.02))(KEY, grey)
    plain = jax.jit(views.cotta_view(noise=0.0))(KEY, grey)
    rest = np.asarray(noisy - plain)
    self.assertLess(abs(rest.std() - 0.02), 1e-3)
    self.assertGreater(abs(rest[0] - rest[1]).max(), 0.01)

  def test_turn_scale_and_shift_stay_in_bounds(self):
    size = 16
    ramp = jnp.arange(size, dtype=jnp.float32)
    ramps = jnp.stack(jnp.meshgrid(ramp, ramp, indexing='ij'), -1)[None]
    keys = jax.random.split(KEY, 64)
    move = jax.vmap(lambda key: views._move(key, ramps, 'edge')[0])
    moved = jax.jit(move)(keys)
    here = np.asarray(moved, float)[:, views._TAPS + 7, views._TAPS + 7]
    down = np.asarray(moved, float)[:, views._TAPS + 8, views._TAPS + 7] - here
    right = np.asarray(moved, float)[:, views._TAPS + 7, views._TAPS + 8] - here
    scale = 1 / np.hypot(*down.T)
    np.testing.assert_allclose(np.hypot(*right.T), 1 / scale, rtol=1e-4)
    np.testing.assert_allclose((down * right).sum(-1), 0, atol=1e-4)
    self.assertBetween(scale.min(), 0.9, 0.93)
    self.assertBetween(scale.max(), 1.07, 1.1)
    degrees = np.rad2deg(np.arctan2(down[:, 1], down[:, 0]))
    self.assertBetween(degrees.min(), -15, -12)
    self.assertBetween(degrees.max(), 12, 15)
    middle = (size - 1) / 2
    jacobian = np.stack([down, right], -1)
    offset = np.linalg.solve(jacobian, (here - middle)[..., None])[..., 0]
    shift = 7 - middle - offset
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-3)
    self.assertEqual(abs(shift).max().round(), size / 8)

  def test_what_lies_outside_is_the_edge_or_a_reflection(self):
    # A bright line beside the upper edge, and the key that shifts it most.
    image = jnp.zeros((1, 16, 16, 1)).at[:, 1].set(1.0)
    keys = jax.random.split(KEY, 32)
    seen = {}
    for padding in ('edge', 'reflect'):
      move = lambda key, padding=padding: views._move(key, image, padding)
      seen[padding] = np.asarray(jax.jit(jax.vmap(move))(keys)).sum(
        (1, 2, 3, 4)
      )
    self.assertGreater(seen['reflect'].max(), 1.4 * seen['edge'].max())

  def test_blur_is_a_gaussian(self):
    point = jnp.zeros((1, 13, 13, 1)).at[0, 6, 6].set(1.0)
    spread = views._blur(point, jnp.float32(0.5))[0, ..., 0]
    self.assertEqual(spread.shape, (9, 9))
    taps = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    wanted = np.outer(taps, taps) / taps.sum() ** 2
    np.testing.assert_allclose(spread[2:7, 2:7], wanted, atol=1e-6)
    still = views._blur(point, jnp.float32(0.001))[0, ..., 0]
    np.testing.assert_allclose(still, point[0, 2:-2, 2:-2, 0])

  def test_hue_turns_as_in_colorsys(self):
    pixels = np.asarray(IMAGES[0]).reshape(-1, 3)[:40]
    pixels = np.concatenate([pixels, [[0.3, 0.3, 0.3], [1, 0, 0]]])
    for turn in (-0.06, 0.3):
      got = jax.jit(views._turn_hue)(pixels, np.float32(turn))
      for pixel, seen in zip(pixels, got, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*map(float, pixel))
        wanted = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
        np.testing.assert_allclose(seen, wanted, atol=2e-6)

  def test_colours_change_as_they_are_defined(self):
    x, f = IMAGES[:1], jnp.float32(1.3)
    luma = np.asarray(x) @ np.array([0.2989, 0.587, 0.114])
    wanted = {
      views._brighten: 1.3 * x,
      views._contrast: 1.3 * x - 0.3 * luma.mean(),
      views._gamma: np.asarray(x) ** 1.3,
      views._saturate: 1.3 * x - 0.3 * luma[..., None],
    }
    for change, value in wanted.items():
      np.testing.assert_allclose(
        jax.jit(change)(x, f),
        np.clip(value, 0, 1),
        atol=1e-5,
        err_msg=str(change),
      )

  def test_the_order_of_the_changes_is_drawn(self):
    # Brighter then more contrast, or the other way: not the same image.
    keys = jax.random.split(KEY, 40)
    seen = jax.jit(jax.vmap(lambda key: views.jitter(key, IMAGES[:1, ..., :1])))
    distinct = np.unique(np.asarray(seen(keys)).mean((1, 2, 3, 4)).round(6))
    self.assertLen(distinct, 40)


if __name__ == '__main__':
  absltest.main()
