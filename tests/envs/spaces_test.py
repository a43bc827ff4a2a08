"""Spaces, and how they are drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc.envs import spaces


class WordTest(parameterized.TestCase):
  @parameterized.parameters('threefry2x32', 'rbg', 'unsafe_rbg')
  def test_is_the_word_that_jax_draws(self, impl):
    key = jax.random.key(7, impl=impl)
    of_jax = jax.random.bits(key, (), jnp.uint32)
    np.testing.assert_array_equal(spaces.word(key), of_jax)

  @parameterized.parameters(True, False)
  def test_whichever_way_jax_divides_its_counter(self, partitionable):
    with jax.threefry_partitionable(partitionable):
      keys = jax.random.split(jax.random.key(0), 64)
      ours = jax.vmap(spaces.word)(keys)
      of_jax = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    np.testing.assert_array_equal(ours, of_jax)

  def test_indices_of_one_key_are_in_range_and_all_come(self):
    draw = jax.vmap(lambda key: spaces.random_index(key, (), 5))
    counts = np.bincount(draw(jax.random.split(jax.random.key(1), 500)))
    np.testing.assert_equal(len(counts), 5)
    # Binomial(500, 1 / 5): 100, with a deviation of 9.
    self.assertLess(np.abs(counts - 100).max(), 4 * 9)


if __name__ == '__main__':
  absltest.main()
