"""Overcooked: layouts, scripted games, invariances."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.overcooked import game, layouts

U, D, R, L, S, I = range(6)  # up, down, right, left, stay, interact


@functools.cache
def compiled(layout='cramped_room'):
  env = envs.overcooked(layout)
  return env, jax.jit(env.reset), jax.jit(env.step), jax.jit(env.observe)


def start(layout='cramped_room', params=None):
  """The start of an episode; both look north, away from what they need."""
  env, reset, *_ = compiled(layout)
  params = env.default_params if params is None else params
  state = reset(jax.random.key(0), params)[1]
  return state._replace(direction=jnp.zeros((2,), jnp.int32)), params


def play(state, params, actions, layout='cramped_room'):
  """Steps of a script `[T, 2]`; those after the start, in a list."""
  _, _, step, _ = compiled(layout)
  key, steps = jax.random.key(0), []
  for pair in actions:
    out = step(key, state, jnp.array(pair, jnp.int32), params)
    state = out.state
    steps.append(out)
  return steps


def alone(*actions):
  """The first cook acts, the second one stays."""
  return [(action, S) for action in actions]


# From (1, 1): an onion from the left, then up, facing the pot from (1, 2), and
# back. The pot of the cramped room is at (0, 2), dishes at (3, 1), the place to
# serve at (3, 3).
FETCH = (L, I, R, U, I)  # 5 steps from (1, 1) to an onion in the pot
BACK = (L,)  # to (1, 1), which looks at the onions then
ONE_SOUP = (
  *FETCH,
  *BACK,
  *FETCH,
  *BACK,
  *FETCH,  # step 17: the third onion, the soup is done at step 36
  *(L, D, D, I),  # (2, 1), looking at the dishes; step 21: a plate
  *(R, U, U),  # (2, 2), (1, 2), looking at the pot; step 24
  *(S,) * 12,  # step 36
)


class LayoutTest(parameterized.TestCase):
  @parameterized.parameters(
    ('cramped_room', (4, 5), (1, 2, 1, 1)),
    ('asymm_advantages', (5, 9), (2, 2, 2, 2)),
    ('coord_ring', (5, 5), (2, 2, 1, 1)),
    ('forced_coord', (5, 5), (2, 2, 1, 1)),
    ('counter_circuit', (5, 8), (2, 2, 1, 1)),
  )
  def test_classic_kitchens(self, name, shape, counts):
    params = envs.overcooked(name).default_params
    self.assertEqual(params.tiles.shape, shape)
    kinds = (
      layouts.POT,
      layouts.ONION_PILE,
      layouts.PLATE_PILE,
      layouts.SERVING,
    )
    for kind, count in zip(kinds, counts, strict=True):
      self.assertEqual(int(jnp.sum(params.tiles == kind)), count)
    for row, column in params.start:
      self.assertEqual(params.tiles[row, column], layouts.FLOOR)

  def test_text_is_read_as_it_looks(self):
    tiles, players = layouts.read_layout('XPXXX\nO 12S\nXDXXX')
    np.testing.assert_array_equal(
      tiles, [[1, 2, 1, 1, 1], [3, 0, 0, 0, 5], [1, 4, 1, 1, 1]]
    )
    np.testing.assert_array_equal(players, [[1, 2], [1, 3]])

  @parameterized.parameters(
    ('kitchen', "layout='kitchen', expected a map or one of cramped_room"),
    ('XPX\nO12S\nXDX', r'rows of \[3, 4\] cells'),
    ('XPXX\nO1AS\nXDXX', "cell 'A', expected one of"),
    ('XPXX\nO1 S\nXDXX', "0 players '2', expected 1"),
    ('XPXX\nO12S\nXD1X', "2 players '1', expected 1"),
    ('XXXX\nO12S\nXDXX', r"no pot \('P'\)"),
    ('XPXX\nX12S\nXDXX', 'no pile of onions'),
    ('XPXX\nO12S\nXXXX', 'no pile of dishes'),
    ('XPXX\nO12X\nXDXX', 'no place to serve'),
    ('XPXX\nO1 2\nXDSX', 'floor at the border'),
    ('XP X\nO12S\nXDXX', 'floor at the border'),
  )
  def test_bad_kitchens(self, layout, message):
    with self.assertRaisesRegex(ValueError, message):
      envs.overcooked(layout)

  def test_bad_arguments(self):
    with self.assertRaisesRegex(ValueError, 'max_steps=0, expected >= 1'):
      envs.overcooked(max_steps=0)
    with self.assertRaisesRegex(
      ValueError, r'cook_time=0, expected 1 \.\. 255'
    ):
      envs.overcooked(cook_time=0)
    with self.assertRaisesRegex(ValueError, r'onions_per_soup=16, expected 1'):
      envs.overcooked(onions_per_soup=16)


class RulesTest(parameterized.TestCase):
  def test_a_soup_is_served_at_step_41(self):
    state, params = start()
    state = state._replace(position=jnp.array([[1, 1], [2, 3]], jnp.int32))
    # The second cook leaves the way to where soups are served.
    script = alone(*ONE_SOUP)
    script[0] = (script[0][0], U)  # to (1, 3)
    steps = play(state, params, script)
    onions = np.array([int(out.state.onions[0, 2]) for out in steps])
    timer = np.array([int(out.state.timer[0, 2]) for out in steps])
    np.testing.assert_array_equal(
      np.flatnonzero(np.diff(onions)) + 2, [5, 11, 17]
    )
    self.assertEqual(timer[15], 20)  # step 16: two onions
    np.testing.assert_array_equal(timer[16:36], np.arange(19, -1, -1))
    shaped = np.array([out.info['shaped_reward'] for out in steps])
    np.testing.assert_array_equal(np.flatnonzero(shaped[:, 0]), [4, 10, 16, 20])
    np.testing.assert_array_equal(shaped[[4, 10, 16, 20], 0], [3, 3, 3, 3])
    np.testing.assert_array_equal(shaped[:, 1], 0)
    last = steps[-1].state
    self.assertEqual(int(last.held[0]), game.PLATE)
    tail = play(last, params, alone(I, D, R, D, I))
    self.assertEqual(float(tail[0].info['shaped_reward'][0]), 5)
    self.assertEqual(int(tail[0].state.held[0]), game.SOUP)
    self.assertEqual(int(tail[0].state.onions[0, 2]), 0)
    rewards = np.array([out.reward for out in tail])
    np.testing.assert_array_equal(rewards, [[0, 0]] * 4 + [[20, 20]])
    self.assertEqual(int(tail[-1].state.time), 41)
    self.assertEqual(int(tail[-1].state.held[0]), game.NOTHING)

  def test_a_soup_is_not_taken_too_early(self):
    state, params = start()
    steps = play(state, params, alone(*ONE_SOUP[:-1], I, I))
    early, done = steps[-2], steps[-1]
    self.assertEqual(int(early.state.held[0]), game.PLATE)
    self.assertEqual(int(early.state.timer[0, 2]), 0)
    self.assertEqual(int(done.state.held[0]), game.SOUP)

  def test_cooks_block_each_other(self):
    state, params = start()
    place = lambda *cells: state._replace(position=jnp.array(cells, jnp.int32))
    after = lambda s, pair: play(s, params, [pair])[0].state
    meet = after(place((1, 1), (1, 3)), (R, L))  # both want (1, 2)
    np.testing.assert_array_equal(meet.position, [[1, 1], [1, 3]])
    np.testing.assert_array_equal(meet.direction, [R, L])
    swap = after(place((1, 1), (1, 2)), (R, L))
    np.testing.assert_array_equal(swap.position, [[1, 1], [1, 2]])
    follow = after(place((1, 1), (1, 2)), (R, R))
    np.testing.assert_array_equal(follow.position, [[1, 2], [1, 3]])
    wall = after(place((1, 1), (1, 2)), (R, U))  # the second one stays
    np.testing.assert_array_equal(wall.position, [[1, 1], [1, 2]])
    turn = after(place((1, 1), (2, 2)), (U, S))
    np.testing.assert_array_equal(turn.direction, [U, U])

  def test_the_first_cook_is_first(self):
    state, params = start()
    pair = state._replace(
      position=jnp.array([[1, 1], [2, 1]], jnp.int32),
      direction=jnp.array([U, L], jnp.int32),
    )
    # Both at one counter: the first puts its onion down, the second takes it.
    pair = pair._replace(
      position=jnp.array([[1, 2], [1, 2]], jnp.int32) + jnp.array([[0, 1]] * 2),
      direction=jnp.array([U, U], jnp.int32),
      held=jnp.array([game.ONION, game.NOTHING], jnp.int32),
    )
    out = play(pair, params, [(I, I)])[0].state
    np.testing.assert_array_equal(out.held, [game.NOTHING, game.ONION])
    self.assertEqual(int(jnp.sum(out.items)), 0)
    other = pair._replace(held=pair.held[::-1])
    out = play(other, params, [(I, I)])[0].state
    np.testing.assert_array_equal(out.held, [game.NOTHING, game.NOTHING])
    self.assertEqual(int(out.items[0, 3]), game.ONION)

  def test_a_plate_earns_only_if_it_is_needed(self):
    state, params = start()
    state = state._replace(
      position=jnp.array([[2, 1], [1, 2]], jnp.int32),
      direction=jnp.array([D, U], jnp.int32),
    )
    reward = lambda s, pair=(I, S): float(
      play(s, params, [pair])[0].info['shaped_reward'][0]
    )
    self.assertEqual(reward(state), 0)  # no pot in use
    used = state._replace(onions=state.onions.at[0, 2].set(1))
    self.assertEqual(reward(used), 3)
    lying = used._replace(items=used.items.at[0, 0].set(game.PLATE))
    self.assertEqual(reward(lying), 0)
    held = used._replace(held=jnp.array([0, game.PLATE], jnp.int32))
    self.assertEqual(reward(held), 0)
    # The second cook takes a plate; in that step the first put an onion in.
    other = state._replace(
      position=state.position[::-1],
      direction=state.direction[::-1],
      held=jnp.array([game.ONION, game.NOTHING], jnp.int32),
    )
    out = play(other, params, [(I, I)])[0]
    np.testing.assert_array_equal(out.info['shaped_reward'], [3, 3])

  def test_the_second_plate_counts_what_the_first_cook_did(self):
    # Pots at (2, 4) and (3, 4), plates at (4, 3) and (4, 5), a free counter
    # at (4, 2).
    state, params = start('asymm_advantages')
    state = state._replace(
      position=jnp.array([[3, 3], [3, 5]], jnp.int32),
      direction=jnp.array([D, D], jnp.int32),
      onions=state.onions.at[2, 4].set(1),
    )
    shaped = lambda s: (
      play(s, params, [(I, I)], 'asymm_advantages')[0]
      .info['shaped_reward']
      .tolist()
    )
    self.assertEqual(shaped(state), [3, 0])  # one pot, the first has a plate
    both = state._replace(onions=state.onions.at[3, 4].set(1))
    self.assertEqual(shaped(both), [3, 3])
    beside = both._replace(position=both.position.at[0, 1].set(2))
    puts = beside._replace(held=jnp.array([game.PLATE, 0], jnp.int32))
    self.assertEqual(shaped(puts), [0, 0])  # one lies there now
    takes = beside._replace(items=beside.items.at[4, 2].set(game.PLATE))
    self.assertEqual(shaped(takes), [0, 3])  # none lies there any more

  def test_two_soups_in_a_step(self):
    state, params = start('asymm_advantages')
    state = state._replace(
      position=jnp.array([[2, 3], [1, 7]], jnp.int32),
      direction=jnp.array([U, R], jnp.int32),
      held=jnp.full((2,), game.SOUP, jnp.int32),
    )
    for pair, reward in (((I, S), 20), ((S, I), 20), ((I, I), 40)):
      out = play(state, params, [pair], 'asymm_advantages')[0]
      np.testing.assert_array_equal(out.reward, [reward, reward])

  def test_what_cannot_be_done_changes_nothing(self):
    state, params = start()
    at = lambda cell, direction, held: state._replace(
      position=jnp.array([cell, (2, 3)], jnp.int32),
      direction=jnp.array([direction, U], jnp.int32),
      held=jnp.array([held, 0], jnp.int32),
    )
    cases = [
      at((1, 1), L, game.PLATE),  # a plate at the onions
      at((1, 1), R, game.ONION),  # at the floor
      at((1, 2), U, game.PLATE),  # a plate at an empty pot
      at((1, 2), U, game.SOUP),
      at((2, 3), D, game.PLATE),  # serving no soup
      at((2, 1), D, game.SOUP),
      at((1, 2), U, game.ONION)._replace(  # a full pot
        onions=state.onions.at[0, 2].set(3),
        timer=state.timer.at[0, 2].set(0),
      ),
    ]
    for before in cases:
      out = play(before, params, [(I, S)])[0]
      after = out.state._replace(time=before.time)
      jax.tree.map(np.testing.assert_array_equal, after, before)
      self.assertEqual(float(out.reward[0]), 0)

  def test_an_episode_is_truncated(self):
    state, params = start()
    out = play(state._replace(time=jnp.int32(398)), params, [(S, S)] * 2)
    self.assertEqual([bool(x.truncated) for x in out], [False, True])
    self.assertFalse(bool(out[-1].terminated))

  def test_params_set_the_recipe(self):
    params = envs.overcooked(onions_per_soup=1, cook_time=2).default_params
    state, _ = start(params=params)
    steps = play(state, params, alone(*FETCH, S))
    timer = [int(out.state.timer[0, 2]) for out in steps[3:]]
    self.assertEqual(timer[1:], [1, 0])


class InvarianceTest(absltest.TestCase):
  def random_play(self, layout, num_steps=60):
    env, *_ = compiled(layout)
    params = env.default_params._replace(random_reset=True)
    actions = jax.random.randint(jax.random.key(5), (num_steps, 64, 2), 0, 6)
    keys = jax.random.split(jax.random.key(4), 64)
    states = jax.jit(jax.vmap(env.reset, (0, None)))(keys, params)[1]
    return env, params, states, actions

  @pytest.mark.slow
  def test_names_of_cooks_do_not_matter(self):
    # Only where they use one cell in one step does the order count.
    env, params, states, actions = self.random_play('counter_circuit')
    swap = lambda s: s._replace(
      position=s.position[:, ::-1],
      direction=s.direction[:, ::-1],
      held=s.held[:, ::-1],
    )

    def run(states, actions):
      def step(states, action):
        out = jax.jit(jax.vmap(env.step, (None, 0, 0, None)))(
          jax.random.key(0), states, action, params
        )
        return out.state, (out.state, out.obs, out.reward)

      return jax.lax.scan(step, states, actions)[1]

    run = jax.jit(run)
    a, obs_a, reward_a = run(states, actions)
    _, obs_b, reward_b = run(swap(states), actions[..., ::-1])
    ahead = a.position + game.offsets(a.direction)
    apart = jnp.any(ahead[:, :, 0] != ahead[:, :, 1], axis=-1)
    apart = np.asarray(jnp.cumprod(apart, axis=0), bool)
    self.assertGreater(apart[-1].sum(), 10)
    np.testing.assert_array_equal(
      np.asarray(obs_a)[apart], np.asarray(obs_b)[:, :, ::-1][apart]
    )
    np.testing.assert_array_equal(
      np.asarray(reward_a)[apart], np.asarray(reward_b)[apart]
    )

  @pytest.mark.slow
  def test_a_kitchen_can_be_mirrored(self):
    rows = layouts.LAYOUTS['cramped_room'].strip('\n').split('\n')
    mirrored = '\n'.join(row[::-1] for row in rows)
    env, params, states, actions = self.random_play('cramped_room')
    other = envs.overcooked(mirrored).default_params._replace(random_reset=True)
    flip = jnp.array([U, D, L, R, S, I])
    mirror = lambda s: s._replace(
      position=s.position * jnp.array([1, -1]) + jnp.array([0, 4]),
      direction=flip[s.direction],
      items=s.items[..., ::-1],
      onions=s.onions[..., ::-1],
      timer=s.timer[..., ::-1],
    )
    step = jax.jit(jax.vmap(env.step, (None, 0, 0, None)))
    here, there = states, mirror(states)
    for action in actions[:20]:
      here = step(jax.random.key(0), here, action, params).state
      there = step(jax.random.key(0), there, flip[action], other).state
    jax.tree.map(np.testing.assert_array_equal, mirror(here), there)

  def test_kitchens_of_one_size_are_one_vmap(self):
    names = ('coord_ring', 'forced_coord')
    tasks = [envs.overcooked(name).default_params for name in names]
    stacked = jax.tree.map(
      lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *tasks
    )
    env = envs.overcooked('coord_ring')
    obs, _ = jax.jit(jax.vmap(env.reset, (None, 0)))(jax.random.key(0), stacked)
    for i, name in enumerate(names):
      alone = envs.overcooked(name).reset(jax.random.key(0), tasks[i])[0]
      np.testing.assert_array_equal(obs[i], alone)

  def test_random_starts(self):
    env, *_ = compiled()
    params = env.default_params._replace(random_reset=True)
    keys = jax.random.split(jax.random.key(1), 3000)
    states = jax.jit(jax.vmap(env.reset, (0, None)))(keys, params)[1]
    cells = states.position[..., 0] * 5 + states.position[..., 1]
    self.assertFalse(bool(jnp.any(cells[:, 0] == cells[:, 1])))
    counts = np.bincount(np.asarray(cells).reshape(-1), minlength=20)
    free = np.flatnonzero(np.asarray(params.tiles).reshape(-1) == 0)
    self.assertEqual(set(np.flatnonzero(counts)), set(free))
    np.testing.assert_allclose(counts[free] / 6000, 1 / 6, atol=0.02)
    for values in (states.direction, states.held):
      share = np.bincount(np.asarray(values).reshape(-1), minlength=4) / 6000
      np.testing.assert_allclose(share, 0.25, atol=0.03)
    onions, timer = states.onions[:, 0, 2], states.timer[:, 0, 2]
    share = np.bincount(np.asarray(onions), minlength=4) / 3000
    np.testing.assert_allclose(
      share, [1 / 24, 1 / 24, 1 / 24, 21 / 24], atol=0.02
    )
    cooking = np.bincount(
      np.asarray(timer)[np.asarray(onions) == 3], minlength=21
    )
    np.testing.assert_allclose(cooking / 3000, 1 / 24, atol=0.02)
    np.testing.assert_array_equal(np.asarray(timer)[np.asarray(onions) < 3], 20)

  def test_observation_by_hand(self):
    state, params = start()
    state = state._replace(
      direction=jnp.array([R, D], jnp.int32),
      held=jnp.array([game.ONION, game.SOUP], jnp.int32),
      items=state.items.at[0, 0].set(game.PLATE).at[3, 0].set(game.SOUP),
      onions=state.onions.at[0, 2].set(3),
      timer=state.timer.at[0, 2].set(7),
      time=jnp.int32(361),
    )
    obs = compiled()[3](state, params)
    expected = np.zeros((2, 4, 5, 26), np.float32)
    for me, (own, other) in enumerate([((1, 1), (1, 3)), ((1, 3), (1, 1))]):
      image = expected[me]
      image[(*own, 0)] = image[(*other, 1)] = 1
      image[(*own, 2 + (R, D)[me])] = image[(*other, 6 + (D, R)[me])] = 1
      image[0, 2, 10] = 1
      for cell in ((0, 1), (0, 3), (0, 4), (2, 0), (2, 4), (3, 2), (3, 4)):
        image[(*cell, 11)] = 1
      image[1, [0, 4], 12] = image[3, 1, 14] = image[3, 3, 15] = 1
      image[0, 2, 18], image[0, 2, 20] = 3, 7
      for cell in ((3, 0), (1, 3)):
        image[(*cell, 18)], image[(*cell, 21)] = 3, 1
      image[0, 0, 22] = image[1, 1, 23] = 1
      image[..., 25] = 1
    np.testing.assert_array_equal(obs, expected)
    earlier = compiled()[3](state._replace(time=jnp.int32(360)), params)
    self.assertEqual(float(jnp.max(earlier[..., 25])), 0)
    done = state._replace(timer=state.timer.at[0, 2].set(0))
    obs = compiled()[3](done, params)
    np.testing.assert_array_equal(obs[0, 0, 2, 16:22], [0, 0, 3, 0, 0, 1])
    idle = state._replace(
      onions=state.onions.at[0, 2].set(2), timer=state.timer.at[0, 2].set(20)
    )
    obs = compiled()[3](idle, params)
    np.testing.assert_array_equal(obs[0, 0, 2, 16:22], [2, 0, 0, 0, 0, 0])


if __name__ == '__main__':
  absltest.main()
