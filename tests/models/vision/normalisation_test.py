"""Batch normalisation: whose moments, and of which rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc.models.vision import convnet
from ttc.models.vision.normalisation import BatchNorm, masked_moments
from ttc.models.vision.training import (
  as_floats,
  classifier_optimizer,
  start_classifier,
  train_classifier,
)


class NormalisationTest(absltest.TestCase):
  def setUp(self):
    self.x = 3 * jax.random.normal(jax.random.key(0), (6, 4, 4, 2)) + 1
    self.variables = {
      'params': {'scale': jnp.ones(2), 'bias': jnp.zeros(2)},
      'batch_stats': {'mean': jnp.ones(2), 'var': 4 * jnp.ones(2)},
    }

  def apply(self, moments, mask=None, x=None):
    x = self.x if x is None else x
    return BatchNorm(epsilon=0.0).apply(
      self.variables, x, moments, mask, mutable=['moments']
    )

  def test_three_kinds_of_moments(self):
    x = np.asarray(self.x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y, used = self.apply('batch')
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var), atol=1e-5)
    np.testing.assert_allclose(used['moments']['var'], var, rtol=1e-5)
    np.testing.assert_allclose(self.apply('source')[0], (x - 1) / 2, atol=1e-6)
    # Variances mix, not deviations.
    y, used = self.apply(0.3)
    mixed = 0.7 * 4 + 0.3 * var
    np.testing.assert_allclose(used['moments']['var'], mixed, rtol=1e-5)
    wanted = (x - (0.7 + 0.3 * mean)) / np.sqrt(mixed)
    np.testing.assert_allclose(y, wanted, atol=1e-5)

  def test_a_shift_and_a_positive_scale_of_a_channel_do_not_matter(self):
    other = self.x * jnp.array([2.0, 0.1]) + jnp.array([5.0, -1.0])
    y, _ = self.apply('batch')
    np.testing.assert_allclose(self.apply('batch', x=other)[0], y, atol=1e-4)

  def test_rows_that_do_not_count(self):
    mask = jnp.arange(6) < 4
    for got, wanted in zip(
      masked_moments(self.x, mask), masked_moments(self.x[:4], None),
      strict=True,
    ):  # fmt: skip
      np.testing.assert_allclose(got, wanted, atol=1e-5)
    nothing = masked_moments(self.x, jnp.zeros(6, bool))
    np.testing.assert_array_equal(nothing, np.zeros((2, 2)))

  def test_what_cannot_be_is_refused(self):
    with self.assertRaisesRegex(ValueError, 'a batch of one image'):
      self.apply('batch', x=self.x[:1])


class TrainingTest(absltest.TestCase):
  @pytest.mark.slow
  def test_cut_anywhere_it_ends_the_same_and_it_learns(self):
    network, optimizer = convnet(2, (4,), (2,)), classifier_optimizer(40)
    labels = jnp.arange(32, dtype=jnp.int32) % 2
    images = (
      jnp.zeros((32, 8, 8, 1), jnp.uint8)
      .at[:, :4]
      .set((200 * labels[:, None, None, None]).astype(jnp.uint8))
    )
    start = start_classifier(
      network, optimizer, jax.random.key(0), as_floats(images)
    )
    run = jax.jit(
      lambda state: train_classifier(
        network, optimizer, state, images, labels, num_steps=20, batch_size=16
      )
    )
    first, middle = run(start)
    last, end = run(middle)
    whole, uncut = jax.jit(
      lambda state: train_classifier(
        network, optimizer, state, images, labels, num_steps=40, batch_size=16
      )
    )(start)
    np.testing.assert_allclose(whole, np.concatenate([first, last]), atol=1e-5)
    for a, b in zip(
      jax.tree.leaves(uncut.variables), jax.tree.leaves(end.variables),
      strict=True,
    ):  # fmt: skip
      np.testing.assert_allclose(a, b, atol=1e-5)
    self.assertLess(float(whole[-1]), 0.5)
    seen = network.apply(end.variables, as_floats(images))
    np.testing.assert_array_equal(seen.logits.argmax(-1), labels)


if __name__ == '__main__':
  absltest.main()
