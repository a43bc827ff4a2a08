"""Catch, deep sea and bandits, by plain games and closed forms."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.bsuite.bandit import BanditParams
from ttc.envs.bsuite.catch import CatchParams, CatchState

KEY = jax.random.key(0)


def plain_catch(rows, columns, ball, actions):
  """Boards after each action, and the reward at the end."""
  paddle, boards = columns // 2, []
  for row, action in enumerate(actions, start=1):
    paddle = min(max(paddle + (-1, 0, 1)[action], 0), columns - 1)
    board = np.zeros((rows, columns))
    board[row, ball] = board[rows - 1, paddle] = 1
    boards.append(board)
  return boards, 1.0 if paddle == ball else -1.0


class CatchTest(parameterized.TestCase):
  @parameterized.parameters((4, 3), (3, 4))
  def test_every_game(self, rows, columns):
    env = envs.catch(rows, columns)
    games = list(itertools.product(range(3), repeat=rows - 1))
    balls = np.arange(columns, dtype=np.int32)

    def play(ball, actions):
      middle = jnp.full((), columns // 2, jnp.int32)
      start = CatchState(jnp.zeros((), jnp.int32), ball, middle)

      def step(state, action):
        out = env.step(KEY, state, action[None], env.default_params)
        return out.state, out._replace(state=())

      return jax.lax.scan(step, start, actions)[1]

    over_games = jax.vmap(play, (None, 0))
    out = jax.jit(jax.vmap(over_games, (0, None)))(
      balls, jnp.array(games, jnp.int32)
    )
    for ball, (i, actions) in itertools.product(balls, enumerate(games)):
      boards, reward = plain_catch(rows, columns, ball, actions)
      np.testing.assert_array_equal(out.obs[ball, i, :, 0], boards)
      expected = [0.0] * (rows - 2) + [reward]
      np.testing.assert_array_equal(out.reward[ball, i, :, 0], expected)
    last = np.arange(rows - 1) == rows - 2
    np.testing.assert_array_equal(out.terminated[0, 0], last)
    self.assertFalse(np.any(out.truncated))

  def test_starts(self):
    env = envs.catch()
    keys = jax.random.split(KEY, 2000)
    obs, _ = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    self.assertEqual(obs.shape, (2000, 1, 10, 5))
    np.testing.assert_array_equal(obs[:, 0, 9].sum(0), [0, 0, 2000, 0, 0])
    # 400 expected, deviation 18: within 5 of them.
    self.assertLess(np.abs(obs[:, 0, 0].sum(0) - 400).max(), 90)

  def test_rewards_are_params(self):
    env = envs.catch(2, 3)
    for ball, reward in ((1, 3.0), (0, -0.5)):
      state = CatchState(np.int32(0), np.int32(ball), np.int32(1))
      out = env.step(
        KEY, state, jnp.ones((1,), jnp.int32), CatchParams(3.0, -0.5)
      )
      self.assertEqual(out.reward.tolist(), [reward])

  def test_bad_input_is_named(self):
    with self.assertRaisesRegex(ValueError, 'rows=1'):
      envs.catch(1)


def plain_dive(mapping, actions, cost=0.01):
  """Cells after each action, and the rewards."""
  size = len(mapping)
  row = column = 0
  cells, rewards = [], []
  for action in actions:
    right = action == mapping[row][column]
    rewards.append((column == size - 1 and right) - right * cost / size)
    column = min(max(column + (1 if right else -1), 0), size - 1)
    row += 1
    cells.append((row, column))
  return cells, rewards


def dives(env, params, actions, keys):
  """Dives `[N]`, each with actions and keys `[N, n]`."""

  def play(actions, keys):
    _, start = env.reset(KEY, params)

    def step(state, inputs):
      action, key = inputs
      out = env.step(key, state, action[None], params)
      return out.state, out

    return jax.lax.scan(step, start, (actions, keys))[1]

  return jax.jit(jax.vmap(play))(actions, keys)


class DeepSeaTest(absltest.TestCase):
  def test_every_dive(self):
    env = envs.deep_sea(4)
    params = env.default_params
    actions = np.array(list(itertools.product(range(2), repeat=4)), np.int32)
    keys = jnp.broadcast_to(KEY, actions.shape)
    out = dives(env, params, actions, keys)
    for i, acts in enumerate(actions):
      cells, rewards = plain_dive(params.right_action, acts)
      np.testing.assert_allclose(out.reward[i, :, 0], rewards, atol=1e-7)
      for t, cell in enumerate(cells):
        board = np.zeros((5, 4))
        board[cell] = 1  # the last row is out of sight
        np.testing.assert_array_equal(out.obs[i, t, 0], board[:4])
    np.testing.assert_array_equal(
      out.terminated, np.tile([False, False, False, True], (16, 1))
    )
    self.assertFalse(np.any(out.truncated))
    # One dive of 2^n finds it, and it pays 1 - cost.
    np.testing.assert_array_equal(out.info['found'].sum(), 1)
    self.assertAlmostEqual(float(out.reward.sum((1, 2)).max()), 0.99, places=6)

  def test_the_stochastic_sea(self):
    """All steps but the last must not slip: `(1 - 1 / n)^(n - 1)`."""
    n, num = 5, 4000
    env = envs.deep_sea(n)
    right = np.ones((n, n), np.int32)
    params = env.default_params._replace(
      right_action=right, slip_probability=1 / n, noise_std=1.0
    )
    keys = jax.random.split(KEY, (num, n))
    out = dives(env, params, np.ones((num, n), np.int32), keys)
    found = np.mean(out.info['found'][:, -1])
    p = (1 - 1 / n) ** (n - 1)
    self.assertAlmostEqual(found, p, delta=4 * np.sqrt(p * (1 - p) / num))
    rewards = np.asarray(out.reward[..., 0])
    np.testing.assert_allclose(rewards[:, :-1], -0.01 / n, atol=1e-7)
    noise = rewards[:, -1] - out.info['found'][:, -1] + 0.01 / n
    edge = np.isin(out.state.column[:, -2], (0, n - 1))
    np.testing.assert_allclose(noise[~edge], 0.0, atol=1e-6)
    self.assertAlmostEqual(np.std(noise[edge]), 1.0, delta=0.1)
    self.assertAlmostEqual(np.mean(noise[edge]), 0.0, delta=0.1)

  def test_tasks_differ_in_their_actions(self):
    tasks = envs.deep_sea_tasks(6)
    draws = jax.jit(jax.vmap(tasks.sample))(
      jax.random.split(KEY, 500)
    ).right_action
    self.assertEqual(draws.shape, (500, 6, 6))
    # 250 expected, deviation 11: within 5 of them.
    self.assertLess(np.abs(draws.sum(0) - 250).max(), 56)
    again = envs.deep_sea(6).default_params.right_action
    np.testing.assert_array_equal(
      again, envs.deep_sea(6).default_params.right_action
    )
    other = envs.deep_sea(6, mapping_seed=1).default_params.right_action
    self.assertTrue(np.any(again != other))

  def test_bad_input_is_named(self):
    with self.assertRaisesRegex(ValueError, 'size=1'):
      envs.deep_sea(1)


class BanditTest(parameterized.TestCase):
  @parameterized.parameters((False, 0.5), (True, None))
  def test_rewards_have_the_means(self, bernoulli, noise):
    means = np.array([0.1, 0.9, 0.4], np.float32)
    env = envs.bandit(3, bernoulli)
    params = BanditParams(means, np.float32(noise or 0.0))
    keys = jax.random.split(KEY, (3, 4000))
    _, state = jax.jit(env.reset)(KEY, params)
    pull = jax.vmap(env.step, (0, None, None, None))
    pulls = jax.vmap(pull, (0, None, 0, None))
    arms = jnp.arange(3, dtype=jnp.int32)[:, None]
    out = jax.jit(pulls)(keys, state, arms, params)
    reward = np.asarray(out.reward[..., 0], np.float64)
    deviation = np.sqrt(means * (1 - means)) if noise is None else [noise] * 3
    for arm in range(3):
      error = 4 * deviation[arm] / np.sqrt(4000)
      self.assertAlmostEqual(reward[arm].mean(), means[arm], delta=error)
      self.assertAlmostEqual(reward[arm].std(), deviation[arm], delta=0.03)
    if noise is None:
      self.assertEqual(set(np.unique(reward)), {0.0, 1.0})
    np.testing.assert_allclose(
      out.info['regret'][:, 0], [0.8, 0.0, 0.5], atol=1e-6
    )
    np.testing.assert_array_equal(out.obs, 1.0)
    self.assertTrue(np.all(out.terminated))
    self.assertFalse(np.any(out.truncated))

  def test_episodes_have_as_many_pulls_as_said(self):
    env = envs.bandit(4)
    tasks = envs.bandit_tasks(4, noise_std=0.0, num_pulls=3)
    game = envs.sample_tasks(env, tasks)
    step = jax.jit(game.step)
    _, state = jax.jit(game.reset)(KEY, ())
    for t in range(3):
      out = step(KEY, state, jnp.array([t], jnp.int32), ())
      state = out.state
      self.assertEqual(bool(out.terminated), t == 2)
      self.assertEqual(float(out.reward[0]), float(state.params.means[t]))

  @parameterized.parameters(
    (jax.random.uniform, 0.5, 1 / 12), (jax.random.normal, 0.0, 1.0)
  )
  def test_means_of_tasks(self, sample_means, mean, variance):
    tasks = envs.bandit_tasks(20, sample_means, noise_std=0.3, num_pulls=7)
    draws = jax.jit(jax.vmap(tasks.sample))(jax.random.split(KEY, 500))
    self.assertEqual(draws.means.shape, (500, 20))
    self.assertAlmostEqual(float(draws.means.mean()), mean, delta=0.05)
    self.assertAlmostEqual(float(draws.means.var()), variance, delta=0.05)
    np.testing.assert_allclose(draws.noise_std, 0.3, rtol=1e-6)
    np.testing.assert_array_equal(draws.num_pulls, 7)

  def test_bad_input_is_named(self):
    with self.assertRaisesRegex(ValueError, 'num_arms=1'):
      envs.bandit(1)
    with self.assertRaisesRegex(ValueError, '0 pulls'):
      envs.bandit_tasks(num_pulls=0)


if __name__ == '__main__':
  absltest.main()
