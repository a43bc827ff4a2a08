"""Every wrapper, on a clock that can be followed by hand and on games."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs import normalization
from ttc.envs.rendering import Picture


class ClockParams(NamedTuple):
  length: int | jax.Array = 3
  scale: float | jax.Array = 1.0
  ends_by_rule: bool | jax.Array = False


class ClockState(NamedTuple):
  time: jax.Array
  start: jax.Array


def clock(num_agents=2):
  """Counts steps from a random tenth; rewards are actions, scaled.

  Agent `i` sees `[i + 1, start + time]`, the second one only the first number.
  """

  def observe(state, params):
    now = jnp.full((num_agents,), state.start + state.time)
    obs = jnp.stack([jnp.arange(1.0, num_agents + 1), now], -1)
    return (obs * params.scale).astype(jnp.float32).at[1:, 1].set(0.0)

  def reset(key, params):
    start = jax.random.uniform(key, (), jnp.float32)
    state = ClockState(jnp.zeros((), jnp.int32), start)
    return observe(state, params), state

  def step(key, state, action, params):
    del key
    state = state._replace(time=state.time + 1)
    over = state.time >= params.length
    return envs.Step(
      observe(state, params),
      state,
      action.astype(jnp.float32) * params.scale,
      over & params.ends_by_rule,
      over & ~jnp.asarray(params.ends_by_rule),
      {'time': state.time},
    )

  return envs.Environment(
    name='clock',
    agents=tuple(f'agent_{i}' for i in range(num_agents)),
    default_params=ClockParams(),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(envs.Box((2,)), *[envs.Box((1,))] * (num_agents - 1)),
    action_spaces=(envs.Discrete(5), *[envs.Discrete(3)] * (num_agents - 1)),
    draw=lambda state, params: Picture((0, 0), (1, 1), []),
  )


def play(env, params, actions, seed=0):
  """What every step gave; actions `[T, A]`, or `[T, E, A]` of a batch."""
  batch = actions.shape[1:-1]
  fold = jax.random.fold_in
  for _ in batch:
    fold = jax.vmap(fold, (0, None))
  keys = jax.random.split(jax.random.key(seed), batch or ())

  def body(state, inputs):
    t, action = inputs
    out = env.step(fold(keys, t + 1), state, action, params)
    return out.state, out

  def run(actions):
    obs, state = env.reset(fold(keys, 0), params)
    times = jnp.arange(len(actions))
    return obs, jax.lax.scan(body, state, (times, actions))[1]

  return jax.device_get(jax.jit(run)(jnp.asarray(actions, jnp.int32)))


def some_actions(*shape, seed=0):
  return np.random.default_rng(seed).integers(0, 3, shape)


class ResetTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_the_last_observation_is_kept(self, ends_by_rule):
    env, actions = clock(), some_actions(10, 2)
    params = ClockParams(length=4, ends_by_rule=ends_by_rule)
    first, out = play(envs.auto_reset(env), params, actions)
    done = np.isin(np.arange(10), [3, 7])
    np.testing.assert_array_equal(out.terminated, done & ends_by_rule)
    np.testing.assert_array_equal(out.truncated, done & (not ends_by_rule))
    np.testing.assert_array_equal(out.reward, actions)
    np.testing.assert_array_equal(out.info['time'], [1, 2, 3, 4] * 2 + [1, 2])
    now, final = out.obs[:, 0, 1], out.info['final_obs'][:, 0, 1]
    begin = first[0, 1]
    np.testing.assert_allclose(
      final[:4], begin + np.array([1, 2, 3, 4]), atol=1e-6
    )
    np.testing.assert_allclose(now[:3], final[:3])
    self.assertBetween(now[3], 0, 1)  # a new start
    self.assertNotAlmostEqual(now[3], begin)
    np.testing.assert_allclose(final[4:8], now[3] + [1, 2, 3, 4], atol=1e-6)
    np.testing.assert_array_equal(
      out.state.time, [1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    )

  @parameterized.parameters(envs.switch_riddle, envs.coin_game, clock)
  def test_a_batch_resets_as_one_does(self, make):
    env = make()
    actions = some_actions(25, 5, env.num_agents)
    params = env.default_params
    single = envs.auto_reset(env)
    reset = jax.vmap(single.reset, (0, None))
    step = jax.vmap(single.step, (0, 0, 0, None))
    mapped = dataclasses.replace(single, reset=reset, step=step)
    a = play(mapped, params, actions)
    b = play(envs.vectorize(env), params, actions)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
      np.testing.assert_array_equal(x, y)
    if make is not envs.coin_game:  # of a hundred steps
      self.assertTrue(np.any(b[1].terminated | b[1].truncated))

  def test_a_batch_of_tasks(self):
    env = envs.vectorize(clock(), batched_params=True)
    lengths = np.array([2, 3, 5])
    params = ClockParams(
      jnp.array(lengths), jnp.array([1.0, 2.0, 3.0]), jnp.zeros(3, bool)
    )
    actions = some_actions(12, 3, 2)
    _, out = play(env, params, actions)
    for i, length in enumerate(lengths):
      np.testing.assert_array_equal(
        out.truncated[:, i], np.arange(1, 13) % length == 0
      )
      np.testing.assert_array_equal(out.reward[:, i], actions[:, i] * (i + 1.0))

  def test_a_batch_answers_for_each(self):
    env = clock()
    batch = envs.vectorize(env)
    keys = jax.random.split(jax.random.key(0), 4)
    obs, states = batch.reset(keys, env.default_params)
    legal = batch.avail_actions(states, env.default_params)
    expected = [[True] * 5, [True] * 3 + [False] * 2]
    np.testing.assert_array_equal(legal, [expected] * 4)
    world = batch.world_state(states, env.default_params)
    np.testing.assert_array_equal(world, obs.reshape(4, -1))
    active = batch.active_agents(states, env.default_params)
    self.assertEqual(active.shape, (4, 2))

  def test_keys_of_nested_wrappers_differ(self):
    # Whatever is drawn in steps and resets, inside and outside, differs.
    base = clock()
    draw = lambda key: jax.random.bits(key, (), jnp.uint32)

    def step(key, state, action, params):
      out = base.step(key, state, action, params)
      return out._replace(info={'draw': draw(key)})

    def reset(key, params):
      obs, state = base.reset(key, params)
      return obs, state._replace(start=draw(key))

    env = dataclasses.replace(base, step=step, reset=reset)
    env = envs.auto_reset(envs.meta_episodes(env, 2))
    _, out = play(env, ClockParams(length=2), some_actions(40, 2))
    starts = np.unique(out.state.env_state.start)
    self.assertLen(starts, 21)
    self.assertLen(np.unique(np.append(out.info['draw'], starts)), 40 + 21)


class StatisticsTest(absltest.TestCase):
  def test_episodes(self):
    env = envs.auto_reset(envs.episode_statistics(clock()))
    actions = some_actions(11, 2)
    _, out = play(env, ClockParams(length=4, scale=0.5), actions)
    for t in range(11):
      begin = t // 4 * 4
      np.testing.assert_allclose(
        out.info['episode_return'][t], 0.5 * actions[begin : t + 1].sum(0)
      )
      self.assertEqual(out.info['episode_length'][t], t - begin + 1)

  def test_moments_are_those_of_all_values(self):
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, (7, 5, 2)).astype(np.float32)
    moments = normalization.initial_moments((2,))
    for batch in values:
      moments = normalization.update_moments(moments, jnp.asarray(batch))
    flat, weight = values.reshape(-1, 2).astype(np.float64), 1e-3
    count = len(flat) + weight
    mean = flat.sum(0) / count
    var = ((flat - mean) ** 2).sum(0) + weight * (1 + mean**2)
    np.testing.assert_allclose(moments.weight, count, rtol=1e-5)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(moments.var, var / count, rtol=1e-5)
    far = normalization.standardize(moments, jnp.array([[1e6, -1e6]]))
    np.testing.assert_array_equal(far, [[10, -10]])

  def test_observations(self):
    batch = envs.vectorize(clock())
    actions = some_actions(9, 4, 2)
    first, plain = play(batch, ClockParams(), actions)
    env = envs.normalize_observations(batch)
    start, out = play(env, ClockParams(), actions)
    seen = [first, *plain.obs]
    mean, var, count = np.zeros((2, 2)), np.ones((2, 2)), 1e-3
    for t, obs in enumerate(seen):
      n = len(obs)
      delta = obs.mean(0) - mean
      total = count + n
      var = (
        count * var + n * obs.var(0) + delta**2 * count * n / total
      ) / total
      mean, count = mean + delta * n / total, total
      scaled = lambda x, m=mean, v=var: np.clip(
        (x - m) / np.sqrt(v + 1e-8), -10, 10
      )
      if t == 0:
        np.testing.assert_allclose(start, scaled(obs), atol=1e-3)
      else:
        np.testing.assert_allclose(out.obs[t - 1], scaled(obs), atol=1e-3)
        np.testing.assert_allclose(
          out.info['final_obs'][t - 1],
          scaled(plain.info['final_obs'][t - 1]),
          atol=1e-3,
        )
    self.assertEqual(env.observation_spaces[0].high, 10.0)
    np.testing.assert_array_equal(out.reward, plain.reward)

  def test_rewards(self):
    env = envs.normalize_rewards(envs.vectorize(clock()), 0.9)
    actions = some_actions(10, 4, 2)
    _, out = play(env, ClockParams(scale=7.0), actions)
    rewards = 7.0 * actions
    returns, mean, var, count = np.zeros((4, 2)), 0.0, np.ones(2), 1e-3
    for t in range(10):
      returns = 0.9 * returns + rewards[t]
      delta, total = returns.mean(0) - mean, count + 4
      var = (
        count * var + 4 * returns.var(0) + delta**2 * count * 4 / total
      ) / total
      mean, count = mean + delta * 4 / total, total
      np.testing.assert_allclose(
        out.reward[t], rewards[t] / np.sqrt(var + 1e-8), rtol=1e-4
      )
      if t % 3 == 2:
        returns[:] = 0


class FramesTest(absltest.TestCase):
  def test_frames_are_the_last_ones(self):
    env = envs.auto_reset(envs.stack_frames(clock(), 3))
    _, out = play(env, ClockParams(length=4), some_actions(8, 2))
    now = out.obs[:, 0, 1::2]  # what agent 0 sees of the clock
    begin = now[3, 0]
    np.testing.assert_allclose(now[3], [begin] * 3)
    np.testing.assert_allclose(now[4], begin + np.array([0, 0, 1]), atol=1e-6)
    np.testing.assert_allclose(now[6], begin + np.array([1, 2, 3]), atol=1e-6)
    final = out.info['final_obs'][7, 0, 1::2]
    np.testing.assert_allclose(final, begin + np.array([2, 3, 4]), atol=1e-6)

  def test_spaces_have_the_padding_of_each_frame(self):
    env = envs.stack_frames(clock(), 3)
    self.assertEqual([s.shape for s in env.observation_spaces], [(6,), (6,)])
    obs, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    np.testing.assert_array_equal(obs[1], [2, 0, 2, 0, 2, 0])
    np.testing.assert_array_equal(env.observe(state, env.default_params), obs)
    with self.assertRaisesRegex(ValueError, 'num_frames=0'):
      envs.stack_frames(clock(), 0)


class MetaEpisodesTest(absltest.TestCase):
  def test_episodes_of_one_task(self):
    env = envs.meta_episodes(clock(), 3)
    actions = some_actions(14, 2)
    params = ClockParams(length=2, scale=2.0)
    first, out = play(envs.auto_reset(env), params, actions)
    self.assertEqual(first.shape, (2, 2 + 5 + 2))
    np.testing.assert_array_equal(first[:, 2:], 0.0)
    self.assertFalse(np.any(out.terminated))
    np.testing.assert_array_equal(np.flatnonzero(out.truncated), [5, 11])
    np.testing.assert_array_equal(
      out.info['episode'], [0, 1, 1, 2, 2, 3, 0, 1, 1, 2, 2, 3, 0, 1]
    )
    for t in range(14):
      obs = out.info['final_obs'][t]  # no outer reset
      np.testing.assert_array_equal(obs[:, 2:7], np.eye(5)[actions[t]])
      np.testing.assert_array_equal(obs[:, 7], 2.0 * actions[t])
      np.testing.assert_array_equal(obs[:, 8], t % 2)
      if out.truncated[t]:
        np.testing.assert_array_equal(out.obs[t, :, 2:], 0.0)
      else:
        np.testing.assert_array_equal(out.obs[t], obs)
    time = out.info['final_obs'][:, 0, 1] / 2.0
    # Inner starts are in [0, 1), but the end of the last episode is seen.
    self.assertTrue(np.all((time < 1) == np.isin(np.arange(14) % 6, [1, 3])))

  def test_what_does_not_fit_is_named(self):
    with self.assertRaisesRegex(ValueError, 'num_episodes=0'):
      envs.meta_episodes(clock(), 0)
    with self.assertRaisesRegex(ValueError, r'\(3, 3, 4\)'):
      envs.meta_episodes(envs.coin_game(image=True), 2)

  def test_continuous_actions_are_seen_as_they_are(self):
    env = envs.meta_episodes(envs.simple_speaker_listener(continuous=True), 2)
    params = env.default_params

    @jax.jit
    def act(key):
      obs, state = env.reset(key, params)
      action = envs.random_actions(env, key, state, params)
      return obs, action, env.step(key, state, action, params)

    obs, action, out = act(jax.random.key(0))
    self.assertEqual(obs.shape, (2, 11 + 5 + 2))
    self.assertEqual(action.shape, (2, 5))
    np.testing.assert_array_equal(action[0, 3:], 0.0)  # a speaker has three
    np.testing.assert_array_equal(out.obs[:, 11:16], action)


class TasksTest(absltest.TestCase):
  def test_every_episode_has_a_task_of_its_own(self):
    tasks = envs.TaskDistribution(
      lambda key: ClockParams(3, jax.random.uniform(key, (), jnp.float32))
    )
    env = envs.auto_reset(envs.sample_tasks(clock(), tasks))
    actions = np.ones((12, 2), int)
    _, out = play(env, None, actions)
    scales = out.reward[:, 0].reshape(4, 3)
    np.testing.assert_array_equal(scales, scales[:, :1].repeat(3, 1))
    self.assertLen(np.unique(scales), 4)
    # The observation is scaled by the task that the state has.
    np.testing.assert_allclose(out.obs[:, 0, 0], out.state.params.scale)

  def test_wrapped_states_answer_as_the_inner_ones(self):
    base = envs.simple_adversary()
    tasks = envs.TaskDistribution(lambda key: base.default_params)
    for wrap in (
      functools.partial(envs.sample_tasks, tasks=tasks),
      envs.episode_statistics,
    ):
      env = wrap(base)
      obs, state = env.reset(jax.random.key(0), base.default_params)
      observe = functools.partial(env.observe, params=base.default_params)
      np.testing.assert_allclose(observe(state), obs)
      picture = env.draw(jax.device_get(state), base.default_params)
      self.assertGreater(len(picture.shapes), 4)
      legal = env.avail_actions(state, base.default_params)
      self.assertEqual(legal.shape, (3, 5))


if __name__ == '__main__':
  absltest.main()
