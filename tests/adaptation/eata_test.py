"""EATA by hand: what counts, what it weighs, and what holds the source."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest
from given_logits import (
  batch_of,
  compiled,
  given_logits,
  logits_of_entropy,
  source_of,
)

from ttc.adaptation import eata
from ttc.adaptation.fisher import diagonal_fisher, weighted_distance

KEY = jax.random.key(0)
SURE, UNSURE = logits_of_entropy(0.1), logits_of_entropy(0.6)


def softmax(z):
  e = np.exp(np.asarray(z, float))
  return e / e.sum(-1, keepdims=True)


def entropy_slope(z):
  """What the entropy does with each logit: - p (log p + H)."""
  p = softmax(z)
  return -p * (np.log(p) - np.sum(p * np.log(p)))


class EataTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.network = given_logits(2)
    self.source = source_of(self.network)

  def adapter(self, **options):
    options = {'fisher': None, 'redundancy': 0.9} | options
    return compiled(eata(self.network, optax.sgd(1.0), **options))

  def test_only_the_reliable_sample_counts_and_its_weight_is_constant(self):
    adapter = self.adapter()  # E0 = .4 ln 2 = .277
    state = adapter.init(self.source, KEY)
    prediction, new = adapter.update(state, batch_of([SURE, UNSURE]), KEY)
    self.assertEqual(int(prediction.num_backward), 1)
    wanted = -np.exp(0.4 * np.log(2) - 0.1) * entropy_slope(SURE)
    bias = new.learning.params['norm/bias']
    np.testing.assert_allclose(bias, wanted, atol=1e-6)
    np.testing.assert_allclose(new.mean_probs, softmax(SURE), atol=1e-6)

  def test_what_is_like_the_old_mean_does_not_count(self):
    adapter = self.adapter()
    state = adapter.init(self.source, KEY)
    _, state = adapter.update(state, batch_of([SURE]), KEY)
    other = SURE[::-1]
    prediction, new = adapter.update(state, batch_of([SURE, other]), KEY)
    self.assertEqual(int(prediction.num_backward), 1)
    # The bias has moved: what counts is what the network says now.
    seen = softmax(np.array(other) + state.learning.params['norm/bias'])
    wanted = 0.9 * softmax(SURE) + 0.1 * seen
    np.testing.assert_allclose(new.mean_probs, wanted, atol=0.02)
    again, same = adapter.update(new, batch_of([SURE]), KEY)
    self.assertEqual(int(again.num_backward), 0)
    chex.assert_trees_all_equal(same, new)

  def test_without_a_sample_that_counts_nothing_changes(self):
    adapter = compiled(eata(self.network, fisher='batch'))
    state = adapter.init(self.source, KEY)
    prediction, new = adapter.update(state, batch_of([[0.0, 0.0]] * 3), KEY)
    self.assertEqual(int(prediction.num_backward), 0)
    chex.assert_trees_all_equal(new, state)

  def test_the_source_pulls_by_its_fisher_information(self):
    anchor, weights = {'a': jnp.array([1.0, 2.0])}, {'a': jnp.array([3.0, 0.5])}
    moved = {'a': jnp.array([2.0, 0.0])}
    self.assertEqual(float(weighted_distance(moved, anchor, weights)), 5.0)
    at_home = jax.jit(jax.grad(weighted_distance))(anchor, anchor, weights)
    np.testing.assert_array_equal(at_home['a'], 0)

    source = source_of(self.network, [SURE, UNSURE])
    steps = {}
    for strength in (0.0, 10.0):
      optimizer = optax.sgd(0.1)
      adapter = compiled(
        eata(self.network, optimizer, strength=strength, redundancy=2.0)
      )
      state = adapter.init(source, KEY)
      for _ in range(2):  # from home, the first step feels no pull
        _, state = adapter.update(state, batch_of([SURE]), KEY)
      steps[strength] = state.learning.params['norm/bias']
    self.assertLess(abs(steps[10.0][0]), abs(steps[0.0][0]))

  def test_fisher_information_of_a_logistic_model(self):
    rows = np.array([[2.0, 0.0], [0.5, 0.0], [0.0, 1.0]])
    source = source_of(self.network, rows)
    params = {'norm/bias': jnp.zeros(2)}
    p = softmax(rows)
    slopes = p - np.eye(2)[p.argmax(-1)]
    wanted = {
      ('batch', 3): slopes.mean(0) ** 2,
      ('batch', 2): (slopes[:2].mean(0) ** 2 + slopes[2] ** 2) / 2,
      ('example', 2): (slopes**2).mean(0),
    }
    for (kind, size), value in wanted.items():
      got = jax.jit(diagonal_fisher, static_argnums=(0, 4, 5))(
        self.network, source.variables, params, source.images, kind, size
      )
      np.testing.assert_allclose(got['norm/bias'], value, rtol=1e-5)

  def test_bad_input_is_named(self):
    empty = self.source._replace(images=self.source.images[:0])
    with self.assertRaisesRegex(ValueError, 'no images of the source'):
      eata(self.network).init(empty, KEY)


if __name__ == '__main__':
  absltest.main()
