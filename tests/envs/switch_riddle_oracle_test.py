"""The switch riddle beside jaxmarl: its state built from ours, the same acts.

The reference notes a visit when the visitor acts, ours when they come in; of
the same episode both say the same at every call. It draws the next visitor
from the key of the step, and so does ours: that one is set.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs

pytestmark = pytest.mark.oracle
jaxmarl = pytest.importorskip('jaxmarl')
NUM_STEPS = 1000


class OracleTest(parameterized.TestCase):
  @parameterized.parameters(3, 5)
  def test_a_thousand_steps(self, num_agents):
    env = envs.switch_riddle(num_agents)
    reference = jaxmarl.make('switch_riddle', num_agents=num_agents)
    params = env.default_params
    self.assertEqual(reference.max_steps, params.max_steps)
    _, start = reference.reset(jax.random.key(0))

    def build(state, visited):
      return start.replace(
        bulb_state=state.bulb,
        agent_in_room=state.in_room,
        has_been=visited.astype(jnp.int32),
        step=state.time,
      )

    auto = envs.auto_reset(env)

    def body(carry, key):
      state, visited = carry
      action_key, step_key = jax.random.split(key)
      # Telling is rare, so that some call is right.
      law = jnp.log(jnp.array([0.5, 0.4, 0.1]))
      action = jax.random.categorical(action_key, law, shape=(num_agents,))
      ours = env.step(step_key, state, action, params)
      actions = {agent: action[i] for i, agent in enumerate(env.agents)}
      _, after, reward, done, _ = reference.step_env(
        step_key, build(state, visited), actions
      )
      after = after.replace(agent_in_room=ours.state.in_room)
      obs = reference.get_obs(after)
      out = auto.step(step_key, state, action, params)
      over = ours.terminated | ours.truncated
      been = jnp.where(over, 0, after.has_been)
      here = jnp.arange(num_agents) == ours.state.in_room
      expected = (after.has_been > 0) | here
      result = (ours, after, reward, done, obs, expected)
      return (out.state, been), result

    _, state = env.reset(jax.random.key(1), params)
    nobody = jnp.zeros((num_agents,), jnp.int32)
    keys = jax.random.split(jax.random.key(2), NUM_STEPS)
    ours, after, reward, done, obs, expected = jax.device_get(
      jax.jit(lambda s: jax.lax.scan(body, (s, nobody), keys)[1])(state)
    )
    over = ours.terminated | ours.truncated
    np.testing.assert_array_equal(over, done['__all__'])
    np.testing.assert_array_equal(ours.state.bulb, after.bulb_state)
    np.testing.assert_array_equal(ours.state.time, after.step)
    np.testing.assert_array_equal(ours.state.visited, expected)
    for i, agent in enumerate(env.agents):
      np.testing.assert_array_equal(ours.reward[:, i], reward[agent])
      np.testing.assert_array_equal(ours.obs[:, i], obs[agent])
    self.assertEqual(set(np.unique(ours.reward)), {-1.0, 0.0, 1.0})
    self.assertFalse(np.any(ours.truncated))
    self.assertTrue(np.any(ours.terminated))


if __name__ == '__main__':
  absltest.main()
