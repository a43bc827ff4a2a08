import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import incontext
from ttc.incontext.linear_estimators import solve

RNG = np.random.default_rng(0)
D, N = 5, 9
X, Y = RNG.normal(size=(N, D)), RNG.normal(size=N)
# Three more examples that are not shown.
PADDED = jnp.r_[X, np.zeros((3, D))], jnp.r_[Y, np.zeros(3)]


class LinearEstimatorsTest(absltest.TestCase):
  def test_solve(self):
    matrix = X.T @ X + 0.1 * np.eye(D)
    for y in (X.T @ Y, X.T):
      np.testing.assert_allclose(
        solve(jnp.asarray(matrix), jnp.asarray(y)),
        np.linalg.solve(matrix, y),
        rtol=1e-3,
        atol=1e-4,
      )

  def test_posterior_mean_is_gaussian_conditioning(self):
    root, noise = RNG.normal(size=(D, 2)), 0.7
    covariance = root @ root.T
    of_y = X @ covariance @ X.T + noise**2 * np.eye(N)
    expected = covariance @ X.T @ np.linalg.solve(of_y, Y)
    got = incontext.posterior_mean(*PADDED, jnp.asarray(root), noise)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)

  def test_ridge(self):
    expected = np.linalg.solve(X.T @ X + 0.3 * np.eye(D), X.T @ Y)
    got = incontext.ridge(*PADDED, 0.3)
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    # The penalty of Bayes: noise over variance.
    bayes = incontext.posterior_mean(*PADDED, 2.0 * jnp.eye(D), 2.0 * 0.3**0.5)
    np.testing.assert_allclose(got, bayes, rtol=1e-4)

  def test_cross_validation_leaves_one_out(self):
    penalties = (0.01, 0.3, 10.0)

    def fit(x, y, penalty):
      return np.linalg.solve(x.T @ x + penalty * np.eye(D), x.T @ y)

    def error(penalty):
      keep = ~np.eye(N, dtype=bool)
      return sum(
        (Y[i] - X[i] @ fit(X[keep[i]], Y[keep[i]], penalty)) ** 2
        for i in range(N)
      )

    best = min(penalties, key=error)
    got = incontext.cross_validated_ridge(*PADDED, penalties)
    np.testing.assert_allclose(got, fit(X, Y, best), rtol=1e-3)
    # Where responses are noise the heaviest penalty wins, else the lightest.
    heavy = incontext.cross_validated_ridge(
      jnp.asarray(X), jnp.asarray(RNG.normal(size=N)), (1e-3, 1e3)
    )
    light = incontext.cross_validated_ridge(
      jnp.asarray(X), jnp.asarray(X @ np.ones(D)), (1e-3, 1e3)
    )
    self.assertLess(np.abs(heavy).max(), 0.1)
    np.testing.assert_allclose(light, 1.0, atol=0.01)

  def test_squared_error(self):
    got = incontext.squared_error(
      jnp.ones((2, D)),
      jnp.asarray(X)[None].repeat(2, 0),
      jnp.zeros((2, N)),
      jnp.array([0.0, 1.0]),
    )
    np.testing.assert_allclose(
      got, [np.mean((X.sum(1) + b) ** 2) for b in (0, 1)], rtol=1e-5
    )


draw_contexts = jax.jit(incontext.draw_contexts, static_argnums=(3, 4))


class LinearTasksTest(absltest.TestCase):
  def test_law_of_contexts(self):
    tasks = incontext.isotropic_tasks(3, scale=2.0, noise=3.0)
    lengths = jnp.full(2000, 4)
    contexts = draw_contexts(tasks, jax.random.key(0), lengths, 6, 2)
    shown = contexts.x[:, :4]
    np.testing.assert_allclose(jnp.linalg.norm(shown, axis=-1), 1, atol=1e-5)
    self.assertFalse(np.any(contexts.x[:, 4:]) or np.any(contexts.y[:, 4:]))
    # tau^2 + sigma^2, up to 3 standard errors.
    self.assertAlmostEqual(float(jnp.var(contexts.y[:, 0])), 13, delta=1.3)

  def test_a_longer_context_begins_with_the_shorter(self):
    tasks = incontext.isotropic_tasks(3)
    draw = lambda n: draw_contexts(
      tasks, jax.random.key(1), jnp.full(2000, n), 6, 2
    )
    short, long = draw(2), draw(5)
    np.testing.assert_array_equal(short.x[:, :2], long.x[:, :2])
    np.testing.assert_array_equal(short.query_y, long.query_y)

  def test_subspace(self):
    tasks = incontext.subspace_tasks(jax.random.key(2), 6, 2, noise=0.0)
    lengths = jnp.full(50, 8)
    contexts = draw_contexts(tasks, jax.random.key(3), lengths, 8, 2)
    weights = np.linalg.pinv(contexts.x) @ np.asarray(contexts.y)[..., None]
    found = np.linalg.svd(weights[..., 0])[1]
    self.assertEqual(np.sum(found > 1e-3 * found[0]), 2)
    with self.assertRaisesRegex(ValueError, 'rank=7 must be from 1 to 6'):
      incontext.subspace_tasks(jax.random.key(2), 6, 7)


if __name__ == '__main__':
  absltest.main()
