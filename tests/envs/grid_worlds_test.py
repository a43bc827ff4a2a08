"""Rules of the grid worlds."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.grid_worlds import game
from ttc.envs.grid_worlds.levels import (
  Level,
  level_params,
  number_free_cells,
)
from ttc.envs.grid_worlds.world import GridWorldState

UP, DOWN, LEFT, RIGHT, STAY = range(5)
# Three by three, a wall in the middle, three objects of two types.
SMALL = Level(
  """
@01
.#.
..0
""",
  reward=(1.0, -2.0),
  p_terminate=(0.0, 1.0),
  p_respawn=(1.0, 0.0),
  max_steps=9,
)
KEY = jax.random.key(0)


def play(params, actions, observations='index'):
  """The steps of an episode, one after another."""
  env = envs.grid_world('dense', observations)
  step = jax.jit(env.step)
  _, state = jax.jit(env.reset)(KEY, params)
  steps = []
  for action in actions:
    steps.append(step(KEY, state, jnp.array([action]), params))
    state = steps[-1].state
  return steps


class RulesTest(parameterized.TestCase):
  def test_a_hand_checked_episode(self):
    """Objects by type: 0 in cell 1, 0 in cell 8, 1 in cell 2."""
    params = level_params(SMALL)
    self.assertEqual(params.object_cell.tolist(), [1, 8, 2])
    actions = [UP, RIGHT, STAY, STAY, LEFT, DOWN, DOWN, RIGHT]
    cells = [0, 1, 1, 1, 0, 3, 6, 7]  # an edge stops the first
    rewards = [0, 1, 0, 1, 0, 0, 0, 0]
    # Taken at 1 it is back at 2, and is taken again at 3, under the agent.
    present = [1, 0, 1, 0, 1, 1, 1, 1]
    steps = play(params, actions)
    self.assertEqual([int(s.state.cell) for s in steps], cells)
    self.assertEqual([float(s.reward[0]) for s in steps], rewards)
    self.assertEqual([int(s.state.present[0]) for s in steps], present)
    self.assertFalse(any(s.terminated | s.truncated for s in steps))
    last = play(params, [*actions, RIGHT])[-1]
    self.assertEqual(float(last.reward[0]), 1.0)
    self.assertTrue(last.truncated)
    self.assertFalse(last.terminated)

  def test_an_object_that_ends_the_episode(self):
    last = play(level_params(SMALL), [RIGHT, RIGHT])[-1]
    self.assertEqual(float(last.reward[0]), -2.0)
    self.assertTrue(last.terminated)
    self.assertFalse(last.truncated)

  def test_the_end_by_the_rules_goes_before_the_limit(self):
    params = level_params(SMALL)._replace(max_steps=np.int32(2))
    last = play(params, [RIGHT, RIGHT])[-1]
    self.assertTrue(last.terminated)
    self.assertFalse(last.truncated)

  def test_what_never_comes_back(self):
    never = np.zeros(3, np.float32)
    params = level_params(SMALL)._replace(p_respawn=never, p_terminate=never)
    steps = play(params, [RIGHT, RIGHT, STAY, STAY, LEFT])
    self.assertEqual([float(s.reward[0]) for s in steps], [1, -2, 0, 0, 0])
    self.assertFalse(any(s.terminated for s in steps))

  def test_what_is_not_used_is_not_there(self):
    params = level_params(SMALL, slots=5)
    self.assertEqual(params.used.tolist(), [True] * 3 + [False] * 2)
    always = np.ones(5, np.float32)
    steps = play(params._replace(p_respawn=always, reward=always), [STAY] * 3)
    self.assertFalse(any(s.state.present[3:].any() for s in steps))
    self.assertEqual(sum(float(s.reward[0]) for s in steps), 0.0)

  def test_walls_and_edges_stop(self):
    """Each move from each cell, against the map as text."""
    text = """
