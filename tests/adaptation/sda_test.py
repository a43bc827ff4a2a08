"""DDA and SDA: what two views by two networks add up to."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.adaptation import adapter
from ttc.adaptation.sda import fine_tune, sda
from ttc.models.vision import convnet

NETWORK = convnet(3, (4, 6), (1, 2))


def setting():
  key = jax.random.key(0)
  images = jax.random.uniform(key, (10, 8, 8, 1), jnp.float32)
  labels = jnp.arange(10, dtype=jnp.int32) % 3
  return adapter.Source(jax.jit(NETWORK.init)(key, images), images, labels)


def darken(key, images):
  return images**2


class SDATest(absltest.TestCase):
  def predict(self, method, source):
    state = method.init(source, jax.random.key(0))
    batch = adapter.Batch(source.images, jnp.ones(10, bool))
    return jax.jit(method.update)(state, batch, jax.random.key(0))[0].logits

  def test_an_image_that_stays_is_predicted_as_ever(self):
    source = setting()
    same = self.predict(sda(NETWORK, lambda key, x: x), source)
    plain = jax.jit(NETWORK.apply)(source.variables, source.images).logits
    np.testing.assert_allclose(
      jax.nn.softmax(same), jax.nn.softmax(plain), atol=1e-6
    )

  def test_probabilities_of_both_are_added(self):
    source = setting()
    other = jax.jit(NETWORK.init)(jax.random.key(9), source.images)
    got = self.predict(sda(NETWORK, darken, other), source)
    p = lambda variables, x: jax.nn.softmax(NETWORK.apply(variables, x).logits)
    wanted = p(source.variables, source.images) + p(other, source.images**2)
    np.testing.assert_allclose(jnp.exp(got), wanted, atol=1e-6)

  def test_fine_tuning_learns_what_it_is_shown(self):
    source = setting()
    tuned = jax.jit(
      lambda: fine_tune(
        NETWORK, source, jax.random.key(1),
        num_steps=100, batch_size=10, learning_rate=0.05,
      )
    )()  # fmt: skip
    log_p = lambda variables: jnp.mean(
      jax.nn.log_softmax(NETWORK.apply(variables, source.images).logits)[
        jnp.arange(10), source.labels
      ]
    )
    self.assertGreater(
      float(log_p(tuned)), float(log_p(source.variables)) + 0.1
    )
    jax.tree.map(
      np.testing.assert_array_equal,
      tuned['batch_stats'],
      source.variables['batch_stats'],
    )


if __name__ == '__main__':
  absltest.main()
