"""PETAL and PSMT: their pulls, what returns, and the source's posterior."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest, parameterized
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import Posterior, cotta, petal, psmt
from ttc.adaptation.adapter import choose
from ttc.adaptation.fisher import squared_below
from ttc.adaptation.swag import collect, fit_posterior, start_iterates, variance
from ttc.adaptation.views import unchanged

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(5, 3))
NETWORK = given_logits(3)
SOURCE = source_of(NETWORK, ROWS)
TEACHER = {'view': unchanged, 'num_views': 2, 'momentum': 0.75}


def wide(value):
  params = choose(SOURCE.variables, 'all')
  var = jax.tree.map(lambda p: jnp.full_like(p, value), params)
  return Posterior(SOURCE.variables, var)


def moved(state):
  """The state with a student that has left its teacher."""
  teaching = state.teaching
  params = teaching.student.params | {'norm/bias': jnp.array([0.5, -0.3, 0.1])}
  student = teaching.student._replace(params=params)
  return state._replace(teaching=teaching._replace(student=student))


class QuantileTest(absltest.TestCase):
  def test_share_of_all_numbers(self):
    grads = {'a': jnp.array([[1.0, -2.0], [3.0, -4.0]]), 'b': jnp.array([5.0])}
    for share in (0.0, 0.3, 0.5, 1.0):
      flat = np.array([1, 4, 9, 16, 25.0])
      limit = np.quantile(flat, share)
      got = squared_below(grads, share)
      np.testing.assert_array_equal(got['a'].reshape(-1), flat[:4] < limit)
      np.testing.assert_array_equal(got['b'], flat[4:] < limit)

  def test_many_zeros_and_many_numbers(self):
    zeros = {'a': jnp.array([0.0, 0.0, 0.0, 1.0])}
    self.assertFalse(bool(squared_below(zeros, 0.5)['a'].any()))
    many = {'a': jax.random.normal(KEY, (20_000,))}
    below = float(squared_below(many, 0.3, max_exact=5_000)['a'].mean())
    self.assertAlmostEqual(
      below, 0.3, delta=0.025
    )  # 3 standard errors, doubled


class PetalTest(parameterized.TestCase):
  def test_without_prior_and_at_random_it_is_cotta(self):
    sgd = optax.sgd(0.5)
    options = TEACHER | {'threshold': 0.5, 'restore': 0.2}
    one = compiled(
      petal(NETWORK, wide(1.0), sgd, strength=0.0, share=None, **options)
    )
    other = compiled(cotta(NETWORK, sgd, **options))
    a, b = one.init(SOURCE, KEY), other.init(SOURCE, KEY)
    for i in range(3):
      key = jax.random.fold_in(KEY, i)
      said, a = one.update(a, batch_of(ROWS), key)
      wanted, b = other.update(b, batch_of(ROWS), key)
      chex.assert_trees_all_close(said, wanted)
    chex.assert_trees_all_close(a.teaching, b)

  @parameterized.parameters(0.0, 0.5, 1.0)
  def test_what_returns(self, share):
    adapter = compiled(petal(NETWORK, wide(1.0), share=share, **TEACHER))
    state = moved(adapter.init(SOURCE, KEY))
    _, new = adapter.update(state, batch_of(ROWS), KEY)
    params, source = (
      new.teaching.student.params,
      choose(SOURCE.variables, 'all'),
    )
    home = sum(int((params[path] == source[path]).sum()) for path in params)
    self.assertEqual(home, {0.0: 0, 0.5: 3, 1.0: 5}[share])

  def test_the_prior_pulls_to_the_minimum(self):
    # Uniform targets of zero logits: with a bias alone, the loss is near
    # a quadratic a/2 (b - 0)^2, and the prior is another.
    adapter = compiled(
      petal(NETWORK, wide(0.5), optax.sgd(0.2), strength=2.0, share=0.0,
            **TEACHER)
    )  # fmt: skip
    state = moved(adapter.init(SOURCE, KEY))
    b = state.teaching.student.params['norm/bias']
    _, new = adapter.update(state, batch_of(ROWS), KEY)
    p = np.exp(ROWS + b) / np.exp(ROWS + b).sum(-1, keepdims=True)
    q = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
    slope = (p - q).mean(0) + 2.0 * b / (0.5 + 1e-6)
    got = new.teaching.student.params['norm/bias']
    np.testing.assert_allclose(got, b - 0.2 * slope, atol=1e-6)


class PsmtTest(absltest.TestCase):
  def update(self, rate=0.1, **options):
    adapter = compiled(psmt(NETWORK, optax.sgd(rate), **TEACHER | options))
    state = moved(adapter.init(SOURCE, KEY))
    said, new = adapter.update(state, batch_of(ROWS), KEY)
    return state, said, new.teaching

  def test_no_share_is_a_teacher_that_follows_twice(self):
    state, said, new = self.update(share=0.0, strength=0.0)
    b = state.teaching.student.params['norm/bias']
    student = new.student.params['norm/bias']
    np.testing.assert_allclose(said.logits, 2 * ROWS + b, atol=1e-6)
    p = np.exp(ROWS + b) / np.exp(ROWS + b).sum(-1, keepdims=True)
    q = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
    gap = np.log(q) - (p * np.log(q)).sum(-1, keepdims=True)
    slope = (0.5 * (p - q) - 0.5 * p * gap).mean(0)
    np.testing.assert_allclose(student, b - 0.1 * slope, atol=1e-6)
    teacher = new.teacher['norm/bias']
    np.testing.assert_allclose(teacher, (1 - 0.75**2) * student, atol=1e-6)

  def test_all_that_returns_returns_in_both(self):
    _, _, new = self.update(share=1.0)
    source = choose(SOURCE.variables, 'all')
    for params in (new.student.params, new.teacher):
      away = sum(int((params[k] != source[k]).sum()) for k in params)
      self.assertEqual(away, 1)  # all but the largest

  def test_a_strong_source_holds_the_student(self):
    gaps = []
    for strength in (0.0, 5.0):
      _, _, new = self.update(share=0.0, strength=strength)
      gaps.append(float(abs(new.student.params['norm/bias']).sum()))
    self.assertLess(gaps[1], gaps[0])

  def test_without_views_the_batch_is_its_view(self):
    twice = lambda key, x: 2 * x
    options = {'view': twice, 'threshold': 2.0, 'share': 0.0}
    _, said, _ = self.update(**options)
    _, plain, _ = self.update(**options, use_views=False)
    b = np.array([0.5, -0.3, 0.1])
    np.testing.assert_allclose(said.logits, 3 * ROWS + b, atol=1e-5)
    np.testing.assert_allclose(plain.logits, 2 * ROWS + b, atol=1e-5)


class PosteriorTest(absltest.TestCase):
  def test_running_moments(self):
    draws = np.random.default_rng(0).normal(size=(7, 4))
    iterates = start_iterates({'a': jnp.zeros(4)})
    for row in draws:
      iterates = collect(iterates, {'a': jnp.asarray(row, jnp.float32)})
    np.testing.assert_allclose(iterates.mean['a'], draws.mean(0), atol=1e-6)
    np.testing.assert_allclose(variance(iterates)['a'], draws.var(0), atol=1e-5)

  def test_iterates_at_a_constant_rate_surround_the_minimum(self):
    rows = 2 * np.random.default_rng(2).normal(size=(64, 3))
    source = source_of(NETWORK, rows)
    labels = jnp.asarray(rows.argmax(-1), jnp.int32).at[:16].set(0)
    found = fit_posterior(
      NETWORK, source.variables, source.images, labels, KEY, optax.sgd(0.1),
      num_iterates=8, steps_between=10, batch_size=16,
    )  # fmt: skip
    params = choose(found.mean, 'all')
    self.assertGreater(float(params['norm/bias'][0]), 0.05)
    for leaf in found.var.values():
      self.assertTrue(bool((leaf >= 0).all() & (leaf > 0).any()))
    with self.assertRaisesRegex(ValueError, '64 images: fewer than a batch'):
      fit_posterior(NETWORK, source.variables, source.images, labels, KEY)


if __name__ == '__main__':
  absltest.main()
