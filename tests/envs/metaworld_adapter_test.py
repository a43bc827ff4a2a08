"""Guests from Meta-World, by a small one of the same interface.

And by what was once recorded of the real one.
"""

import sys
import types
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from metaworld_steps import FAMILIES, RECORDED, actions_of

from ttc import envs


class Simulator:
  """A hand on its way to a goal; all that moves is in `data`."""

  max_path_length = 6

  def __init__(self):
    self.model, self.data = 'model', np.zeros(3)
    self.curr_path_length, self._prev_obs = 0, np.zeros(18)
    self.goal, self.visible = np.zeros(3), False

  def set_task(self, task):
    self.goal, self.visible = task

  def reset(self):
    self.data = np.array([0.0, 0.6, 0.2])
    self.curr_path_length = 0
    self._prev_obs = self.frame(1.0)
    return self.observation(1.0), {}

  def frame(self, opening):
    puck = [0.1, 0.7, 0.02, 0.0, 0.0, 0.0, 1.0]
    return np.array([*self.data, opening, *puck, *np.zeros(7)])

  def observation(self, opening):
    frame = self.frame(opening)
    goal = self.goal * self.visible
    obs = np.concatenate([frame, self._prev_obs, goal])
    self._prev_obs = frame
    return obs

  def step(self, action):
    if self.curr_path_length >= self.max_path_length:
      raise ValueError('reset it')
    self.data = self.data + 0.01 * np.float64(action[:3])
    self.curr_path_length += 1
    obs = self.observation(0.5 - 0.5 * action[3])
    distance = np.linalg.norm(self.data - self.goal)
    info = {'success': float(distance < 0.05)}
    return obs, 10 - distance, False, False, info


def benchmark(visible):
  class ML1:
    ENV_NAMES = ('reach-v3', 'push-v3')

    def __init__(self, name, seed):
      rng = np.random.default_rng(seed)
      self.train_classes = {name: Simulator}
      self.train_tasks = [(rng.normal(size=3), visible) for _ in range(50)]

  return ML1


def packages():
  metaworld = types.ModuleType('metaworld')
  metaworld.ML1, metaworld.MT1 = benchmark(False), benchmark(True)
  mujoco = types.ModuleType('mujoco')
  mujoco.mjtState = types.SimpleNamespace(mjSTATE_INTEGRATION=3)
  mujoco.mj_stateSize = lambda model, fields: fields

  def get(model, data, into, fields):
    into[:fields] = data

  def put(model, data, state, fields):
    data[:] = state[:fields]

  mujoco.mj_getState, mujoco.mj_setState = get, put
  return mock.patch.dict(sys.modules, metaworld=metaworld, mujoco=mujoco)


def recorded(variation, actions):
  """Observations and rewards of the small one itself."""
  ml1 = benchmark(True)('reach-v3', 0)
  simulator = Simulator()
  simulator.set_task(ml1.train_tasks[variation])
  rows = [(simulator.reset()[0], 0.0)]
  rows += [simulator.step(action)[:2] for action in actions]
  obs, reward = zip(*rows, strict=True)
  return np.stack(obs), np.array(reward[1:])


