"""Families are solvable but not by chance; benchmarks are scored as told."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from minimanip_world import NAMES, all_tasks, episodes

from ttc import envs
from ttc.envs.minimanip.benchmarks import task_set
from ttc.envs.minimanip.families import TEST_FAMILIES, TRAIN_FAMILIES
from ttc.envs.minimanip.protocol import score

KEY = jax.random.key(0)


class FamiliesTest(absltest.TestCase):
  def test_the_script_solves_every_family(self):
    *_, success, _ = episodes(1.0, 0.0)
    rates = np.mean(np.max(success, axis=-1), axis=-1)
    for name, rate in zip(NAMES, rates, strict=True):
      self.assertGreaterEqual(rate, 0.95, name)
    # It stays where it succeeded.
    self.assertGreater(np.mean(success[:, :, -1]), 0.95)

  def test_chance_solves_none(self):
    *_, success, _ = episodes(0.0, 1.0)
    rates = np.mean(np.max(success, axis=-1), axis=-1)
    for name, rate in zip(NAMES, rates, strict=True):
      self.assertLessEqual(rate, 0.05, name)

  def test_rewards_are_at_most_ten_and_that_in_success(self):
    for script, noise in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.7)):
      *_, rewards, success, truncated = episodes(script, noise)
      self.assertGreaterEqual(rewards.min(), 0.0)
      np.testing.assert_array_equal(rewards[success > 0], 10.0)
      self.assertLessEqual(rewards[success == 0].max(), 9.0 + 1e-5)
      np.testing.assert_array_equal(truncated[..., :-1], False)
      np.testing.assert_array_equal(truncated[..., -1], True)
    by_script = episodes(1.0, 0.0)[3].sum(axis=-1).mean(axis=-1)
    by_chance = episodes(0.0, 1.0)[3].sum(axis=-1).mean(axis=-1)
    self.assertGreater((by_script / by_chance).min(), 3.0)

  def test_one_program_for_all_families(self):
    env = envs.minimanip()
    step = jax.jit(chex.assert_max_traces(n=1)(env.step))
    _, state = jax.jit(env.reset)(KEY, env.default_params)
    for family in range(len(NAMES)):
      params = jax.tree.map(lambda x, f=family: x[f, 0], all_tasks())
      _, state = jax.jit(env.reset)(KEY, params)
      out = step(KEY, state, jnp.ones((1, 4), jnp.float32), params)
      self.assertTrue(np.all(np.isfinite(out.obs)))

  def test_64_bits_change_nothing(self):
    env = envs.minimanip()
    pick = lambda x: x[NAMES.index('door_open'), 3, 40]
    scene = jax.tree.map(pick, episodes(1.0, 0.7)[0])

    def run(scene):
      params = task_set(('door_open',), 0).task(jnp.int32(0), jnp.int32(3))
      _, state = env.reset(KEY, params)
      state = state._replace(scene=scene)
      action = jnp.full((1, 4), 0.5, jnp.float32)
      out = env.step(KEY, state, action, params)
      return params, out, envs.minimanip_script(out.state, params)

    small = jax.jit(run)(scene)
    with jax.enable_x64(True):
      large = jax.jit(run)(scene)
    chex.assert_trees_all_equal_shapes_and_dtypes(small, large)
    chex.assert_trees_all_close(small, large, atol=0)

  def test_unknown_families_are_refused(self):
    for make in (envs.minimanip, envs.minimanip_tasks, envs.ml1):
      with self.assertRaisesRegex(ValueError, "'fly', expected one of reach,"):
        make('fly')


class BenchmarksTest(parameterized.TestCase):
  def goals(self, tasks):
    """Every goal and place of a set, `[families, variations, 12]`."""
    counts = len(tasks.families), tasks.num_variations
    grid = jnp.meshgrid(*map(jnp.arange, counts), indexing='ij')
    params = jax.jit(jax.vmap(jax.vmap(tasks.task)))(*grid)
    parts = params.aim.goal, params.object_start, params.joint.base
    return np.concatenate([*parts, params.button.front], axis=-1), params

  def test_variations_of_ml1_are_apart(self):
    benchmark = envs.ml1('push', seed=3)
    train, params = self.goals(benchmark.train)
    test, _ = self.goals(benchmark.test)
    self.assertFalse(np.any(params.aim.visible))
    both = np.concatenate([train, test], axis=1)[0]
    self.assertLen(np.unique(both, axis=0), 100)
    # The test is what training is with the next seed.
    np.testing.assert_array_equal(
      test, self.goals(envs.ml1('push', seed=4).train)[0]
    )

  def test_families_of_ml10_are_apart(self):
    benchmark = envs.ml10()
    self.assertEqual(benchmark.train.families, TRAIN_FAMILIES)
    self.assertEqual(benchmark.test.families, TEST_FAMILIES)
    self.assertEqual(benchmark.train.distribution.num_tasks, 500)
    self.assertEqual(benchmark.test.distribution.num_tasks, 250)
    self.assertLen({*TRAIN_FAMILIES, *TEST_FAMILIES}, 15)
    wide = envs.ml15()
    self.assertEqual(wide.test.families, TEST_FAMILIES)
    self.assertCountEqual((*wide.train.families, *wide.test.families), NAMES)

  def test_distributions_draw_tasks_of_the_set(self):
    benchmark = envs.mt10(seed=2)
    known, params = self.goals(benchmark.train)
    self.assertTrue(np.all(params.aim.visible))
    drawn = jax.jit(jax.vmap(benchmark.train.distribution.sample))(
      jax.random.split(KEY, 200)
    )
    self.assertSetEqual(set(np.asarray(drawn.family)), set(range(10)))
    rows = {row.tobytes() for row in known[..., :3].reshape(-1, 3)}
    for goal in np.asarray(drawn.aim.goal):
      self.assertIn(goal.tobytes(), rows)

  def test_too_many_variations_are_refused(self):
    with self.assertRaisesRegex(ValueError, 'num_test=51, expected 1 to 50'):
      envs.ml1(num_test=51)
    with self.assertRaisesRegex(ValueError, 'num_train=0'):
      envs.ml1(num_train=0)
    with self.assertRaisesRegex(ValueError, '0 families'):
      task_set((), 0)


def pupil():
  """Goes to the goal once it has adapted; remembers how often it saw what."""

  def act(memory, key, obs):
    del key
    adapted = memory[0] > 0
    way = jnp.clip((obs[0, 36:] - obs[0, :3]) / 0.01, -1.0, 1.0)
    return jnp.append(jnp.where(adapted, way, 0.0), 0.0)[None], memory

  def observe(memory, reward, done):
    del reward
    return memory.at[1].add(1).at[2].add(done.astype(jnp.int32))

  def adapt(memory, episodes):
    chex.assert_shape(episodes.obs, (2, 40, 1, 39))
    chex.assert_shape(episodes.reward, (2, 40, 1))
    # It adapts only if it has seen what it should have.
    seen = jnp.array([80, 2], jnp.int32)
    as_told = jnp.all(memory[1:] == seen) & jnp.all(episodes.valid)
    return memory.at[0].set(as_told.astype(jnp.int32))

  return envs.MetaAgent(
    lambda key: jnp.zeros((3,), jnp.int32), act, observe, adapt
  )


class ProtocolTest(absltest.TestCase):
  def test_a_score_by_hand(self):
    success = np.zeros((2, 2, 4), np.float32)
    success[0, 0, 1] = success[0, 0, 3] = success[1, 1, 0] = 1
    success[0, 1, 3] = 1
    result = score(jnp.array(success), jnp.ones((2, 2, 4), jnp.float32))
    np.testing.assert_allclose(result.family_success_rates, [1.0, 0.5])
    np.testing.assert_allclose(result.success_rate, 0.75)
    np.testing.assert_allclose(result.family_returns, [3.0, 2.5])

  def test_what_adapts_succeeds_after_it_only(self):
    env = envs.minimanip()
    solvable = task_set(('reach', 'push'), 0, num_variations=4, visible=True)

    def task(family, variation):
      """One variation of four can be solved."""
      params = solvable.task(family, variation)
      threshold = jnp.where(variation == 2, 0.05, -1.0)
      return params._replace(aim=params.aim._replace(threshold=threshold))

    tasks = solvable._replace(task=task)
    adapted = jax.jit(
      lambda key: envs.meta_score(
        env,
        pupil(),
        tasks,
        key,
        num_evals=4,
        adaptation_episodes=2,
        evaluation_episodes=2,
        num_steps=40,
      )
    )(KEY)
    # Every variation once; and only the hand goes to the goal.
    np.testing.assert_allclose(adapted.family_success_rates, [0.25, 0.0])
    unadapted = jax.jit(
      lambda key, memory: envs.multitask_score(
        env,
        pupil()._replace(init=lambda _: memory),
        tasks,
        key,
        num_episodes=4,
        num_steps=40,
      )
    )
    before, after = (
      unadapted(KEY, jnp.full((3,), start, jnp.int32)) for start in (0, 1)
    )
    np.testing.assert_allclose(before.family_success_rates, [0.0, 0.0])
    np.testing.assert_allclose(after.family_success_rates, [0.25, 0.0])

  def test_bad_numbers_are_refused(self):
    env, tasks = envs.minimanip(), envs.ml10().test
    with self.assertRaisesRegex(ValueError, 'num_evals=51, expected 1 to 50'):
      envs.meta_score(env, pupil(), tasks, KEY, num_evals=51)
    with self.assertRaisesRegex(ValueError, '0 evaluation episodes'):
      envs.meta_score(env, pupil(), tasks, KEY, evaluation_episodes=0)
    with self.assertRaisesRegex(ValueError, 'num_episodes=0'):
      envs.multitask_score(env, pupil(), tasks, KEY, num_episodes=0)


if __name__ == '__main__':
  absltest.main()