.#..
..#.
#...
....
"""
    rows = text.split()
    params = level_params(SMALL)._replace(
      walls=np.array([list(row) for row in rows]) == '#'
    )
    moves = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
    move = jax.jit(game.move)
    for cell in range(16):
      for action in range(5):
        row, column = divmod(cell, 4)
        down, right = moves.get(action, (0, 0))
        to = (row + down, column + right)
        free = min(to) >= 0 and max(to) < 4 and rows[to[0]][to[1]] == '.'
        expected = 4 * to[0] + to[1] if free else cell
        got = move(jnp.int32(cell), jnp.int32(action), params)
        self.assertEqual(int(got), expected, (cell, action))


class ObservationsTest(parameterized.TestCase):
  def test_each_state_has_its_own_number(self):
    cell, mask = np.divmod(np.arange(9 * 8), 8)
    present = (mask[:, None] >> np.arange(3)) & 1 == 1
    index = jax.vmap(game.tabular_index, in_axes=(0, 0, None))(
      jnp.array(cell), jnp.array(present), 9
    )
    self.assertCountEqual(index.tolist(), range(72))
    self.assertEqual(index[3 * 8 + 5], 3 + 9 * 5)

  def test_tabular(self):
    params = level_params(SMALL)
    obs = play(params, [RIGHT, LEFT, DOWN], 'tabular')[-1].obs
    index = play(params, [RIGHT, LEFT, DOWN], 'index')[-1].obs
    self.assertEqual(obs.shape, (1, 9 * 8 + 1))
    hot = np.flatnonzero(obs[0, :-1])
    np.testing.assert_array_equal(hot, [3 + 9 * 7])
    np.testing.assert_allclose(index, [[hot[0], 0.003]], rtol=1e-6)
    self.assertEqual(obs[0, hot[0]], 1.0)
    self.assertAlmostEqual(float(obs[0, -1]), 0.003)

  def test_image(self):
    """Planes of the agent, of type 0 and of type 1."""
    never = np.zeros(3, np.float32)
    params = level_params(SMALL)._replace(p_respawn=never)
    env = envs.grid_world('long', 'image')
    _, state = jax.jit(env.reset)(KEY, params)
    step = jax.jit(env.step)
    state = step(KEY, state, jnp.array([RIGHT]), params).state
    image = env.observe(state, params)[0]
    np.testing.assert_array_equal(
      jnp.moveaxis(image, -1, 0),
      [
        [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 1]],
        [[0, 0, 1], [0, 0, 0], [0, 0, 0]],
      ],
    )
    flat = envs.grid_world('long', 'planes').observe(state, params)[0]
    np.testing.assert_array_equal(flat[:-1], image.reshape(-1))
    self.assertAlmostEqual(float(flat[-1]), 0.001)

  def test_shapes(self):
    shape = lambda *args: envs.grid_world(*args).observation_shape
    self.assertEqual(shape('dense'), (11 * 11 * 16 + 1,))
    self.assertEqual(shape('long', 'index'), (2,))
    self.assertEqual(shape('debug', 'tabular'), (16 * 4 + 1,))
    self.assertEqual(shape('rand_sparse', 'image'), (7, 7, 3))
    self.assertEqual(shape('rand_tiny', 'planes'), (9 * 2 + 1,))

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'dens.*expected.*dense.*rand_all'):
      envs.grid_world('dens')
    with self.assertRaisesRegex(ValueError, "'text'.*tabular.*image"):
      envs.grid_world('dense', 'text')
    with self.assertRaisesRegex(ValueError, "'index'.*image, planes.*rand_all"):
      envs.grid_world('rand_all', 'index')


def plain_step(state, action, params, chance, digits):
  """The rules once more: sets and lists, one object after another."""
  (row, column), places, present, time = state
  walls = params.walls
  to = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
  there = np.add((row, column), to.get(action, (0, 0)))
  side = len(walls)
  if 0 <= min(there) and max(there) < side and not walls[tuple(there)]:
    row, column = there
  here = row * side + column
  reward, over, left, back = 0.0, False, set(present), []
  for k in range(len(params.used)):
    if k in present and places[k] == here:
      reward += params.reward[k]
      left.remove(k)
      over |= bool(chance[k] < params.p_terminate[k])
    elif k not in present and params.used[k]:
      back += [k] if chance[k] < params.p_respawn[k] else []
  places = dict(places)
  if params.free is not None:
    taken = {here, *(places[k] for k in left)}
    free = [c for c in np.flatnonzero(~walls.reshape(-1)) if c not in taken]
    picked = [free.pop(digit % len(free)) for digit in digits]
    places.update({k: picked[k] for k in back})
  state = (row, column), places, left | set(back), time + 1
  return state, reward, over, not over and time + 1 >= params.max_steps


# As `SMALL`, with more going on, in the corner of a larger grid.
BUSY = Level(
  """
