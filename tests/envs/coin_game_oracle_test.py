"""The coin game beside jaxmarl: its state built from ours, the same moves.

Where the reference differs and ours is right:

- the last step of each inner game pays nothing there, though coins are taken
  (compared on the other nine steps; on the last one with the payoff matrix);
- where an episode ends, its pieces were placed anew already, so that the last
  board is never seen (not compared there);
- the payoff of the blue agent is `[other's coin, own coin, penalty]` (turned);
- the order of actions is that of the dictionary, not of agents' names, outside
  of `jit`; the comments of states 7 and 8 of its statistics are exchanged (not
  compared: we keep no statistics).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs

pytestmark = pytest.mark.oracle
jaxmarl = pytest.importorskip('jaxmarl')
NUM_STEPS = 1000


class OracleTest(parameterized.TestCase):
  @parameterized.parameters(
    (False, False, False), (True, True, False), (True, False, True)
  )
  def test_a_thousand_steps(self, egocentric, image, shared):
    env = envs.coin_game(egocentric=egocentric, image=image)
    payoff = np.array([[1.0, 2.0, -3.0], [4.0, 5.0, -6.0]], np.float32)
    params = env.default_params._replace(
      payoff=payoff, others_weight=np.float32(shared)
    )
    theirs = [payoff[0].tolist(), payoff[1][[1, 0, 2]].tolist()]
    reference = jaxmarl.make(
      'coin_game',
      egocentric=egocentric,
      cnn=image,
      shared_rewards=shared,
      payoff_matrix=theirs,
    )
    self.assertEqual(tuple(reference.agents), env.agents)
    _, start = reference.reset(jax.random.key(0))

    def build(state):
      (red, blue), (red_coin, blue_coin) = state.position, state.coin
      return start.replace(
        red_pos=red,
        blue_pos=blue,
        red_coin_pos=red_coin,
        blue_coin_pos=blue_coin,
        step=state.time,
        outer_t=state.game,
      )

    auto = envs.auto_reset(env)

    def body(state, key):
      action_key, step_key = jax.random.split(key)
      action = jax.random.randint(action_key, (2,), 0, 5, jnp.int32)
      ours = env.step(step_key, state, action, params)
      obs, after, reward, done, info = reference.step_env(
        step_key, build(state), {'0': action[0], '1': action[1]}
      )
      # The drawn places are ours; what is left shows where pieces moved.
      placed = after.replace(
        red_coin_pos=ours.state.coin[0], blue_coin_pos=ours.state.coin[1]
      )
      seen = reference.get_obs(placed)
      of_state = reference.get_obs(build(ours.state))
      following = auto.step(step_key, state, action, params).state
      result = (state, action, ours, obs, after, reward, done, info)
      return following, (*result, seen, of_state)

    _, state = env.reset(jax.random.key(1), params)
    keys = jax.random.split(jax.random.key(2), NUM_STEPS)
    out = jax.jit(lambda s: jax.lax.scan(body, s, keys)[1])(state)
    state, _, ours, _, after, reward, done, info, seen, of_state = (
      jax.device_get(out)
    )
    np.testing.assert_array_equal(ours.truncated, done['__all__'])
    np.testing.assert_array_equal(
      ours.info['game_done'], info['inner_episode_done']
    )
    self.assertEqual(ours.truncated.sum(), 10)
    goes_on = ~ours.info['game_done']
    for i, agent in enumerate(env.agents):
      np.testing.assert_allclose(
        ours.reward[goes_on, i], reward[agent][goes_on]
      )
      np.testing.assert_array_equal(reward[agent][~goes_on], 0.0)
      self.assertTrue(np.any(ours.reward[~goes_on, i] != 0))
      np.testing.assert_array_equal(ours.obs[goes_on, i], seen[agent][goes_on])
      # Of any board, also of new games, the same is seen.
      np.testing.assert_array_equal(ours.obs[:, i], of_state[agent])
    position = np.stack([after.red_pos, after.blue_pos], 1)
    np.testing.assert_array_equal(
      ours.state.position[goes_on], position[goes_on]
    )
    # Coins that nobody took stay, in both; taken ones are drawn.
    coin = np.stack([after.red_coin_pos, after.blue_coin_pos], 1)
    taken = ours.info['own_coin'] | ours.info['other_coin'][:, ::-1]
    stays = goes_on[:, None] & ~taken
    np.testing.assert_array_equal(ours.state.coin[stays], coin[stays])
    np.testing.assert_array_equal(state.coin[stays], coin[stays])
    last = ours.truncated
    np.testing.assert_array_equal(ours.state.game, after.outer_t)
    np.testing.assert_array_equal(ours.state.time[~last], after.step[~last])


if __name__ == '__main__':
  absltest.main()
