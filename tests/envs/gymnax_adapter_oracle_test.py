"""Environments of gymnax under our wrappers, and beside its own steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs

pytestmark = pytest.mark.oracle
gymnax = pytest.importorskip('gymnax')


class FromGymnaxTest(parameterized.TestCase):
  @parameterized.parameters(
    'CartPole-v1',
    'Pendulum-v1',
    'MountainCarContinuous-v0',
    'Freeway-MinAtar',
    'DeepSea-bsuite',
    'BernoulliBandit-misc',
    'GaussianBandit-misc',
    'Reacher-misc',
    'MetaMaze-misc',
  )
  def test_a_batch(self, name):
    env = envs.from_gymnax(*gymnax.make(name))
    batch = envs.vectorize(envs.episode_statistics(env))
    params = env.default_params
    keys = jax.random.split(jax.random.key(0), 3)
    obs, state = jax.jit(batch.reset)(keys, params)
    self.assertEqual(obs.shape, (3, 1, *env.observation_shape))

    def step(state, t):
      act = lambda k, s: envs.random_actions(env, k, s, params)
      action = jax.vmap(act)(keys, state.env_state)
      out = batch.step(keys, state, action, params)
      return out.state, out._replace(state=())

    _, out = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(20)))(state)
    self.assertEqual(out.obs.shape, (20, *obs.shape))
    self.assertEqual(out.obs.dtype, jnp.float32)
    self.assertFalse(np.any(out.terminated & out.truncated))
    one = jax.tree.map(lambda x: x[0], jax.device_get(state.env_state))
    self.assertEqual(envs.render(env.draw(one, params), 60).shape[1], 60)

  def test_it_is_the_same_game(self):
    theirs, ours = envs.from_gymnax(*gymnax.make('Acrobot-v1')), envs.acrobot()
    obs, state = theirs.reset(jax.random.key(0), theirs.default_params)
    _, same = ours.reset(jax.random.key(0), ours.default_params)
    s = state.env_state
    same = same._replace(
      angle=jnp.stack([s.joint_angle1, s.joint_angle2]),
      velocity=jnp.stack([s.velocity_1, s.velocity_2]),
    )
    np.testing.assert_allclose(
      obs, ours.observe(same, ours.default_params), atol=1e-6
    )
    for t in range(5):
      action = jnp.array([2 * (t % 2)], jnp.int32)
      key = jax.random.key(t)
      a = theirs.step(key, state, action, theirs.default_params)
      b = ours.step(key, same, action, ours.default_params)
      np.testing.assert_allclose(a.obs, b.obs, atol=1e-5)
      np.testing.assert_array_equal(a.reward, b.reward)
      state, same = a.state, b.state


if __name__ == '__main__':
  absltest.main()
