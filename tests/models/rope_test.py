import json
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.models import rope

SHORT = (1.0, 1.0, 1.5, 2.0, 2.0, 2.0)
LONG = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


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

  @parameterized.named_parameters(
    (
      'yarn',
      (16, 1e6, rope.YarnScaling(4.0, 32768)),
      {0: 1, 1: 0.177828, 2: 0.0316228, 3: 0.00421756, 4: 5e-4},
    ),
    (
      'yarn_not_truncated',
      (16, 1e6, rope.YarnScaling(4.0, 32768, truncate=False)),
      {3: 0.00551727, 4: 6.07408e-4},
    ),
    (
      'yarn_of_128_channels',
      (128, 1e6, rope.YarnScaling(4.0, 32768)),
      {23: 0.006978306, 30: 0.001064361, 40: 4.445699e-5},
    ),
    (
      'yarn_by_40',
      (16, 1e4, rope.YarnScaling(40.0, 4096)),
      {3: 0.0239147, 5: 8.49862e-4},
    ),
    (  # the ramp would begin at channel 1 and end at 8, behind the last
      'yarn_to_the_last_channel',
      (8, 10.0, rope.YarnScaling(4.0, 477)),
      {1: 10**-0.25, 2: 10**-0.5 * 0.875, 3: 10**-0.75 * 0.75},
    ),
    (  # the ramp would begin and end at channel 0
      'yarn_without_a_ramp',
      (8, 10.0, rope.YarnScaling(4.0, 6)),
      {0: 1, 1: 10**-0.25 / 4, 3: 10**-0.75 / 4},
    ),
    (
      'llama3',
      (16, 5e5, rope.Llama3Scaling()),
      {4: 5.24846e-4, 5: 3.4281e-5, 6: 6.64787e-6},
    ),
    (
      'dynamic',
      (16, 1e4, rope.DynamicScaling(2.0, 128), 256),
      {1: 0.270296, 7: 1.05409e-4},
    ),
    (
      'longrope_long',
      (12, 1e4, rope.LongRopeScaling((1.0,) * 6, LONG, 4096), 131072),
      {1: 0.107722, 5: 1.4505e-5},
    ),
    (
      'longrope_short',
      (12, 1e4, rope.LongRopeScaling(SHORT, LONG, 4096), 4096),
      {1: 10 ** (-2 / 3), 2: 10 ** (-4 / 3) / 1.5, 5: 10 ** (-10 / 3) / 2},
    ),
    (
      'linear',
      (16, 1e4, rope.LinearScaling(8.0)),
      {0: 1 / 8, 7: 1e4 ** (-7 / 8) / 8},
    ),
  )
  def test_frequencies(self, arguments, expected):
    got = rope.frequencies(*arguments)
    np.testing.assert_allclose(
      got[np.array([*expected])], [*expected.values()], rtol=1e-5
    )

  def test_dynamic_scaling_begins_behind_the_original_length(self):
    scaling = rope.DynamicScaling(2.0, 128)
    plain = rope.frequencies(16, 1e4)
    for length in (None, 5, 128):
      got = rope.frequencies(16, 1e4, scaling, length)
      np.testing.assert_array_equal(got, plain)

  def test_attention_factors(self):
    yarn = rope.attention_factor(rope.YarnScaling(4.0, 32768))
    self.assertAlmostEqual(yarn, 1.1386294)
    above, below = (
      rope.yarn_sharpness(40.0, 0.707),
      rope.yarn_sharpness(40.0, 1.0),
    )
    self.assertAlmostEqual(below, 1.3688879)
    self.assertLess(above / below, 1)
    for scaling in (None, rope.LinearScaling(2.0), rope.YarnScaling(1.0, 8)):
      self.assertIsNone(rope.attention_factor(scaling))

  def test_the_rest_of_a_partial_rotation_stays(self):
    x = jax.random.normal(jax.random.key(2), (3, 2, 10))
    positions, frequency = jnp.arange(3), rope.frequencies(6, 100.0)
    got = rope.rotate(x, positions, frequency, factor=2.0)
    np.testing.assert_array_equal(got[..., 6:], x[..., 6:])
    np.testing.assert_allclose(
      got[..., :6],
      2 * rope.rotate(x[..., :6], positions, frequency),
      rtol=1e-5,
    )

  def test_values(self):
    for scaling in (
      None,
      rope.LinearScaling(2.0),
      rope.DynamicScaling(2.0, 7),
      rope.Llama3Scaling(3.0),
      rope.YarnScaling(4.0, 8, truncate=False),
      rope.LongRopeScaling(SHORT, LONG, 9, 1.5),
    ):
      values = json.loads(json.dumps(rope.to_values(scaling)))
      self.assertEqual(rope.from_values(values), scaling)
    old = {'factor': 3.0}  # from before there were others
    self.assertEqual(rope.from_values(old), rope.Llama3Scaling(3.0))

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
