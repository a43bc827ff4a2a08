"""STORM against the game of two in JaxMARL 0.2.0, on states that we make.

Where the reference is wrong and ours is right:
- At the start of an episode a coin that lies where a player starts hides the
  player, who then takes it without a step. Here the player is there and the
  coin is not, as in the reference's later rounds.
- No player starts looking in direction 3, and no fixed colouring but one is
  ever drawn: its bounds exclude them. Here all have equal chances.
- One key draws who wins a cell, where both start again and how they look, so
  these depend on one another; here they are independent.
- With a freeze of 0 or 1 steps, rounds begin anew twice. Here once.
- What the last step of an episode pays is lost. Here it is paid.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.storm import game, world

pytestmark = pytest.mark.oracle
pytest.importorskip('jaxmarl')

from jaxmarl.environments.storm import storm_2p as reference  # noqa: E402

NUM_ENVS = 16
ENDLESS = 10**6


def inject(state):
  """The reference's state that is world."""
  players = world.players_at(state.position, 8)
  grid = jnp.where(state.coins > 0, state.coins + 2, 0)
  grid = jnp.where(state.beams, 6, grid)
  grid = jnp.where(players[0], 1, jnp.where(players[1], 2, grid))
  coins = lambda kind: jnp.stack(
    jnp.nonzero(state.layout == kind, size=6), axis=-1
  ).astype(jnp.int8)
  place = jnp.concatenate([state.position, state.direction[:, None]], axis=1)
  return reference.State(
    done=jnp.zeros((), bool),
    step=state.time,
    red_pos=place[0].astype(jnp.int8),
    blue_pos=place[1].astype(jnp.int8),
    outer_t=jnp.zeros((), jnp.int32),
    grid=grid.astype(jnp.int8),
    red_inventory=state.inventory[0].astype(jnp.float32),
    blue_inventory=state.inventory[1].astype(jnp.float32),
    red_coins=coins(world.RED),
    blue_coins=coins(world.BLUE),
    freeze=state.freeze.astype(jnp.int16),
  )


def chance_of(key):
  """What the reference draws from a key in a step."""
  places = jax.random.choice(key, reference.AGENT_SPAWNS, replace=False)
  looks = jax.random.randint(key, (2,), 0, 3, jnp.int8)
  return world.Chance(
    first_wins=jax.random.choice(key, jnp.array([0, 1])) == 1,
    position=places.astype(jnp.int32),
    direction=looks.astype(jnp.int32),
  )


def flat(obs):
  """The reference's observations as world."""
  rows = [
    jnp.concatenate([o['observation'].reshape(-1), o['inventory']]) for o in obs
  ]
  return jnp.stack(rows)


class StormOracleTest(parameterized.TestCase):
  def test_places(self):
    coins, starts = world.corners(8)
    np.testing.assert_array_equal(coins, reference.COIN_SPAWNS)
    np.testing.assert_array_equal(starts, reference.AGENT_SPAWNS)

  @parameterized.parameters((5, False), (2, True))
  def test_steps(self, freeze_steps, random_coins):
    payoff = jax.random.normal(jax.random.key(9), (2, 2, 2))
    env = envs.storm(
      np.asarray(payoff), freeze_steps=freeze_steps, random_coins=random_coins
    )
    params = env.default_params
    other = reference.InTheGrid_2p(
      num_inner_steps=ENDLESS, payoff_matrix=payoff, freeze_penalty=freeze_steps
    )

    def one(key, state, action):
      obs, after, reward, _, _ = other.step_env(key, inject(state), action)
      state, pay = game.advance(state, action, chance_of(key), params)
      return (
        (inject(state), env.observe(state, params)),
        (after, flat(obs)),
        jnp.max(jnp.abs(pay - jnp.stack(reward))),
        (state, jnp.any(pay != 0)),
      )

    def body(states, key):
      keys = jax.random.split(key, 3)
      # Beams as often as steps ahead, so that players meet.
      action = jax.random.categorical(
        keys[0], jnp.log(jnp.array([2.0, 2, 4, 4, 1])), shape=(NUM_ENVS, 2)
      )
      mine, theirs, gap, (after, paid) = jax.vmap(one)(
        jax.random.split(keys[1], NUM_ENVS), states, action
      )
      equal = jax.tree.map(lambda a, b: jnp.all(a == b), mine, theirs)
      _, fresh = jax.vmap(env.reset, (0, None))(
        jax.random.split(keys[2], NUM_ENVS), params
      )
      over = after.time >= params.max_steps
      states = jax.tree.map(
        lambda a, b: jnp.where(over.reshape(-1, *(1,) * (a.ndim - 1)), a, b),
        fresh,
        after,
      )
      return states, (equal, gap.max(), paid.sum())

    def run(key):
      keys = jax.random.split(key, NUM_ENVS)
      _, states = jax.vmap(env.reset, (0, None))(keys, params)
      return jax.lax.scan(body, states, jax.random.split(key, 1000))[1]

    equal, gap, paid = jax.jit(run)(jax.random.key(0))
    for name, same in jax.tree_util.tree_leaves_with_path(equal):
      self.assertTrue(bool(same.all()), jax.tree_util.keystr(name))
    self.assertLess(float(gap.max()), 1e-5)
    self.assertGreater(int(paid.sum()), 50)

  def test_defects_of_the_reference(self):
    other = reference.InTheGrid_2p(num_inner_steps=ENDLESS)
    keys = jax.random.split(jax.random.key(0), 400)
    _, states = jax.vmap(other.reset)(keys)
    hidden = jax.vmap(lambda g, p: g[p[0], p[1]] != 1)
    self.assertTrue(bool(jnp.any(hidden(states.grid, states.red_pos))))
    self.assertEqual(int(states.red_pos[:, 2].max()), 2)
    self.assertEqual(len(np.unique(states.red_coins, axis=0)), 1)
    # Two that meet with a freeze of one step, and then stay.
    env = envs.storm(freeze_steps=1)
    state = env.reset(jax.random.key(0), env.default_params)[1]._replace(
      position=jnp.array([[4, 3], [4, 4]], jnp.int32),
      direction=jnp.array([world.EAST, world.WEST], jnp.int32),
      inventory=jnp.ones((2, 2), jnp.int32),
    )
    once = reference.InTheGrid_2p(num_inner_steps=ENDLESS, freeze_penalty=1)
    beam = jnp.array([world.BEAM, world.STAY])
    _, after, reward, _, _ = once.step_env(
      jax.random.key(1), inject(state), beam
    )
    self.assertGreater(float(reward[0]), 0)
    self.assertNotEqual(after.red_pos.tolist(), [4, 3, world.EAST])
    _, again, _, _, _ = once.step_env(jax.random.key(2), after, beam * 0 + 4)
    self.assertNotEqual(again.red_pos.tolist(), after.red_pos.tolist())
    # The last step of an episode.
    ends = reference.InTheGrid_2p(num_inner_steps=1)
    _, _, reward, done, _ = ends.step_env(
      jax.random.key(1), inject(state), beam
    )
    self.assertTrue(bool(done['__all__']))
    self.assertEqual(float(reward[0]), 0)


if __name__ == '__main__':
  absltest.main()
