"""The robot in the plane, by plain numpy; straight ahead is best."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.point_robot import FAMILIES, PointRobotParams, goal_of

KEY = jax.random.key(0)
ODD = PointRobotParams(
  angle=2.0,
  radius=0.7,
  centre=np.array([0.3, -0.2], np.float32),
  rotation=0.8,
  gain=1.3,
  step_length=0.07,
  max_steps=9,
)
ASKED = np.array([0.02, -0.06], np.float32)
PARAMS = {
  'default': PointRobotParams(),
  'odd': ODD,
  'sparse': PointRobotParams(reward_radius=0.25),
  'velocity': ODD._replace(by_velocity=True, velocity=ASKED),
  'too_fast': ODD._replace(by_velocity=True, velocity=5 * ASKED),
  'sparse_velocity': ODD._replace(
    by_velocity=True, velocity=5 * ASKED, reward_radius=0.3
  ),
  'far': ODD._replace(radius=3.0),
  'near': ODD._replace(radius=0.01, centre=np.zeros(2, np.float32)),
}
EVERY = [(name, params) for name, params in PARAMS.items()]


@jax.jit
def played(params, actions):
  """Rewards, positions and ends of an episode; compiled once for all tasks."""
  env = envs.point_robot()
  _, state = env.reset(KEY, params)

  def step(state, action):
    out = env.step(KEY, state, action[None], params)
    return out.state, (out.reward[0], out.obs[0], out.truncated)

  return jax.lax.scan(step, state, actions)[1]


def arrays(params):
  """All leaves arrays, so that no task compiles anew."""
  return jax.tree.map(jnp.asarray, params)


def straight(params):
  """Actions of who knows the task, in plain numpy."""
  most = params.gain * params.step_length
  c, s = np.cos(params.rotation), np.sin(params.rotation)
  inverse = np.array([[c, s], [-s, c]])
  goal = np.array(params.centre) + params.radius * np.array(
    [np.cos(params.angle), np.sin(params.angle)]
  )
  at, actions = np.zeros(2), []
  for _ in range(20):
    wanted = np.array(params.velocity) if params.by_velocity else goal - at
    length = np.linalg.norm(wanted)
    move = wanted * min(1.0, most / max(length, 1e-12))
    at = at + move
    actions.append(inverse @ move / most)
  return np.array(actions, np.float32)


class PointRobotTest(parameterized.TestCase):
  @parameterized.named_parameters(EVERY)
  def test_steps_by_plain_numpy(self, params):
    actions = np.random.default_rng(0).normal(0, 1.0, (20, 2))
    reward, position, truncated = played(arrays(params), np.float32(actions))
    at = np.zeros(2)
    goal = np.array(params.centre) + params.radius * np.array(
      [np.cos(params.angle), np.sin(params.angle)]
    )
    for t, a in enumerate(actions):
      a = a / max(1.0, np.hypot(*a))
      turned = (a[0] + 1j * a[1]) * np.exp(1j * params.rotation)
      step = np.array([turned.real, turned.imag])
      step *= params.gain * params.step_length
      at = at + step
      error = np.linalg.norm(
        step - params.velocity if params.by_velocity else at - goal
      )
      pays = -error
      if math.isfinite(params.reward_radius):
        pays = 1 - error if error <= params.reward_radius else 0.0
      np.testing.assert_allclose(position[t], at, atol=1e-5)
      np.testing.assert_allclose(reward[t], pays, atol=1e-5)
      self.assertEqual(bool(truncated[t]), t + 1 >= params.max_steps)

  @parameterized.named_parameters(EVERY)
  def test_the_optimum_is_straight_and_nothing_beats_it(self, params):
    params = arrays(params)
    best = envs.point_robot_optimum(params)
    steps = int(params.max_steps)
    reward, _, _ = played(params, straight(jax.device_get(params)))
    np.testing.assert_allclose(reward[:steps].sum(), best, atol=2e-5)
    # Going straight with noise comes near, and is never better.
    noise = np.random.default_rng(1).normal(0, 0.2, (64, 20, 2))
    tries = straight(jax.device_get(params)) + np.float32(noise)
    others, _, _ = jax.vmap(played, (None, 0))(params, tries)
    self.assertTrue(np.all(others[:, :steps].sum(1) <= best + 1e-5))

  def test_returns_that_can_be_found_by_hand(self):
    # Goal at distance 1, steps of 0.1: 0.9 + 0.8 + ... + 0.1 = 4.5.
    known = {'default': -4.5, 'sparse': 13 - 0.3}
    for name, value in known.items():
      best = envs.point_robot_optimum(arrays(PARAMS[name]))
      np.testing.assert_allclose(best, value, atol=1e-5)

  @parameterized.parameters(*FAMILIES)
  def test_tasks_of_a_family_differ_in_what_they_should(self, family):
    tasks = envs.point_robot_tasks(family)
    keys = jax.random.split(KEY, 2000)
    params = jax.jit(jax.vmap(tasks.sample))(keys)
    differs = lambda x: np.any(np.asarray(x) != np.asarray(x[:1]))
    varies = {name for name, x in params._asdict().items() if differs(x)}
    expected = {
      'goals': {'angle'},
      'velocities': {'velocity'},
      'dynamics': {'rotation', 'gain'},
    }
    self.assertEqual(varies, expected[family])
    best = jax.jit(jax.vmap(envs.point_robot_optimum))(params)
    if family == 'goals':
      np.testing.assert_allclose(best, -4.5, atol=1e-4)
      self.assertBetween(params.angle.min(), 0.0, 0.01)
      self.assertBetween(params.angle.max(), 3.13, math.pi)
    elif family == 'velocities':
      np.testing.assert_allclose(best, 0.0, atol=1e-4)
      speed = jnp.linalg.norm(params.velocity, axis=-1)
      np.testing.assert_allclose([speed.min(), speed.max()], [0.02, 0.1], 1e-2)
    else:
      self.assertBetween(params.gain.min(), 0.5, 0.51)
      np.testing.assert_allclose(params.rotation.max(), np.pi / 2, atol=0.01)

  def test_the_goal_is_on_the_circle(self):
    np.testing.assert_allclose(
      goal_of(ODD), [0.3 + 0.7 * np.cos(2.0), -0.2 + 0.7 * np.sin(2.0)], 1e-5
    )

  @parameterized.parameters(
    ({'family': 'mazes'}, "family='mazes', expected one of goals, vel"),
    ({'radius': 3.0}, r'radius=3.0, expected above 0 and at most 2, as far as'),
    ({'radius': 1.2, 'family': 'dynamics'}, 'at most 1, as far as 20 steps'),
    ({'radius': math.nan}, 'radius=nan, expected above 0'),
    ({'angles': (3.0, 1.0)}, r'angles=\(3.0, 1.0\), expected the smaller'),
    ({'angles': (0.0, 9.0)}, 'expected the smaller and the larger number from'),
    ({'speeds': (0.0, 0.2), 'family': 'velocities'}, 'from 0 to step_length='),
    ({'gains': (0.0, 1.0), 'family': 'dynamics'}, r'gains=\(0.0, 1.0\)'),
    ({'reward_radius': 1.5}, 'reward_radius=1.5, expected above 0 and at mo'),
    ({'max_steps': 0}, 'max_steps=0, expected >= 1'),
    ({'step_length': -0.1}, 'step_length=-0.1, expected above 0'),
  )
  def test_what_makes_no_task_is_named(self, options, says):
    with self.assertRaisesRegex(ValueError, says):
      envs.point_robot_tasks(**options)

  def test_64_bits_change_no_type(self):
    with jax.enable_x64(True):
      env, params = envs.point_robot(), envs.point_robot_tasks().sample(KEY)
      _, state = jax.jit(env.reset)(KEY, params)
      action = jnp.ones((1, 2), jnp.float32)
      out = jax.jit(env.step)(KEY, state, action, params)
      best = envs.point_robot_optimum(params)
      for leaf in jax.tree.leaves((out, params, best)):
        self.assertNotIn(str(leaf.dtype), ('float64', 'int64'))


if __name__ == '__main__':
  absltest.main()
