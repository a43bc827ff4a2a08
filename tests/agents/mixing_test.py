"""Mixers: sums, monotone functions, and what one agent is left with."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc.agents import mixing


class MixingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    keys = jax.random.split(jax.random.key(0), 2)
    self.values = jax.random.normal(keys[0], (50, 3))
    self.world = jax.random.normal(keys[1], (50, 7))

  def test_vdn_adds(self):
    mixed = mixing.sum_of_values().apply({}, self.values, self.world)
    np.testing.assert_allclose(mixed[:, 0], self.values.sum(1), rtol=1e-6)

  def test_qmix_is_monotone_and_sees_the_world(self):
    mixer = mixing.monotone(8, 8)
    init = jax.jit(mixer.init, static_argnums=(1, 2))
    params = init(jax.random.key(1), 3, 7)
    one = lambda q, world: mixer.apply(params, q, world)[0]
    slopes = jax.jit(jax.vmap(jax.grad(one)))(self.values, self.world)
    self.assertTrue(np.all(slopes >= 0))
    self.assertGreater(slopes.max(), 0)
    moved = jax.jit(jax.vmap(jax.grad(one, argnums=1)))(self.values, self.world)
    self.assertGreater(np.abs(moved).max(), 0)

  def test_qmix_of_a_batch_is_that_of_each(self):
    mixer = mixing.monotone(8, 8)
    init = jax.jit(mixer.init, static_argnums=(1, 2))
    params = init(jax.random.key(1), 3, 7)
    mix = jax.jit(mixer.apply)
    whole = mix(params, self.values, self.world)
    values, world = np.asarray(self.values), np.asarray(self.world)
    each = [
      mix(params, q, w) for q, w in zip(values[:5], world[:5], strict=True)
    ]
    np.testing.assert_allclose(np.asarray(whole)[:5], each, rtol=1e-4)

  def test_one_agent_alone_is_the_same_for_iql_and_vdn(self):
    q, reward = self.values[:, :1], self.values[:, 1:2]
    for mixer in (mixing.each_alone(), mixing.sum_of_values()):
      np.testing.assert_array_equal(mixer.apply({}, q, self.world), q)
      np.testing.assert_array_equal(mixer.rewards(reward), reward)
      self.assertEqual(mixer.num_values(1), 1)

  def test_a_team_gets_what_each_gets_where_all_get_the_same(self):
    reward = jnp.full((4, 3), 2.5)
    np.testing.assert_array_equal(mixing.team_reward(reward), 2.5)


if __name__ == '__main__':
  absltest.main()
