"""Overcooked against JaxMARL 0.2.0, every field of states that we make.

Where the reference is wrong and ours is right:
- Its observation space has the shape `[W, H, 26]`, its observations
  `[H, W, 26]`: here the space has the shape of the observations.
- Its text turns the channel of urgency on with 40 steps left, its code with 39:
  39 here, which is also the original game's.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.overcooked import layouts

pytestmark = pytest.mark.oracle
pytest.importorskip('jaxmarl')

from jaxmarl.environments import overcooked as reference  # noqa: E402
from jaxmarl.environments.overcooked import common  # noqa: E402
from jaxmarl.environments.overcooked import overcooked as rules  # noqa: E402

OBJECT = common.OBJECT_TO_INDEX
# Ours to theirs: cells, then things.
TILES = jnp.array(
  [OBJECT[x] for x in ('empty', 'wall', 'pot', 'onion_pile', 'plate_pile')]
  + [OBJECT['goal']]
)
ITEMS = jnp.array([OBJECT[x] for x in ('empty', 'onion', 'plate', 'dish')])
PADDING = 4


def theirs(layout, max_steps=400):
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    return reference.Overcooked(
      reference.overcooked_layouts[layout],
      random_reset=True,
      max_steps=max_steps,
    )


def inject(state, params):
  """The reference's state that is ours; params are not traced."""
  height, width = params.tiles.shape
  kinds = TILES[params.tiles]
  kinds = jnp.where(state.items > 0, ITEMS[state.items], kinds)
  cells = common.OBJECT_INDEX_TO_VEC[kinds]
  status = jnp.where(
    state.onions == 3, jnp.minimum(state.timer, 20), 23 - state.onions
  )
  pots = params.tiles == layouts.POT
  cells = cells.at[..., 2].set(jnp.where(pots, status, cells[..., 2]))
  for cook in range(2):
    agent = jnp.array([OBJECT['agent'], 2 * cook, 0], jnp.uint8)
    agent = agent.at[2].set(state.direction[cook].astype(jnp.uint8))
    cells = cells.at[tuple(state.position[cook])].set(agent)
  maze = jnp.broadcast_to(
    common.OBJECT_INDEX_TO_VEC[OBJECT['wall']],
    (height + 2 * PADDING, width + 2 * PADDING, 3),
  )
  inside = (slice(PADDING, -PADDING),) * 2
  tiles = np.asarray(params.tiles)
  places = lambda kind: jnp.array(
    np.argwhere(tiles == kind)[:, ::-1], jnp.uint32
  )
  return rules.State(
    done=state.time >= params.max_steps,
    step=state.time,
    agent_pos=state.position[:, ::-1].astype(jnp.uint32),
    agent_dir=common.DIR_TO_VEC[state.direction],
    agent_dir_idx=state.direction,
    agent_inv=ITEMS[state.held],
    goal_pos=places(layouts.SERVING),
    pot_pos=places(layouts.POT),
    wall_map=params.tiles != layouts.FLOOR,
    maze_map=maze.at[inside].set(cells),
  )


class OvercookedOracleTest(parameterized.TestCase):
  @parameterized.parameters(*layouts.LAYOUTS)
  def test_layouts(self, layout):
    tiles, start = layouts.read_layout(layout)
    facts = reference.overcooked_layouts[layout]
    self.assertEqual(tiles.shape, (facts['height'], facts['width']))
    flat = tiles.reshape(-1)
    walls = np.flatnonzero(flat != layouts.FLOOR)
    np.testing.assert_array_equal(walls, np.sort(facts['wall_idx']))
    for kind, name in (
      (layouts.POT, 'pot_idx'),
      (layouts.ONION_PILE, 'onion_pile_idx'),
      (layouts.PLATE_PILE, 'plate_pile_idx'),
      (layouts.SERVING, 'goal_idx'),
    ):
      np.testing.assert_array_equal(
        np.flatnonzero(flat == kind), np.sort(facts[name])
      )
    np.testing.assert_array_equal(
      start @ [tiles.shape[1], 1], facts['agent_idx']
    )

  @parameterized.parameters(*layouts.LAYOUTS)
  def test_steps(self, layout):
    env = envs.overcooked(layout, random_reset=True, max_steps=80)
    params = env.default_params
    other = theirs(layout, max_steps=80)
    batch = envs.vectorize(env)

    def one(key, state, action):
      out = env.step(key, state, action, params)
      obs, after, reward, done, info = other.step_env(
        key, inject(state, params), {'agent_0': action[0], 'agent_1': action[1]}
      )
      agents = ('agent_0', 'agent_1')
      stacked = lambda x: jnp.stack([x[agent] for agent in agents])
      return (
        (
          inject(out.state, params),
          out.obs,
          out.reward,
          out.info['shaped_reward'],
          out.truncated | out.terminated,
        ),
        (
          after,
          stacked(obs),
          stacked(reward),
          stacked(info['shaped_reward']),
          done['__all__'],
        ),
      )

    def body(states, key):
      keys = jax.random.split(key, 3)
      # Interacts every third time, so that there is much to compare.
      action = jax.random.categorical(
        keys[0], jnp.log(jnp.array([2.0, 2, 2, 2, 1, 4])), shape=(16, 2)
      )
      pairs = jax.vmap(one)(jax.random.split(keys[1], 16), states, action)
      equal = jax.tree.map(lambda a, b: jnp.all(a == b), *pairs)
      out = batch.step(jax.random.split(keys[2], 16), states, action, params)
      gains = (pairs[0][2].sum(), pairs[0][3].sum(), out.truncated.sum())
      return out.state, (equal, gains)

    def run(key):
      _, states = batch.reset(jax.random.split(key, 16), params)
      return jax.lax.scan(body, states, jax.random.split(key, 1000))[1]

    equal, gains = jax.jit(run)(jax.random.key(0))
    for name, same in jax.tree_util.tree_leaves_with_path(equal):
      self.assertTrue(bool(same.all()), jax.tree_util.keystr(name))
    for total in gains:  # soups were served, plates taken, episodes ended
      self.assertGreater(float(total.sum()), 0)

  def test_resets(self):
    # Of random starts the marginal laws, of others everything.
    env = envs.overcooked('cramped_room', random_reset=True)
    keys = jax.random.split(jax.random.key(2), 4000)
    states = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)[
      1
    ]
    mine = jax.jit(jax.vmap(lambda s: inject(s, env.default_params)))(states)
    other = jax.jit(jax.vmap(theirs('cramped_room').reset))(keys)[1]
    for name in ('agent_pos', 'agent_dir_idx', 'agent_inv', 'maze_map'):
      a, b = (np.asarray(getattr(x, name), float) for x in (mine, other))
      spread = np.std(b, axis=0) + 1e-6
      gap = np.abs(a.mean(axis=0) - b.mean(axis=0)) / spread
      self.assertLess(gap.max(), 5 * np.sqrt(2 / 4000), name)

  def test_defects_of_the_reference(self):
    other = theirs('cramped_room')
    obs, state = other.reset(jax.random.key(0))
    self.assertEqual(obs['agent_0'].shape, (4, 5, 26))
    self.assertEqual(other.observation_space('agent_0').shape, (5, 4, 26))
    urgent = lambda step: other.get_obs(state.replace(step=step))['agent_0']
    self.assertEqual(int(urgent(360)[0, 0, 25]), 0)  # 40 steps left
    self.assertEqual(int(urgent(361)[0, 0, 25]), 1)


if __name__ == '__main__':
  absltest.main()
