import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import incontext
from ttc.incontext.projected_tasks import task_of

DATA = incontext.gaussian_templates(
  jax.random.key(0), 64, num_features=6, num_classes=4
)
KEY = jax.random.key(1)


@functools.partial(jax.jit, static_argnums=2)
def draw(tasks, key, num_sequences=16):
  return incontext.draw_sequences(
    tasks, key, num_sequences, 12, num_features=5, num_classes=4
  )


class ProjectedTasksTest(absltest.TestCase):
  def test_one_task_is_one_matrix_and_one_permutation(self):
    tasks = incontext.projected_tasks(DATA, KEY, 1)
    got = draw(tasks, jax.random.key(2))
    matrix, permutation = task_of(tasks, 0, 5, 4)
    self.assertCountEqual(np.asarray(permutation), range(4))
    np.testing.assert_allclose(got.x, got.unprojected @ matrix.T, atol=1e-5)
    # Each example is one of the data set, and its label is the permuted one.
    distance = np.abs(
      np.asarray(got.unprojected)[:, :, None] - np.asarray(DATA.x)
    ).max(axis=-1)
    self.assertLess(distance.min(axis=-1).max(), 1e-6)
    labels = np.asarray(DATA.labels)[distance.argmin(axis=-1)]
    np.testing.assert_array_equal(got.labels, permutation[labels])

  def test_entries_have_variance_one_over_d(self):
    tasks = incontext.projected_tasks(DATA, KEY, 1000)
    matrices, _ = jax.jit(jax.vmap(lambda k: task_of(tasks, k, 5, 4)))(
      jnp.arange(1000)
    )
    # 30 000 normal numbers: the variance is known to 0.8%.
    self.assertAlmostEqual(float(jnp.var(matrices)) * 6, 1.0, delta=0.03)
    self.assertLess(
      np.abs(np.corrcoef(matrices[:, 0, 0], matrices[:, 1, 0])[0, 1]), 0.1
    )

  def test_examples_are_normalised(self):
    x = DATA.x
    np.testing.assert_allclose(jnp.mean(x, axis=0), 0, atol=1e-5)
    self.assertAlmostEqual(float(jnp.mean(x**2)), 1.0, places=4)

  def test_number_of_tasks(self):
    for num_tasks in (1, 3, 2**24):
      tasks = incontext.projected_tasks(DATA, KEY, num_tasks)
      got = draw(tasks, jax.random.key(3))
      matrices = np.linalg.pinv(got.unprojected) @ got.x
      different = np.unique(np.round(matrices, 2), axis=0)
      self.assertLen(different, min(num_tasks, 16))

  def test_unseen_tasks_are_others(self):
    tasks = incontext.projected_tasks(DATA, KEY, 2**24)
    other = incontext.gaussian_templates(
      jax.random.key(9), 64, num_features=6, num_classes=4
    )
    unseen = incontext.unseen(tasks, other)
    self.assertGreaterEqual(int(unseen.first), int(tasks.num_tasks))
    self.assertIs(unseen.data, other)
    self.assertIs(incontext.unseen(tasks).data, DATA)

  def test_a_sequence_does_not_depend_on_how_many_there_are(self):
    tasks = incontext.projected_tasks(DATA, KEY, 100)
    many = draw(tasks, jax.random.key(4))
    few = draw(tasks, jax.random.key(4), 3)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a[:3], b, atol=1e-6), many, few
    )

  def test_share_that_is_not_permuted(self):
    key = jax.random.key(5)
    plain = draw(incontext.projected_tasks(DATA, KEY, 9, unpermuted=1.0), key)
    mixed = draw(incontext.projected_tasks(DATA, KEY, 9, unpermuted=0.5), key)
    own = draw(incontext.projected_tasks(DATA, KEY, 9), key)
    np.testing.assert_array_equal(plain.x, own.x)
    is_plain = np.all(mixed.labels == plain.labels, axis=1)
    is_own = np.all(mixed.labels == own.labels, axis=1)
    self.assertTrue(np.all(is_plain | is_own))
    self.assertBetween(is_plain.sum(), 3, 13)  # of 16, binomial

  def test_sets_of_tasks_are_arrays(self):
    sets = [incontext.projected_tasks(DATA, KEY, n) for n in (1, 7)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *sets)
    both = jax.jit(jax.vmap(draw, (0, None)))(stacked, jax.random.key(6))
    for i, tasks in enumerate(sets):
      np.testing.assert_allclose(
        both.x[i], draw(tasks, jax.random.key(6)).x, atol=1e-6
      )

  def test_bad_numbers(self):
    with self.assertRaisesRegex(ValueError, 'num_tasks=0 must be from 1 to'):
      incontext.projected_tasks(DATA, KEY, 0)
    with self.assertRaisesRegex(
      ValueError, 'unpermuted=2.0 must be from 0 to 1'
    ):
      incontext.projected_tasks(DATA, KEY, 1, unpermuted=2.0)


if __name__ == '__main__':
  absltest.main()
