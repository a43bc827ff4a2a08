"""SMAX: what units see, and what the script makes of it."""

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
  STOP,
  TOLD,
  UNEVEN,
  WEST,
  actions,
  jitted,
  quiet,
  random_state,
  state_at,
)

from ttc import envs
from ttc.envs.multi_agent.smax import battle
from ttc.envs.multi_agent.smax.scenarios import Scenario
from ttc.envs.multi_agent.smax.units import MARINE, STALKER, ZEALOT


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


if __name__ == '__main__':
  absltest.main()