@012
.#..
..0.
...3
""",
  reward=(0.5, -2.0, 1.0, -0.3),
  p_terminate=(0.02, 0.1, 0.0, 0.2),
  p_respawn=(0.1, 0.3, 1.0, 0.5),
  max_steps=60,
)


class PlainNumpyTest(parameterized.TestCase):
  @parameterized.parameters(False, True)
  def test_a_thousand_steps(self, random_objects):
    """Chance is injected: the bits that the step draws from its key."""
    level = BUSY._replace(random_objects=random_objects)
    params = level_params(level, side=5, slots=6)
    env = envs.grid_world('long', 'image')
    resets = envs.auto_reset(env)

    def body(state, key):
      act_key, key = jax.random.split(key)
      action = jax.random.randint(act_key, (1,), 0, 5, jnp.int32)
      step_key = jax.random.wrap_key_data(
        jax.random.key_data(key) + jnp.uint32(0x9E3779B9)
      )
      draws = 1 if params.free is None else 2
      bits = jax.random.bits(step_key, (draws, 6), jnp.uint32)
      out = resets.step(key, state, action, params)
      return out.state, (state, action[0], bits, out._replace(obs=0))

    keys = jax.random.split(jax.random.key(3), 1000)
    start = jax.jit(env.reset)(KEY, params)[1]
    record = jax.jit(lambda s: jax.lax.scan(body, s, keys)[1])(start)
    record = jax.device_get(record)
    side, ended, collected = len(params.walls), 0, 0
    for t in range(1000):
      before, action, bits, out = jax.tree.map(lambda x: x[t], record)  # noqa: B023
      after = out.info['final_state']
      state, reward, over, late = plain_step(
        (
          divmod(int(before.cell), side),
          dict(enumerate(before.object_cell.tolist())),
          set(np.flatnonzero(before.present).tolist()),
          int(before.time),
        ),
        int(action),
        params,
        (bits[0] >> 8) / 2**24,
        bits[-1].tolist(),
      )
      (row, column), places, present, time = state
      self.assertEqual(int(after.cell), row * side + column)
      self.assertEqual(
        after.object_cell.tolist(), [places[k] for k in range(6)]
      )
      self.assertEqual(set(np.flatnonzero(after.present).tolist()), present)
      self.assertEqual(int(after.time), time)
      self.assertAlmostEqual(float(out.reward[0]), reward, places=5)
      self.assertEqual(bool(out.terminated), over)
      self.assertEqual(bool(out.truncated), late)
      ended, collected = ended + over + late, collected + (reward != 0)
    self.assertGreater(ended, 10)
    self.assertGreater(collected, 50)


class RandomPlacesTest(parameterized.TestCase):
  def test_every_choice_of_vacant_cells_once(self):
    """All digits give all ordered pairs of distinct vacant cells."""
    walls = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    free = number_free_cells(walls)
    self.assertEqual(free.cells[: free.size].tolist(), [0, 2, 3, 4, 5, 6, 8])
    # The agent is in cell 3, object 1 in cell 8; object 0 is absent.
    state = GridWorldState(
      cell=jnp.int32(3),
      object_cell=jnp.array([0, 8], jnp.int32),
      present=jnp.array([False, True]),
      time=jnp.int32(0),
    )
    digits = jnp.stack(jnp.divmod(jnp.arange(20), 4), -1).astype(jnp.uint32)
    place = jax.vmap(game._vacant_cells, in_axes=(0, None, None))
    pairs = {tuple(pair) for pair in place(digits, state, free).tolist()}
    vacant = [0, 2, 4, 5, 6]
    self.assertEqual(pairs, {(a, b) for a in vacant for b in vacant if a != b})

  def test_episodes_start_with_distinct_cells(self):
    env = envs.grid_world('rand_tiny', 'image')
    keys = jax.random.split(KEY, 4000)
    reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
    _, state = reset(keys, env.default_params)
    cells = np.asarray(state.object_cell)
    self.assertTrue(np.all(state.present))
    self.assertTrue(np.all(cells[:, 0] != cells[:, 1]))
    # Uniform over the eight cells around the start: three standard errors
    # and a bit, for there are sixteen of them.
    for k in range(2):
      count = np.bincount(cells[:, k], minlength=9)
      self.assertEqual(count[4], 0)
      error = np.abs(np.delete(count, 4) / 4000 - 1 / 8)
      self.assertLess(error.max(), 3.5 * np.sqrt(7 / 64 / 4000))


if __name__ == '__main__':
  absltest.main()
