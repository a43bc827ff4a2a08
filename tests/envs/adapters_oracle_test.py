"""Our environments under jaxmarl's wrappers, and its ones under ours."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs

pytestmark = pytest.mark.oracle
jaxmarl = pytest.importorskip('jaxmarl')


def sampled(env, key):
  """Random actions by agent, as jaxmarl's scripts draw them."""
  keys = jax.random.split(key, env.num_agents)
  rows = zip(env.agents, keys, strict=True)
  return {agent: env.action_space(agent).sample(k) for agent, k in rows}


class ToJaxMARLTest(parameterized.TestCase):
  def test_the_log_wrapper_sums_up_episodes(self):
    wrappers = pytest.importorskip('jaxmarl.wrappers.baselines')

    ours = envs.simple_spread()
    env = wrappers.LogWrapper(envs.to_jaxmarl(ours))
    obs, state = env.reset(jax.random.PRNGKey(0))
    self.assertEqual(set(obs), set(ours.agents))

    def body(state, key):
      action_key, step_key = jax.random.split(key)
      _, state, reward, done, info = env.step(
        step_key, state, sampled(env, action_key)
      )
      return state, (reward, done, info)

    keys = jax.random.split(jax.random.PRNGKey(1), 60)
    _, (reward, done, info) = jax.lax.scan(body, state, keys)
    np.testing.assert_array_equal(np.flatnonzero(done['__all__']), [24, 49])
    total = np.stack([reward[a] for a in env.agents], -1)
    np.testing.assert_allclose(
      info['returned_episode_returns'][49], total[25:50].sum(0), rtol=1e-5
    )
    np.testing.assert_array_equal(info['returned_episode_lengths'][59], 25)

  @parameterized.parameters(
    envs.simple_spread,
    envs.simple_speaker_listener,
    envs.simple_world_comm,
    envs.switch_riddle,
    envs.coin_game,
  )
  def test_the_rollout_manager_runs_batches(self, make):
    wrappers = pytest.importorskip('jaxmarl.wrappers.baselines')

    ours = make()
    logged = wrappers.LogWrapper(envs.to_jaxmarl(ours))
    env = wrappers.CTRolloutManager(logged, batch_size=4)
    obs, state = env.batch_reset(jax.random.PRNGKey(0))
    size = ours.observation_shape[0] + ours.num_agents
    for t in range(3):
      keys = jax.random.split(jax.random.PRNGKey(t), ours.num_agents + 1)
      actions = {
        agent: env.batch_sample(key, agent)
        for agent, key in zip(env.agents, keys[1:], strict=True)
      }
      valid = env.get_valid_actions(state.env_state)
      self.assertEqual(valid[ours.agents[0]].shape, (4, ours.num_actions))
      obs, state, reward, done, _ = env.batch_step(keys[0], state, actions)
      self.assertEqual(obs[ours.agents[0]].shape, (4, size))
      self.assertEqual(reward['__all__'].shape, (4,))
      self.assertEqual(done['__all__'].shape, (4,))
    widths = sum(space.shape[0] for space in ours.observation_spaces)
    self.assertEqual(obs['__all__'].shape, (4, widths))

  def test_steps_are_ours(self):
    ours = envs.simple_world_comm()
    params = ours.default_params._replace(max_steps=np.int32(2))
    env = envs.to_jaxmarl(ours, params)
    reference = jaxmarl.make('MPE_simple_world_comm_v3', action_type='Discrete')
    self.assertEqual(env.agents, reference.agents)
    for agent in env.agents:
      self.assertEqual(
        env.observation_space(agent).shape,
        reference.observation_space(agent).shape,
      )
      self.assertEqual(
        env.action_space(agent).n, reference.action_space(agent).n
      )
    key = jax.random.key(0)
    obs, state = env.reset(key)
    expected, _ = ours.reset(key, params)
    np.testing.assert_array_equal(obs['agent_1'], expected[5, :28])
    self.assertEqual(
      {a: len(x) for a, x in env.get_avail_actions(state).items()},
      {a: reference.action_space(a).n for a in env.agents},
    )
    acts = sampled(env, key)
    rows = jnp.stack([acts[agent] for agent in env.agents])
    for t in range(3):
      out = jax.jit(envs.auto_reset(ours).step)(key, state, rows, params)
      obs, state, reward, done, _ = jax.jit(env.step)(key, state, acts)
      np.testing.assert_array_equal(obs['leadadversary_0'], out.obs[0])
      self.assertEqual(reward['agent_0'], out.reward[4])
      self.assertEqual(bool(done['__all__']), t == 1)
    # A start of one's own.
    _, start = env.reset(jax.random.key(7))
    for _ in range(2):
      obs, state, *_ = jax.jit(env.step)(key, state, acts, start)
    np.testing.assert_array_equal(state.landmarks, start.landmarks)

  def test_dead_agents_and_the_worlds_state_are_told(self):

    ours = dataclasses.replace(
      envs.switch_riddle(),
      active=lambda state, params: state.visited,
      world=lambda state, params: state.visited.astype(jnp.float32),
    )
    env = envs.to_jaxmarl(ours)
    obs, state = env.reset(jax.random.key(0))
    self.assertEqual(env.state_size, 3)
    np.testing.assert_array_equal(obs['world_state'], state.visited)
    acts = dict.fromkeys(env.agents, jnp.zeros((), jnp.int32))
    obs, state, _, done, _ = env.step(jax.random.key(1), state, acts)
    for i, agent in enumerate(env.agents):
      self.assertEqual(bool(done[agent]), not bool(state.visited[i]))
    self.assertFalse(done['__all__'])


