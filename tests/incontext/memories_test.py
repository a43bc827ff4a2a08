import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import incontext, models
from ttc.incontext.memories import _LSTM, _FastWeights

F, C, T = 3, 4, 7
MEMORIES = {
  'transformer': incontext.transformer_memory(
    F, C, width=8, num_heads=2, max_length=9
  ),
  'lstm': incontext.lstm_memory(F, C, width=6),
  'fast_weights': incontext.fast_weights_memory(F, C, width=5),
}


def sequences(seed=0, length=T):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(2, length, F)).astype(np.float32)
  labels = rng.integers(C, size=(2, length)).astype(np.int32)
  return incontext.Sequences(x, labels, x)


def changed(leaf, at):
  """Another example or label at one position."""
  other = np.array(leaf)
  other[:, at] = (leaf[:, at] + 1) % C
  return other


@functools.partial(jax.jit, static_argnums=0)
def init_and_apply(cell, x):
  params = cell.init(jax.random.key(2), x)
  return params, cell.apply(params, x)[0]


class MemoriesTest(parameterized.TestCase):
  @parameterized.parameters(*MEMORIES)
  def test_predicts_from_examples_so_far_and_labels_before(self, name):
    memory = MEMORIES[name]
    params = jax.jit(memory.init)(jax.random.key(0))
    predict = jax.jit(lambda s: incontext.predict(memory, params, s))
    one = sequences()
    before = predict(one)
    self.assertEqual(before.shape, (2, T, C))
    x = predict(one._replace(x=changed(one.x, 3)))
    labels = predict(one._replace(labels=changed(one.labels, 3)))
    same = lambda a: np.all(a == before, axis=(0, 2))
    np.testing.assert_array_equal(same(x), np.arange(T) < 3)
    np.testing.assert_array_equal(same(labels), np.arange(T) < 4)

  def test_state_sizes(self):
    size = lambda name, n: MEMORIES[name].state_size(n)
    self.assertEqual(size('transformer', 7), 2 * 2 * 8 * 7)
    self.assertEqual(size('lstm', 7), 12)
    self.assertEqual(size('fast_weights', 7), 25)
    # That of the transformer is what its cache holds.
    config = models.TransformerConfig(
      vocab_size=C,
      num_layers=2,
      embed_dim=8,
      mlp_dim=16,
      num_heads=2,
      num_kv_heads=2,
      head_dim=4,
    )
    cache = models.transformer(config).make_suffix(1, 1, 7)
    self.assertEqual(size('transformer', 7), models.num_params(cache))

  def test_lstm(self):
    cell = _LSTM(5)
    x = jax.random.normal(jax.random.key(1), (1, T, 5))
    params, got = init_and_apply(cell, x)
    p = jax.tree.map(np.asarray, params['params'])
    sigmoid = lambda u: 1 / (1 + np.exp(-u))
    h = c = np.zeros(5)
    for token, out in zip(np.asarray(x[0]), got, strict=True):
      gates = token @ p['Dense_0']['kernel'] + p['Dense_0']['bias']
      i, f, g, o = np.split(gates + h @ p['memory_kernel'], 4)
      c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
      h = sigmoid(o) * np.tanh(c)
      np.testing.assert_allclose(out, h, atol=1e-5)

  def test_delta_rule(self):
    cell = _FastWeights(5)
    x = jax.random.normal(jax.random.key(1), (1, T, 5))
    params, got = init_and_apply(cell, x)
    p = jax.tree.map(np.asarray, params['params'])
    dense = lambda name, u: u @ p[name]['kernel'] + p[name]['bias']
    sigmoid = lambda u: 1 / (1 + np.exp(-u))
    unit = lambda u: u * sigmoid(u) / np.linalg.norm(u * sigmoid(u))
    weights, before = np.zeros((5, 5)), np.zeros(5)
    for token, out in zip(np.asarray(x[0]), got, strict=True):
      pair = np.concatenate([token, before])
      k, q = unit(dense('key', pair)), unit(dense('query', pair))
      rate = sigmoid(dense('rate', pair))
      weights += rate * np.outer(dense('value', pair) - weights @ k, k)
      h = token + weights @ q
      np.testing.assert_allclose(
        out, h / np.sqrt(np.mean(h**2) + 1e-6), atol=1e-4
      )
      before = token

  def test_too_long(self):
    memory = MEMORIES['transformer']
    params = jax.eval_shape(memory.init, jax.random.key(0))
    with self.assertRaisesRegex(ValueError, 'length=10 is longer than the max'):
      incontext.predict(memory, params, sequences(length=10))
    incontext.check_length(MEMORIES['lstm'], 10**6)
    with self.assertRaisesRegex(ValueError, 'width=9 is not a multiple'):
      incontext.transformer_memory(width=9, num_heads=2)


class ClassificationTest(absltest.TestCase):
  def test_loss_of_who_knows_nothing(self):
    nothing = incontext.Memory(
      None, lambda params, x, previous: jnp.zeros((*x.shape[:2], C)), None, C
    )
    loss = incontext.classification_loss(nothing, None, sequences())
    self.assertAlmostEqual(float(loss), np.log(C), places=5)

  def test_the_label_before_is_all_that_is_told(self):
    repeats = incontext.Memory(
      None,
      lambda params, x, previous: 9.0 * jax.nn.one_hot(previous, C),
      None,
      C,
    )
    one = sequences()
    hits = incontext.hits(repeats, None, one)
    labels = np.asarray(one.labels)
    np.testing.assert_array_equal(hits[:, 1:], labels[:, 1:] == labels[:, :-1])
    np.testing.assert_array_equal(hits[:, 0], labels[:, 0] == 0)
    shuffled = incontext.with_random_labels(jax.random.key(3), one, C)
    self.assertFalse(np.array_equal(shuffled.labels, labels))
    np.testing.assert_array_equal(shuffled.x, one.x)


if __name__ == '__main__':
  absltest.main()
