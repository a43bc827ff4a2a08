"""A memory lives as long as a task, and returns are told by episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc import agents, envs, metarl
from ttc.agents.rollouts import Behaviour, collector
from ttc.metarl.rl2 import trials

KEY = jax.random.key(0)
PULLS, EPISODES = 3, 2
ARMS = PULLS * EPISODES + 1


def counting_bandit():
  """Arm `k` pays `k`, three pulls an episode."""
  means = jnp.arange(ARMS, dtype=jnp.float32)
  env = envs.bandit(ARMS)
  params = env.default_params._replace(
    means=means, noise_std=jnp.float32(0.0), num_pulls=jnp.int32(PULLS)
  )
  return env, params


def count(params, key, obs, legal, memory, reset):
  """Pulls the arm that is the number of steps since memory was forgotten."""
  del params, key, obs, legal
  memory = jnp.where(reset[:, None], 0.0, memory) + 1
  return memory[:, 0].astype(jnp.int32), memory


COUNT = agents.Policy(count, count, 1)


class MemoryTest(absltest.TestCase):
  def test_it_is_kept_between_episodes_of_a_task(self):
    """The second episode of a trial goes on counting where the first ended."""
    env, params = counting_bandit()
    tasks = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), params)
    tasks = tasks._replace(means=tasks.means * jnp.array([[1.0], [10.0]]))
    played = metarl.play_trials(
      env, COUNT, (), KEY, tasks, EPISODES, PULLS * EPISODES
    )
    returns = metarl.returns_by_episode(played, EPISODES)
    np.testing.assert_array_equal(returns, [[6, 15], [60, 150]])

  def test_it_is_forgotten_when_the_task_ends(self):
    """In training, too, and then only."""
    env, params = counting_bandit()
    tasks = envs.TaskDistribution(lambda key: params)
    trial = trials(env, tasks, EPISODES)

    def act(params, keys, states, now, legal, steps):
      del keys, states, steps
      play = jax.vmap(lambda m, r: count(params, None, None, None, m, r))
      action, memory = play(now.memories['actor'], now.reset)
      return action, {'actor': memory}, ()

    collect = collector(trial, Behaviour(act), 2, 15, env_params=None)
    memories = {'actor': jnp.zeros((2, 1, 1))}
    start = agents.learner.start_envs(trial, None, KEY, 2, memories)
    _, rollout, _ = collect(KEY, (), start, jnp.zeros(()))
    length = PULLS * EPISODES
    np.testing.assert_array_equal(
      rollout.action[:, 0, 0], np.arange(15) % length + 1
    )
    np.testing.assert_array_equal(
      rollout.reset[:, 0, 0], np.arange(15) % length == 0
    )
    # Each reset draws the whole trial anew: nothing of the last one is seen.
    np.testing.assert_array_equal(rollout.obs[::length, :, 0, 1:], 0.0)
    inner = rollout.obs[:, 0, 0, -1]
    np.testing.assert_array_equal(
      np.flatnonzero(inner), [PULLS, length + PULLS]
    )

  def test_episodes_that_a_trial_does_not_come_to_return_nothing(self):
    env, params = counting_bandit()
    tasks = jax.tree.map(lambda x: jnp.asarray(x)[None], params)
    played = metarl.play_trials(env, COUNT, (), KEY, tasks, 3, 4)
    np.testing.assert_array_equal(played.episode, [[0, 0, 0, 1]])
    returns = metarl.returns_by_episode(played, 3)
    np.testing.assert_array_equal(returns, [[6, 4, 0]])
    long = metarl.play_trials(env, COUNT, (), KEY, tasks, 1, 5)
    np.testing.assert_array_equal(metarl.returns_by_episode(long, 1), [[6]])


class LearnerTest(absltest.TestCase):
  def test_a_trial_does_not_depend_on_how_many_there_are(self):
    env, tasks = envs.point_robot(), envs.point_robot_tasks()
    few = metarl.draw_tasks(tasks, KEY, 2)
    many = metarl.draw_tasks(tasks, KEY, 4)
    np.testing.assert_array_equal(few.angle, many.angle[:2])
    policy = agents.Policy(
      lambda params, key, obs, legal, memory, reset: (
        jax.random.normal(key, (1, 2)),
        memory,
      ),
      count,
      0,
    )
    play = lambda tasks: metarl.returns_by_episode(
      metarl.play_trials(env, policy, (), KEY, tasks, 2, 40), 2
    )
    np.testing.assert_allclose(play(few), play(many)[:2], rtol=1e-5)

  def test_it_needs_a_memory(self):
    with self.assertRaisesRegex(ValueError, 'memory_width=0'):
      metarl.rl2(
        envs.bandit(2),
        envs.bandit_tasks(2),
        2,
        architecture=agents.Architecture(),
      )

  @pytest.mark.slow
  def test_it_learns_which_arm_pays(self):
    """Two arms, one always pays: after one pull everything is known."""

    def sample(key):
      first = jax.random.bernoulli(key).astype(jnp.float32)
      return (
        envs.bandit_tasks(2)
        .sample(key)
        ._replace(
          means=jnp.stack([first, 1 - first]), noise_std=jnp.float32(0.0)
        )
      )

    env, tasks = envs.bandit(2), envs.TaskDistribution(sample)
    learner = metarl.rl2(
      env,
      tasks,
      4,
      agents.PPO(32, 8, 2, 2, 1e-2, discount=0.9),
      agents.Architecture((), 8),
    )
    start = jax.jit(learner.init)(KEY)
    *_, (state, _) = agents.train(learner, start, 80, 80)
    played = metarl.play_trials(
      env,
      learner.policy,
      learner.params(state),
      KEY,
      metarl.draw_tasks(tasks, KEY, 400),
      4,
      4,
      greedy=True,
    )
    returns = metarl.returns_by_episode(played, 4)
    # The first pull is a guess: 0.5, deviation 0.025.
    self.assertBetween(returns[:, 0].mean(), 0.4, 0.6)
    np.testing.assert_array_less(0.95, returns[:, 1:].mean(0))


@pytest.mark.slow
def test_trials_of_grid_worlds():
  env, tasks = (
    envs.grid_world('debug', 'planes'),
    envs.grid_world_levels('debug'),
  )
  learner = metarl.rl2(
    env, tasks, 3, agents.PPO(8, 30, 1, 2), agents.Architecture((8,), 8)
  )
  state, told = jax.jit(learner.update)(jax.jit(learner.init)(KEY))
  assert np.isfinite(told['value_loss'])
  test = metarl.draw_tasks(tasks, KEY, 5)
  played = metarl.play_trials(
    env, learner.policy, learner.params(state), KEY, test, 3, 30
  )
  # Episodes have at most ten steps, so all three are over.
  assert np.all(np.diff(played.episode) >= 0)
  assert np.all(played.episode[:, -1] >= 2)


_DEVICES = """
import jax, numpy as np
from jax.sharding import AxisType
from ttc import agents, envs, metarl
learner = agents.over_seeds(metarl.rl2(
  envs.point_robot(), envs.point_robot_tasks(), 2,
  agents.PPO(8, 40, 1, 2), agents.Architecture((8,), 8)))
ends = []
for n in (1, 4):
  mesh = jax.make_mesh((n,), ('data',), axis_types=(AxisType.Auto,),
                       devices=jax.devices()[:n])
  state = jax.jit(learner.init)(agents.seed_keys(0, 2))
  *_, (state, _) = agents.train(learner, state, 3, 3, mesh)
  ends.append((learner.params(state), state.envs.obs))
for a, b in zip(*map(jax.tree.leaves, ends)):
  np.testing.assert_allclose(a, b, atol=2e-5)
print('equal')
"""


@pytest.mark.slow
def test_one_device_is_four(on_four_devices):
  assert on_four_devices(_DEVICES) == 'equal'


if __name__ == '__main__':
  absltest.main()
