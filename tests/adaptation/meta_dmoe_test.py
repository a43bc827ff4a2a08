"""Meta-DMoE: who is asked, what a lesson changes, and the outer gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc.adaptation import adapter
from ttc.adaptation.meta_dmoe import (
  MetaDMoE,
  aggregate,
  meta_dmoe,
  meta_dmoe_loss,
  start_aggregator,
)
from ttc.models.vision import convnet

NETWORK = convnet(3, (4, 8), (1, 2))
HEADS = 2


@functools.cache
def setting():
  @jax.jit
  def make(key, keys, last):
    images = jax.random.uniform(key, (10, 8, 8, 1), jnp.float32)
    student = NETWORK.init(key, images)
    experts = jax.vmap(lambda k: NETWORK.init(k, images))(keys)
    return images, student, experts, start_aggregator(last, 3, 8, HEADS)

  first, second, third = map(jax.random.key, range(3))
  return make(first, jax.random.split(second, 3), third)


class MetaDMoETest(absltest.TestCase):
  @pytest.mark.slow
  def test_who_is_not_asked_does_not_matter(self):
    images, _, experts, aggregator = setting()
    asked = jnp.array([True, False, True])
    run = lambda experts: aggregate(
      NETWORK, aggregator, experts, asked, images, HEADS
    )
    grads = jax.jit(jax.grad(lambda experts: jnp.sum(run(experts) ** 2)))(
      experts
    )
    for leaf in jax.tree.leaves(grads['params']):
      self.assertEqual(float(jnp.abs(leaf[1]).max()), 0)
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads))
    self.assertGreater(largest, 0)
    fewer = jax.tree.map(lambda x: x[jnp.array([0, 2])], experts)
    alone = aggregate(
      NETWORK, aggregator, fewer, jnp.ones(2, bool), images, HEADS
    )
    np.testing.assert_allclose(run(experts), alone, atol=1e-5)

  def test_without_a_rate_there_is_no_lesson(self):
    images, student, experts, aggregator = setting()
    loss = lambda learned, rate: meta_dmoe_loss(
      NETWORK, learned, experts, jnp.int32(0), images, images,
      jnp.arange(10) % 3, rate=rate, num_heads=HEADS,
    )  # fmt: skip
    learned = MetaDMoE(student, aggregator)
    grads = jax.jit(jax.grad(loss))(learned, 0.0)
    for leaf in jax.tree.leaves(grads.aggregator):
      self.assertEqual(float(jnp.abs(leaf).max()), 0)
    grads = jax.jit(jax.grad(loss))(learned, 0.1)
    self.assertGreater(
      max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads.aggregator)),
      1e-6,
    )

  def test_the_outer_gradient_goes_through_the_step(self):
    images, student, experts, aggregator = setting()
    labels = jnp.arange(10) % 3
    with jax.enable_x64(True):
      wide = lambda tree: jax.tree.map(
        lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, tree
      )
      images, student, experts, aggregator = wide(
        (images, student, experts, aggregator)
      )
      direction = wide(
        jax.tree.map(
          lambda x: jax.random.normal(jax.random.key(7), x.shape, x.dtype),
          student['params'],
        )
      )

      @jax.jit
      def loss(size):
        params = jax.tree.map(
          lambda p, d: p + size * d, student['params'], direction
        )
        return meta_dmoe_loss(
          NETWORK,
          MetaDMoE(student | {'params': params}, aggregator),
          experts, jnp.int32(1), images, images, labels,
          rate=0.3, num_heads=HEADS,
        )  # fmt: skip

      slope = float(jax.jit(jax.grad(loss))(jnp.float64(0)))
      step = 1e-6
      finite = float(loss(step) - loss(-step)) / (2 * step)
    self.assertAlmostEqual(slope, finite, delta=1e-5 * max(1, abs(finite)))

  def test_one_lesson_a_domain(self):
    images, student, experts, aggregator = setting()
    method = meta_dmoe(NETWORK, experts, aggregator, rate=0.1, num_heads=HEADS)
    update = jax.jit(method.update)
    source = adapter.Source(student, images, jnp.zeros(10, jnp.int32))
    state = method.init(source, jax.random.key(0))
    batch = adapter.Batch(images, jnp.ones(10, bool))
    nobody = adapter.Batch(images, jnp.zeros(10, bool))
    _, state = update(state, nobody, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.student, student)
    first, state = update(state, batch, jax.random.key(0))
    second, after = update(state, batch, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state, after)
    self.assertEqual(int(first.num_forward), 10 * (3 + 1 + 1))
    self.assertEqual(int(second.num_forward), 10)
    moved = jnp.abs(
      state.student['params']['conv0']['kernel']
      - student['params']['conv0']['kernel']
    )
    self.assertGreater(float(moved.max()), 1e-6)

    @jax.jit
    def distance(variables):
      target = aggregate(
        NETWORK, aggregator, experts, jnp.ones(3, bool), images, HEADS
      )
      features = NETWORK.apply(variables, images).features
      return jnp.mean((features - target) ** 2)

    self.assertLess(distance(state.student), distance(student))

  def test_heads_that_do_not_divide_are_refused(self):
    with self.assertRaisesRegex(ValueError, '3 heads do not divide 8'):
      start_aggregator(jax.random.key(0), 3, 8, 3)


if __name__ == '__main__':
  absltest.main()
