"""T3A against lists kept in Python."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation import adapter
from ttc.adaptation.t3a import t3a
from ttc.models.vision import Classifier, Outputs

NUM_CLASSES, SIZE, BATCH = 3, 5, 6


def linear_classifier():
  """Features are the pixels; the head is a matrix."""

  def init(key, images):
    kernel = jax.random.normal(key, (SIZE, NUM_CLASSES), jnp.float32)
    bias = 0.1 * jnp.arange(NUM_CLASSES, dtype=jnp.float32)
    return {'params': {'head': {'kernel': kernel, 'bias': bias}}}

  def apply(variables, images, moments='source', mask=None, between=None):
    features = images.reshape(len(images), -1)
    head = variables['params']['head']
    return Outputs(features @ head['kernel'] + head['bias'], features, {})

  return Classifier(init, apply, NUM_CLASSES, 0, (), False)


def stream(num_batches):
  shape = (num_batches, BATCH, SIZE, 1, 1)
  return jax.random.normal(jax.random.key(1), shape, jnp.float32)


def unit(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


def entropies(logits):
  p = np.exp(logits - logits.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  return -(p * np.log(p)).sum(-1)


class T3ATest(absltest.TestCase):
  def setUp(self):
    self.network = linear_classifier()
    self.variables = jax.jit(self.network.init)(jax.random.key(0), None)
    self.source = adapter.Source(
      self.variables, jnp.zeros((0, SIZE, 1, 1)), jnp.zeros(0, jnp.int32)
    )

  def test_scores_are_those_of_lists(self):
    head = jax.tree.map(np.asarray, self.variables['params']['head'])
    rows = head['kernel'].T
    lists = [[] for _ in range(NUM_CLASSES)]

    def add(features):
      logits = features @ head['kernel'] + head['bias']
      sure = entropies(logits)
      for h, e, k in zip(features, sure, logits.argmax(-1), strict=True):
        lists[k].append((e, unit(h)))
      for k in range(NUM_CLASSES):
        lists[k] = sorted(lists[k], key=lambda pair: pair[0])[:4]

    add(rows)
    method = t3a(self.network, 4)
    state = method.init(self.source, jax.random.key(0))
    for images in stream(5):
      features = np.asarray(images).reshape(BATCH, -1)
      add(features)
      centres = np.stack(
        [unit(sum(h for _, h in members)) if members else np.zeros(SIZE)
         for members in lists]
      )  # fmt: skip
      batch = adapter.Batch(images, jnp.ones(BATCH, bool))
      prediction, state = jax.jit(method.update)(
        state, batch, jax.random.key(0)
      )
      np.testing.assert_allclose(
        prediction.logits, features @ centres.T, atol=1e-5
      )

  def test_a_row_that_does_not_count_supports_nothing(self):
    method = t3a(self.network, 4)
    state = method.init(self.source, jax.random.key(0))
    batch = adapter.Batch(stream(1)[0], jnp.zeros(BATCH, bool))
    _, after = jax.jit(method.update)(state, batch, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state, after)

  def test_no_supports_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'num_supports 0: at least 1'):
      t3a(self.network, 0)


if __name__ == '__main__':
  absltest.main()
