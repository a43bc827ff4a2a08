import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.models import rope


def published_llama3(frequencies, scaling):
  """The code of Meta's llama-models, `apply_scaling`, line by line."""
  low = scaling.original_length / scaling.low_freq_factor
  high = scaling.original_length / scaling.high_freq_factor
  scaled = []
  for frequency in frequencies:
    wavelength = 2 * math.pi / frequency
    if wavelength < high:
      scaled.append(frequency)
    elif wavelength > low:
      scaled.append(frequency / scaling.factor)
    else:
      smooth = (
        scaling.original_length / wavelength - scaling.low_freq_factor
      ) / (scaling.high_freq_factor - scaling.low_freq_factor)
      scaled.append(
        (1 - smooth) * frequency / scaling.factor + smooth * frequency
      )
  return np.array(scaled)


class RopeTest(parameterized.TestCase):
  @parameterized.parameters(
    (64, 500_000.0, rope.Llama3Scaling(32.0)),
    (128, 500_000.0, rope.Llama3Scaling(8.0)),
    (16, 10_000.0, rope.Llama3Scaling(4.0, 1.0, 2.0, 64)),
  )
  def test_llama3_scaling_is_the_published_one(self, head_dim, theta, scaling):
    plain = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    expected = published_llama3(plain, scaling)
    got = rope.frequencies(head_dim, theta, scaling)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # All three branches are taken.
    ratio = plain / expected
    self.assertEqual(ratio.min(), 1.0)
    self.assertAlmostEqual(ratio.max(), scaling.factor)
    self.assertTrue(np.any((ratio > 1) & (ratio < scaling.factor)))

  @parameterized.parameters(False, True)
  def test_products_depend_on_the_distance_only(self, interleaved):
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 8))
    frequency = rope.frequencies(8, 100.0)
    turn = lambda x, position: rope.rotate(
      x, jnp.array([position]), frequency, interleaved=interleaved
    )
    product = lambda i, j: jnp.sum(turn(query, i) * turn(key, j))
    np.testing.assert_allclose(product(3, 1), product(12, 10), rtol=1e-4)
    self.assertGreater(abs(product(3, 1) - product(1, 3)), 1e-3)

  def test_rotates_the_plane_by_the_angle(self):
    frequency = jnp.array([0.5])
    x = jnp.array([[[1.0, 0.0]]])
    got = rope.rotate(x, jnp.array([3]), frequency)[0, 0]
    np.testing.assert_allclose(got, [math.cos(1.5), math.sin(1.5)], atol=1e-6)

  def test_layouts_differ_by_a_permutation_of_channels(self):
    x = jax.random.normal(jax.random.key(1), (5, 3, 8))
    positions, frequency = jnp.arange(5), rope.frequencies(8, 100.0)
    order = np.arange(8).reshape(2, 4).T.ravel()  # 0 4 1 5 2 6 3 7
    np.testing.assert_allclose(
      rope.rotate(x[..., order], positions, frequency, interleaved=True),
      rope.rotate(x, positions, frequency)[..., order],
      atol=1e-6,
    )


if __name__ == '__main__':
  absltest.main()
