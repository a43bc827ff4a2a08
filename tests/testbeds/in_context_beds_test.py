import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc.tasks import images
from ttc.testbeds import in_context_classification as classification
from ttc.testbeds import in_context_regression as regression


class InContextTest(absltest.TestCase):
  @pytest.mark.slow
  def test_principal_components_of_images(self):
    shown = images.painted_images(0, 200)
    data = classification.of_images(shown)
    x = np.asarray(data.x, np.float64)
    # Uncorrelated, the largest first, as a singular value decomposition says.
    covariance = x.T @ x / len(x)
    np.testing.assert_allclose(
      covariance, np.diag(np.diag(covariance)), atol=1e-3
    )
    pixels = shown.images.reshape(200, -1) / 255
    found = np.linalg.svd(pixels - pixels.mean(axis=0))[1][:16] ** 2
    np.testing.assert_allclose(
      np.diag(covariance) / 16, found / found.sum(), rtol=1e-3
    )
    np.testing.assert_array_equal(data.labels, shown.labels)

  def test_tasks_of_a_seed(self):
    tasks, other = classification.tasks_of(3, 7)
    self.assertEqual(int(tasks.num_tasks), 7)
    self.assertFalse(np.array_equal(tasks.data.x, other.x))
    again, _ = classification.tasks_of(3, 9)
    np.testing.assert_array_equal(tasks.data.x, again.data.x)

  def test_lengths_of_contexts(self):
    tasks = regression.seed_tasks('subspace', 0)
    contexts = regression.draw(tasks, jax.random.key(0), 300, 2, 6)
    self.assertCountEqual(np.unique(contexts.lengths), range(2, 7))
    # Equally often: 60 of each, give or take 4 standard errors.
    self.assertGreater(np.bincount(contexts.lengths)[2:].min(), 32)
    few = regression.draw(tasks, jax.random.key(0), 5, 2, 6)
    np.testing.assert_array_equal(few.lengths, contexts.lengths[:5])
    np.testing.assert_allclose(few.y, contexts.y[:5], atol=1e-6)
    self.assertEqual(tasks.root.shape, (16, 4))
    isotropic = regression.seed_tasks('isotropic', 0).root
    np.testing.assert_array_equal(isotropic, jnp.eye(16))


if __name__ == '__main__':
  absltest.main()
