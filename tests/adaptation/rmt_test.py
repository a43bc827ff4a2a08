"""RMT: slopes by hand, the contrast against plain sums, practice and replay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl.testing import absltest
from given_logits import batch_of, compiled, given_logits, source_of

from ttc.adaptation import rmt
from ttc.adaptation.contrast import (
  class_prototypes,
  contrastive_loss,
  nearest_prototype,
)
from ttc.adaptation.losses import symmetric_cross_entropy
from ttc.adaptation.views import unchanged

KEY = jax.random.key(0)
ROWS = np.random.default_rng(0).normal(size=(5, 3))


def softmax(z):
  return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def slope_by_hand(a, b):
  p, q = softmax(a), softmax(b)
  mean = (p * np.log(q)).sum(-1, keepdims=True)
  return 0.5 * (p - q) - 0.5 * p * (np.log(q) - mean)


class SymmetricCrossEntropyTest(absltest.TestCase):
  def test_slope(self):
    a, b = ROWS[:2], ROWS[2:4]
    loss = lambda a: symmetric_cross_entropy(a, jnp.asarray(b)).sum()
    np.testing.assert_allclose(
      jax.jit(jax.grad(loss))(jnp.asarray(a)), slope_by_hand(a, b), atol=1e-6
    )

  def test_slope_of_two_classes(self):
    a, b = np.array([0.3, 1.1]), np.array([-0.4, 0.9])
    p, q = softmax(a)[1], softmax(b)[1]
    wanted = 0.5 * (p - q) - 0.5 * p * (1 - p) * (b[1] - b[0])
    self.assertAlmostEqual(slope_by_hand(a, b)[1], wanted)


class ContrastTest(absltest.TestCase):
  def test_loss_is_the_plain_sum(self):
    z = np.random.default_rng(1).normal(size=(3, 4, 5))
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    rows = z[:, :3].reshape(9, 5)  # the fourth image only fills up
    total = 0.0
    for i in range(9):
      scores = {k: rows[i] @ rows[k] / 0.1 for k in range(9) if k != i}
      bottom = np.log(sum(np.exp(s) for s in scores.values()))
      mates = [k for k in scores if k % 3 == i % 3]
      total -= np.mean([scores[k] - bottom for k in mates])
    mask = jnp.arange(4) < 3
    got = contrastive_loss(jnp.asarray(z, jnp.float32), mask)
    self.assertAlmostEqual(float(got), total / 9, places=4)
    none = jax.jit(jax.grad(contrastive_loss))(
      jnp.asarray(z), jnp.zeros(4, bool)
    )
    np.testing.assert_array_equal(none, 0)

  def test_prototypes_and_the_nearest(self):
    network = given_logits(3)
    source = source_of(network, ROWS)
    labels = jnp.array([0, 1, 0, 1, 0], jnp.int32)
    got = class_prototypes(
      network, source.variables, source.images, labels, batch_size=2
    )
    wanted = [ROWS[[0, 2, 4]].mean(0), ROWS[[1, 3]].mean(0), np.zeros(3)]
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    nearest = nearest_prototype(0.01 * got[:2], got)
    np.testing.assert_allclose(nearest, got[:2])


class RmtTest(absltest.TestCase):
  def start(self, **options):
    network = given_logits(3)
    source = source_of(network, ROWS)
    source = source._replace(labels=jnp.arange(5, dtype=jnp.int32) % 3)
    adapter = compiled(
      rmt(
        network, optax.sgd(1.0), contrast_weight=None, momentum=0.75,
        source_batch=5, **options,
      )
    )  # fmt: skip
    return adapter, adapter.init(source, KEY)

  def bias(self, state):
    return np.asarray(state.lesson.pupil.params['norm/bias'])

  def test_one_step_by_hand(self):
    adapter, state = self.start(view=lambda key, x: 2 * x, source_weight=0.5)
    said, new = adapter.update(state, batch_of(ROWS), KEY)
    np.testing.assert_allclose(said.logits, 2 * ROWS, atol=1e-6)
    both = slope_by_hand(ROWS, ROWS) + slope_by_hand(2 * ROWS, ROWS)
    replay = softmax(ROWS) - np.eye(3)[np.arange(5) % 3]
    wanted = -(0.5 * both + 0.5 * replay).mean(0)
    np.testing.assert_allclose(self.bias(new), wanted, atol=1e-6)
    teacher = new.lesson.teacher['norm/bias']
    np.testing.assert_allclose(teacher, 0.25 * wanted, atol=1e-6)
    self.assertEqual(int(said.num_forward), 20)

  def test_practice_starts_slowly(self):
    _, state = self.start(view=unchanged, warm_up=2)
    first = -0.5 * slope_by_hand(ROWS, ROWS)
    # Scale and bias move; half of the rate in the first of two steps.
    bias, scale = first.mean(0), 1 + (first * ROWS).mean(0)
    student, teacher = ROWS * scale + bias, None
    scale_t, bias_t = 0.75 + 0.25 * scale, 0.25 * bias
    teacher = ROWS * scale_t + bias_t
    wanted = bias - slope_by_hand(student, teacher).mean(0)
    np.testing.assert_allclose(self.bias(state), wanted, atol=1e-6)

  def test_without_images_of_the_source_it_says_so(self):
    network = given_logits(3)
    source = source_of(network, ROWS)
    empty = source._replace(images=source.images[:0], labels=source.labels[:0])
    with self.assertRaisesRegex(ValueError, 'a contrast needs images'):
      rmt(network).init(empty, KEY)
    free = rmt(network, contrast_weight=None, source_weight=None)
    free.init(empty, KEY)


if __name__ == '__main__':
  absltest.main()
