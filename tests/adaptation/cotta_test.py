"""CoTTA: what the teacher says, whom it follows, what returns."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import cotta
from ttc.adaptation.cotta import restore_some
from ttc.adaptation.views import unchanged

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(5, 3)) * 2
SURE = np.tile([9.0, 0.0, 0.0], (4, 1))


def softmax(z):
  e = np.exp(z)
  return e / e.sum(-1, keepdims=True)


class CottaTest(parameterized.TestCase):
  def start(self, **options):
    network = given_logits(3)
    options = {'view': unchanged, 'num_views': 2, 'restore': 0.0} | options
    adapter = compiled(cotta(network, optax.sgd(1.0), **options))
    return adapter, adapter.init(source_of(network), KEY)

  @parameterized.parameters(False, True)
  def test_the_student_moves_and_the_teacher_follows(self, symmetric):
    adapter, state = self.start(momentum=0.75, symmetric=symmetric)
    # A student that differs from its teacher.
    b = jnp.array([0.5, -0.3, 0.0])
    params = state.student.params | {'norm/bias': b}
    state = state._replace(student=state.student._replace(params=params))
    prediction, new = adapter.update(state, batch_of(ROWS), KEY)
    np.testing.assert_allclose(prediction.logits, ROWS, atol=1e-6)
    p, q = softmax(ROWS + b), softmax(ROWS)
    slope = p - q
    if symmetric:
      gap = np.log(q) - (p * np.log(q)).sum(-1, keepdims=True)
      slope = 0.5 * slope - 0.5 * p * gap
    student = b - slope.mean(0)
    np.testing.assert_allclose(
      new.student.params['norm/bias'], student, atol=1e-6
    )
    np.testing.assert_allclose(
      new.teacher['norm/bias'], 0.25 * student, atol=1e-6
    )

  def test_views_are_asked_where_the_source_is_unsure(self):
    double = lambda key, images: 2 * images
    adapter, state = self.start(view=double, threshold=0.9)
    sure, _ = adapter.update(state, batch_of(SURE), KEY)
    np.testing.assert_allclose(sure.logits, SURE, atol=1e-6)
    self.assertEqual(int(sure.num_forward), 4 * 3)
    unsure, _ = adapter.update(state, batch_of(SURE / 9), KEY)
    np.testing.assert_allclose(unsure.logits, 2 * SURE / 9, atol=1e-6)
    self.assertEqual(int(unsure.num_forward), 4 * (2 + 2))

  def test_logits_of_views_are_averaged_not_probabilities(self):
    either = lambda key, x: jnp.where(jax.random.bernoulli(key), x, -3 * x)
    adapter, state = self.start(view=either, threshold=2.0, num_views=64)
    prediction, _ = adapter.update(state, batch_of(ROWS), KEY)
    factor = np.asarray(prediction.logits)[0] / ROWS[0]
    np.testing.assert_allclose(factor, factor[0], rtol=1e-4)
    # A mean of 64 draws of 1 or -3: within three standard errors of -1.
    self.assertLess(abs(factor[0] + 1), 3 * 2 / np.sqrt(64))

  def test_numbers_return_to_the_source_at_the_rate(self):
    source = {'a': jnp.zeros(10_000), 'b': jnp.zeros(10_000)}
    params = jax.tree.map(jnp.ones_like, source)
    restore = functools.partial(restore_some, KEY, params, source)
    chex.assert_trees_all_equal(restore(0.0), params)
    chex.assert_trees_all_equal(restore(1.0), source)
    some = restore(0.1)
    for leaf in some.values():
      # Three standard errors of a share of .1 among 10 000.
      self.assertLess(abs(float(1 - leaf.mean()) - 0.1), 0.009)
    self.assertTrue(bool((some['a'] != some['b']).any()))

  def test_only_the_student_returns(self):
    adapter, state = self.start(restore=1.0, momentum=0.0)
    b = jnp.array([0.5, -0.3, 0.0])
    params = state.student.params | {'norm/bias': b}
    moved = state._replace(student=state.student._replace(params=params))
    _, new = adapter.update(moved, batch_of(ROWS), KEY)
    chex.assert_trees_all_equal(new.student.params, state.student.params)
    self.assertTrue(bool((new.teacher['norm/bias'] != 0).all()))


if __name__ == '__main__':
  absltest.main()
