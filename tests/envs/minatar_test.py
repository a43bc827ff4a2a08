"""MinAtar games beside plain ones, and what chance does in them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from minatar_games import (
  asterix_entries,
  plain_asterix,
  plain_breakout,
  plain_freeway,
  plain_space_invaders,
  random_states,
)

from ttc import envs
from ttc.envs.minatar.console import DOWN, FIRE, LEFT, NOTHING, RIGHT, UP

NUM = 600
GAMES = ('asterix', 'breakout', 'freeway', 'space_invaders')


@functools.cache
def compiled_step(name):
  """Of a batch, with all actions; compiled once for all tests."""
  env = getattr(envs, name)(full_actions=True)
  return env, jax.jit(jax.vmap(env.step, (0, 0, 0, None)))


def stepped(name, seed=0, **changes):
  """One step from each of many states; all on the host."""
  env, step = compiled_step(name)
  params = env.default_params._replace(**changes)
  states = random_states(name, NUM, seed)
  actions = np.random.default_rng(seed + 1).integers(0, 6, (NUM, 1))
  keys = jax.random.split(jax.random.key(seed), NUM)
  out = jax.device_get(step(keys, states, actions.astype(np.int32), params))
  take = lambda tree, i: jax.tree.map(lambda x: x[i], tree)
  rows = [(take(states, i), actions[i, 0], take(out, i)) for i in range(NUM)]
  return params, rows, out


class PlainTest(parameterized.TestCase):
  def check(self, out, fields, reward, over):
    for name, value in fields.items():
      np.testing.assert_array_equal(getattr(out.state, name), value, name)
    self.assertEqual(out.reward[0], reward)
    self.assertEqual(out.terminated, over)

  @parameterized.parameters(True, False)
  def test_asterix(self, ramping):
    params, rows, out = stepped('asterix', ramping=ramping, ramp_interval=7)
    for state, action, got in rows:
      ways = []
      for entry in asterix_entries(state):
        fields, things, *rest = plain_asterix(state, action, params, entry)
        after = got.state
        seen = {
          i: [after.columns[i], after.rightward[i], after.gold[i]]
          for i in np.flatnonzero(after.filled)
        }
        if seen == things and [got.reward[0], got.terminated] == rest:
          ways.append((fields, *rest))
      self.assertTrue(ways)
      self.check(got, *ways[0])
    self.assertGreater(out.terminated.sum(), 30)
    self.assertGreater(out.reward.sum(), 30)

  def test_breakout(self):
    params, rows, out = stepped('breakout')
    for state, action, got in rows:
      self.check(got, *plain_breakout(state, action, params))
    self.assertGreater(out.terminated.sum(), 30)
    self.assertGreater(out.reward.sum(), 30)

  def test_freeway(self):
    params, rows, out = stepped('freeway', player_interval=4)
    for state, action, got in rows:
      speeds = got.state.speeds
      self.check(got, *plain_freeway(state, action, params, speeds))
    self.assertGreater(out.reward.sum(), 5)

  @parameterized.parameters(True, False)
  def test_space_invaders(self, ramping):
    params, rows, out = stepped(
      'space_invaders', ramping=ramping, least_move_interval=9
    )
    for state, action, got in rows:
      self.check(got, *plain_space_invaders(state, action, params))
    self.assertGreater(out.terminated.sum(), 30)
    self.assertGreater(out.reward.sum(), 30)


class ScreenTest(absltest.TestCase):
  def test_asterix(self):
    for state, _, got in stepped('asterix')[1][:50]:
      del state
      s, screen = got.state, np.zeros((10, 10, 4))
      screen[s.row, s.column, 0] = 1
      for i in np.flatnonzero(s.filled):
        screen[i + 1, s.columns[i], 3 if s.gold[i] else 1] = 1
        behind = s.columns[i] - (1 if s.rightward[i] else -1)
        if 0 <= behind <= 9:
          screen[i + 1, behind, 2] = 1
      np.testing.assert_array_equal(got.obs[0], screen)

  def test_breakout(self):
    for _, _, got in stepped('breakout')[1][:50]:
      s, screen = got.state, np.zeros((10, 10, 4))
      screen[9, s.paddle, 0] = screen[s.row, s.column, 1] = 1
      screen[s.last_row, s.last_column, 2] = 1
      screen[1:4, :, 3] = s.bricks
      np.testing.assert_array_equal(got.obs[0], screen)

  def test_freeway(self):
    for _, _, got in stepped('freeway')[1][:50]:
      s, screen = got.state, np.zeros((10, 10, 7))
      screen[s.row, 4, 0] = 1
      for i, (column, speed) in enumerate(
        zip(s.columns, s.speeds, strict=True)
      ):
        screen[i + 1, column, 1] = 1
        screen[i + 1, (column - np.sign(speed)) % 10, 1 + abs(speed)] = 1
      np.testing.assert_array_equal(got.obs[0], screen)

  def test_space_invaders(self):
    for _, _, got in stepped('space_invaders')[1][:50]:
      s, screen = got.state, np.zeros((10, 10, 6))
      screen[9, s.cannon, 0] = 1
      screen[..., 1] = screen[..., 3 if s.rightward else 2] = s.aliens
      screen[..., 4], screen[..., 5] = s.bullets, s.alien_bullets
      np.testing.assert_array_equal(got.obs[0], screen)


class ChanceTest(parameterized.TestCase):
  def test_what_enters_asterix(self):
    env = envs.asterix()
    _, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    filled = np.array([1, 0, 1, 0, 0, 1, 1, 1], bool)
    state = state._replace(filled=filled, spawn_timer=np.int32(0))
    state = jax.tree.map(jnp.asarray, state)
    keys = jax.random.split(jax.random.key(1), 6000)
    action = jnp.zeros((1,), jnp.int32)
    step = jax.jit(jax.vmap(env.step, (0, None, None, None)))
    after = jax.device_get(step(keys, state, action, env.default_params).state)
    new = after.filled & ~filled
    np.testing.assert_array_equal(new.sum(1), 1)
    # Deviations are at most 37: within 4 of them.
    np.testing.assert_allclose(new.sum(0), 2000 * ~filled, atol=150)
    self.assertAlmostEqual(after.rightward[new].mean(), 1 / 2, delta=0.03)
    self.assertAlmostEqual(after.gold[new].mean(), 1 / 3, delta=0.03)
    np.testing.assert_array_equal(
      after.columns[new], np.where(after.rightward[new], 0, 9)
    )

  def test_speeds_of_cars(self):
    env = envs.freeway()
    keys = jax.random.split(jax.random.key(0), 5000)
    _, state = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    speeds = np.asarray(state.speeds)
    kinds = [*range(-5, 0), *range(1, 6)]
    self.assertEqual(set(np.unique(speeds)), set(kinds))
    for car in range(8):
      # 500 expected, deviation 21: within 5 of them.
      counts = np.array([np.sum(speeds[:, car] == kind) for kind in kinds])
      self.assertLess(np.abs(counts - 500).max(), 106)
    off = np.corrcoef(speeds.T) - np.eye(8)
    self.assertLess(np.abs(off).max(), 0.06)

  def test_the_ball_starts_on_either_side(self):
    env = envs.breakout()
    keys = jax.random.split(jax.random.key(0), 1000)
    _, s = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    self.assertAlmostEqual(np.mean(s.column == 0), 0.5, delta=0.07)
    np.testing.assert_array_equal(s.rightward, np.where(s.column == 0, 1, -1))

  def test_sticky_actions(self):
    states = random_states('breakout', NUM)._replace(
      last_action=np.full((NUM,), LEFT, np.int32),
      paddle=np.full((NUM,), 4, np.int32),
    )
    env, step = compiled_step('breakout')
    keys = jax.random.split(jax.random.key(0), NUM)
    right = np.full((NUM, 1), RIGHT, np.int32)
    for probability in (0.0, 0.25, 1.0):
      params = env.default_params._replace(sticky_probability=probability)
      after = step(keys, states, right, params).state
      left = after.paddle == 3
      # The deviation is 0.018 at most.
      self.assertAlmostEqual(np.mean(left), probability, delta=0.07)
      np.testing.assert_array_equal(
        after.last_action, np.where(left, LEFT, RIGHT)
      )


class ActionsTest(parameterized.TestCase):
  @parameterized.parameters(
    ('asterix', (NOTHING, LEFT, UP, RIGHT, DOWN)),
    ('breakout', (NOTHING, LEFT, RIGHT)),
    ('freeway', (NOTHING, UP, DOWN)),
    ('space_invaders', (NOTHING, LEFT, RIGHT, FIRE)),
  )
  def test_a_few_actions_are_enough(self, name, actions):
    few, (full, step) = getattr(envs, name)(), compiled_step(name)
    self.assertEqual((few.num_actions, full.num_actions), (len(actions), 6))
    params, keys = few.default_params, jax.random.split(jax.random.key(0), NUM)
    states = random_states(name, NUM)
    index = np.arange(NUM, dtype=np.int32)[:, None] % len(actions)
    meaning = np.array(actions, np.int32)[index]
    b = step(keys, states, meaning, params)
    a = jax.jit(jax.vmap(few.step, (0, 0, 0, None)))(
      keys, states, index, params
    )
    np.testing.assert_array_equal(a.obs, b.obs)
    np.testing.assert_array_equal(a.state.last_action, meaning[:, 0])

  @parameterized.parameters(*GAMES)
  def test_time_runs_out(self, name):
    env, step = compiled_step(name)
    states = random_states(name, NUM)._replace(
      time=np.arange(NUM, dtype=np.int32)
    )
    params = env.default_params._replace(max_steps=100)
    keys = jax.random.split(jax.random.key(0), NUM)
    out = step(keys, states, np.zeros((NUM, 1), np.int32), params)
    late = np.arange(NUM) >= 99
    np.testing.assert_array_equal(out.truncated, late & ~out.terminated)


if __name__ == '__main__':
  absltest.main()
