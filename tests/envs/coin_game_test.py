"""The coin game beside a plain re-implementation, and its symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.coin_game import CoinGameState

MOVES = [(0, 1), (0, -1), (1, 0), (-1, 0), (0, 0)]  # rows, columns
NUM_STEPS = 230


def random_play(env, params, seed=0):
  """States before steps, actions and what the steps gave, with resets."""
  auto = envs.auto_reset(env)

  def body(state, key):
    action_key, step_key = jax.random.split(key)
    action = jax.random.randint(action_key, (2,), 0, 5, jnp.int32)
    out = auto.step(step_key, state, action, params)
    return out.state, (state, action, out)

  key, scan_key = jax.random.split(jax.random.key(seed))
  _, state = jax.jit(env.reset)(key, params)
  keys = jax.random.split(scan_key, NUM_STEPS)
  return jax.device_get(
    jax.jit(lambda s: jax.lax.scan(body, s, keys)[1])(state)
  )


def plain_planes(position, coin, agent):
  """The observation of an agent, cell by cell."""
  board = np.zeros((3, 3, 4))
  own, other = agent, 1 - agent
  pieces = position[own], position[other], coin[own], coin[other]
  for plane, (row, column) in enumerate(pieces):
    board[row, column, plane] = 1
  return board


def at(*pieces):
  """A state from cells of agents 0, 1 and their coins."""
  cells = jnp.array(pieces, jnp.int32)
  zero = jnp.zeros((), jnp.int32)
  return CoinGameState(cells[:2], cells[2:], zero, zero)


class CoinGameTest(parameterized.TestCase):
  def test_play_is_that_of_plain_loops(self):
    env = envs.coin_game()
    payoff = np.array([[1.0, 2.0, -3.0], [4.0, 5.0, -6.0]], np.float32)
    params = env.default_params._replace(payoff=payoff)
    states, actions, out = random_play(env, params)
    time = game = taken = 0
    for t in range(NUM_STEPS):
      position, coin = states.position[t], states.coin[t].copy()
      cells = [
        tuple((position[i] + MOVES[actions[t, i]]) % 3) for i in range(2)
      ]
      reward = [0.0, 0.0]
      fell = set()
      for i in range(2):
        self.assertEqual(out.info['own_coin'][t, i], cells[i] == tuple(coin[i]))
        if cells[i] == tuple(coin[i]):
          reward[i] += payoff[i, 0]
          fell.add(i)
        if cells[i] == tuple(coin[1 - i]):
          reward[i] += payoff[i, 1]
          reward[1 - i] += payoff[1 - i, 2]
          fell.add(1 - i)
      np.testing.assert_allclose(out.reward[t], reward)
      taken += len(fell)
      time += 1
      game_done = time == 10
      time, game = (0, game + 1) if game_done else (time, game)
      truncated = game == 10
      self.assertEqual(out.info['game_done'][t], game_done)
      self.assertEqual(out.truncated[t], truncated)
      self.assertFalse(out.terminated[t])
      after = out.state
      if truncated:
        time = game = 0
        final = out.info['final_obs'][t].reshape(2, 3, 3, 4)
        for i in range(2):  # the last game's board, not a new one
          self.assertEqual(tuple(np.argwhere(final[i, ..., 0])[0]), cells[i])
      elif not game_done:
        np.testing.assert_array_equal(after.position[t], cells)
        for i in {0, 1} - fell:
          np.testing.assert_array_equal(after.coin[t, i], coin[i])
      self.assertEqual(after.time[t], time)
      self.assertEqual(after.game[t], game)
      for i in range(2):
        np.testing.assert_array_equal(
          out.obs[t, i].reshape(3, 3, 4),
          plain_planes(after.position[t], after.coin[t], i),
        )
    self.assertGreater(taken, 30)

  def test_a_coin_of_the_other_costs_it_two(self):
    env = envs.coin_game()
    step = jax.jit(env.step)
    play = lambda state, action: step(
      jax.random.key(0), state, jnp.array(action), env.default_params
    )
    state = at((0, 2), (2, 0), (0, 0), (2, 1))
    np.testing.assert_array_equal(play(state, [0, 4]).reward, [1, 0])
    state = at((0, 2), (2, 0), (2, 1), (0, 0))
    np.testing.assert_array_equal(play(state, [0, 4]).reward, [1, -2])
    np.testing.assert_array_equal(play(state, [0, 0]).reward, [-1, -1])
    # Both on one coin, the other coin on the same cell: all at once.
    state = at((1, 0), (1, 2), (1, 1), (1, 1))
    np.testing.assert_array_equal(play(state, [0, 1]).reward, [0, 0])
    shared = env.default_params._replace(others_weight=np.float32(1.0))
    state = at((0, 2), (2, 0), (2, 1), (0, 0))
    out = step(jax.random.key(0), state, jnp.array([0, 4]), shared)
    np.testing.assert_array_equal(out.reward, [-1, -1])

  def test_pieces_fall_anywhere(self):
    env = envs.coin_game()
    keys = jax.random.split(jax.random.key(1), 9000)
    _, starts = jax.jit(jax.vmap(env.reset, (0, None)))(
      keys, env.default_params
    )
    state = at((0, 0), (2, 2), (0, 0), (2, 2))  # both coins are taken
    stay = jnp.array([4, 4], jnp.int32)
    out = jax.jit(jax.vmap(env.step, (0, None, None, None)))(
      keys, state, stay, env.default_params
    )
    for places in (starts.position, starts.coin, out.state.coin):
      for i in range(2):
        cells = places[:, i, 0] * 3 + places[:, i, 1]
        # 1000 expected, deviation 30: within 5 of them.
        counts = np.bincount(cells, minlength=9)
        self.assertLess(np.abs(counts - 1000).max(), 150)
    cells = out.state.coin[..., 0] * 3 + out.state.coin[..., 1]
    pairs = np.bincount(cells[:, 0] * 9 + cells[:, 1], minlength=81)
    self.assertLess(np.abs(pairs - 9000 / 81).max(), 5.5 * (9000 / 81) ** 0.5)

  def test_swapped_agents_swap_everything(self):
    env = envs.coin_game()
    state = at((0, 1), (2, 0), (0, 0), (2, 1))
    swapped = CoinGameState(
      state.position[::-1], state.coin[::-1], state.time, state.game
    )
    for action in ([1, 0], [0, 4], [2, 2]):
      action = jnp.array(action, jnp.int32)
      key, params = jax.random.key(0), env.default_params
      a = env.step(key, state, action, params)
      b = env.step(key, swapped, action[::-1], params)
      np.testing.assert_array_equal(a.reward, b.reward[::-1])
    obs = env.observe(state, env.default_params)
    other = env.observe(swapped, env.default_params)
    np.testing.assert_array_equal(obs, other[::-1])

  def test_egocentric_boards_do_not_change_on_the_torus(self):
    env = envs.coin_game(egocentric=True, image=True)
    state = at((0, 1), (2, 0), (0, 0), (2, 1))
    obs = env.observe(state, env.default_params)
    self.assertEqual(obs.shape, (2, 3, 3, 4))
    np.testing.assert_array_equal(obs[:, 1, 1, 0], 1)
    np.testing.assert_array_equal(np.sum(obs, (1, 2)), 1)
    # Agent 1 is two rows up and one column left of agent 0: one row down.
    self.assertEqual(obs[0, 0, 0, 1], 1)
    shifted = state._replace(
      position=(state.position + jnp.array([1, 2])) % 3,
      coin=(state.coin + jnp.array([1, 2])) % 3,
    )
    np.testing.assert_array_equal(env.observe(shifted, env.default_params), obs)


if __name__ == '__main__':
  absltest.main()
