"""Guests from gymnax, by a small one of the same interface."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import envs


class Params(NamedTuple):
  """Of the ladder."""

  height: Any = 3
  max_steps_in_episode: Any = 4


class LadderState(NamedTuple):
  """Rung and time, Python numbers at first as in gymnax."""

  rung: Any
  time: Any


class Action(NamedTuple):
  """Three of them."""

  n: int = 3
  shape: tuple = ()


class Ladder:
  """Up and down; over at the top. Shows the rung, and some noise."""

  name = 'Ladder'
  default_params = Params()

  def action_space(self, params):
    del params
    return Action()

  def reset_env(self, key, params):
    del params
    return self.show(key, 0), LadderState(0, 0)

  def step_env(self, key, state, action, params):
    rung = state.rung + action - 1
    state = LadderState(rung, state.time + 1)
    over = rung >= params.height
    return self.show(key, rung), state, 2 * action - 1, over, {'rung': rung}

  def show(self, key, rung):
    return jnp.array([rung, 10 + jax.random.uniform(key)])

  def step(self, key, state, action, params):
    out = self.step_env(key, state, action, params)
    return (*out[:4], self.is_truncated(out[1], params), out[4])

  def is_truncated(self, state, params):
    return state.time >= params.max_steps_in_episode


class FromGymnaxTest(absltest.TestCase):
  def test_steps_are_its_own(self):
    env = envs.from_gymnax(Ladder())
    self.assertEqual((env.name, env.num_actions), ('gymnax Ladder', 3))
    _, state = env.reset(jax.random.key(0), env.default_params)
    rung = 0
    for t, action in enumerate((1, 2, 0, 2)):
      key = jax.random.key(t + 1)
      out = env.step(key, state, jnp.array([action]), env.default_params)
      rung += action - 1
      noise = 10 + jax.random.uniform(key)
      np.testing.assert_allclose(out.obs, [[rung, noise]], rtol=1e-6)
      np.testing.assert_array_equal(
        env.observe(out.state, env.default_params), out.obs
      )
      self.assertEqual(out.reward.tolist(), [2 * action - 1])
      self.assertEqual(int(out.info['rung']), rung)
      self.assertEqual(bool(out.truncated), t == 3)
      self.assertFalse(out.terminated)
      state = out.state

  def test_a_batch_of_tasks_starts_anew(self):
    env = envs.from_gymnax(Ladder(), Params(max_steps_in_episode=3))
    params = Params(jnp.array([2, 3, 9]), jnp.full((3,), 3))
    batch = envs.vectorize(env, batched_params=True)
    keys = jax.random.split(jax.random.key(0), 3)
    _, state = jax.jit(batch.reset)(keys, params)

    def step(state, t):
      out = batch.step(keys, state, jnp.full((3, 1), 2), params)
      return out.state, (out.terminated, out.truncated, out.state.env_state)

    terminated, truncated, after = jax.jit(
      lambda s: jax.lax.scan(step, s, jnp.arange(4))[1]
    )(state)
    # Both at once is an end by the rules.
    expected = [[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(terminated.T, expected)
    np.testing.assert_array_equal(truncated[:, 2], [0, 0, 1, 0])
    np.testing.assert_array_equal(truncated[:, :2], False)
    np.testing.assert_array_equal(after.rung[:, 0], [1, 0, 1, 0])

  def test_other_interfaces_are_refused(self):
    class Five(Ladder):
      def step(self, *args):
        return self.step_env(*args)

    class Named(Ladder):
      def show(self, key, rung):
        return {'rung': jnp.asarray(rung)}

    with self.assertRaisesRegex(ValueError, r'5 values, expected 6.*oracle'):
      envs.from_gymnax(Five())
    with self.assertRaisesRegex(ValueError, 'shows a dict'):
      envs.from_gymnax(Named())

  def test_a_picture(self):
    env = envs.from_gymnax(Ladder())
    _, state = env.reset(jax.random.key(0), env.default_params)
    self.assertLen(
      env.draw(jax.device_get(state), env.default_params).shapes, 3
    )


if __name__ == '__main__':
  absltest.main()