class FromMetaWorldTest(absltest.TestCase):
  def test_a_batch_of_tasks_steps_as_each_does(self):
    with packages():
      env = envs.from_metaworld('reach-v3', goal_visible=True)
    self.assertEqual(env.observation_shape, envs.minimanip().observation_shape)
    self.assertEqual(env.action_spaces, envs.minimanip().action_spaces)
    batch = envs.vectorize(env, batched_params=True)
    params = env.default_params._replace(
      variation=jnp.array([4, 0, 9]), max_steps=jnp.full((3,), 6)
    )
    keys = jax.random.split(jax.random.key(0), 3)
    actions = np.random.default_rng(1).uniform(-1, 1, (6, 3, 1, 4))
    actions = actions.astype(np.float32)

    def run():
      obs, state = batch.reset(keys, params)

      def step(state, action):
        out = batch.step(keys, state, action, params)
        return out.state, out

      return obs, jax.lax.scan(step, state, actions)[1]

    first, out = jax.jit(run)()
    for e, variation in enumerate((4, 0, 9)):
      obs, reward = recorded(variation, actions[:, e, 0])
      np.testing.assert_array_equal(first[e, 0], obs[0].astype(np.float32))
      seen = out.info['final_obs'][:, e, 0]
      np.testing.assert_array_equal(seen, obs[1:].astype(np.float32))
      np.testing.assert_allclose(out.reward[:, e, 0], reward, rtol=1e-6)
    np.testing.assert_array_equal(out.truncated.T, [[0] * 5 + [1]] * 3)
    np.testing.assert_array_equal(out.obs[-1], first)  # a new episode
    self.assertFalse(np.any(out.terminated))

  def test_a_step_is_a_function_of_its_arguments(self):
    with packages():
      env = envs.from_metaworld('push-v3', seed=1)
    params = env.default_params
    obs, state = env.reset(jax.random.key(0), params)
    np.testing.assert_array_equal(obs[0, 36:], 0)  # hidden
    action = jnp.full((1, 4), 0.3, jnp.float32)
    once = env.step(jax.random.key(0), state, action, params)
    for _ in range(8):  # beyond the limit of the simulator
      out = env.step(jax.random.key(0), once.state, action, params)
    again = env.step(jax.random.key(0), state, action, params)
    for a, b in zip(*map(jax.tree.leaves, (once, again)), strict=True):
      np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(out.obs[0, 18:36], once.obs[0, :18])

  def test_what_is_missing_has_a_name(self):
    with mock.patch.dict(sys.modules, metaworld=None):
      with self.assertRaisesRegex(ImportError, r'ttc-jax\[metaworld\]'):
        envs.from_metaworld()
    with packages():
      with self.assertRaisesRegex(ValueError, "'fly', expected one of reach"):
        envs.from_metaworld('fly')

  def test_a_picture(self):
    with packages():
      env = envs.from_metaworld()
    _, state = env.reset(jax.random.key(0), env.default_params)
    picture = env.draw(jax.device_get(state), env.default_params)
    self.assertLen(picture.shapes, 40)


class SchemaTest(parameterized.TestCase):
  def test_recorded_observations_have_the_schema_of_ours(self):
    env = envs.minimanip('reach', goal_visible=False)
    params = env.default_params
    obs, state = jax.jit(env.reset)(jax.random.key(0), params)

    def step(state, action):
      out = env.step(jax.random.key(0), state, action[None], params)
      return out.state, out.obs[0]

    run = jax.jit(lambda state: jax.lax.scan(step, state, actions_of(0, 20))[1])
    ours = np.concatenate([obs, run(state)])
    recorded = np.load(RECORDED)
    self.assertCountEqual(recorded, FAMILIES)
    for seen in (ours, *recorded.values()):
      self.assertEqual(seen.shape, (21, 39))
      np.testing.assert_array_equal(seen[0, 18:36], seen[0, :18])
      np.testing.assert_array_equal(seen[1:, 18:36], seen[:-1, :18])
      np.testing.assert_array_equal(seen[:, 36:], 0)
      np.testing.assert_array_equal(seen[:, 11:18], 0)
      norms = np.linalg.norm(seen[:, 7:11], axis=-1)
      np.testing.assert_allclose(norms, 1.0, atol=1e-5)
      self.assertTrue(np.all((seen[:, 3] >= 0) & (seen[:, 3] <= 1)))
      # The hand starts open, in the middle, 0.2 above the table, and goes where
      # it is told, if with a lag.
      start = seen[0, np.array([0, 2, 3])]
      np.testing.assert_allclose(start, [0, 0.2, 1], atol=0.01)
      moved = seen[-1, :3] - seen[0, :3]
      told = 0.01 * actions_of(0, 20)[:, :3].sum(axis=0)
      np.testing.assert_allclose(moved, told, atol=0.03)


if __name__ == '__main__':
  absltest.main()
