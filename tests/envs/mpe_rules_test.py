"""Particle games: what each one pays, shows and lets agents do."""

import jax
import numpy as np
from absl.testing import absltest, parameterized
from mpe_states import crowded_state

from ttc import envs


class RulesTest(parameterized.TestCase):
  """One hand-made state of each game."""

  def outcome(self, env, action=None, params=None, **fields):
    params = env.default_params if params is None else params
    _, state = jax.jit(env.reset)(jax.random.key(0), params)
    array = lambda x: np.asarray(
      x, np.int32 if np.asarray(x).dtype.kind == 'i' else np.float32
    )
    state = state._replace(**{name: array(x) for name, x in fields.items()})
    action = [0] * env.num_agents if action is None else action
    step = jax.jit(env.step)
    out = step(jax.random.key(0), state, array(action), params)
    return jax.device_get(out)

  def test_simple(self):
    out = self.outcome(
      envs.simple(), [3], position=[[0.5, 0.0]], landmarks=[[0.2, 0.4]]
    )
    np.testing.assert_allclose(out.reward, [-0.25], atol=1e-6)
    np.testing.assert_allclose(out.obs, [[0.0, -0.5, -0.3, 0.4]], atol=1e-6)

  def test_spread(self):
    out = self.outcome(
      envs.simple_spread(),
      position=[[0.0, 0.0], [1.0, 0.0], [0.0, 0.31]],
      landmarks=[[0.0, 0.0], [1.0, 0.5], [0.0, 1.0]],
    )
    # Nobody touches: 0.31 > 0.3. The third landmark is 0.69 from agent 2.
    np.testing.assert_allclose(out.reward, [-0.595] * 3, atol=1e-4)
    np.testing.assert_allclose(
      out.obs[1],
      [0, 0, 1, 0, -1, 0, 0, 0.5, -1, 1, -1, 0, -1, 0.31, 0, 0, 0, 0],
      atol=1e-4,
    )
    out = self.outcome(
      envs.simple_spread(),
      position=[[0.0, 0.0], [1.0, 0.0], [0.0, 0.29]],
      landmarks=[[0.0, 0.0], [1.0, 0.0], [0.0, 0.29]],
    )
    np.testing.assert_allclose(out.reward, [-0.5, 0.0, -0.5], atol=1e-6)

  def test_tag(self):
    out = self.outcome(
      envs.simple_tag(),
      position=[[0.0, 0.0], [0.95, 0.1], [-0.5, 0.0], [0.95, 0.0]],
      velocity=[[0, 0], [0, 0], [0, 0], [0.0, 0.0]],
      landmarks=[[0.0, 0.7], [0.0, -0.7]],
    )
    # One hunter touches (0.1 < 0.125); the prey is half way to the border.
    np.testing.assert_allclose(out.reward, [10, 10, 10, -10.5], atol=1e-4)
    # The hunter's push on the prey shows in the last two of the hunters'.
    np.testing.assert_allclose(out.obs[0, -2:], out.state.velocity[3])
    self.assertLess(out.state.velocity[3, 1], -0.1)
    np.testing.assert_array_equal(out.obs[3, -2:], 0.0)

  def test_tag_of_two_preys(self):
    env = envs.simple_tag(num_good=2)
    self.assertEqual(env.observation_spaces[0].shape, (20,))
    self.assertEqual(env.observation_spaces[3].shape, (18,))
    out = self.outcome(
      env,
      position=np.linspace(-0.8, 0.8, 10).reshape(5, 2),
      velocity=np.arange(10.0).reshape(5, 2) / 20,
      landmarks=[[0.0, 0.9], [0.0, -0.9]],
    )
    velocity = out.state.velocity
    np.testing.assert_allclose(out.obs[0, 16:20], velocity[3:].reshape(-1))
    np.testing.assert_allclose(out.obs[3, 16:18], velocity[4])
    np.testing.assert_allclose(out.obs[4, 16:18], velocity[3])

  def test_adversary(self):
    out = self.outcome(
      envs.simple_adversary(),
      position=[[0.0, 0.0], [1.0, 0.0], [0.0, -1.0]],
      landmarks=[[0.0, 1.0], [1.0, 0.5]],
      goal=[1],
    )
    far = np.hypot(1.0, 0.5)
    np.testing.assert_allclose(
      out.reward, [-far, far - 0.5, far - 0.5], atol=1e-6
    )
    np.testing.assert_allclose(
      out.obs[1], [0, 0.5, -1, 1, 0, 0.5, -1, 0, -1, -1], atol=1e-6
    )
    np.testing.assert_allclose(
      out.obs[0], [0, 1, 1, 0.5, 1, 0, 0, -1, 0, 0], atol=1e-6
    )

  def test_push(self):
    out = self.outcome(
      envs.simple_push(),
      position=[[0.0, 0.0], [1.0, 0.0]],
      landmarks=[[0.0, 1.0], [1.0, 0.5]],
      goal=[0],
    )
    far, colors = np.hypot(1.0, 1.0), [0.1, 0.9, 0.1, 0.1, 0.1, 0.9]
    np.testing.assert_allclose(out.reward, [far - 1.0, -far], atol=1e-6)
    np.testing.assert_allclose(
      out.obs[1],
      [*[0, 0, -1, 1, 0.25, 0.75, 0.25, -1, 1, 0, 0.5], *colors, -1, 0],
      atol=1e-6,
    )

  def test_reference(self):
    out = self.outcome(
      envs.simple_reference(),
      [5 * 3 + 4, 5 * 9],
      position=[[0.0, 0.0], [1.0, 0.0]],
      landmarks=[[0.0, 1.0], [1.0, 0.5], [0.0, 0.25]],
      goal=[2, 1],
    )
    # Agent 0 is 0.25 from its goal, agent 1 is 0.5 from its own; each is paid
    # for the other and for both.
    np.testing.assert_allclose(
      out.reward, [-0.25 - 0.1875, -0.125 - 0.1875], atol=1e-6
    )
    np.testing.assert_allclose(out.state.velocity[0], [0.0, 0.5], atol=1e-6)
    np.testing.assert_array_equal(np.argmax(out.obs[:, 11:], -1), [9, 3])
    np.testing.assert_allclose(out.obs[0, 8:11], [0.25, 0.75, 0.25])
    np.testing.assert_allclose(out.obs[1, 8:11], [0.25, 0.25, 0.75])

  def test_speaker_listener(self):
    out = self.outcome(
      envs.simple_speaker_listener(),
      [2, 1],
      position=[[0.3, 0.3], [0.0, 0.0]],
      landmarks=[[0.0, 1.0], [1.0, 0.5], [0.0, 0.25]],
      goal=[1],
    )
    np.testing.assert_allclose(out.reward, [-1.25, -1.25], atol=1e-6)
    np.testing.assert_allclose(out.obs[0, :3], [0.15, 0.65, 0.15])
    np.testing.assert_array_equal(out.obs[0, 3:], 0.0)
    np.testing.assert_allclose(
      out.obs[1], [-0.5, 0, 0, 1, 1, 0.5, 0, 0.25, 0, 0, 1], atol=1e-6
    )
    np.testing.assert_array_equal(out.state.velocity[0], 0.0)

  def test_world_comm(self):
    out = self.outcome(
      envs.simple_world_comm(),
      [5 * 1, 0, 0, 0, 0, 0],
      # The leader outside; hunter 1 and prey 4 in the first forest, hunter 2
      # in the second one; hunter 3 and prey 5 outside.
      position=[
        [0.0, 0.0],
        [0.6, 0.7],
        [-0.6, 0.7],
        [0.0, -0.9],
        [0.6, 0.6],
        [0.5, -0.5],
      ],
      landmarks=[[0, 0.5], [0.5, -0.5], [0.9, 0.9], [0.6, 0.6], [-0.6, 0.6]],
    )
    apart = lambda agent, other: out.obs[
      agent, 14 + 2 * (other - (other > agent)) :
    ][:2]
    self.assertTrue(np.all(np.any(out.obs[0, 14:24].reshape(5, 2) != 0, -1)))
    np.testing.assert_allclose(apart(1, 4), [0.0, -0.1], atol=1e-4)
    np.testing.assert_array_equal(apart(1, 0), 0.0)  # in the open
    np.testing.assert_array_equal(apart(1, 2), 0.0)  # in the other forest
    np.testing.assert_array_equal(apart(5, 4), 0.0)
    np.testing.assert_allclose(apart(5, 3), [-0.5, -0.4], atol=1e-4)
    np.testing.assert_array_equal(out.obs[1, 28:30], [1, -1])
    np.testing.assert_array_equal(out.obs[5, 24:26], [-1, -1])
    np.testing.assert_array_equal(out.obs[3, 30:34], [0, 1, 0, 0])
    # Prey 4 is touched once (0.1 < 0.12), 0.42 from food; prey 5 eats.
    near = np.hypot(0.3, 0.3)
    np.testing.assert_allclose(
      out.reward[4:], [-5 - 0.05 * near, 2.0], atol=1e-4
    )
    chase = [np.hypot(0.5, 0.5), 0.1, np.hypot(1.2, 0.1), np.hypot(0.5, 0.4)]
    np.testing.assert_allclose(
      out.reward[:4], 5 - 0.1 * np.array(chase), atol=1e-4
    )

  def test_crypto(self):
    env = envs.simple_crypto()
    out = self.outcome(env, [3, 2, 1], goal=[1, 0])
    # Bob says the secret, Eve does not.
    np.testing.assert_allclose(out.reward, [-2.0, 2.0, 2.0])
    np.testing.assert_array_equal(out.obs[0], [0, 0, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(out.obs[1], [0, 1, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(out.obs[2], [1, 0, 0, 0, 0, 0, 1, 0])
    silent = envs.simple_crypto(continuous=True)
    out = self.outcome(silent, np.zeros((3, 4)), goal=[1, 0])
    np.testing.assert_array_equal(out.reward, 0.0)

  def test_continuous_actions_hold_the_discrete_ones(self):
    for make in (
      envs.simple_crypto,
      envs.simple_reference,
      envs.simple_speaker_listener,
    ):
      with self.subTest(make.__name__):
        discrete, boxed = make(), make(continuous=True)
        state = crowded_state(discrete, 9)
        params = discrete.default_params
        counts = [space.num_values for space in discrete.action_spaces]
        action = np.array([7 % n if n != 5 else 3 for n in counts], np.int32)
        width = max(space.shape[0] for space in boxed.action_spaces)
        box = np.zeros((len(counts), width), np.float32)
        for i, n in enumerate(counts):
          if n >= 5:
            box[i, action[i] % 5] = 1
          if n != 5:
            box[i, 5 + action[i] // 5 if n > 5 else action[i]] = 1
        key = jax.random.key(0)
        a = jax.jit(discrete.step)(key, state, action, params)
        b = jax.jit(boxed.step)(key, state, box, params)
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
          np.testing.assert_allclose(x, y, atol=1e-6)

  def test_bad_numbers_are_named(self):
    with self.assertRaisesRegex(ValueError, 'num_agents=0'):
      envs.simple_spread(0)
    with self.assertRaisesRegex(ValueError, 'num_good=0'):
      envs.simple_tag(num_good=0)
    with self.assertRaisesRegex(ValueError, 'num_landmarks=0'):
      envs.simple_adversary(num_landmarks=0)
    with self.assertRaisesRegex(ValueError, 'num_adversaries=0'):
      envs.simple_world_comm(num_adversaries=0)


if __name__ == '__main__':
  absltest.main()
