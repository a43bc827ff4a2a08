"""Exact values of grid worlds against play, by hand and by enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.grid_worlds import dynamic_programming as dp
from ttc.envs.grid_worlds import game
from ttc.envs.grid_worlds.levels import LEVELS, Level, level_params

CORRIDOR = Level(
  """
@..0
####
####
####
""",
  reward=(2.0,),
  p_terminate=(0.0,),
  p_respawn=(0.25,),
  max_steps=20,
)
SMALL = Level(
  """
@.01
.#..
.0.#
...2
""",
  reward=(0.7, -0.4, 1.0),
  p_terminate=(0.1, 0.5, 0.9),
  p_respawn=(0.3, 0.6, 0.1),
  max_steps=12,
)


optimal_return = jax.jit(dp.optimal_return, static_argnums=(1, 2))
optimal_values = jax.jit(dp.optimal_values, static_argnums=(1, 2))
policy_return = jax.jit(dp.policy_return, static_argnums=(2, 3))


def monte_carlo(params, policy, discount, num_episodes):
  """Mean and standard error of discounted returns of `policy [T, S, 5]`."""
  env = envs.grid_world('dense', 'index')

  def episode(key):
    def body(carry, row):
      state, alive, t = carry
      act_key, step_key = jax.random.split(jax.random.fold_in(key, t))
      index = env.observe(state, params)[0, 0].astype(jnp.int32)
      action = jax.random.categorical(act_key, jnp.log(row[index]))
      out = env.step(step_key, state, action[None], params)
      reward = jnp.where(alive, out.reward[0] * discount**t, 0.0)
      alive = alive & ~(out.terminated | out.truncated)
      return (out.state, alive, t + 1), reward

    first = (env.reset(key, params)[1], jnp.bool_(True), 0)
    return jnp.sum(jax.lax.scan(body, first, policy)[1])

  keys = jax.random.split(jax.random.key(7), num_episodes)
  returns = jax.jit(jax.vmap(episode))(keys)
  return returns.mean(), returns.std() / np.sqrt(num_episodes)


class DynamicProgrammingTest(parameterized.TestCase):
  def test_a_corridor_by_hand(self):
    """2 at the third step, then 2 in each second one that it comes back in."""
    params = level_params(CORRIDOR)

    def value(horizon):
      level = params._replace(max_steps=np.int32(horizon))
      return float(optimal_return(level, 0.9, 6))

    self.assertEqual(value(2), 0.0)
    self.assertAlmostEqual(value(3), 2 * 0.9**2, places=5)
    self.assertAlmostEqual(value(4), 2 * 0.9**2, places=5)
    self.assertAlmostEqual(value(5), 2 * (0.81 + 0.25 * 0.9**4), places=5)
    # Back after one step or after two.
    sixth = 2 * (0.81 + 0.25 * 0.9**4 + 0.75 * 0.25 * 0.9**5)
    self.assertAlmostEqual(value(6), sixth, places=5)

  def test_the_horizon_is_a_limit_too(self):
    params = level_params(CORRIDOR)
    five = optimal_return(params, 0.9, 5)
    self.assertAlmostEqual(float(five), 2 * (0.81 + 0.25 * 0.9**4), places=5)

  def test_sparse_is_a_walk(self):
    params = level_params(LEVELS['sparse'])
    far = np.abs(np.subtract(*[divmod(c, 13) for c in (80, 35)])).sum()
    value = optimal_return(params, 0.97, 50)
    self.assertAlmostEqual(float(value), 0.97 ** (far - 1), places=5)

  def test_chances_of_sets_sum_to_one(self):
    model = jax.jit(dp.level_model)(level_params(LEVELS['longer']))
    self.assertEqual(model.sets.shape, (81, 32, 32))
    np.testing.assert_allclose(model.sets.sum(-1), 1.0, atol=1e-5)

  @parameterized.parameters('fixed', 'optimal')
  def test_play_agrees(self, which):
    """Of 8000 episodes, within three standard errors."""
    params, discount, horizon = level_params(SMALL), 0.95, 12
    states = 16 * 2**4
    if which == 'optimal':
      values, actions = optimal_values(params, discount, horizon)
      policy = jax.nn.one_hot(actions, 5, dtype=jnp.float32)
      exact = optimal_return(params, discount, horizon)
      self.assertAlmostEqual(
        float(policy_return(params, policy, discount, horizon)),
        float(exact),
        places=5,
      )
      self.assertGreaterEqual(float(values.min()), -0.5)
    else:
      logits = jax.random.normal(jax.random.key(1), (states, 5), jnp.float32)
      policy = jax.nn.softmax(2 * logits)
      exact = policy_return(params, policy, discount, horizon)
      policy = jnp.broadcast_to(policy, (horizon, states, 5))
    mean, error = monte_carlo(params, policy, discount, 8000)
    self.assertLess(abs(float(mean - exact)), 3 * float(error))
    self.assertLess(float(error), 0.02)

  def test_no_policy_is_better(self):
    params = level_params(SMALL)
    best = optimal_return(params, 0.95, 12)
    logits = jax.random.normal(jax.random.key(2), (20, 256, 5), jnp.float32)
    value = lambda p: dp.policy_return(params, p, 0.95, 12)
    run = jax.jit(lambda policies: jax.lax.map(value, policies))
    values = run(jax.nn.softmax(3 * logits))
    self.assertLess(float(values.max()), float(best))

  def test_random_levels_at_once(self):
    keys = jax.random.split(jax.random.key(0), 4)
    sample = jax.jit(jax.vmap(envs.grid_world_levels('debug').sample))
    levels = sample(keys)
    solve = jax.jit(lambda level: dp.optimal_return(level, 0.99, 10))
    together = jax.jit(jax.vmap(solve))(levels)
    alone = [solve(jax.tree.map(lambda x: x[i], levels)) for i in range(4)]  # noqa: B023
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    # Staying for ever costs nothing: where one starts, no object is.
    self.assertTrue(np.all(together >= 0))

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'free=None'):
      dp.optimal_return(level_params(LEVELS['rand_tiny']), 0.9, 5)
    params = level_params(CORRIDOR)
    with self.assertRaisesRegex(ValueError, r'\(3, 5\).*\(32, 5\)'):
      dp.policy_return(params, jnp.ones((3, 5), jnp.float32), 0.9, 5)

  def test_states_are_numbered_as_agents_see_them(self):
    """Just before the end, a state is worth the best neighbour's reward."""
    params = level_params(CORRIDOR)
    values, actions = dp.optimal_values(params, 0.9, 1)
    there = game.tabular_index(jnp.int32(2), jnp.array([True]), 16)
    gone = game.tabular_index(jnp.int32(2), jnp.array([False]), 16)
    self.assertEqual(float(values[0, there]), 2.0)
    self.assertEqual(int(actions[0, there]), game.RIGHT)
    self.assertEqual(float(values[0, gone]), 0.0)


if __name__ == '__main__':
  absltest.main()
