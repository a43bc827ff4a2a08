"""Laws of actions: mass one, entropy as an expectation, nothing illegal."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.agents.distributions import Categorical, DiagonalNormal, masked


class DistributionsTest(absltest.TestCase):
  def test_categorical(self):
    logits = jax.random.normal(jax.random.key(0), (4, 5))
    legal = jnp.ones((4, 5), bool).at[:, 2].set(False)
    law = Categorical(masked(logits, legal))
    actions = jnp.broadcast_to(jnp.arange(5)[:, None], (5, 4))
    log_probs = jax.jit(jax.vmap(law.log_prob))(actions)
    p = np.exp(log_probs)
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(p[2], 0)
    entropy = -(p * np.where(p > 0, log_probs, 0)).sum(axis=0)
    np.testing.assert_allclose(law.entropy(), entropy, atol=1e-5)
    np.testing.assert_array_equal(law.mode(), p.argmax(axis=0))
    draws = jax.jit(jax.vmap(law.sample))(
      jax.random.split(jax.random.key(1), 4000)
    )
    shares = (np.asarray(draws)[..., None] == np.arange(5)).mean(axis=0)
    np.testing.assert_allclose(shares, p.T, atol=0.03)  # 3 errors of a half

  def test_diagonal_normal(self):
    law = DiagonalNormal(jnp.array([0.5, -1.0]), jnp.array([0.1, -0.5]))
    draws = jax.jit(jax.vmap(law.sample))(
      jax.random.split(jax.random.key(1), 20000)
    )
    np.testing.assert_allclose(draws.mean(axis=0), law.mean, atol=0.03)
    np.testing.assert_allclose(
      draws.std(axis=0), np.exp(law.log_std), atol=0.03
    )
    log_probs = jax.jit(jax.vmap(law.log_prob))(draws)
    self.assertAlmostEqual(-log_probs.mean(), law.entropy(), delta=0.03)
    grid = np.linspace(-8, 8, 201)
    points = np.stack(np.meshgrid(grid, grid, indexing='ij'), axis=-1)
    mass = np.exp(jax.jit(jax.vmap(jax.vmap(law.log_prob)))(points)).sum()
    self.assertAlmostEqual(mass * (grid[1] - grid[0]) ** 2, 1.0, delta=1e-3)


if __name__ == '__main__':
  absltest.main()
