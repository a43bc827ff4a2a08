"""The three surrogates of C3PO against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest

from ttc import experts

L, E, K, D = 2, 5, 3, 4
_random = np.random.default_rng(0)


def _simplex(*shape):
  x = _random.uniform(0.1, 1.0, size=shape)
  return jnp.asarray(x / x.sum(-1, keepdims=True), jnp.float32)


PATHWAY, PATHWAYS = _simplex(L, E), _simplex(K, L, E)
WEIGHTS = jnp.asarray([0.5, 0.3, 0.2], jnp.float32)
ALL = jnp.ones((L, E), bool)
PART = experts.free_experts(PATHWAY, 1, 3)


class NeighboursTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.x = jnp.asarray(_random.normal(size=D), jnp.float32)
    self.others = jnp.asarray(_random.normal(size=(8, D)), jnp.float32)

  def test_gaussian(self):
    found = experts.find_neighbours(
      self.x, self.others, K, experts.gaussian_kernel(1.5)
    )
    distance = np.square(np.asarray(self.others - self.x)).sum(-1)
    order = np.argsort(distance)[:K]
    kernel = np.exp(-distance[order] / (2 * 1.5**2))
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_allclose(found.weights, kernel / kernel.sum(), rtol=1e-5)

  def test_a_narrow_kernel_still_weighs(self):
    found = experts.find_neighbours(
      self.x, self.others, K, experts.gaussian_kernel(1e-3)
    )
    np.testing.assert_allclose(found.weights, [1.0, 0.0, 0.0], atol=1e-6)

  def test_cosine_is_clipped_at_zero(self):
    others = jnp.stack([self.x, 2 * self.x + 1e-3, -self.x, -2 * self.x])
    found = experts.find_neighbours(self.x, others, 3, experts.cosine_kernel)
    np.testing.assert_allclose(found.weights, [0.5, 0.5, 0.0], atol=1e-4)

  def test_weights_of_none_are_zero(self):
    others = jnp.stack([-self.x, -2 * self.x])
    found = experts.find_neighbours(self.x, others, 2, experts.cosine_kernel)
    np.testing.assert_array_equal(found.weights, [0.0, 0.0])

  def test_a_question_is_not_its_own_neighbour(self):
    others = self.others.at[5].set(self.x)
    kernel = experts.gaussian_kernel(1e-2)
    same = jnp.arange(8) == 5
    found = experts.find_neighbours(self.x, others, K, kernel, same)
    without = experts.find_neighbours(
      self.x, jnp.delete(others, 5, axis=0), K, kernel
    )
    self.assertNotIn(5, found.ids.tolist())
    np.testing.assert_array_equal(found.weights, without.weights)

  def test_typical_distance_is_the_median_to_a_neighbour(self):
    line = jnp.array([[0.0], [1.0], [3.0], [7.0]])
    for k, want in ((1, 1.5), (2, 3.0)):  # of 1, 1, 2, 4 and of 3, 2, 3, 6
      got = experts.typical_distance(line, k)
      np.testing.assert_allclose(got, want, rtol=1e-5)

  def test_too_few_references(self):
    with self.assertRaisesRegex(ValueError, 'num_neighbours=9 .* 8 references'):
      experts.find_neighbours(self.x, self.others, 9, experts.cosine_kernel)


class MixingTest(absltest.TestCase):
  def test_one_neighbour_and_no_alpha_is_its_pathway(self):
    got = experts.kernel_regression(
      PATHWAY, PATHWAYS[:1], jnp.ones((1,)), ALL, alpha=0.0
    )
    np.testing.assert_allclose(got, PATHWAYS[0], rtol=1e-6)

  def test_alpha_one_is_the_identity(self):
    for free in (ALL, PART):
      got = experts.kernel_regression(
        PATHWAY, PATHWAYS, WEIGHTS, free, alpha=1.0
      )
      np.testing.assert_allclose(got, PATHWAY, rtol=1e-6)
      got = experts.mode_finding(PATHWAY, PATHWAYS, free, alpha=1.0)
      np.testing.assert_allclose(got, PATHWAY, rtol=1e-6)

  def test_kernel_regression_is_the_weighted_mean(self):
    got = experts.kernel_regression(PATHWAY, PATHWAYS, WEIGHTS, ALL, alpha=0.25)
    mean = np.tensordot(np.asarray(WEIGHTS), np.asarray(PATHWAYS), 1)
    want = 0.25 * np.asarray(PATHWAY) + 0.75 * mean
    np.testing.assert_allclose(got, want, rtol=1e-5)

  def test_no_weight_changes_nothing(self):
    got = experts.kernel_regression(
      PATHWAY, PATHWAYS, jnp.zeros((K,)), ALL, alpha=0.0
    )
    np.testing.assert_allclose(got, PATHWAY, rtol=1e-6)

  def test_mode_finding_step_by_step(self):
    got = experts.mode_finding(
      PATHWAY, PATHWAYS, ALL, 3, alpha=0.4, bandwidth=0.2
    )
    omega, others = np.asarray(PATHWAY, float), np.asarray(PATHWAYS, float)
    for _ in range(3):
      distance = np.square(others - omega).sum((1, 2))
      kernel = np.exp(-distance / (2 * 0.2**2))
      mean = np.tensordot(kernel / kernel.sum(), others, 1)
      omega = 0.4 * omega + 0.6 * mean
    np.testing.assert_allclose(got, omega, atol=1e-6)

  def test_mode_finding_climbs_to_a_mode(self):
    """Two of three agree: with a narrow kernel they are where it ends."""
    near = PATHWAY.at[:, 0].add(0.02).at[:, 1].add(-0.02)
    far = jnp.roll(PATHWAY, 2, axis=-1)
    others = jnp.stack([near, near, far])
    got = experts.mode_finding(
      PATHWAY, others, ALL, 30, alpha=0.0, bandwidth=0.05
    )
    np.testing.assert_allclose(got, near, atol=1e-4)

  def test_best_alpha_is_that_of_the_least_loss(self):
    make = lambda alpha: experts.kernel_regression(
      PATHWAY, PATHWAYS, WEIGHTS, ALL, alpha=alpha
    )
    alphas = jnp.asarray([0.0, 0.5, 1.0])
    wanted = make(alphas[1])
    loss = lambda omega: jnp.sum(jnp.square(omega - wanted))
    got = experts.best_alpha(make, loss, alphas)
    np.testing.assert_array_equal(got, wanted)


class GradientDescentTest(absltest.TestCase):
  """Of `softmax(W sum_e omega_e h_e)`, whose gradient is known."""

  def setUp(self):
    super().setUp()
    random = np.random.default_rng(1)
    self.head = random.normal(size=(6, D)).astype(np.float32)
    self.outputs = random.normal(size=(L, E, D)).astype(np.float32)
    self.label = 2

  def loss(self, omega):
    hidden = jnp.einsum('le,led->d', omega, self.outputs)
    return -jax.nn.log_softmax(self.head @ hidden)[self.label]

  def descend(self, free, optimizer, num_steps, space):
    return experts.neighbourhood_gradient_descent(
      PATHWAY, self.loss, free, optimizer, num_steps, space
    )

  def test_first_step_is_the_analytic_gradient(self):
    got = self.descend(ALL, optax.sgd(1.0), 1, experts.unbounded_space)
    hidden = np.einsum('le,led->d', PATHWAY, self.outputs)
    logits = self.head @ hidden
    p = np.exp(logits - logits.max())
    p /= p.sum()
    y = np.eye(6)[self.label]
    gradient = self.outputs @ self.head.T @ (p - y)  # (p - y)^T W h_e
    np.testing.assert_allclose(PATHWAY - got.pathway, gradient, atol=1e-5)

  def test_first_step_on_logits(self):
    """The chain rule through the softmax of free experts and their sum."""
    got = self.descend(PART, optax.sgd(0.1), 1, experts.logit_space)
    gradient = np.asarray(jax.jit(jax.grad(self.loss))(PATHWAY))
    want = np.array(PATHWAY)
    free = np.asarray(PART[-1])
    ours = want[-1, free]
    mass = ours.sum()
    inner = gradient[-1, free] - (ours / mass) @ gradient[-1, free]
    logits = np.log(ours) - 0.1 * ours * inner
    moved = np.exp(logits)
    want[-1, free] = mass * moved / moved.sum()
    np.testing.assert_allclose(got.pathway, want, atol=1e-6)

  def test_goes_down_on_the_simplex(self):
    for space in (experts.logit_space, experts.simplex_space):
      schedule = optax.cosine_decay_schedule(0.3, 10)
      got = self.descend(PART, optax.sgd(schedule), 10, space)
      self.assertLess(float(got.losses[-1]), float(got.losses[0]) - 0.01)
      self.assertAlmostEqual(float(got.losses[0]), float(self.loss(PATHWAY)), 5)
      np.testing.assert_allclose(got.pathway.sum(-1), np.ones(L), atol=1e-6)
      self.assertGreaterEqual(float(got.pathway.min()), 0.0)

  def test_no_rate_is_the_identity(self):
    got = self.descend(ALL, optax.sgd(0.0), 3, experts.simplex_space)
    np.testing.assert_allclose(got.pathway, PATHWAY, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
