"""Networks that denoise: U-Net and DiT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc.models.vision.dit import DiT
from ttc.models.vision.unet import UNet, fold, unfold, waves

NETWORKS = {
  'unet': UNet(channels=2, widths=(8, 16), embed_dim=8),
  'dit': DiT(channels=2, width=8, depth=1, num_heads=2),
}


def disturbed(network, images, times, labels):
  """Parameters of which none are zero, as after training."""
  init = jax.jit(network.init)
  params = init(jax.random.key(0), images, times, labels)
  rng = np.random.default_rng(1)
  noise = lambda x: np.float32(0.1 * rng.normal(size=x.shape))
  return params, jax.tree.map(lambda x: x + noise(x), params)


class DenoisersTest(parameterized.TestCase):
  def test_folding_is_undone(self):
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(unfold(fold(x, 2), 2), x)
    # A block of pixels is the channels of one place.
    np.testing.assert_array_equal(fold(x, 2)[1, 1, 2], x[1, 2:4, 4:6].ravel())
    with self.assertRaisesRegex(ValueError, 'sides 4, 6 must be multiples'):
      fold(x, 4)

  def test_times_are_told_apart(self):
    told = np.asarray(waves(jnp.array([0.0, 0.001, 0.5, 1.0]), 16))
    apart = np.linalg.norm(told[:, None] - told, axis=-1)
    self.assertGreater(apart[~np.eye(4, dtype=bool)].min(), 0.3)

  @parameterized.parameters(*NETWORKS)
  def test_what_it_depends_on(self, name):
    network = NETWORKS[name]
    images = jax.random.normal(jax.random.key(2), (2, 8, 8, 3))
    times, labels = jnp.array([0.2, 0.7]), jnp.array([1, 10])
    fresh, params = disturbed(network, images, times, labels)
    apply = jax.jit(network.apply)
    np.testing.assert_array_equal(apply(fresh, images, times, labels), 0.0)
    out = apply(params, images, times, labels)
    self.assertEqual(out.shape, (2, 8, 8, 2))
    for changed in (
      (images.at[0, 7, 7].add(1.0), times, labels),
      (images, times.at[0].set(0.3), labels),
      (images, times, labels.at[0].set(2)),
    ):
      other = apply(params, *changed)
      # A row depends on its own, everywhere, and on no other row.
      self.assertGreater(float(jnp.abs(other - out)[0, 0, 0].max()), 1e-6)
      np.testing.assert_allclose(other[1], out[1], atol=1e-5)

  @pytest.mark.slow
  def test_gradients_in_loops_are_the_same(self):
    plain = NETWORKS['unet']
    images = jax.random.normal(jax.random.key(2), (2, 8, 8, 3))
    given = (images, jnp.array([0.2, 0.7]), jnp.array([1, 10]))
    _, params = disturbed(plain, *given)
    other = plain.clone(in_loops=True)
    np.testing.assert_allclose(
      other.apply(params, *given), plain.apply(params, *given), atol=1e-4
    )


if __name__ == '__main__':
  absltest.main()
