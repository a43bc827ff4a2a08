"""SMAX: physics, rewards, what is seen, the script and SMACv2's draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.smax import battle, scripted
from ttc.envs.multi_agent.smax.dynamics import Orders, Rules, Units, tick
from ttc.envs.multi_agent.smax.scenarios import SCENARIOS, Scenario
from ttc.envs.multi_agent.smax.units import MARINE, STALKER, ZEALOT

NORTH, EAST, SOUTH, WEST, STOP, ATTACK = range(6)
KEY = jax.random.key(0)
DUEL = envs.smax('3m', 'self_play')  # 0, 1, 2 against 3, 4, 5
STEP = jax.jit(DUEL.step)
TOLD = jax.jit(scripted.script_actions)
jitted = functools.cache(jax.jit)
UNEVEN = Scenario('2m_vs_3m', (MARINE,) * 2, (MARINE,) * 3)
SMACV2 = Scenario('smacv2_3_vs_5', (MARINE,) * 3, (MARINE,) * 5, random=True)


def quiet(env=DUEL, **changes):
  """Params without noise of reloads."""
  noise = np.zeros(2, np.float32)
  params = env.default_params._replace(reload_noise=noise)
  arrays = {name: np.float32(value) for name, value in changes.items()}
  return params._replace(**arrays)


def state_at(places, env=DUEL, **changes):
  """A first state with units at places."""
  state = jitted(env.reset)(KEY, env.default_params)[1]
  x, y = jnp.array(places, jnp.float32).T
  arrays = {name: jnp.array(value) for name, value in changes.items()}
  state = state._replace(x=x, y=y, start_x=x, start_y=y)
  return state._replace(**arrays)


# Nobody within reach of anybody.
APART = [(4, 4), (4, 16), (4, 28), (28, 4), (28, 16), (28, 28)]
# Units 0 and 3 within reach of each other.
FACING = [(14, 16), (4, 4), (4, 28), (17, 16), (28, 4), (28, 28)]


def actions(**by_unit):
  """Stop, but for `u0=...`."""
  out = np.full(6, STOP, np.int32)
  for unit, action in by_unit.items():
    out[int(unit[1:])] = action
  return jnp.array(out)


def random_state(seed, env, num_units, num_dead=1):
  """A crowd: many are in sight, some in reach, some overlap."""
  rng = np.random.default_rng(seed)
  state = jitted(env.reset)(jax.random.key(seed), env.default_params)[1]
  x, y = rng.uniform(12, 20, (2, num_units)).astype(np.float32)
  health = np.array(state.health) * rng.uniform(0.2, 1, num_units)
  health[rng.permutation(num_units)[:num_dead]] = 0
  cooldown = rng.uniform(-0.5, 0.5, num_units)
  return state._replace(
    x=jnp.array(x),
    y=jnp.array(y),
    health=jnp.array(health, jnp.float32),
    cooldown=jnp.array(cooldown, jnp.float32),
    action=jnp.array(rng.integers(0, 7, num_units), jnp.int32),
    start_x=jnp.array(x),
    start_y=jnp.array(y),
  )


def slow_tick(units, orders, rules):
  """The rules of a tick, one unit after another, in NumPy."""
  x, y, health, cooldown = (np.array(a, np.float64) for a in units)
  dx, dy, target, damage, reach, reload, radius = map(np.asarray, orders)
  width, height, walls_kill, seconds = rules
  num_units = len(x)
  alive = health > 0
  new_health, new_cooldown = health.copy(), cooldown - seconds
  for i in range(num_units):
    j = target[i]
    if j >= 0 and alive[i] and alive[j] and cooldown[i] <= 0:
      if np.hypot(x[i] - x[j], y[i] - y[j]) < reach[i]:
        new_health[j] -= damage[i]
        new_cooldown[i] = reload[i]
  new_health = np.maximum(new_health, 0)
  for i in np.flatnonzero(alive):
    x[i] = min(max(x[i] + dx[i], 0), width)
    y[i] = min(max(y[i] + dy[i], 0), height)
    if walls_kill and (x[i] in (0, width) or y[i] in (0, height)):
      new_health[i] = 0
  pushed = np.stack([x, y])
  for i in np.flatnonzero(new_health > 0):
    for j in np.flatnonzero(new_health > 0):
      distance = np.hypot(x[i] - x[j], y[i] - y[j])
      if i != j and distance < radius[i] + radius[j]:
        overlap = (radius[i] + radius[j]) / distance - 1
        pushed[:, i] += 0.5 * overlap * np.array([x[i] - x[j], y[i] - y[j]])
  return Units(*pushed, new_health, new_cooldown)


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


def mirrored(action, first, second):
  """Actions with two directions exchanged."""
  return jnp.where(
    action == first, second, jnp.where(action == second, first, action)
  )


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


def listed(state, params, num_allies, observer, conic=False):
  """The observation of a unit, one other after another, in NumPy."""
  table, num_units = params.types, len(state.x)
  first = observer < num_allies
  order = np.arange(num_units) if first else np.arange(num_units)[::-1]
  sight = table.sight[state.unit_type[observer]]
  last = np.where(
    np.arange(num_units) < num_allies,
    num_units - num_allies + 4,
    num_allies + 4,
  )
  rows, cones = [], [[] for _ in range(32)]
  for j in order[order != observer]:
    kind, action = int(state.unit_type[j]), int(state.action[j])
    dx = float(state.x[j] - state.x[observer])
    dy = float(state.y[j] - state.y[observer])
    row = np.zeros(13)
    if np.hypot(dx, dy) < sight and state.health[j] > 0:
      knows = params.see_orders or (j < num_allies) == first
      move = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}.get(action, (0, 0))
      row[0] = state.health[j] / table.health[kind]
      row[1:3] = dx / sight, dy / sight
      row[3:5] = np.array(move) * knows
      row[5] = action / last[j] * knows * (action > 4)
      row[6] = np.clip(state.cooldown[j] / table.reload[kind], 0, 1)
      row[7 + kind] = 1
      turn = (np.arctan2(dy, dx) + np.pi) / (2 * np.pi)
      cones[int(turn * 32) % 32].append(row)
    rows.append(row)
  if conic:
    rows = [(cone + [np.zeros(13)] * 2)[:2] for cone in cones]
  kind = int(state.unit_type[observer])
  own = np.zeros(10)
  own[0] = state.health[observer] / table.health[kind]
  own[1:3] = state.x[observer] / 32, state.y[observer] / 32
  own[3] = np.clip(state.cooldown[observer] / table.reload[kind], 0, 1)
  own[4 + kind] = 1
  seen = np.concatenate([np.reshape(rows, -1), own])
  return seen * (state.health[observer] > 0)


class ObservationTest(parameterized.TestCase):
  @parameterized.parameters(
    ('3m', 75, 72),
    ('2s3z', 127, 120),
    ('5m_vs_6m', 140, 132),
    ('27m_vs_30m', 738, 684),
  )
  def test_sizes(self, scenario, size, world):
    env = envs.smax(scenario)
    self.assertEqual(env.observation_shape, (size,))
    state = jax.eval_shape(env.reset, KEY, env.default_params)[1]
    of_all = jax.eval_shape(env.world, state, env.default_params)
    self.assertEqual(of_all.shape, (world,))

  @parameterized.product(
    observation=('unit_list', 'conic'), see_orders=(True, False)
  )
  def test_observations_one_by_one(self, observation, see_orders):
    army = (STALKER, ZEALOT, MARINE)
    scenario = Scenario('mixed', army, (*army, ZEALOT))
    env = envs.smax(scenario, 'self_play', observation)
    params = env.default_params._replace(see_orders=np.asarray(see_orders))
    observe = jax.jit(env.observe)
    for seed in range(4):
      state = random_state(seed, env, 7)
      obs = observe(state, params)
      host = jax.device_get(state)
      for unit in range(7):
        expected = listed(host, params, 3, unit, observation == 'conic')
        np.testing.assert_allclose(obs[unit], expected, atol=1e-5)

  def test_who_is_out_of_sight_is_not_seen(self):
    state = state_at([(4, 4), (12.9, 4), (4, 13.1), (28, 28), (27, 28), (9, 9)])
    rows = np.asarray(jitted(DUEL.observe)(state, quiet()))[0, :-10].reshape(
      5, 13
    )
    np.testing.assert_array_equal(rows[:, 0] > 0, [True, False, 0, 0, True])
    np.testing.assert_allclose(rows[4, 1:3], (5 / 9, 5 / 9), atol=1e-6)

  def test_cones_have_unit_0_and_those_due_east_and_west(self):
    env = envs.smax('3m', 'self_play', 'conic')
    state = state_at([(10, 16), (14, 16), (28, 28), (18, 16), (2, 2), (2, 3)])
    obs = np.asarray(jitted(env.observe)(state, quiet()))
    cones = obs[1, :-10].reshape(32, 2, 13)
    section, slot = np.nonzero(cones[..., 0])
    np.testing.assert_array_equal(slot, [0, 0])
    np.testing.assert_allclose(
      cones[section, slot, 1], [-4 / 9, 4 / 9][:: -1 if section[0] else 1]
    )
    dead = state._replace(health=state.health.at[0].set(0))
    cones = np.asarray(jitted(env.observe)(dead, quiet()))[1, :-10].reshape(
      32, 2, 13
    )
    self.assertEqual(np.sum(cones[..., 0] > 0), 1)
    self.assertEqual(
      np.sum(np.asarray(jitted(env.observe)(dead, quiet()))[0]), 0
    )

  def test_world_state(self):
    state = state_at(FACING, cooldown=[0.3, -1, 0, 0, 0, 0.0])
    state = state._replace(health=state.health.at[1].set(0))
    world = np.asarray(jitted(DUEL.world)(state, quiet()))
    expected = np.zeros((6, 10))
    expected[:, 0], expected[:, 1:3] = 1, FACING
    expected[0, 3], expected[:, 4], expected[1] = 0.3, 1, 0
    teams, kinds = [0, 0, 0, 1, 1, 1], [0] * 6
    expected = np.concatenate([expected.reshape(-1), teams, kinds])
    np.testing.assert_allclose(world, expected, atol=1e-6)


class ScriptTest(parameterized.TestCase):
  def told(self, state, draw=0.0, **changes):
    params = quiet()._replace(**{k: np.asarray(v) for k, v in changes.items()})
    return TOLD(jnp.full(3, draw), state, params)

  def test_attacks_the_closest_in_reach(self):
    places = [(10, 16), (2, 2), (2, 30), (14.5, 16), (12, 16), (10, 12.9)]
    state = state_at(places)
    self.assertEqual(int(self.told(state)[0]), ATTACK + 1)
    dead = state._replace(health=state.health.at[4].set(0))
    self.assertEqual(int(self.told(dead)[0]), ATTACK + 2)
    # The last target is kept as long as it is in reach.
    for target, expected in ((0, 0), (2, 2)):
      kept = state._replace(action=state.action.at[0].set(ATTACK + target))
      self.assertEqual(int(self.told(kept)[0]), ATTACK + expected)
    gone = state._replace(
      action=state.action.at[0].set(ATTACK), x=state.x.at[3].set(15.1)
    )
    self.assertEqual(int(self.told(gone)[0]), ATTACK + 1)

  def test_random_targets(self):
    places = [(10, 16), (2, 2), (2, 30), (14.5, 16), (12, 16), (30, 30)]
    draws = [0.0, 0.49, 0.51, 0.99]
    told = [
      int(self.told(state_at(places), d, script_random_targets=True)[0])
      for d in draws
    ]
    self.assertEqual(told, [ATTACK, ATTACK, ATTACK + 1, ATTACK + 1])

  @parameterized.parameters(
    ((6, 1), EAST), ((1, 6), NORTH), ((-6, 5), WEST), ((5, -6), SOUTH)
  )
  def test_walks_along_the_longer_way_to_whom_it_sees(self, way, expected):
    places = [(16, 16), (2, 2), (2, 30), (16 + way[0], 16 + way[1])]
    state = state_at([*places, (31, 1), (31, 31)])
    self.assertEqual(int(self.told(state)[0]), expected)
    near = state._replace(x=16 + (state.x - 16) * 0.5)
    near = near._replace(y=16 + (near.y - 16) * 0.5)
    self.assertEqual(int(self.told(near)[0]), ATTACK)
    self.assertEqual(int(self.told(near, script_shoots=False)[0]), expected)

  def test_walks_to_a_random_one_it_sees(self):
    east, north, dead = (22, 16), (16, 22), (10, 16)
    state = state_at([(16, 16), (2, 2), (2, 30), east, north, dead])
    state = state._replace(health=state.health.at[5].set(0))
    told = [int(self.told(state, d)[0]) for d in (0.0, 0.49, 0.51, 0.99)]
    self.assertEqual(told, [EAST, EAST, NORTH, NORTH])

  def test_walks_to_the_opposite_of_its_start(self):
    state = state_at(APART)
    np.testing.assert_array_equal(self.told(state), [NORTH, EAST, EAST])
    moved = state._replace(
      x=state.x.at[1].set(16.0),
      y=state.y.at[1].set(18.0),
      start_x=state.start_x.at[1].set(16.0),
    )
    self.assertEqual(int(self.told(moved)[1]), SOUTH)

  def test_the_dead_stop(self):
    state = state_at(FACING, health=[0.0] + [45.0] * 5)
    self.assertEqual(int(self.told(state)[0]), STOP)

  def test_all_units_are_told_legal_actions(self):
    for scenario in ('3s_vs_5z', '5m_vs_6m'):
      env = envs.smax(scenario, 'self_play')
      script = jax.jit(envs.smax_script(scenario))
      for seed in range(5):
        state = random_state(seed, env, env.num_agents, num_dead=2)
        told = script(KEY, state, env.default_params)
        legal = jitted(env.legal)(state, env.default_params)
        self.assertTrue(np.all(legal[np.arange(env.num_agents), told]))
        swapped = script(KEY, battle.reverse(state), env.default_params)
        self.assertEqual(swapped.shape, told.shape)

  def test_enemies_play_the_script(self):
    env = envs.smax('3m')
    step = jax.jit(env.step)
    for seed in range(5):
      state = random_state(seed, env, 6)
      out = step(KEY, state, actions()[:3], quiet(env))
      np.testing.assert_array_equal(out.state.action[:3], STOP)
      low = TOLD(jnp.zeros(3), battle.reverse(state), quiet(env))[::-1]
      shoots = np.asarray(low) >= ATTACK
      np.testing.assert_array_equal(
        np.asarray(out.state.action[3:])[shoots], np.asarray(low)[shoots]
      )
      self.assertEqual(out.obs.shape, (3, 75))
      self.assertEqual(out.reward.shape, (3,))

  def test_a_policy_of_ones_own_plays_the_enemies(self):
    def policy(key, obs, legal):
      del key
      shoots = legal[:, ATTACK]
      return jnp.where(shoots, ATTACK, jnp.argmax(obs[:, :4], axis=-1))

    env, both = envs.smax(UNEVEN, policy), envs.smax(UNEVEN, 'self_play')
    state = random_state(0, env, 5, num_dead=0)
    stay = jnp.full((2,), STOP, jnp.int32)
    out = jax.jit(env.step)(KEY, state, stay, quiet(env))
    obs = jitted(both.observe)(state, quiet(both))[2:]
    legal = jitted(both.legal)(state, quiet(both))[2:]
    expected = policy(KEY, obs, legal)
    self.assertGreater(len(np.unique(expected)), 1)
    np.testing.assert_array_equal(out.state.action[2:], expected)
    np.testing.assert_array_equal(out.state.action[:2], stay)


class StartTest(parameterized.TestCase):
  def starts(self, num_draws=2000, **changes):
    params = envs.smax(SMACV2).default_params._replace(
      **{name: np.float32(value) for name, value in changes.items()}
    )
    keys = jax.random.split(KEY, num_draws)
    draw = jax.jit(jax.vmap(lambda k: battle.start(k, params, 3)))
    return jax.device_get(draw(keys))

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
    pairs = np.asarray(jax.vmap(lambda k: battle.uniform_pairs(k, 6))(keys))
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
