import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import incontext

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
LABELS = RNG.integers(4, size=12).astype(np.int32)
SHOWN = jnp.asarray(X), jnp.asarray(LABELS)


nearest_mean = jax.jit(incontext.nearest_class_mean, static_argnums=2)
linear = jax.jit(incontext.linear_softmax, static_argnums=2)


class PrefixClassifiersTest(absltest.TestCase):
  def test_nearest_class_mean(self):
    got = nearest_mean(*SHOWN, 4)
    self.assertEqual(got[0], 0)
    for t in range(1, 12):
      seen = sorted(set(LABELS[:t]))
      means = [X[:t][LABELS[:t] == c].mean(axis=0) for c in seen]
      nearest = np.argmin([np.sum((X[t] - mean) ** 2) for mean in means])
      self.assertEqual(got[t], seen[nearest])

  def test_linear_softmax(self):
    got = linear(*SHOWN, 4)
    inputs, own = np.c_[X, np.ones(12)], np.eye(4)[LABELS]
    for t in (1, 5, 11):
      kernel = np.zeros((4, 4))
      for _ in range(100):
        p = np.exp(inputs[:t] @ kernel)
        p /= p.sum(axis=1, keepdims=True)
        kernel -= 0.5 * inputs[:t].T @ (p - own[:t]) / t
      self.assertEqual(got[t], np.argmax(inputs[t] @ kernel))

  def test_no_label_is_known_before_its_turn(self):
    other = SHOWN[1].at[7].set((LABELS[7] + 1) % 4)
    for classify in (nearest_mean, linear):
      before, after = classify(*SHOWN, 4), classify(SHOWN[0], other, 4)
      np.testing.assert_array_equal(before[:8], after[:8])
      self.assertTrue(np.any(before[8:] != after[8:]))

  def test_both_learn_classes_that_lie_apart(self):
    data = incontext.gaussian_templates(jax.random.key(0), 60, noise=0.05)
    for classify in (nearest_mean, linear):
      right = classify(data.x, data.labels, 10) == data.labels
      self.assertGreater(right[-20:].mean(), 0.9)


if __name__ == '__main__':
  absltest.main()
