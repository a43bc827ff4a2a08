"""SMAX: physics, rewards and symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from smax_battles import (
  APART,
  ATTACK,
  DUEL,
  EAST,
  FACING,
  KEY,
  NORTH,
  SOUTH,
  STEP,
  STOP,
  TOLD,
  UNEVEN,
  WEST,
  actions,
  jitted,
  mirrored,
  quiet,
  random_state,
  slow_tick,
  state_at,
)

from ttc import envs
from ttc.envs.multi_agent.smax import battle
from ttc.envs.multi_agent.smax.dynamics import Orders, Rules, Units, tick
from ttc.envs.multi_agent.smax.scenarios import Scenario


class PhysicsTest(parameterized.TestCase):
  @parameterized.parameters(
    (NORTH, 0, 1), (EAST, 1, 0), (SOUTH, 0, -1), (WEST, -1, 0), (STOP, 0, 0)
  )
  def test_a_marine_walks_half_its_speed_in_eight_ticks(self, action, x, y):
    state = state_at(APART)
    after = STEP(KEY, state, actions(u1=action, u4=action), quiet()).state
    for unit in (1, 4):
      moved = after.x[unit] - state.x[unit], after.y[unit] - state.y[unit]
      np.testing.assert_allclose(moved, (1.575 * x, 1.575 * y), atol=1e-5)
    np.testing.assert_array_equal(after.x[0], state.x[0])

  def test_five_shots_kill_a_marine(self):
    state, params = state_at(FACING), quiet(damage_reward=1.0)
    healths, rewards = [], []
    for _ in range(6):
      out = STEP(KEY, state, actions(u0=ATTACK), params)
      state = out.state
      healths.append(float(state.health[3]))
      rewards.append(out.reward)
    # Every 11th tick of 1/16 s is the first one not before 0.61 s.
    self.assertEqual(healths, [36, 27, 18, 18, 9, 0])
    total = np.sum(rewards, axis=0)
    np.testing.assert_allclose(total, [1 / 3] * 3 + [0] * 3, atol=1e-6)

  def test_who_kills_each_other_has_not_won(self):
    health = [5.0, 0, 0, 5.0, 0, 0]
    state = state_at(FACING, health=health)
    both = actions(u0=ATTACK, u3=ATTACK + 2)
    out = STEP(KEY, state, both, quiet())
    np.testing.assert_array_equal(out.state.health, np.zeros(6))
    self.assertTrue(out.terminated)
    self.assertFalse(out.info['won'])
    np.testing.assert_array_equal(out.reward, np.zeros(6))
    for winner, action in ((0, ATTACK), (3, ATTACK + 2)):
      sole = STEP(KEY, state, actions(**{f'u{winner}': action}), quiet())
      self.assertTrue(sole.terminated)
      self.assertEqual(bool(sole.info['won']), winner == 0)
      sign = 1 if winner == 0 else -1
      np.testing.assert_array_equal(sole.reward, [sign] * 3 + [-sign] * 3)

  def test_an_attack_out_of_reach_does_nothing(self):
    for distance, hit in ((4.99, True), (5.01, False)):
      places = list(FACING)
      places[3] = (14 + distance, 16)
      out = STEP(KEY, state_at(places), actions(u0=ATTACK), quiet())
      self.assertEqual(float(out.state.health[3]) < 45, hit)

  def test_walls_kill_if_they_do(self):
    places = list(APART)
    places[0] = (1, 16)
    out = STEP(KEY, state_at(places), actions(u0=WEST), quiet())
    self.assertEqual(float(out.state.health[0]), 0)
    params = quiet()._replace(walls_kill=np.zeros((), bool))
    out = STEP(KEY, state_at(places), actions(u0=WEST), params)
    self.assertEqual(float(out.state.health[0]), 45)
    self.assertEqual(float(out.state.x[0]), 0)
    sides = {EAST: (31, 16), NORTH: (16, 31), SOUTH: (16, 1)}
    for way, place in sides.items():
      places[0] = place
      out = STEP(KEY, state_at(places), actions(u0=way), quiet())
      self.assertEqual(float(out.state.health[0]), 0, way)

  def test_units_that_overlap_part(self):
    places = list(APART)
    places[1] = (4.3, 4.0)  # of radius 0.375: 0.45 too near
    after = STEP(KEY, state_at(places), actions(), quiet()).state
    distance = float(after.x[1] - after.x[0])
    self.assertAlmostEqual(distance, 0.75, delta=1e-4)
    self.assertAlmostEqual(float(after.x[1] + after.x[0]), 8.3, delta=1e-4)
    dead = state_at(places, health=[0.0] + [45.0] * 5)
    after = STEP(KEY, dead, actions(), quiet()).state
    self.assertEqual(float(after.x[1]), np.float32(4.3))

  def test_a_tick_follows_the_rules_written_one_by_one(self):
    num_units, fired = 9, 0
    fast = jax.jit(tick)
    for seed in range(30):
      rng = np.random.default_rng(seed)
      f32 = lambda low, high, r=rng: r.uniform(low, high, num_units).astype('f')
      units = Units(
        f32(0.2, 7), f32(0.2, 7), f32(-3, 20).clip(0), f32(-0.5, 0.3)
      )
      orders = Orders(
        f32(-0.3, 0.3),
        f32(-0.3, 0.3),
        rng.integers(-1, num_units, num_units).astype(np.int32),
        f32(1, 10),
        f32(1, 4),
        f32(0.5, 1),
        f32(0.3, 0.6),
      )
      own = orders.target == np.arange(num_units)
      orders = orders._replace(target=np.where(own, -1, orders.target))
      rules = Rules(np.float32(7), np.float32(6.5), seed % 2 == 0, 1 / 16)
      ours = fast(units, orders, rules)
      slow = slow_tick(units, orders, rules)
      for a, b in zip(ours, slow, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
      fired += np.sum(slow.cooldown > 0.45)
    self.assertGreater(fired, 10)

  def test_reload_noise_is_uniform_and_everyones_own(self):
    state, params = state_at(FACING), DUEL.default_params
    both = actions(u0=ATTACK, u3=ATTACK + 2)
    keys = jax.random.split(KEY, 512)
    step = jax.jit(jax.vmap(DUEL.step, in_axes=(0, None, None, None)))
    cooldown = step(keys, state, both, params).state.cooldown
    noise = np.asarray(cooldown)[:, [0, 3]] - 0.61 + 7 / 16
    self.assertGreaterEqual(noise.min(), -1 / 16 - 1e-6)
    self.assertLessEqual(noise.max(), 2 / 16 + 1e-6)
    # Mean 1/32, deviation (3/16) / sqrt(12); three standard errors.
    error = 3 * (3 / 16) / np.sqrt(12 * 1024)
    self.assertAlmostEqual(noise.mean(), 1 / 32, delta=error)
    self.assertLess(abs(np.corrcoef(noise.T)[0, 1]), 3 / np.sqrt(512))

  def test_an_episode_ends_after_a_hundred_steps(self):
    state = state_at(APART, time=98)
    out = STEP(KEY, state, actions(), quiet())
    self.assertFalse(out.truncated | out.terminated)
    out = STEP(KEY, out.state, actions(), quiet())
    self.assertTrue(out.truncated)
    self.assertFalse(out.terminated)

  def test_the_dead_may_only_stop_and_do_nothing(self):
    state = state_at(FACING, health=[0.0] + [45.0] * 5)
    legal = jitted(DUEL.legal)(state, quiet())
    np.testing.assert_array_equal(legal[0], np.arange(8) == STOP)
    np.testing.assert_array_equal(legal[1], np.arange(8) < ATTACK)
    np.testing.assert_array_equal(legal[3], np.arange(8) < ATTACK)
    np.testing.assert_array_equal(DUEL.active(state, quiet()), state.alive)
    for action in (EAST, ATTACK):
      after = STEP(KEY, state, actions(u0=action), quiet()).state
      np.testing.assert_array_equal(after.x, state.x)
      np.testing.assert_array_equal(after.health, state.health)

  def test_legal_attacks_are_those_that_hit(self):
    env = envs.smax('3s_vs_5z', 'self_play')
    params = quiet(env)
    step = jax.jit(jax.vmap(env.step, in_axes=(None, None, 0, None)))
    for seed in range(4):
      state = random_state(seed, env, 8, num_dead=2)
      state = state._replace(cooldown=jnp.zeros(8))
      legal = np.asarray(jitted(env.legal)(state, params))
      self.assertEqual(legal.shape, (8, 10))
      one = np.full((8, 10, 8), STOP, np.int32)
      for unit in range(8):
        one[unit, :, unit] = np.arange(10)
      out = step(KEY, state, jnp.array(one.reshape(-1, 8)), params)
      hit = np.any(np.asarray(out.state.health) < state.health, axis=-1)
      hit = hit.reshape(8, 10)
      np.testing.assert_array_equal(hit[:, ATTACK:], legal[:, ATTACK:])


class SymmetryTest(parameterized.TestCase):
  def play(self, seed):
    state = random_state(seed, DUEL, 6)
    rng = np.random.default_rng(seed)
    return state, jnp.array(rng.integers(0, 8, 6), jnp.int32)

  def close(self, a, b):
    for name, x, y in zip(a._fields, a, b, strict=True):
      np.testing.assert_allclose(x, y, atol=1e-5, err_msg=name)

  @parameterized.parameters(*range(5))
  def test_teams_are_alike(self, seed):
    params = quiet(damage_reward=1.0)
    state, action = self.play(seed)
    here = STEP(KEY, state, action, params)
    there = STEP(KEY, battle.reverse(state), action[::-1], params)
    self.close(battle.reverse(here.state), there.state)
    np.testing.assert_allclose(here.reward[::-1], there.reward, atol=1e-6)
    np.testing.assert_allclose(here.obs[::-1], there.obs, atol=1e-5)
    legal = jitted(DUEL.legal)(state, params)[::-1]
    reverse = jitted(DUEL.legal)(battle.reverse(state), params)
    np.testing.assert_array_equal(legal, reverse)

  def test_uneven_teams_are_alike(self):
    turned = Scenario('3m_vs_2m', UNEVEN.enemies, UNEVEN.allies)
    here = envs.smax(UNEVEN, 'self_play')
    there = envs.smax(turned, 'self_play')
    state = random_state(0, here, 5)
    for see in ('observe', 'legal'):
      a = jitted(getattr(here, see))(state, here.default_params)
      see_there = jitted(getattr(there, see))
      b = see_there(battle.reverse(state), there.default_params)
      np.testing.assert_allclose(a[::-1], b, atol=1e-6)
    action = jnp.array([5, 7, 6, 0, 5], jnp.int32)
    a = jitted(here.step)(KEY, state, action, quiet(here))
    b = jitted(there.step)(
      KEY, battle.reverse(state), action[::-1], quiet(there)
    )
    self.close(battle.reverse(a.state), b.state)
    np.testing.assert_allclose(a.reward[::-1], b.reward, atol=1e-6)

  @parameterized.parameters(*range(3))
  def test_reflections(self, seed):
    state, action = self.play(seed)
    out = STEP(KEY, state, action, quiet()).state
    flip_y = lambda s: s._replace(y=32 - s.y, start_y=32 - s.start_y)
    flip_x = lambda s: s._replace(x=32 - s.x, start_x=32 - s.start_x)
    for flip, pair in ((flip_y, (NORTH, SOUTH)), (flip_x, (EAST, WEST))):
      turned = mirrored(action, *pair)
      other = STEP(KEY, flip(state), turned, quiet()).state
      self.close(flip(out)._replace(action=turned), other)
      told = TOLD(jnp.zeros(3), state, quiet())
      mirror = TOLD(jnp.zeros(3), flip(state), quiet())
      np.testing.assert_array_equal(mirrored(told, *pair), mirror)

  @parameterized.parameters(*range(3))
  def test_order_of_allies_means_nothing(self, seed):
    params = quiet(damage_reward=1.0)
    state, action = self.play(seed)
    order = np.array([2, 0, 1, 3, 4, 5])
    rank = np.argsort(order[:3])  # where an ally went
    shuffle = lambda s: type(s)(*(a[order] for a in s[:-1]), time=s.time)
    # Enemies count allies from the last one: 5 + j attacks ally 2 - j.
    target = 2 - rank[jnp.clip(2 - (action - ATTACK), 0, 2)]
    renamed = jnp.where(action >= ATTACK, ATTACK + target, action)
    moved = jnp.where(jnp.arange(6) < 3, action[order], renamed)
    here = STEP(KEY, state, action, params)
    there = STEP(KEY, shuffle(state), moved, params)
    same = shuffle(here.state)._replace(action=moved)
    self.close(same, there.state)
    np.testing.assert_allclose(here.reward, there.reward, atol=1e-6)


if __name__ == '__main__':
  absltest.main()
