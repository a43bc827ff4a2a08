import zlib

import jax
import numpy as np
from absl.testing import absltest

from ttc import evaluation


class SeedsTest(absltest.TestCase):
  def test_problem_key_is_the_published_recipe(self):
    expected = jax.random.fold_in(
      jax.random.key(7), np.uint32(zlib.crc32(b'aime/3'))
    )
    self.assertEqual(evaluation.problem_key(7, 'aime/3'), expected)

  def test_sample_seed_is_the_key_itself(self):
    key = jax.random.fold_in(evaluation.problem_key(7, 'aime/3'), 5)
    high, low = np.asarray(jax.random.key_data(key)).tolist()
    self.assertEqual(evaluation.sample_seed(7, 'aime/3', 5), (high << 32) | low)

  def test_seeds_differ(self):
    seeds = {
      evaluation.sample_seed(base, item, index)
      for base in (0, 1)
      for item in ('a', 'b', 'c')
      for index in range(4)
    }
    self.assertLen(seeds, 24)


if __name__ == '__main__':
  absltest.main()
