"""What every environment promises."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs

EVERY = [(make.__name__, make) for make in envs.ENVIRONMENTS]


FOUR = jax.jit(jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i)))(
  jnp.arange(4)
)


TURNED = FOUR[::-1]
contains = jax.jit(lambda space, value: space.contains(value), static_argnums=0)


@functools.cache
def forty_steps(make):
  """Compiled once for all tests: a function of keys, one an environment."""
  return random_play(make(), 40)


@functools.cache
def four_games(make):
  """Played once for all tests."""
  return jax.device_get(forty_steps(make)(FOUR))


@functools.cache
def started(make):
  """A first state, what is seen of it at once, and what on another look."""
  env = make()

  def run(key, params):
    obs, state = env.reset(key, params)
    return state, obs, env.observe(state, params)

  return jax.device_get(jax.jit(run)(jax.random.key(2), env.default_params))


def random_play(env, num_steps):
  """Random legal play of a batch; keys of an environment are its own."""
  batch = envs.vectorize(env)
  params = env.default_params
  fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))

  def run(keys):
    _, states = batch.reset(fold(keys, 0), params)

    def step(states, t):
      actions = jax.vmap(lambda k, s: envs.random_actions(env, k, s, params))(
        fold(keys, 2 * t + 1), states
      )
      out = batch.step(fold(keys, 2 * t + 2), states, actions, params)
      return out.state, (actions, out._replace(state=()))

    with jax.numpy_rank_promotion('raise'):
      return jax.lax.scan(step, states, jnp.arange(num_steps))

  return jax.jit(run)


def every_function(env, wrapped, key):
  """A reset, a step and all that looks at a state."""
  params = env.default_params
  _, state = wrapped.reset(key, params)
  actions = envs.random_actions(env, key, state, params)
  out = wrapped.step(key, state, actions, params)
  looks = [wrapped.observe, wrapped.active_agents, wrapped.world_state]
  if isinstance(env.action_spaces[0], envs.Discrete):
    looks.append(wrapped.avail_actions)
  return out, [look(out.state, params) for look in looks]


class EveryEnvironmentTest(parameterized.TestCase):
  @parameterized.named_parameters(EVERY)
  def test_shapes_and_spaces(self, make):
    env = make()
    states, (actions, out) = four_games(make)
    shape = (40, 4, env.num_agents)
    self.assertEqual(out.obs.shape, (*shape, *env.observation_shape))
    self.assertEqual(out.info['final_obs'].shape, out.obs.shape)
    self.assertEqual(out.reward.shape, shape)
    self.assertEqual(out.reward.dtype, jnp.float32)
    self.assertEqual(out.obs.dtype, jnp.float32)
    self.assertEqual(out.terminated.dtype, bool)
    self.assertFalse(np.any(out.terminated & out.truncated))
    self.assertTrue(np.all(np.isfinite(out.obs)))
    for agent, space in enumerate(env.observation_spaces):
      inside = tuple(slice(0, n) for n in space.shape)
      seen = out.obs[:, :, agent]
      self.assertTrue(
        contains(space, seen[(slice(None), slice(None), *inside)])
      )
    for agent, space in enumerate(env.action_spaces):
      self.assertTrue(contains(space, actions[:, :, agent]))
    first = jax.eval_shape(lambda x: jax.tree.map(lambda y: y[0], x), states)
    params = env.default_params
    seen = jax.eval_shape(env.world_state, first, params)
    self.assertLen(seen.shape, 1)
    active = jax.eval_shape(env.active_agents, first, params)
    self.assertEqual(active.shape, (env.num_agents,))

  @parameterized.named_parameters(EVERY)
  def test_play_does_not_depend_on_the_slot(self, make):
    turned = forty_steps(make)(TURNED)
    self.assert_same_games(turned, four_games(make), np.arange(4)[::-1])

  def test_play_does_not_depend_on_the_size_of_the_batch(self):
    self.does_not_depend_on_the_size(envs.grid_world)

  @parameterized.parameters(envs.cart_pole, envs.simple_spread)
  @pytest.mark.slow
  def test_nor_does_play_of_others(self, make):
    self.does_not_depend_on_the_size(make)

  def does_not_depend_on_the_size(self, make):
    part = forty_steps(make)(FOUR[:2])
    self.assert_same_games(part, four_games(make), np.arange(2))

  def assert_same_games(self, part, whole, games):
    """Whether `part` is these games of `whole`."""
    for a, b in zip(jax.tree.leaves(part), jax.tree.leaves(whole), strict=True):
      if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
      axis = 0 if a.shape[0] == len(games) else 1
      wanted = np.take(np.asarray(b), games, axis)
      np.testing.assert_allclose(a, wanted, atol=1e-5)

  @parameterized.named_parameters(EVERY)
  def test_64_bits_change_no_type(self, make):
    """Floats stay floats of 32 bits, and so do integers."""
    with jax.enable_x64(True):
      env = make()
      params = env.default_params
      _, state = jax.eval_shape(env.reset, jax.random.key(0), params)
      if isinstance(env.action_spaces[0], envs.Box):
        self.skipTest('continuous')
      action = np.zeros((env.num_agents,), np.int32)
      out = jax.eval_shape(env.step, jax.random.key(0), state, action, params)
      for path, leaf in jax.tree.leaves_with_path(out):
        name = jax.tree_util.keystr(path)
        self.assertNotIn(str(leaf.dtype), ('float64', 'int64'), name)

  @parameterized.named_parameters(EVERY)
  def test_no_rank_is_promoted(self, make):
    """Arrays of different ranks are broadcast in so many words, or raise.

    So they are in a batch, or no game could have been played.
    """
    four_games(make)
    with jax.numpy_rank_promotion('raise'):
      env, key = make(), jax.random.key(0)
      run = functools.partial(every_function, env, envs.auto_reset(env))
      jax.eval_shape(run, key)

  def test_ranks_that_are_promoted_raise(self):
    with jax.numpy_rank_promotion('raise'), self.assertRaises(ValueError):
      jax.eval_shape(jnp.add, jnp.zeros(2), jnp.zeros((2, 2)))

  @parameterized.named_parameters(EVERY)
  def test_observe_is_what_reset_returns(self, make):
    _, obs, again = started(make)
    np.testing.assert_allclose(obs, again, atol=1e-6)

  @parameterized.named_parameters(EVERY)
  @pytest.mark.slow
  def test_a_hundred_thousand_steps(self, make):
    """No NaN on the way, and episodes come to an end, of time at the latest."""
    env = make()
    params = env.default_params
    if getattr(params, 'max_steps', 0) > 500:
      params = params._replace(max_steps=np.int32(500))
      env = dataclasses.replace(env, default_params=params)
    with jax.debug_nans(True), jax.numpy_rank_promotion('raise'):
      _, (_, out) = random_play(env, 500)(
        jax.random.split(jax.random.key(4), 200)
      )
    for x in (out.obs, out.reward, out.info['final_obs']):
      self.assertTrue(np.all(np.isfinite(x)))
    self.assertTrue(np.any(out.terminated | out.truncated))

  @parameterized.named_parameters(EVERY)
  def test_a_state_can_be_looked_at(self, make):
    try:
      import PIL  # noqa: F401
    except ImportError:
      self.skipTest('without the extra plots')
    env, (state, _, _) = make(), started(make)
    picture = env.draw(state, env.default_params)
    pixels = envs.render(picture, 120)
    self.assertEqual(pixels.shape[1:], (120, 3))
    self.assertGreater(len(np.unique(pixels.reshape(-1, 3), axis=0)), 2)


if __name__ == '__main__':
  absltest.main()
