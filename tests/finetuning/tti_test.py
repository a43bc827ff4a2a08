"""Horizons, the filter and the buffer's law, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import finetuning


class HorizonTest(absltest.TestCase):
  def test_schedules(self):
    steps = jnp.arange(1, 6)
    found = finetuning.additive_horizon(steps, 10, 13)
    np.testing.assert_array_equal(found, [11, 12, 13, 13, 13])
    found = finetuning.multiplicative_horizon(steps, 10, 30)
    np.testing.assert_array_equal(found, [10, 20, 30, 30, 30])


class BufferTest(parameterized.TestCase):
  def test_probabilities_of_three(self):
    buffer = finetuning.Buffer(jnp.array([0, 0, 1]), jnp.ones(3, bool))
    found = finetuning.replay_probs(buffer, 2)
    np.testing.assert_allclose(found, [0.208333, 0.291667, 0.5], atol=1e-6)
    room = finetuning.Buffer(
      jnp.array([0, 0, 1, 1, 0]), jnp.array([1, 1, 1, 0, 0], bool)
    )
    found = finetuning.replay_probs(room, 2)
    np.testing.assert_allclose(found[:3], [0.208333, 0.291667, 0.5], atol=1e-6)
    np.testing.assert_array_equal(found[3:], 0)

  def test_draws_are_one_after_the_other(self):
    probs = jnp.array([0.5, 0.3, 0.2, 0.0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    draw = jax.jit(
      jax.vmap(lambda k: finetuning.draw_without_replacement(k, probs, 2))
    )
    index, counts = draw(keys)
    self.assertTrue(np.all(counts))
    for first, second in ((0, 1), (1, 0), (2, 0)):
      share = np.mean((index[:, 0] == first) & (index[:, 1] == second))
      p, q = float(probs[first]), float(probs[second])
      self.assertAlmostEqual(share, p * q / (1 - p), delta=0.012)
    index, counts = finetuning.draw_without_replacement(keys[0], probs, 4)
    np.testing.assert_array_equal(counts, [True, True, True, False])
    self.assertEqual(sorted(np.asarray(index[:3]).tolist()), [0, 1, 2])

  @parameterized.parameters(
    (1.0, [1, 1, 1, 0, 1, 0]), (0.5, [1, 0, 1, 0, 1, 0])
  )
  def test_only_successes_and_of_a_task_the_short_ones(self, top_p, kept):
    found = finetuning.keep_successes(
      jnp.array([1.0, 1, 1, 0, 1, 0]),
      jnp.array([3, 9, 4, 1, 7, 16]),
      jnp.array([0, 0, 0, 0, 1, 2]),
      3,
      top_p,
    )
    np.testing.assert_array_equal(found, np.array(kept, bool))


if __name__ == '__main__':
  absltest.main()
