"""SMAX: starts, SMACv2's draws, scenarios, calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from smax_battles import (
  DUEL,
  KEY,
  SMACV2,
  STOP,
)

from ttc import envs
from ttc.envs.multi_agent.smax import battle
from ttc.envs.multi_agent.smax.scenarios import SCENARIOS, Scenario


@jax.jit
def draw_starts(keys, params):
  """By one program for all parameters."""
  return jax.vmap(lambda key: battle.start(key, params, 3))(keys)


class StartTest(parameterized.TestCase):
  def starts(self, num_draws=2000, **changes):
    params = envs.smax(SMACV2).default_params._replace(
      **{name: np.float32(value) for name, value in changes.items()}
    )
    keys = jax.random.split(KEY, num_draws)
    params = jax.tree.map(np.asarray, params)
    return jax.device_get(draw_starts(keys, params))

  def test_kinds_are_uniform_shared_and_surplus_ones_their_own(self):
    kinds = self.starts().unit_type
    np.testing.assert_array_equal(kinds[:, :3], kinds[:, 3:6])
    for unit in (0, 1, 2, 6, 7):  # 7 would be all marines in the reference
      counts = np.bincount(kinds[:, unit], minlength=6)
      chi2 = np.sum((counts - 2000 / 6) ** 2) / (2000 / 6)
      self.assertLess(chi2, 20.5)  # 5 degrees of freedom, p = 0.001
    for a, b in ((0, 1), (0, 6), (6, 7)):
      same = np.mean(kinds[:, a] == kinds[:, b])
      self.assertAlmostEqual(same, 1 / 6, delta=3 * np.sqrt(5 / 36 / 2000))

  def test_weights_of_kinds(self):
    kinds = self.starts(type_weights=[0, 0, 1, 0, 3, 0]).unit_type
    self.assertEqual(set(np.unique(kinds)), {2, 4})
    self.assertAlmostEqual(np.mean(kinds[:, 0] == 4), 0.75, delta=0.03)

  def test_mirrored_places(self):
    state = self.starts(surround=0.0, type_weights=[1, 0, 0, 0, 0, 0])
    x, y = state.x, state.y
    # Pushes move surplus units' neighbours: look at units that were not pushed.
    exact = np.abs(x[:, :3] + x[:, 3:6] - 32) + np.abs(y[:, :3] - y[:, 3:6])
    self.assertGreater(np.mean(exact < 1e-4), 0.8)
    self.assertTrue(np.all(x[:, :3] <= 17) and np.all(x[:, 3:] >= 15))
    for unit, low in ((0, 0), (6, 16), (7, 16)):
      share = (x[:, unit] - low) / 16
      self.assertAlmostEqual(share.mean(), 0.5, delta=3 / np.sqrt(12 * 2000))
      self.assertGreater(share.std(), 0.27)

  def test_one_team_surrounds_the_other(self):
    state = self.starts(surround=1.0)
    far = np.hypot(state.x - 16, state.y - 16)
    allies_inside = np.all(far[:, :3] < 4, axis=1)
    enemies_inside = np.all(far[:, 3:] < 4.5, axis=1)
    self.assertTrue(np.all(allies_inside | enemies_inside))
    share = np.mean(allies_inside & (far[:, 3:].max(axis=1) > 4.5))
    self.assertGreater(share, 0.4)
    self.assertLess(share, 0.55)
    outside = allies_inside & (far[:, 3:].min(axis=1) > 6)
    corner = (state.x[outside, 3] > 16) * 2 + (state.y[outside, 3] > 16)
    counts = np.bincount(corner, minlength=4)
    chi2 = np.sum((counts - counts.mean()) ** 2) / counts.mean()
    self.assertLess(chi2, 16.3)  # 3 degrees of freedom, p = 0.001

  def test_surround_is_a_probability(self):
    state = self.starts(surround=0.5)
    mirror = np.abs(state.x[:, 0] + state.x[:, 3] - 32) < 1e-3
    mirror &= np.abs(state.y[:, 0] - state.y[:, 3]) < 1e-3
    self.assertAlmostEqual(mirror.mean(), 0.5, delta=0.08)

  def test_everybody_starts_inside_of_the_map(self):
    state = self.starts()
    radius = envs.smax(SMACV2).default_params.types.radius[state.unit_type]
    for at in (state.x, state.y):
      self.assertTrue(np.all((at >= radius) & (at <= 32 - radius)))

  def test_two_teams_face_each_other(self):
    reset = jax.jit(jax.vmap(DUEL.reset, in_axes=(0, None)))
    keys = jax.random.split(KEY, 500)
    state = reset(keys, DUEL.default_params)[1]
    center = np.array([8.0] * 3 + [24.0] * 3)
    self.assertLess(np.abs(state.x - center).max(), 2.8)
    self.assertLess(np.abs(state.y - 16).max(), 2.8)
    spread = np.std(np.asarray(state.x) - center)
    self.assertAlmostEqual(spread, 2 / np.sqrt(3), delta=0.08)
    np.testing.assert_array_equal(state.health, 45.0)

  def test_draws_are_uniform_and_independent(self):
    keys = jax.random.split(KEY, 4000)
    pairs = np.asarray(
      jax.jit(jax.vmap(lambda k: battle.uniform_pairs(k, 6)))(keys)
    )
    low = jax.vmap(lambda i: battle.uniform_pairs(jax.random.key(i), 6))
    for draws in (pairs, np.asarray(low(jnp.arange(4000)))):
      flat = draws.reshape(4000, 12)
      self.assertTrue(np.all((flat >= 0) & (flat < 1)))
      for bits in (1, 2, 16, 4096):  # high and low bits alike
        cells = np.floor(flat * bits % 1 * 8).astype(int)
        counts = np.apply_along_axis(np.bincount, 0, cells, minlength=8)
        chi2 = np.sum((counts - 500.0) ** 2 / 500, axis=0)
        self.assertLess(chi2.max(), 29.9)  # 7 degrees, p = 1e-4, 12 columns
      between = np.corrcoef(flat.T) - np.eye(12)
      self.assertLess(np.abs(between).max(), 4.2 / np.sqrt(4000))
      steps = [np.corrcoef(c[1:], c[:-1])[0, 1] for c in flat.T]
      self.assertLess(np.abs(steps).max(), 4.2 / np.sqrt(4000))


class ScenarioTest(parameterized.TestCase):
  def test_names(self):
    names = [scenario.name for scenario in SCENARIOS]
    self.assertLen(set(names), 14)
    with self.assertRaisesRegex(ValueError, "'4m', expected one of 3m, 8m"):
      envs.smax('4m')
    with self.assertRaisesRegex(ValueError, 'smacv2_20_units'):
      envs.smax_script('nothing')

  def test_bad_arguments(self):
    with self.assertRaisesRegex(ValueError, "opponent='nobody'"):
      envs.smax('3m', 'nobody')
    with self.assertRaisesRegex(ValueError, "observation='pixels'"):
      envs.smax('3m', observation='pixels')
    with self.assertRaisesRegex(ValueError, 'num_ticks=0'):
      envs.smax('3m', num_ticks=0)
    with self.assertRaisesRegex(ValueError, r'allies=\(6,\) of odd'):
      envs.smax(Scenario('odd', (6,), (0,)))
    with self.assertRaisesRegex(ValueError, r'enemies=\(\) of none'):
      envs.smax(Scenario('none', (0,), ()))

  def test_scenarios_of_equal_sizes_share_a_program(self):
    env, other = envs.smax('2s3z'), envs.smax('smacv2_5_units')
    marines = env.default_params._replace(
      unit_type=np.zeros(10, np.int32),
      map_size=np.array([20, 24], np.float32),
      max_steps=np.asarray(1, np.int32),
    )
    tasks = [env.default_params, other.default_params, marines]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)
    keys = jax.random.split(KEY, 3)
    stay = jnp.full((5,), STOP, jnp.int32)

    def run(key, params):
      obs, state = env.reset(key, params)
      return obs, env.step(key, state, stay, params)

    alone = jax.jit(run)
    together = jax.jit(jax.vmap(run))(keys, stacked)
    for index, task in enumerate(tasks):
      single = alone(keys[index], task)
      pairs = zip(
        jax.tree.leaves(single), jax.tree.leaves(together), strict=True
      )
      for a, b in pairs:
        np.testing.assert_allclose(a, b[index], atol=1e-5)
    self.assertEqual(alone._cache_size(), 1)
    np.testing.assert_array_equal(together[1].truncated, [False, False, True])
    kinds = np.asarray(together[1].state.unit_type)
    np.testing.assert_array_equal(kinds[0], [2, 2, 3, 3, 3] * 2)
    np.testing.assert_array_equal(kinds[2], np.zeros(10))

  def test_gradients_of_a_policy_go_past_the_game(self):
    env = envs.smax('3m', num_ticks=2)
    params = env.default_params

    def loss(weights):
      obs, state = env.reset(KEY, params)
      logits = obs @ weights
      action = jnp.argmax(logits, axis=-1)
      out = env.step(KEY, state, action, params)
      return jnp.sum(jax.nn.log_softmax(logits) + out.reward[:, None])

    grad = jax.jit(jax.grad(loss))(jnp.zeros((75, 8)))
    self.assertTrue(np.all(np.isfinite(grad)))


def battles(scenario, num_episodes, scripted_allies):
  """Returns and wins of whole episodes against the script."""
  env = envs.smax(scenario)
  params, script = env.default_params, envs.smax_script(scenario)

  def episode(key):
    key, reset_key = jax.random.split(key)
    state = env.reset(reset_key, params)[1]

    def step(carry, key):
      state, done, total, won = carry
      act_key, step_key = jax.random.split(key)
      if scripted_allies:
        action = script(act_key, state, params)[: env.num_agents]
      else:
        action = envs.random_actions(env, act_key, state, params)
      out = env.step(step_key, state, action, params)
      total += jnp.where(done, 0.0, out.reward[0])
      won |= ~done & out.info['won']
      return (out.state, done | out.terminated | out.truncated, total, won), ()

    no = jnp.zeros((), bool)
    carry = (state, no, jnp.zeros(()), no)
    keys = jax.random.split(key, 100)
    return jax.lax.scan(step, carry, keys)[0][1:]

  keys = jax.random.split(jax.random.key(7), num_episodes)
  done, total, won = jax.jit(jax.vmap(episode))(keys)
  assert np.all(done)
  return np.asarray(total), np.asarray(won)


@pytest.mark.slow
class CalibrationTest(parameterized.TestCase):
  """Against the figures of the public environment, 256 episodes."""

  @parameterized.parameters(
    ('3m', 0.44), ('2s3z', 0.43), ('8m', 0.50), ('5m_vs_6m', 0.01),
    ('3s_vs_5z', 0.0),
  )  # fmt: skip
  def test_script_against_itself(self, scenario, rate):
    _, won = battles(scenario, 256, scripted_allies=True)
    # Both figures are of 256 episodes: three standard errors of a difference.
    error = 3 * np.sqrt(2 * max(rate * (1 - rate), 0.004) / 256)
    self.assertAlmostEqual(won.mean(), rate, delta=error)

  @parameterized.parameters(
    ('3m', 0.17), ('2s3z', 0.21), ('5m_vs_6m', 0.14), ('8m', 0.18),
    ('3s_vs_5z', 0.21),
  )  # fmt: skip
  def test_random_play(self, scenario, expected):
    total, won = battles(scenario, 256, scripted_allies=False)
    self.assertAlmostEqual(total.mean(), expected, delta=0.03)
    self.assertEqual(won.sum(), 0)


if __name__ == '__main__':
  absltest.main()
