"""DCO against closed forms and long arithmetic."""

import decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized

from ttc import finetuning

decimal.getcontext().prec = 60


def exact(s, n):
  """Loss and weight of a log-probability in 60 digits."""
  p = decimal.Decimal(float(s)).exp()
  if p == 1:
    return 0.0, 0.0
  missed = (1 - p) ** n
  loss = -(1 - missed).ln()
  return float(loss), float(n * p * (1 - p) ** (n - 1) / (1 - missed))


class DCOTest(parameterized.TestCase):
  @parameterized.parameters(
    (4, 0.05, 0.924425), (16, 0.05, 0.661994), (16, 0.2, 0.115851),
    (64, 0.01, 0.716225), (256, 0.02, 0.029812), (256, 1e-6, 0.999873),
  )  # fmt: skip
  def test_weights_of_the_paper(self, n, p, weight):
    found = finetuning.coverage_weight(jnp.log(p), n)
    self.assertAlmostEqual(float(found), weight, delta=2e-6)

  @parameterized.parameters(2, 16, 1024)
  def test_float32_agrees_with_sixty_digits(self, n):
    p = np.concatenate([
      np.geomspace(1e-9, n, 60)[np.geomspace(1e-9, n, 60) < n] / n,
      [0.3, 0.49, 0.51, 0.9, 1 - 1e-3, 1 - 1e-5, 1 - 3e-7],
    ])  # fmt: skip
    s = np.log(p).astype(np.float32)
    want = np.array([exact(x, n) for x in s])
    loss = finetuning.coverage_loss(jnp.asarray(s), n)
    slope = jax.vmap(jax.grad(finetuning.coverage_loss), (0, None))(s, n)
    error = np.abs(loss - want[:, 0]) / np.maximum(want[:, 0], 1)
    self.assertLess(error.max(), 3e-7)
    np.testing.assert_allclose(-slope, want[:, 1], atol=2e-6)
    np.testing.assert_allclose(
      finetuning.coverage_weight(jnp.asarray(s), n), -slope
    )

  def test_one_sample_is_cross_entropy_and_a_sure_answer_pulls_no_more(self):
    s = jnp.array([-30.0, -1.0, -1e-8, 0.0], jnp.float32)
    np.testing.assert_array_equal(finetuning.coverage_loss(s, 1), -s)
    np.testing.assert_array_equal(finetuning.coverage_weight(s, 1), 1)
    for n in (2, 16):
      loss, slope = jax.value_and_grad(finetuning.coverage_loss)(
        jnp.zeros(()), n
      )
      self.assertEqual((float(loss), float(slope)), (0.0, 0.0))

  def test_the_number_of_samples_may_be_traced(self):
    s = jnp.log(jnp.array([0.01, 0.3, 0.9]))
    sweep = jax.jit(jax.vmap(finetuning.coverage_loss, (None, 0)))
    found = sweep(s, jnp.array([1, 4, 16]))
    for row, n in zip(found, (1, 4, 16), strict=True):
      np.testing.assert_allclose(row, finetuning.coverage_loss(s, n), rtol=1e-6)

  def test_a_search_by_steps_sums_over_the_steps_there_are(self):
    p = jnp.array([[0.5, 0.2, 0.0], [0.1, 1.0, 1.0]])
    mask = jnp.array([[1, 1, 0], [1, 1, 1]], bool)
    found = finetuning.stepwise_coverage_loss(jnp.log(p), mask, 4)
    at = lambda p: -np.log(1 - (1 - p) ** 4)
    np.testing.assert_allclose(found, [at(0.5) + at(0.2), at(0.1)], rtol=1e-5)

  def test_a_chain_of_thought_counts_by_the_samples_that_are_right(self):
    right = jnp.array([0, 3, 13, 64])
    weight = finetuning.chain_of_thought_weight(right, 64, 16)
    at = lambda p: 16 * p * (1 - p) ** 15 / (1 - (1 - p) ** 16)
    want = [1, at(3 / 64), at(13 / 64), 0]  # the third is 0.111
    np.testing.assert_allclose(weight, want, atol=1e-5)
    left_out = finetuning.chain_of_thought_weight(right, 64, 16, threshold=0.2)
    np.testing.assert_allclose(left_out, [*want[:2], 0, 0], atol=1e-5)


class OptimaTest(parameterized.TestCase):
  p = jnp.array([0.5, 0.3, 0.2])

  @parameterized.parameters(
    (1, (1, 0, 0), 0.5),
    (2, (0.61290, 0.35484, 0.03226), 0.61290),
    (4, (0.43548, 0.33069, 0.23383), 0.82010),
    (16, (0.35435, 0.33198, 0.31368), None),
  )
  def test_water_filling(self, n, q, coverage):
    found = finetuning.most_coverage(self.p, n)
    np.testing.assert_allclose(found, q, atol=1e-5)
    if coverage:
      reached = finetuning.coverage(self.p, found, n)
      self.assertAlmostEqual(float(reached), coverage, delta=1e-5)
    # No other point of the simplex covers more.
    others = jax.random.dirichlet(jax.random.key(0), jnp.ones(3), (200,))
    rest = jax.vmap(finetuning.coverage, (None, 0, None))(self.p, others, n)
    self.assertLessEqual(
      float(rest.max()), float(finetuning.coverage(self.p, found, n)) + 1e-6
    )

  def test_training_tends_to_the_stationary_point_not_to_the_most(self):
    want = jnp.array([0.41239, 0.32682, 0.26079])
    found = finetuning.least_coverage_loss(self.p, 4)
    np.testing.assert_allclose(found, want, atol=1e-5)
    covers = finetuning.coverage(self.p, found, 4)
    self.assertAlmostEqual(float(covers), 0.81906, delta=1e-5)
    plain = finetuning.coverage(self.p, self.p, 4)
    self.assertAlmostEqual(float(plain), 0.81480, delta=1e-5)
    np.testing.assert_allclose(
      finetuning.least_coverage_loss(self.p, 1), self.p, atol=1e-6
    )

    optimizer = optax.adam(0.05)

    def step(carry, _):
      logits, state = carry
      loss = lambda logits: (
        self.p @ finetuning.coverage_loss(jax.nn.log_softmax(logits), 4)
      )
      updates, state = optimizer.update(jax.grad(loss)(logits), state)
      return (logits + updates, state), None

    start = jnp.zeros(3), optimizer.init(jnp.zeros(3))
    (logits, _), _ = jax.lax.scan(step, start, length=400)
    np.testing.assert_allclose(jax.nn.softmax(logits), want, atol=1e-3)


if __name__ == '__main__':
  absltest.main()
