"""Levels of the grid worlds, the named and the random ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.grid_worlds import families
from ttc.envs.grid_worlds.levels import LEVELS, level_params

# Side, objects by type, walls, limit; of random objects, the same.
PUBLIC = {
  'dense': (11, [0, 0, 1, 2], 0, 500),
  'sparse': (13, [0, 1], 0, 50),
  'long': (11, [0, 0, 1, 1], 0, 1000),
  'longer': (9, [0, 0, 1, 1, 1], 7, 2000),
  'long_dense': (11, [0, 0, 0, 0], 17, 2000),
  'rand_dense': (11, [0, 0, 1, 2], 0, 500),
  'rand_long': (11, [0, 0, 1, 1], 0, 1000),
  'rand_small': (7, [0, 0, 1, 1], 2, 500),
  'rand_sparse': (7, [0, 1, 1], 0, 50),
  'rand_very_dense': (11, [0], 0, 2000),
  'rand_tiny': (3, [0, 0], 0, 50),
}


@functools.cache
def draws(kind, num_levels):
  """Levels of a distribution, once for all tests."""
  sample = jax.jit(jax.vmap(envs.grid_world_levels(kind).sample))
  keys = jax.random.split(jax.random.key(0), num_levels)
  return jax.device_get(sample(keys))


def reachable(walls, start):
  """Cells that a walk leads to."""
  seen, border = {start}, [start]
  side = len(walls)
  while border:
    row, column = divmod(border.pop(), side)
    for r, c in ((1, 0), (-1, 0), (0, 1), (0, -1)):
      to = (row + r, column + c)
      if min(to) >= 0 and max(to) < side and not walls[to]:
        cell = to[0] * side + to[1]
        if cell not in seen:
          seen.add(cell)
          border.append(cell)
  return seen


class NamedLevelsTest(parameterized.TestCase):
  @parameterized.parameters(*PUBLIC)
  def test_as_published(self, name):
    side, types, num_walls, max_steps = PUBLIC[name]
    level = level_params(LEVELS[name])
    self.assertEqual(level.walls.shape, (side, side))
    self.assertEqual(level.object_type.tolist(), types)
    self.assertEqual(level.walls.sum(), num_walls)
    self.assertEqual(level.max_steps, max_steps)
    self.assertEqual(level.free is not None, name.startswith('rand'))
    places = [int(level.start), *level.object_cell.tolist()]
    self.assertLen(set(places), len(types) + 1)
    self.assertContainsSubset(places, reachable(level.walls, int(level.start)))

  def test_all_are_here(self):
    self.assertCountEqual(LEVELS, PUBLIC)

  def test_walls_with_gaps(self):
    walls = level_params(LEVELS['longer']).walls
    self.assertEqual(walls[:, 4].tolist(), [r not in (1, 7) for r in range(9)])
    walls = level_params(LEVELS['long_dense']).walls
    self.assertEqual(walls[:, 5].tolist(), [r not in (0, 7) for r in range(11)])
    self.assertEqual(walls[4].tolist(), [c not in (2, 8) for c in range(11)])

  def test_chances_belong_to_objects(self):
    dense = level_params(LEVELS['dense'])
    np.testing.assert_allclose(dense.reward, [1, 1, -1, -1])
    np.testing.assert_allclose(dense.p_terminate, [0, 0, 0.5, 0])
    np.testing.assert_allclose(dense.p_respawn, [0.05, 0.05, 0.1, 0.5])
    self.assertEqual(dense.object_cell.tolist(), [14, 40, 95, 101])

  def test_padding_changes_no_play(self):
    """A level in a larger grid with more objects: the same rewards."""
    small = level_params(LEVELS['longer'])
    large = level_params(LEVELS['longer'], side=13, slots=5)
    env = envs.auto_reset(envs.grid_world('longer', 'index'))

    def rewards(params):
      def body(state, key):
        action = jax.random.randint(key, (1,), 0, 5, jnp.int32)
        out = env.step(key, state, action, params)
        return out.state, (out.reward, out.terminated)

      keys = jax.random.split(jax.random.key(1), 2000)
      _, state = env.reset(keys[0], params)
      return jax.jit(lambda s: jax.lax.scan(body, s, keys))(state)[1]

    small, large = rewards(small), rewards(large)
    self.assertGreater(np.sum(small[0] != 0), 3)
    jax.tree.map(np.testing.assert_array_equal, small, large)


class RandomLevelsTest(parameterized.TestCase):
  def assert_open_and_distinct(self, levels):
    """Start and objects are in cells without walls, each in its own."""
    walls = levels.walls.reshape(len(levels.walls), -1)
    places = np.concatenate([levels.start[:, None], levels.object_cell], axis=1)
    self.assertFalse(np.any(np.take_along_axis(walls, places, axis=1)))
    in_order = np.sort(places, axis=1)
    self.assertTrue(np.all(in_order[:, 1:] > in_order[:, :-1]))

  @parameterized.parameters(
    ('all', 15, (4, 10), (1, 5), (20, 750)),
    ('rand_all', 15, (4, 10), (1, 5), (20, 750)),
    ('small', 7, (4, 6), (1, 3), (20, 100)),
    ('debug', 4, (3, 4), (1, 2), (5, 10)),
  )
  def test_ranges(self, kind, num_walls, side, objects, max_steps):
    levels = draws(kind, 2000)
    largest = side[1]
    is_open = lambda axis: np.any(~levels.walls, axis=axis)[:, ::-1]
    last = lambda axis: largest - np.argmax(is_open(axis), axis=1)
    sides = np.maximum(last(1), last(2))
    self.assertEqual((sides.min(), sides.max()), side)
    count = levels.used.sum(axis=1)
    self.assertEqual((count.min(), count.max()), objects)
    self.assertEqual(levels.used.shape[1], objects[1])
    walls = levels.walls.reshape(2000, -1)
    self.assertTrue(np.all(walls.sum(axis=1) >= num_walls))
    self.assertEqual(walls.sum(axis=1).min(), num_walls)
    limit = levels.max_steps
    self.assertTrue(np.all((limit >= max_steps[0]) & (limit <= max_steps[1])))
    self.assertLess(np.median(limit), np.mean(max_steps))
    self.assertTrue(np.all(np.abs(levels.reward) <= 1))
    self.assertTrue(np.all(levels.reward[:, 0] >= 0))
    self.assertLess(levels.reward[:, 1:].min(), -0.9)
    # The median of a log-uniform law is the geometric mean of its ends.
    for x, low, high in (
      (levels.p_terminate, 1e-2, 1.0),
      (levels.p_respawn, 1e-3, 1e-1),
    ):
      self.assertTrue(np.all((x >= low * 0.999) & (x <= high * 1.001)))
      middle = np.log(np.median(x) / np.sqrt(low * high))
      self.assertLess(abs(middle), 0.5)
    self.assert_open_and_distinct(levels)
    if kind == 'rand_all':
      for i in range(20):
        free = jax.tree.map(lambda x: x[i], levels.free)  # noqa: B023
        np.testing.assert_array_equal(
          free.cells[: free.size], np.flatnonzero(~walls[i])
        )
        np.testing.assert_array_equal(free.cells[free.rank], range(100))

  def test_walls_have_one_density(self):
    """15 in 100 cells, also of small levels; the largest have exactly 15."""
    corner = draws('all', 2000).walls[:, :4, :4]  # in every level
    # Three standard errors.
    error = 3 * np.sqrt(0.15 * 0.85 / corner.size)
    self.assertLess(abs(corner.mean() - 0.15), error)

  def test_full_levels_can_be_played(self):
    """Where there are more walls than room, places make room."""
    family = families.Family((3, 3), (4, 4), 9, (5, 10))
    draw = jax.jit(jax.vmap(lambda key: families._draw_level(key, family)))
    levels = draw(jax.random.split(jax.random.key(2), 50))
    free = (~levels.walls).sum(axis=(1, 2))
    np.testing.assert_array_equal(free, 5)

  def test_mazes(self):
    one = jax.tree.map(lambda x: x[0], draws('labyrinth', 2))
    self.assertEqual(one.walls.shape, (13, 13))
    self.assertTrue(np.all(one.reward >= 0))
    self.assertTrue(np.all(one.used))
    levels = draws('mazes', 200)
    self.assertLen({walls.tobytes() for walls in levels.walls}, 9)
    self.assertIn(one.walls.tobytes(), {w.tobytes() for w in levels.walls})
    self.assert_open_and_distinct(levels)

  def test_tabular_is_the_five_levels(self):
    levels = draws('tabular', 100)
    self.assertEqual(set(levels.max_steps.tolist()), {50, 500, 1000, 2000})
    self.assertEqual(set(levels.used.sum(axis=1).tolist()), {2, 4, 5})
    self.assertGreater(len(set(levels.start.tolist())), 30)
    self.assert_open_and_distinct(levels)

  def test_shapes_are_those_of_the_environment(self):
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    for name in ('dense', 'rand_small', 'tabular', 'debug'):
      kind = 'image' if name.startswith('rand') else 'index'
      params = envs.grid_world(name, kind).default_params
      drawn = jax.eval_shape(
        envs.grid_world_levels(name).sample, jax.random.key(0)
      )
      self.assertEqual(shapes(params), shapes(drawn), name)

  def test_levels_side_by_side_are_levels_one_by_one(self):
    env = envs.grid_world('rand_all', 'planes')
    keys = jax.random.split(jax.random.key(4), 3)
    levels = jax.tree.map(lambda x: x[:3], draws('rand_all', 2000))
    resets = envs.auto_reset(env)

    def episode(key, params):
      def body(state, key):
        action = jax.random.randint(key, (1,), 0, 5, jnp.int32)
        out = resets.step(key, state, action, params)
        return out.state, out

      keys = jax.random.split(key, 100)
      return jax.lax.scan(body, env.reset(key, params)[1], keys)

    together = jax.jit(jax.vmap(episode))(keys, levels)
    alone = jax.jit(episode)
    for i in range(3):
      one = alone(keys[i], jax.tree.map(lambda x: x[i], levels))  # noqa: B023
      for a, b in zip(
        jax.tree.leaves(one), jax.tree.leaves(together), strict=True
      ):
        np.testing.assert_allclose(a, b[i], atol=1e-6)

  def test_64_bits_change_no_type(self):
    with jax.enable_x64(True):
      key = jax.random.key(0)
      for kind, observations in (
        ('tabular', 'tabular'),
        ('mazes', 'index'),
        ('rand_all', 'image'),
      ):
        env = envs.grid_world(kind, observations)
        params = jax.eval_shape(envs.grid_world_levels(kind).sample, key)
        _, state = jax.eval_shape(env.reset, key, params)
        action = jnp.zeros((1,), jnp.int32)
        out = jax.eval_shape(env.step, key, state, action, params)
        for leaf in jax.tree.leaves((params, state, out)):
          self.assertNotIn(str(leaf.dtype), ('float64', 'int64'), kind)

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, "'al'.*expected.*all, rand_all"):
      envs.grid_world_levels('al')


if __name__ == '__main__':
  absltest.main()
