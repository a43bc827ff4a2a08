"""Pathways stay on the simplex, and what may not move does not."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import experts

L, E = 3, 6
_logits = np.random.default_rng(0).normal(size=(L, E))
PATHWAY = jax.nn.softmax(jnp.asarray(_logits, jnp.float32))
FREE = experts.free_experts(PATHWAY, 2, 4)


class FreeExpertsTest(absltest.TestCase):
  def test_core_experts_of_the_last_layers(self):
    want = np.zeros((L, E), bool)
    for layer in (1, 2):
      want[layer, np.argsort(-np.asarray(PATHWAY[layer]))[:4]] = True
    np.testing.assert_array_equal(FREE, want)

  def test_of_equal_weights_the_first(self):
    free = experts.free_experts(jnp.full((1, 4), 0.25), 1, 2)
    np.testing.assert_array_equal(free, [[True, True, False, False]])

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'num_layers=4 .* 3 layers'):
      experts.free_experts(PATHWAY, 4, 4)
    with self.assertRaisesRegex(ValueError, 'num_core=7 .* 6 experts'):
      experts.free_experts(PATHWAY, 2, 7)
    with self.assertRaisesRegex(ValueError, 'num_core=1 '):
      experts.free_experts(PATHWAY, 2, 1)


class SpacesTest(parameterized.TestCase):
  @parameterized.parameters(
    experts.logit_space, experts.simplex_space, experts.unbounded_space
  )
  def test_starts_from_the_router(self, make_space):
    space = make_space(PATHWAY, FREE)
    np.testing.assert_allclose(space.pathway(space.start), PATHWAY, atol=1e-6)

  @parameterized.parameters(experts.logit_space, experts.simplex_space)
  def test_stays_on_the_simplex_and_moves_free_experts_only(self, make_space):
    space = make_space(PATHWAY, FREE)
    push = jnp.asarray(np.random.default_rng(1).normal(size=(L, E)) * 3)
    moved = space.pathway(space.retract(space.start + push.astype(jnp.float32)))
    self.assertGreater(float(jnp.abs(moved - PATHWAY).max()), 0.1)
    self.assertGreaterEqual(float(moved.min()), 0.0)
    np.testing.assert_allclose(moved.sum(-1), np.ones(L), atol=1e-6)
    held = ~np.asarray(FREE)
    np.testing.assert_array_equal(moved[held], PATHWAY[held])

  def test_projection_is_the_nearest_point(self):
    x = np.random.default_rng(2).normal(size=(L, E)).astype(np.float32)
    mass = np.array([1.0, 0.6, 0.9], np.float32)
    free = np.asarray(FREE).copy()
    free[0] = True
    got = experts.project_on_simplex(
      jnp.asarray(x), jnp.asarray(free), jnp.asarray(mass)
    )
    for row in range(L):  # bisection on the threshold
      low, high = x[row].min() - 1, x[row].max()
      for _ in range(60):
        middle = (low + high) / 2
        left = np.maximum(x[row, free[row]] - middle, 0).sum()
        low, high = (middle, high) if left > mass[row] else (low, middle)
      want = np.where(free[row], np.maximum(x[row] - low, 0), 0)
      np.testing.assert_allclose(got[row], want, atol=1e-5)

  def test_keep_rest_keeps_sums(self):
    moved = jnp.asarray(np.random.default_rng(3).uniform(size=(L, E)))
    kept = experts.keep_rest(moved.astype(jnp.float32), PATHWAY, FREE)
    np.testing.assert_allclose(kept.sum(-1), np.ones(L), atol=1e-6)
    ratio = np.asarray(kept / moved)[np.asarray(FREE)].reshape(2, 4)
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(4, 1), rtol=1e-5)
    nothing = experts.keep_rest(jnp.zeros((L, E)), PATHWAY, FREE)
    np.testing.assert_array_equal(nothing, PATHWAY)


if __name__ == '__main__':
  absltest.main()
