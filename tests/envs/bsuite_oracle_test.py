"""Small diagnoses beside gymnax: its state built from ours, the same actions.

Where gymnax 1.0.1 differs and ours is right:

- `DeepSea` is `terminated` and `truncated` in the same step, since its limit of
  time is its depth: who bootstraps truncated values bootstraps all of them;
- `total_bad_episodes` and `denoised_return` of `DeepSea` outlive resets, so
  episodes are not independent (here neither is in the state);
- `SimpleBandit` ends at every pull and its `step` resets, which shuffles the
  arms: each pull is of another bandit (compared without resets);
- `BernoulliBandit` and `GaussianBandit` end by truncation after 100 pulls, as
  if something followed;
- the first arm of `GaussianBandit` pays 0 without noise (compared: the other);
- `Catch` restarts inside of a step too, if nobody resets it (not compared).
"""

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from gymnax_steps import side_by_side

from ttc import envs

pytestmark = pytest.mark.oracle
gymnax = pytest.importorskip('gymnax')
NO_KEY = jnp.zeros((2,), jnp.uint32)


class OracleTest(parameterized.TestCase):
  def test_catch(self):
    env, (reference, theirs) = envs.catch(), gymnax.make('Catch-bsuite')
    _, start = reference.reset(NO_KEY, theirs)

    def to_theirs(s, key):
      del key
      return start.replace(
        ball_x=s.ball_column, ball_y=s.ball_row, paddle_x=s.paddle
      )

    _, ours, there = side_by_side(env, reference, to_theirs)
    np.testing.assert_array_equal(ours.obs[:, 0], there.obs)
    np.testing.assert_array_equal(ours.reward[:, 0], there.reward)
    np.testing.assert_array_equal(ours.terminated, there.terminated)
    self.assertFalse(np.any(ours.truncated))
    np.testing.assert_array_equal(ours.state.ball_row, there.state.ball_y)
    np.testing.assert_array_equal(ours.state.ball_column, there.state.ball_x)
    np.testing.assert_array_equal(ours.state.paddle, there.state.paddle_x)
    self.assertEqual(set(np.unique(ours.reward)), {-1.0, 0.0, 1.0})

  @parameterized.parameters(True, False)
  def test_deep_sea(self, deterministic):
    size = 4
    env, (reference, theirs) = (
      envs.deep_sea(size),
      gymnax.make('DeepSea-bsuite', size=size),
    )
    theirs = theirs.replace(deterministic=deterministic)
    _, start = reference.reset(NO_KEY, theirs)
    np.testing.assert_array_equal(
      start.action_mapping, env.default_params.right_action
    )

    def to_theirs(s, key):
      del key
      return start.replace(row=s.row, column=s.column, time=s.row)

    params = env.default_params
    if not deterministic:
      params = params._replace(slip_probability=1 / size, noise_std=1.0)
    _, ours, there = side_by_side(
      env, reference, to_theirs, 1000, params, theirs
    )
    np.testing.assert_array_equal(ours.obs[:, 0], there.obs)
    np.testing.assert_allclose(ours.reward[:, 0], there.reward, atol=1e-6)
    np.testing.assert_array_equal(ours.terminated, there.terminated)
    np.testing.assert_array_equal(ours.terminated, there.truncated)
    self.assertFalse(np.any(ours.truncated))
    np.testing.assert_array_equal(ours.state.row, there.state.row)
    np.testing.assert_array_equal(ours.state.column, there.state.column)
    self.assertTrue(np.any(ours.info['found']))

  def test_a_bandit_without_noise(self):
    env = envs.bandit(11)
    reference = gymnax.make('SimpleBandit-bsuite')[0]
    _, start = reference.reset(NO_KEY, None)
    params = env.default_params._replace(noise_std=0.0)
    to_theirs = lambda s, key: start.replace(rewards=jnp.array(params.means))
    _, ours, there = side_by_side(env, reference, to_theirs, 1000, params)
    np.testing.assert_allclose(ours.reward[:, 0], there.reward, atol=1e-6)
    np.testing.assert_allclose(
      ours.info['regret'], there.state.total_regret, atol=1e-6
    )
    np.testing.assert_array_equal(ours.terminated, there.terminated)
    np.testing.assert_array_equal(ours.obs, np.ones((1000, 1, 1)))

  def test_a_bernoulli_bandit(self):
    env = envs.bandit(2, bernoulli=True)
    reference = gymnax.make('BernoulliBandit-misc')[0]
    _, start = reference.reset(NO_KEY, None)
    params = env.default_params._replace(
      means=np.array([0.1, 0.9], np.float32), num_pulls=100
    )

    def to_theirs(s, key):
      del key
      return start.replace(
        reward_probs=jnp.array(params.means), time=s.time.astype(jnp.float32)
      )

    actions, ours, there = side_by_side(env, reference, to_theirs, 1000, params)
    np.testing.assert_array_equal(ours.reward[:, 0], there.reward)
    np.testing.assert_array_equal(ours.terminated, there.truncated)
    np.testing.assert_array_equal(ours.state.time, there.state.time)
    np.testing.assert_array_equal(ours.state.arm, actions)
    self.assertAlmostEqual(ours.reward[actions == 1].mean(), 0.9, delta=0.1)

  def test_a_gaussian_bandit(self):
    env = envs.bandit(2)
    reference = gymnax.make('GaussianBandit-misc')[0]
    _, start = reference.reset(NO_KEY, None)
    params = env.default_params._replace(
      means=np.array([0.0, -0.7], np.float32), noise_std=0.1, num_pulls=100
    )

    def to_theirs(s, key):
      del key
      return start.replace(
        mu=jnp.array(-0.7, jnp.float32), time=s.time.astype(jnp.float32)
      )

    actions, ours, there = side_by_side(env, reference, to_theirs, 1000, params)
    second = actions == 1
    np.testing.assert_allclose(
      ours.reward[second, 0], there.reward[second], atol=1e-6
    )
    np.testing.assert_array_equal(there.reward[~second], 0.0)
    np.testing.assert_array_equal(ours.terminated, there.truncated)


if __name__ == '__main__':
  absltest.main()