class FromJaxMARLTest(parameterized.TestCase):
  @parameterized.parameters(
    ('MPE_simple_tag_v3', {}),
    ('MPE_simple_world_comm_v3', {}),
    ('switch_riddle', {}),
    ('coin_game', {'cnn': True}),
  )
  def test_a_batch_of_theirs(self, name, options):
    reference = jaxmarl.make(name, **options)
    env = envs.from_jaxmarl(reference, truncates=True)
    self.assertEqual(env.agents, tuple(reference.agents))
    batch = envs.vectorize(envs.episode_statistics(env))
    keys = jax.random.split(jax.random.key(0), 3)
    obs, state = jax.jit(batch.reset)(keys, ())
    self.assertEqual(obs.shape, (3, env.num_agents, *env.observation_shape))
    act = jax.vmap(lambda k, s: envs.random_actions(env, k, s, ()))
    action = jax.jit(act)(keys, state.env_state)
    out = jax.jit(batch.step)(keys, state, action, ())
    self.assertEqual(out.obs.shape, obs.shape)
    self.assertEqual(out.info['episode_length'].shape, (3,))
    one = jax.tree.map(lambda x: x[0], jax.device_get(state.env_state))
    self.assertEqual(envs.render(env.draw(one, ()), 60).shape[1], 60)

  def test_it_is_the_same_game(self):
    reference = jaxmarl.make('MPE_simple_push_v3')
    env = envs.from_jaxmarl(reference)
    obs, state = env.reset(jax.random.key(0), ())
    ours = envs.simple_push()
    same = ours.reset(jax.random.key(0), ours.default_params)[1]._replace(
      position=state.p_pos[:2], landmarks=state.p_pos[2:], goal=state.goal[None]
    )
    np.testing.assert_allclose(
      obs, ours.observe(same, ours.default_params), atol=1e-6
    )
    action = jnp.array([1, 4], jnp.int32)
    a = env.step(jax.random.key(1), state, action, ())
    b = ours.step(jax.random.key(1), same, action, ours.default_params)
    np.testing.assert_allclose(a.obs, b.obs, atol=1e-5)
    np.testing.assert_allclose(a.reward, b.reward, atol=1e-5)

  def test_another_interface_is_refused(self):
    class Six(type(jaxmarl.make('MPE_simple_v3'))):
      def step_env(self, key, state, actions):
        return (*super().step_env(key, state, actions), None)

    with self.assertRaisesRegex(ValueError, r'6 values.*oracle'):
      envs.from_jaxmarl(Six())


if __name__ == '__main__':
  absltest.main()
