"""Distributions of tasks are uniform, and splits keep what they promise."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import envs


def draws(tasks, num, seed=0):
  keys = jax.random.split(jax.random.key(seed), num)
  return np.asarray(jax.jit(jax.vmap(tasks.sample))(keys))


class TaskDistributionTest(absltest.TestCase):
  def test_finite_tasks_are_uniform(self):
    tasks = envs.finite_tasks(lambda index: index * 10, 7)
    self.assertEqual(tasks.num_tasks, 7)
    values = draws(tasks, 7000)
    self.assertEqual(values.dtype, np.int32)
    # 1000 expected, deviation 29: within 5 of them.
    counts = np.bincount(values // 10, minlength=7)
    self.assertLess(np.abs(counts - 1000).max(), 147)
    self.assertEqual(set(values), {0, 10, 20, 30, 40, 50, 60})

  def test_splits_are_fixed_and_apart(self):
    continuum = envs.TaskDistribution(lambda key: jax.random.uniform(key))
    key = jax.random.key(1)
    train, test = envs.split_tasks(continuum, key, 5, 3)
    self.assertEqual((train.num_tasks, test.num_tasks), (5, 3))
    known = [
      float(continuum.sample(jax.random.fold_in(key, i))) for i in range(8)
    ]
    same = lambda values, tasks: np.testing.assert_allclose(
      np.unique(values), np.sort(np.float32(tasks)), rtol=1e-6
    )
    same(draws(train, 200), known[:5])
    same(draws(test, 200), known[5:])

  def test_more_training_tasks_keep_the_first_ones(self):
    continuum = envs.TaskDistribution(lambda key: jax.random.uniform(key))
    few, _ = envs.split_tasks(continuum, jax.random.key(2), 2, 1)
    many, _ = envs.split_tasks(continuum, jax.random.key(2), 4, 1)
    self.assertLess(set(draws(few, 100)), set(draws(many, 200)))

  def test_tasks_are_params(self):
    env = envs.simple_spread()
    tasks = envs.finite_tasks(
      lambda i: env.default_params._replace(
        local_ratio=jnp.array([0.0, 1.0], jnp.float32)[i]
      ),
      2,
    )
    batch = envs.vectorize(envs.sample_tasks(env, tasks))
    keys = jax.random.split(jax.random.key(3), 16)
    _, state = jax.jit(batch.reset)(keys, None)
    self.assertEqual(set(np.asarray(state.params.local_ratio)), {0.0, 1.0})

  def test_empty_sets_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'num_tasks=0'):
      envs.finite_tasks(lambda i: i, 0)
    with self.assertRaisesRegex(ValueError, '3 train and 0 test'):
      envs.split_tasks(
        envs.finite_tasks(lambda i: i, 2), jax.random.key(0), 3, 0
      )


if __name__ == '__main__':
  absltest.main()
