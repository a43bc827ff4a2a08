import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import incontext

NET = incontext.in_context_regressor(
  3, width=8, num_layers=2, num_heads=2, num_registers=2, max_length=10
)


def setup_module():
  global PARAMS, TASKS, CONTEXTS
  PARAMS = jax.jit(NET.init)(jax.random.key(0))
  TASKS = incontext.isotropic_tasks(3)
  CONTEXTS = jax.jit(incontext.draw_contexts, static_argnums=(3, 4))(
    TASKS, jax.random.key(1), jnp.array([3, 8, 5, 1]), 8, 4
  )


fit = jax.jit(NET.fit)


def fitted(contexts):
  return fit(PARAMS, contexts.x, contexts.y, contexts.lengths)


class RegressorTest(absltest.TestCase):
  def test_order_does_not_matter(self):
    order = np.array([4, 7, 0, 2, 6, 1, 3, 5])
    full = CONTEXTS._replace(lengths=jnp.full(4, 8))
    moved = full._replace(x=full.x[:, order], y=full.y[:, order])
    before, after = fitted(full), fitted(moved)
    np.testing.assert_allclose(before.weights, after.weights, atol=1e-5)
    np.testing.assert_allclose(before.bias, after.bias, atol=1e-5)
    other = full._replace(y=full.y[:, order])  # but which belongs to which does
    self.assertGreater(
      np.abs(before.weights - fitted(other).weights).max(), 1e-3
    )

  def test_what_is_not_shown_is_not_seen(self):
    behind = jnp.arange(8) >= CONTEXTS.lengths[:, None]
    other = CONTEXTS._replace(
      x=jnp.where(behind[..., None], 7.0, CONTEXTS.x),
      y=jnp.where(behind, -3.0, CONTEXTS.y),
    )
    np.testing.assert_array_equal(
      fitted(CONTEXTS).weights, fitted(other).weights
    )
    shown = CONTEXTS._replace(lengths=CONTEXTS.lengths + 1)
    self.assertTrue(np.all(fitted(CONTEXTS).bias[2:] != fitted(shown).bias[2:]))

  def test_one_program_for_all_lengths(self):
    count = 0

    @jax.jit
    def traced(lengths):
      nonlocal count
      count += 1
      return NET.fit(PARAMS, CONTEXTS.x, CONTEXTS.y, lengths).bias

    for n in (1, 4, 8):
      traced(jnp.full(4, n))
    self.assertEqual(count, 1)

  def test_loss_is_the_error_of_what_is_written(self):
    found = fitted(CONTEXTS)
    by_hand = [
      np.mean((x @ w + b - y) ** 2)
      for x, y, w, b in zip(
        *jax.device_get((CONTEXTS.query_x, CONTEXTS.query_y, *found)),
        strict=True,
      )
    ]
    loss = jax.jit(incontext.regression_loss, static_argnums=0)
    got = loss(NET, PARAMS, CONTEXTS)
    self.assertAlmostEqual(float(got), np.mean(by_hand), places=5)

  def test_bad_sizes(self):
    long = jnp.zeros((1, 11, 3))
    with self.assertRaisesRegex(ValueError, '11 examples are longer than max'):
      NET.fit(PARAMS, long, long[..., 0], jnp.array([11]))
    with self.assertRaisesRegex(ValueError, 'width=9 is not a multiple'):
      incontext.in_context_regressor(width=9)


if __name__ == '__main__':
  absltest.main()
