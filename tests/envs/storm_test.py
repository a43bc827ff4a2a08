"""STORM: meetings by hand, the beam by its drawing, invariances."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.storm import game, world

L, R, F, B, S = range(5)  # left, right, forward, beam, stay
E, N, W, SOUTH = range(4)


@functools.cache
def compiled():
  env = envs.storm()
  return env, jax.jit(env.reset), jax.jit(game.advance), jax.jit(env.observe)


def place(positions, directions, coins=(), inventory=((0, 0), (0, 0))):
  """A state of two players, and of coins `(row, column, kind)`."""
  grid = np.zeros((8, 8), np.int32)
  for row, column, kind in coins:
    grid[row, column] = kind
  return world.StormState(
    position=jnp.array(positions, jnp.int32),
    direction=jnp.array(directions, jnp.int32),
    inventory=jnp.array(inventory, jnp.int32),
    coins=jnp.asarray(grid),
    layout=jnp.asarray(grid),
    beams=jnp.zeros((8, 8), bool),
    freeze=jnp.int32(-1),
    time=jnp.int32(0),
  )


def chance(first_wins=True):
  """Next rounds begin in two corners."""
  return world.Chance(
    jnp.array(first_wins),
    jnp.array([[0, 0], [7, 7]], jnp.int32),
    jnp.array([N, W], jnp.int32),
  )


def play(state, actions, params=None, first_wins=True):
  """Steps of a script; the states after them and what they pay."""
  env, _, advance, _ = compiled()
  params = env.default_params if params is None else params
  states, rewards = [], []
  for pair in actions:
    state, pay = advance(
      state, jnp.array(pair, jnp.int32), chance(first_wins), params
    )
    states.append(state)
    rewards.append(pay.tolist())
  return states, rewards


class RulesTest(parameterized.TestCase):
  def test_a_round(self):
    # The first player takes a red coin and a blue one and turns to the second
    # one, which takes a blue one.
    state = place(
      [(2, 2), (2, 7)], [E, W], [(2, 3, 1), (2, 4, 2), (2, 6, 2), (0, 0, 1)]
    )
    states, rewards = play(state, [(F, F), (F, S), (S, S), (B, S)])
    np.testing.assert_array_equal(states[0].inventory, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(states[1].inventory, [[1, 1], [0, 1]])
    self.assertEqual(int(jnp.sum(states[1].coins > 0)), 1)
    # Half of (0, 5), the cooperator's and the defector's, half of (1, 1).
    self.assertEqual(rewards, [[0, 0]] * 3 + [[0.5, 3.0]])
    self.assertEqual([int(s.freeze) for s in states], [-1, -1, -1, 5])
    after, rewards = play(states[-1], [(F, B)] * 5)
    self.assertEqual([int(s.freeze) for s in after], [4, 3, 2, 1, -1])
    self.assertEqual(rewards, [[0, 0]] * 5)
    for s in after[:4]:
      np.testing.assert_array_equal(s.position, [(2, 4), (2, 6)])
      self.assertFalse(bool(jnp.any(s.beams)))
    last = after[-1]
    np.testing.assert_array_equal(last.position, [(0, 0), (7, 7)])
    np.testing.assert_array_equal(last.direction, [N, W])
    np.testing.assert_array_equal(last.inventory, 0)
    # All coins are back but the one where the first player is now.
    wanted = np.asarray(state.layout).copy()
    wanted[0, 0] = 0
    np.testing.assert_array_equal(last.coins, wanted)
    moved, _ = play(last, [(F, S)])
    np.testing.assert_array_equal(moved[0].position[0], (1, 0))

  @parameterized.parameters(
    ((1, 0), (1, 0), (3, 3)),
    ((2, 0), (0, 3), (0, 5)),
    ((0, 1), (4, 0), (5, 0)),
    ((0, 1), (0, 1), (1, 1)),
    ((1, 3), (3, 1), (0.75 * (0.75 * 5 + 0.25) + 0.25 * 0.75 * 3,
                      0.25 * (0.75 * 3 + 0.25 * 5) + 0.75 * 0.25)),
  )  # fmt: skip
  def test_payoffs(self, first, second, pay):
    state = place([(4, 3), (4, 4)], [E, N], inventory=(first, second))
    for actions in ((B, S), (B, B)):
      _, rewards = play(state, [actions])
      np.testing.assert_allclose(rewards[0], pay, rtol=1e-6)
    # The second player looks elsewhere.
    _, rewards = play(state, [(S, B)])
    self.assertEqual(rewards[0], [0, 0])

  def test_nobody_meets_without_coins(self):
    for inventory in ([(0, 0), (1, 0)], [(0, 2), (0, 0)], [(0, 0), (0, 0)]):
      state = place([(4, 3), (4, 4)], [E, W], inventory=inventory)
      states, rewards = play(state, [(B, B)])
      self.assertEqual((rewards[0], int(states[0].freeze)), ([0, 0], -1))

  @parameterized.parameters(0, 1, 2)
  def test_short_freezes(self, steps):
    params = compiled()[0].default_params._replace(freeze_steps=steps)
    state = place([(4, 3), (4, 4)], [E, W], inventory=[(1, 0), (1, 0)])
    states, rewards = play(state, [(B, S), (F, F), (F, F), (F, F)], params)
    self.assertEqual(rewards, [[3, 3]] + [[0, 0]] * 3)
    self.assertEqual(bool(jnp.any(states[0].beams)), steps > 0)
    corner = [[int(x) for x in s.position[0]] for s in states]
    still = [[4, 3]] * steps
    np.testing.assert_array_equal(
      corner, [*still, *([i, 0] for i in range(4 - steps))]
    )

  def test_walks(self):
    walk = lambda state, pair, first=True: play(
      state, [pair], first_wins=first
    )[0][0].position.tolist()
    face = place([(3, 3), (3, 5)], [E, W])
    self.assertEqual(walk(face, (F, F)), [[3, 4], [3, 5]])
    self.assertEqual(walk(face, (F, F), False), [[3, 3], [3, 4]])
    near = place([(3, 3), (3, 4)], [E, W])
    self.assertEqual(walk(near, (F, S)), [[3, 3], [3, 4]])
    self.assertEqual(walk(near, (S, F)), [[3, 3], [3, 4]])
    self.assertEqual(walk(near, (F, F)), [[3, 4], [3, 3]])  # past each other
    follow = place([(3, 3), (3, 4)], [E, E])
    self.assertEqual(walk(follow, (F, F)), [[3, 4], [3, 5]])
    edge = place([(0, 0), (7, 7)], [SOUTH, E])
    self.assertEqual(walk(edge, (F, F)), [[0, 0], [7, 7]])
    # Who cannot walk on stands still, so keeps its cell.
    border = place([(7, 7), (7, 6)], [E, E])
    self.assertEqual(walk(border, (F, F), False), [[7, 7], [7, 6]])

  def test_turns(self):
    state = place([(3, 3), (5, 5)], [E, E])
    states, _ = play(state, [(L, R)] * 4)
    turned = [s.direction.tolist() for s in states]
    self.assertEqual(turned, [[N, SOUTH], [W, W], [SOUTH, N], [E, E]])

  @parameterized.parameters(
    (E, '.....|..x..|.>xx.|..x..|.....'),
    (N, '..x..|.xxx.|..^..|.....|.....'),
    (W, '.....|..x..|.xx<.|..x..|.....'),
    (SOUTH, '.....|.....|..v..|.xxx.|..x..'),
  )
  def test_beams_as_drawn(self, direction, drawing):
    rows = drawing.split('|')[::-1]  # rows are counted from below
    cells = {(i, j): c for i, row in enumerate(rows) for j, c in enumerate(row)}
    me = next(cell for cell, c in cells.items() if c in '>^<v')
    lit = {cell for cell, c in cells.items() if c == 'x'}
    shift = np.array([3, 3]) - me
    for cell in itertools.product(range(5), repeat=2):
      if cell == me:
        continue
      state = place(
        [(3, 3), shift + cell], [direction, N], inventory=[(1, 0), (1, 0)]
      )
      _, rewards = play(state, [(B, S)])
      self.assertEqual(rewards[0][0] > 0, cell in lit, cell)
    away = place([(3, 3), (7, 7)], [direction, N])
    beams = play(away, [(B, S)])[0][0].beams
    seen = {tuple((x - shift).tolist()) for x in np.argwhere(beams)}
    self.assertEqual(seen, lit)

  def test_beams_are_on_free_cells_and_go_out(self):
    state = place([(3, 3), (3, 4)], [E, E], [(4, 4, 1), (3, 5, 2)])
    states, _ = play(state, [(B, S), (S, S)])
    np.testing.assert_array_equal(np.argwhere(states[0].beams), [[2, 4]])
    self.assertFalse(bool(jnp.any(states[1].beams)))
    corner = place([(0, 0), (5, 5)], [SOUTH, N])
    self.assertFalse(bool(jnp.any(play(corner, [(B, S)])[0][0].beams)))

  def test_an_episode_is_truncated(self):
    env, reset, *_ = compiled()
    _, state = reset(jax.random.key(0), env.default_params)
    step = jax.jit(env.step)
    for time, over in ((150, False), (151, True)):
      out = step(
        jax.random.key(0),
        state._replace(time=jnp.int32(time)),
        jnp.array([S, S]),
        env.default_params,
      )
      self.assertEqual(
        (bool(out.truncated), bool(out.terminated)), (over, False)
      )

  @parameterized.parameters(
    (dict(payoff=((3, 0), (5, 1))), r'payoff of \(2, 2\), expected'),
    (dict(grid_size=7), 'grid_size=7, expected >= 8'),
    (dict(view_size=4), 'view_size=4, expected odd'),
    (dict(view_size=1), 'view_size=1, expected odd'),
    (dict(freeze_steps=-1), 'freeze_steps=-1'),
    (dict(max_steps=0), 'max_steps=0'),
  )
  def test_bad_arguments(self, arguments, message):
    with self.assertRaisesRegex(ValueError, message):
      envs.storm(**arguments)


class ViewTest(absltest.TestCase):
  def test_by_hand(self):
    # The first player looks north from the left border; left of it is a wall.
    state = place(
      [(2, 1), (3, 2)], [N, W], [(3, 0, 1), (6, 1, 2)], [(2, 0), (1, 3)]
    )
    beams = state.beams.at[4, 1].set(True)
    obs = compiled()[3](state._replace(beams=beams), None)
    cells = np.asarray(obs[0, :250]).reshape(5, 5, 10)
    seen = {tuple(x) for x in np.argwhere(cells).tolist()}
    wall = {(i, j, 4) for i in (4,) for j in range(5)}
    self.assertEqual(
      seen,
      {
        (2, 0, 0),  # itself
        (1, 1, 1),  # the other one, ahead and to the right
        (1, 1, 7),  # which looks to the left of the player
        (3, 1, 2),  # a red coin
        (2, 4, 3),  # a blue coin
        (2, 2, 5),  # a beam
      }
      | wall,
    )
    np.testing.assert_array_equal(obs[0, 250:], [2, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(obs[1, 250:], [1, 3, 1, 1, 0, 0])
    poor = state._replace(inventory=state.inventory.at[0].set(0))
    obs = compiled()[3](poor, None)
    np.testing.assert_array_equal(obs[:, 252:254], [[0, 1], [1, 0]])
    frozen = state._replace(freeze=jnp.int32(2))
    obs = compiled()[3](frozen, None)
    np.testing.assert_array_equal(obs[0, 250:], [2, 0, 1, 1, 1, 3])
    np.testing.assert_array_equal(obs[1, 250:], [1, 3, 1, 1, 2, 0])

  def random_states(self, count=40):
    """After some random steps, all kinds of them."""
    env, *_ = compiled()
    params = env.default_params
    keys = jax.random.split(jax.random.key(1), count)

    def run(key):
      _, state = env.reset(key, params)

      def body(state, t):
        keys = jax.random.split(jax.random.fold_in(key, t))
        action = jax.random.randint(keys[0], (2,), 0, 5)
        return env.step(keys[1], state, action, params).state, None

      return jax.lax.scan(body, state, jnp.arange(60))[0]

    return jax.jit(jax.vmap(run))(keys)

  @pytest.mark.slow
  def test_worlds_can_be_turned(self):
    states = self.random_states()
    rotate = lambda grid: jnp.rot90(grid, -1, axes=(1, 2))
    row, column = jnp.unstack(states.position, axis=-1)
    turned = states._replace(
      position=jnp.stack([column, 7 - row], axis=-1),
      direction=(states.direction + 1) % 4,
      coins=rotate(states.coins),
      layout=rotate(states.layout),
      beams=rotate(states.beams),
    )
    env, _, _, _ = compiled()
    observe = jax.jit(jax.vmap(env.observe, (0, None)))
    np.testing.assert_array_equal(observe(states, None), observe(turned, None))
    advance = jax.jit(jax.vmap(game.advance, (0, 0, None, None)))
    action = jax.random.randint(jax.random.key(2), (40, 2), 0, 5)
    a, pay_a = advance(states, action, chance(), env.default_params)
    b, pay_b = advance(turned, action, chance(), env.default_params)
    same = np.asarray(a.freeze == -1) & np.asarray(states.freeze == -1)
    self.assertGreater(same.sum(), 20)
    np.testing.assert_array_equal(pay_a, pay_b)
    np.testing.assert_array_equal(
      observe(a, None)[same], observe(b, None)[same]
    )

  def test_names_of_players_do_not_matter(self):
    states = self.random_states()
    swap = lambda s: s._replace(
      position=s.position[:, ::-1],
      direction=s.direction[:, ::-1],
      inventory=s.inventory[:, ::-1],
    )
    env, _, _, _ = compiled()
    params = env.default_params
    observe = jax.vmap(env.observe, (0, None))
    advance = jax.vmap(game.advance, (0, 0, None, None))

    def both(states, action):
      one, other = chance(True), chance(False)
      other = other._replace(
        position=other.position[::-1], direction=other.direction[::-1]
      )
      a, pay_a = advance(states, action, one, params)
      b, pay_b = advance(swap(states), action[:, ::-1], other, params)
      return observe(a, None), observe(b, None), pay_a, pay_b

    action = jax.random.randint(jax.random.key(3), (40, 2), 0, 5)
    a, b, pay_a, pay_b = jax.jit(both)(states, action)
    np.testing.assert_array_equal(a, b[:, ::-1])
    np.testing.assert_array_equal(pay_a, pay_b[:, ::-1])

  def test_coins_are_on_the_ground_or_in_hands(self):
    states = self.random_states()
    lies = lambda kind: (states.coins == kind).sum(axis=(1, 2))
    for kind in (world.RED, world.BLUE):
      held = states.inventory[:, :, kind - 1].sum(axis=1)
      total = np.asarray(lies(kind) + held)
      # At most one each was where a player started.
      self.assertTrue(np.all((total <= 6) & (total >= 4)))
      self.assertTrue(np.all(total[np.asarray(held > 0)] > 0))

  def test_starts(self):
    env, *_ = compiled()
    reset = jax.jit(jax.vmap(env.reset, (0, None)))
    keys = jax.random.split(jax.random.key(7), 3600)
    _, states = reset(keys, env.default_params)
    starts = np.asarray(env.default_params.starts)
    np.testing.assert_array_equal(starts[:, 0] + starts[:, 1], 7)
    index = np.asarray(states.position).reshape(-1, 4) @ [512, 64, 8, 1]
    values, counts = np.unique(index, return_counts=True)
    self.assertEqual(
      set(values), set((starts.reshape(-1, 4) @ [512, 64, 8, 1]).tolist())
    )
    np.testing.assert_allclose(counts / 200, 1, atol=0.3)
    share = np.bincount(np.asarray(states.direction).reshape(-1)) / 7200
    np.testing.assert_allclose(share, 0.25, atol=0.02)
    patterns, counts = np.unique(states.layout, axis=0, return_counts=True)
    self.assertLen(patterns, 2)
    np.testing.assert_array_equal(
      patterns[0] + patterns[1], 3 * (patterns[0] > 0)
    )
    np.testing.assert_allclose(counts / 3600, 0.5, atol=0.03)
    shuffled = env.default_params._replace(random_coins=True)
    layout = np.asarray(reset(keys, shuffled)[1].layout)
    np.testing.assert_array_equal((layout == world.RED).sum(axis=(1, 2)), 6)
    np.testing.assert_array_equal((layout > 0).all(axis=0), patterns[0] > 0)
    red = (layout == world.RED).mean(axis=0)[patterns[0] > 0]
    np.testing.assert_allclose(red, 0.5, atol=0.04)

  def test_games_are_one_vmap(self):
    env, *_ = compiled()
    payoffs = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    state = place([(4, 3), (4, 4)], [E, W], inventory=[(1, 0), (0, 1)])
    pay = jax.jit(jax.vmap(lambda payoff: game.advance(
      state, jnp.array([B, S]), chance(),
      env.default_params._replace(payoff=payoff))[1]))(payoffs)  # fmt: skip
    np.testing.assert_allclose(pay, payoffs[:, :, 0, 1], rtol=1e-6)

  def test_other_sizes(self):
    env = envs.storm(grid_size=11, view_size=7)
    obs, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    self.assertEqual(obs.shape, (2, 496))
    self.assertEqual(state.coins.shape, (11, 11))
    self.assertEqual(int(jnp.sum(state.layout > 0)), 12)


if __name__ == '__main__':
  absltest.main()
