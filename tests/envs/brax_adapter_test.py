"""Guests from brax, by a small one of the same interface."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import envs


class State(NamedTuple):
  """The fields of `brax.envs.State`."""

  pipeline_state: Any
  obs: Any
  reward: Any
  done: Any
  metrics: dict
  info: dict


class Sled:
  """Two coordinates that are pushed; over when the first one is above 1."""

  action_size = 2
  observation_size = 2

  def __init__(self, **info):
    self.info = info

  @property
  def unwrapped(self):
    return self

  def reset(self, rng):
    q = jax.random.uniform(rng, (2,), jnp.float32, -0.1, 0.1)
    zero = jnp.zeros((), jnp.float32)
    return State(q, q, zero, zero, {'distance': zero}, dict(self.info))

  def step(self, state, action):
    q = state.pipeline_state + 0.5 * action
    done = (q[0] > 1).astype(jnp.float32)
    return state._replace(
      pipeline_state=q,
      obs=q,
      reward=action[0],
      done=done,
      metrics={'distance': jnp.abs(q[1])},
    )


class FromBraxTest(absltest.TestCase):
  def test_steps_are_its_own(self):
    env = envs.from_brax(Sled())
    self.assertEqual((env.name, env.num_agents), ('brax sled', 1))
    self.assertEqual(env.action_spaces, (envs.Box((2,), -1.0, 1.0),))
    obs, state = env.reset(jax.random.key(0), env.default_params)
    action = jnp.array([[0.8, -0.4]])
    for t in range(1, 4):
      out = env.step(jax.random.key(t), state, action, env.default_params)
      expected = obs + t * 0.5 * action
      np.testing.assert_allclose(out.obs, expected, atol=1e-6)
      np.testing.assert_allclose(out.reward, [0.8])
      np.testing.assert_allclose(
        out.info['distance'], abs(expected[0, 1]), atol=1e-6
      )
      self.assertEqual(bool(out.terminated), float(expected[0, 0]) > 1)
      self.assertFalse(out.truncated)
      state = out.state
    self.assertTrue(out.terminated)

  def test_a_batch_starts_anew(self):
    env = envs.from_brax(Sled())
    batch, params = (
      envs.vectorize(env),
      env.default_params._replace(max_steps=3),
    )
    keys = jax.random.split(jax.random.key(0), 4)
    _, state = batch.reset(keys, params)

    def step(state, t):
      action = jnp.full((4, 1, 2), -1.0, jnp.float32)
      out = batch.step(keys, state, action, params)
      return out.state, (out.terminated, out.truncated, out.obs, out.info)

    terminated, truncated, obs, info = jax.jit(
      lambda s: jax.lax.scan(step, s, jnp.arange(6))[1]
    )(state)
    self.assertFalse(np.any(terminated))
    np.testing.assert_array_equal(truncated[:, 0], [0, 0, 1, 0, 0, 1])
    self.assertLess(np.abs(obs[2]).max(), 0.11)  # of the new episode
    self.assertGreater(np.abs(info['final_obs'][2]).min(), 1.3)

  def test_its_own_limit_of_time_is_no_end_by_the_rules(self):
    env = envs.from_brax(Sled(truncation=jnp.ones(())))
    _, state = env.reset(jax.random.key(0), env.default_params)
    far = state.env_state._replace(pipeline_state=jnp.array([9.0, 0.0]))
    out = env.step(
      jax.random.key(0),
      state._replace(env_state=far),
      jnp.zeros((1, 2)),
      env.default_params,
    )
    self.assertTrue(out.truncated)
    self.assertFalse(out.terminated)

  def test_a_picture(self):
    env = envs.from_brax(Sled())
    _, state = env.reset(jax.random.key(0), env.default_params)
    self.assertLen(
      env.draw(jax.device_get(state), env.default_params).shapes, 3
    )

  def test_bad_input_is_named(self):
    class Batch(Sled):
      def reset(self, rng):
        return jax.vmap(super().reset)(jax.random.split(rng, 3))

    class Named(Sled):
      def reset(self, rng):
        state = super().reset(rng)
        return state._replace(obs={'state': state.obs})

    with self.assertRaisesRegex(ValueError, 'auto_reset=False'):
      envs.from_brax(Sled(first_obs=jnp.zeros((2,))))
    with self.assertRaisesRegex(ValueError, r'\(3, 2\)'):
      envs.from_brax(Batch())
    with self.assertRaisesRegex(ValueError, 'shows a dict'):
      envs.from_brax(Named())


if __name__ == '__main__':
  absltest.main()
