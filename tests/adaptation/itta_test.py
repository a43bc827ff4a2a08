"""ITTA: its blocks begin as nothing, and its loss is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest

from ttc.adaptation import adapter
from ttc.adaptation.itta import (
  _standardised,
  consistency,
  gradient_mismatch,
  identity_layers,
  itta,
  itta_train_step,
  mix_style,
  start_itta_training,
)
from ttc.models.vision import convnet

NETWORK = convnet(3, (4, 6), (1, 2))


def setting():
  key = jax.random.key(0)
  images = jax.random.uniform(key, (8, 8, 8, 1), jnp.float32)
  labels = jnp.arange(8, dtype=jnp.int32) % 3
  return adapter.Source(jax.jit(NETWORK.init)(key, images), images, labels)


class ITTATest(absltest.TestCase):
  def test_blocks_that_do_not_learn_leave_the_source(self):
    source = setting()
    method = itta(NETWORK, identity_layers((6,)), optax.sgd(0.0))
    state = method.init(source, jax.random.key(0))
    batch = adapter.Batch(source.images, jnp.ones(8, bool))
    prediction, _ = jax.jit(method.update)(state, batch, jax.random.key(0))
    plain = jax.jit(NETWORK.apply)(source.variables, source.images)
    np.testing.assert_allclose(prediction.logits, plain.logits, atol=1e-5)

  @pytest.mark.slow
  def test_a_batch_of_one_style_teaches_nothing(self):
    source = setting()
    same = jnp.broadcast_to(source.images[:1], source.images.shape)
    method = itta(NETWORK, identity_layers((6,)), optax.sgd(1.0))
    state = method.init(source, jax.random.key(0))
    batch = adapter.Batch(same, jnp.ones(8, bool))
    _, after = jax.jit(method.update)(state, batch, jax.random.key(0))
    for old, new in zip(
      jax.tree.leaves(state.blocks), jax.tree.leaves(after.blocks), strict=True
    ):
      np.testing.assert_allclose(old, new, atol=1e-6)
    many = adapter.Batch(source.images, jnp.ones(8, bool))
    method = itta(
      NETWORK, identity_layers((6,)), optax.sgd(1.0), loss_scale=1.0
    )
    _, after = jax.jit(method.update)(state, many, jax.random.key(3))
    moved = jnp.abs(after.blocks[0].scale - state.blocks[0].scale)
    self.assertGreater(float(moved.max()), 1e-5)

  def test_equal_features_cost_nothing(self):
    z = jax.random.normal(jax.random.key(0), (5, 6))
    self.assertEqual(float(consistency(identity_layers((6,)), z, z)), 0)

  def test_the_first_rectifier_cuts_what_is_negative(self):
    z = jnp.zeros((1, 2), jnp.float32)
    other = jnp.array([[3.0, -2.0]], jnp.float32)
    loss = consistency(identity_layers((2,)), z, other)
    self.assertAlmostEqual(float(loss), 9 / 2)

  def test_styles_are_means_and_deviations_of_the_batch(self):
    x = jax.random.normal(jax.random.key(0), (6, 16, 16, 3)) * 2 + 1
    mixed = mix_style(jax.random.key(1), x)
    # Each mean lies between the image's own and some other's.
    mean, got = np.asarray(x.mean((1, 2))), np.asarray(mixed.mean((1, 2)))
    share = [
      (got - mean) / np.where(other == mean, 1, other - mean)
      for other in np.stack([np.roll(mean, r, axis=0) for r in range(6)])
    ]
    fits = np.ptp(np.stack(share), axis=2) < 1e-3  # the same of all channels
    self.assertTrue(fits.any(axis=0).all())
    self.assertGreater(np.abs(got - mean).max(), 1e-2)
    # What is not style stays: the maps, standardised.
    flat = lambda y: np.asarray(
      (y - y.mean((1, 2), keepdims=True)) / y.std((1, 2), keepdims=True)
    )
    np.testing.assert_allclose(flat(mixed), flat(x), atol=1e-4)

  def test_a_style_of_nobody_is_ones_own(self):
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 2))
    alone = mix_style(jax.random.key(1), x, jnp.arange(4) < 1)
    np.testing.assert_allclose(alone[0], x[0], atol=1e-5)

  def test_proportional_gradients_match(self):
    vector = jax.random.normal(jax.random.key(0), (50,))
    np.testing.assert_allclose(
      _standardised(vector), _standardised(3 * vector), atol=1e-5
    )
    opposite = _standardised(-vector)
    self.assertAlmostEqual(
      float(jnp.mean((_standardised(vector) - opposite) ** 2)), 4, places=4
    )

  @pytest.mark.slow
  def test_training_turns_the_losses_gradient(self):
    source = setting()
    optimizer, weights_optimizer = optax.sgd(0.0), optax.adam(0.02)
    state = start_itta_training(
      source.variables, 6, optimizer, weights_optimizer
    )
    key = jax.random.key(5)
    mismatch = jax.jit(
      lambda weights: gradient_mismatch(
        NETWORK, source.variables, weights, key, source.images, source.labels
      )
    )
    step = jax.jit(
      lambda state: itta_train_step(
        NETWORK, optimizer, weights_optimizer, state, key, source.images,
        source.labels,
      )[1]
    )  # fmt: skip
    before = mismatch(state.weights)
    for _ in range(15):
      state = step(state)
    self.assertLess(float(mismatch(state.weights)), float(before) - 0.01)


if __name__ == '__main__':
  absltest.main()
