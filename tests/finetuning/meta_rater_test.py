"""Meta-rater where the best weights are known."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import finetuning


class SurrogateTest(parameterized.TestCase):
  def test_a_quadratic_is_recovered_and_linear_losses_too(self):
    w = jax.random.dirichlet(jax.random.key(0), jnp.ones(4), (200,))
    fresh = jax.random.dirichlet(jax.random.key(1), jnp.ones(4), (50,))
    slope = jnp.array([1.0, -2.0, 0.5, 3.0])
    for loss in (
      lambda w: w @ slope,
      lambda w: w @ slope + (w[..., 1] - 1) ** 2,
    ):
      fit = finetuning.fit_surrogate(w, loss(w), ridge=1e-7)
      np.testing.assert_allclose(fit(fresh), loss(fresh), atol=2e-3)

  def test_a_proxy_that_diverged_is_left_out(self):
    w = jax.random.dirichlet(jax.random.key(0), jnp.ones(3), (60,))
    loss = w @ jnp.array([1.0, 2.0, 3.0])
    some = finetuning.fit_surrogate(w[:50], loss[:50], ridge=1e-6)
    lost = finetuning.fit_surrogate(
      w, loss.at[50:].set(jnp.array([jnp.nan, jnp.inf] * 5)), ridge=1e-6
    )
    np.testing.assert_allclose(lost(w), some(w), atol=1e-4)

  def test_selection_is_by_weighted_score(self):
    scores = jnp.array([[3.0, 0], [0, 1], [2, 2], [1, 0]])
    standard = finetuning.standardise(scores)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(0), 1, rtol=1e-5)
    found = finetuning.select_documents(scores, jnp.array([1.0, 0.0]), 2)
    np.testing.assert_array_equal(found, [0, 2])
    found = finetuning.select_documents(scores, jnp.array([0.5, 0.5]), 1)
    np.testing.assert_array_equal(found, [2])
    constant = finetuning.standardise(jnp.ones((3, 2)))
    np.testing.assert_array_equal(constant, 0)
    with self.assertRaisesRegex(ValueError, r'count=5 is not in \[1, 4\]'):
      finetuning.select_documents(scores, jnp.ones(2), 5)


class MetaRaterTest(absltest.TestCase):
  def test_noise_that_two_of_four_scores_tell_is_avoided(self):
    """The mean noise of what is kept is the loss: `exp(-(2 q_0 + q_1))`.

    Then weights proportional to (2, 1, 0, 0) are best: they order documents
    as their noise does.
    """
    q = jax.random.normal(jax.random.key(0), (2000, 4))
    noise = jnp.exp(-(2 * q[:, 0] + q[:, 1]) / 2)
    losses = lambda rows: jnp.mean(noise[rows], axis=1)
    found = finetuning.meta_rater(
      jax.random.key(1), q, losses, 400, num_proxies=128, num_candidates=20_000
    )
    w = np.asarray(found.weights)
    self.assertAlmostEqual(float(w.sum()), 1, places=5)
    self.assertGreater(w[0], w[1])
    self.assertGreater(w[1], 2 * max(w[2:]))
    self.assertAlmostEqual(w[0] / w[1], 2, delta=0.6)
    standard = finetuning.standardise(q)
    kept = lambda w: finetuning.select_documents(standard, w, 400)
    reached = lambda w: float(losses(kept(w)[None])[0])
    best = reached(jnp.array([2.0, 1, 0, 0]))
    self.assertLess(reached(found.weights), 1.1 * best)
    self.assertLess(reached(found.weights), reached(jnp.ones(4)))
    self.assertEqual(found.losses.shape, (128,))
    with self.assertRaisesRegex(ValueError, 'num_proxies=1'):
      finetuning.meta_rater(jax.random.key(0), q, losses, 400, num_proxies=1)


if __name__ == '__main__':
  absltest.main()
