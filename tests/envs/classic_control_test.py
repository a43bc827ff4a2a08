"""Cart and pole, acrobot and mountain car, by mechanics in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.classic_control.acrobot import AcrobotParams, AcrobotState
from ttc.envs.classic_control.cart_pole import CartPoleParams, CartPoleState
from ttc.envs.classic_control.mountain_car import (
  MountainCarParams,
  MountainCarState,
)

KEY = jax.random.key(0)
ODD_CART = CartPoleParams(
  gravity=7.0,
  cart_mass=1.3,
  pole_mass=0.4,
  half_length=0.8,
  force=6.0,
  time_step=0.03,
)
ODD_ACROBOT = AcrobotParams(
  gravity=8.0,
  length=(1.2, 0.7),
  mass=(0.9, 1.6),
  centre=(0.4, 0.3),
  inertia=(0.8, 1.1),
  torque=2.0,
  time_step=0.1,
)


def stepped(env, state, action, params):
  return jax.jit(env.step)(KEY, state, np.array([action], np.int32), params)


def zero_time(cls, *numbers):
  return cls(*(np.float32(x) for x in numbers), time=np.int32(0))


def cart_accelerations(q, force, p):
  """Lagrange's equations as a linear system; a rod turns by 4/3 m l^2."""
  _, _, angle, omega = q
  m, l = p.pole_mass, p.half_length
  mass = [
    [p.cart_mass + m, m * l * np.cos(angle)],
    [m * l * np.cos(angle), 4 / 3 * m * l**2],
  ]
  forces = [
    force + m * l * omega**2 * np.sin(angle),
    m * p.gravity * l * np.sin(angle),
  ]
  return np.linalg.solve(mass, forces)


class CartPoleTest(parameterized.TestCase):
  @parameterized.parameters(CartPoleParams(), ODD_CART)
  def test_a_step_of_euler(self, *fields):
    params, env = CartPoleParams(*fields), envs.cart_pole()
    for q in ((0.1, -0.4, 0.15, 0.8), (-1.0, 0.5, -0.1, -1.2)):
      for action, sign in ((0, -1), (1, 1)):
        out = stepped(env, zero_time(CartPoleState, *q), action, params)
        a, alpha = cart_accelerations(q, sign * params.force, params)
        slope = np.array([q[1], a, q[3], alpha])
        expected = np.array(q) + params.time_step * slope
        np.testing.assert_allclose(out.obs[0], expected, rtol=2e-5, atol=1e-6)
        np.testing.assert_array_equal(out.obs[0], jnp.stack(out.state[:4]))
        self.assertEqual(out.reward.tolist(), [1.0])

  @parameterized.parameters(
    ((2.39, 1.0, 0.0, 0.0), True),  # off the track
    ((2.37, 1.0, 0.0, 0.0), False),
    ((-2.39, -1.0, 0.0, 0.0), True),
    ((0.0, 0.0, 0.2, 0.6), True),  # 12 degrees are 0.2094
    ((0.0, 0.0, 0.19, 0.6), False),
    ((0.0, 0.0, -0.2, -0.6), True),
  )
  def test_the_rules_end_it(self, q, over):
    env = envs.cart_pole()
    out = stepped(env, zero_time(CartPoleState, *q), 1, env.default_params)
    self.assertEqual(bool(out.terminated), over)
    self.assertFalse(out.truncated)
    self.assertEqual(out.reward.tolist(), [1.0])

  def test_the_limit_truncates_and_the_rules_come_first(self):
    env = envs.cart_pole()
    for q, over in (((0.0,) * 4, False), ((3.0, 0.0, 0.0, 0.0), True)):
      state = zero_time(CartPoleState, *q)._replace(time=np.int32(499))
      out = stepped(env, state, 0, env.default_params)
      self.assertEqual((bool(out.terminated), bool(out.truncated)),
                       (over, not over))  # fmt: skip
      early = stepped(
        env, state._replace(time=np.int32(498)), 0, env.default_params
      )
      self.assertFalse(early.truncated)

  def test_starts_are_small_and_differ(self):
    env = envs.cart_pole()
    keys = jax.random.split(KEY, 500)
    obs, _ = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    self.assertEqual(obs.shape, (500, 1, 4))
    low, high = obs.min((0, 1)), obs.max((0, 1))
    np.testing.assert_allclose(low, -0.05, atol=2e-3)
    np.testing.assert_allclose(high, 0.05, atol=2e-3)

  def test_a_known_controller_balances(self):
    """Feedback of the state keeps the pole up for all 500 steps."""
    env = envs.cart_pole()
    gains = jnp.array([1.0, 1.5, 20.0, 3.0])

    def step(state, _):
      push = jnp.vdot(gains, jnp.stack(state[:4])) > 0
      action = push[None].astype(jnp.int32)
      out = env.step(KEY, state, action, env.default_params)
      return out.state, (out.terminated, out.truncated)

    _, state = jax.jit(env.reset)(KEY, env.default_params)
    terminated, truncated = jax.lax.scan(step, state, length=500)[1]
    self.assertFalse(np.any(terminated))
    np.testing.assert_array_equal(np.flatnonzero(truncated), [499])


def acrobot_slope(q, torque, p):
  """Lagrange's equations as a linear system."""
  (a, b, va, vb), (m1, m2), (c1, c2) = q, p.mass, p.centre
  l1, h = p.length[0], p.mass[1] * p.length[0] * p.centre[1]
  turn = p.gravity * m2 * c2 * np.sin(a + b)
  forces = [
    h * np.sin(b) * (2 * va * vb + vb**2)
    - p.gravity * (m1 * c1 + m2 * l1) * np.sin(a)
    - turn,
    torque - h * np.sin(b) * va**2 - turn,
  ]
  return np.array([va, vb, *np.linalg.solve(acrobot_mass(q, p), forces)])


def acrobot_mass(q, p):
  (m1, m2), (c1, c2), (i1, i2) = p.mass, p.centre, p.inertia
  l1, cos = p.length[0], np.cos(q[1])
  d2 = m2 * (c2**2 + l1 * c2 * cos) + i2
  d1 = m1 * c1**2 + m2 * (l1**2 + c2**2 + 2 * l1 * c2 * cos) + i1 + i2
  return np.array([[d1, d2], [d2, m2 * c2**2 + i2]])


def acrobot_energy(q, p):
  (m1, m2), (c1, c2), v = p.mass, p.centre, q[2:]
  height = (m1 * c1 + m2 * p.length[0]) * np.cos(q[0])
  height += m2 * c2 * np.cos(q[0] + q[1])
  return v @ acrobot_mass(q, p) @ v / 2 - p.gravity * height


def acrobot_state(q):
  q = np.asarray(q, np.float32)
  return AcrobotState(q[:2], q[2:], np.int32(0))


class AcrobotTest(parameterized.TestCase):
  @parameterized.parameters(AcrobotParams(), ODD_ACROBOT)
  def test_a_step_of_runge_and_kutta(self, *fields):
    params, env = AcrobotParams(*fields), envs.acrobot()
    h = params.time_step
    for q in ((0.3, -0.5, 0.8, -1.1), (-1.5, 1.2, -0.4, 2.0)):
      for action in range(3):
        torque = (action - 1) * params.torque
        f = lambda y, torque=torque: acrobot_slope(y, torque, params)
        y = np.array(q)
        k1 = f(y)
        k2 = f(y + h / 2 * k1)
        k3 = f(y + h / 2 * k2)
        k4 = f(y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        out = stepped(env, acrobot_state(q), action, params)
        got = np.concatenate([out.state.angle, out.state.velocity])
        np.testing.assert_allclose(got, y, rtol=2e-5, atol=1e-5)
        circle = np.cos(y[0]), np.sin(y[0]), np.cos(y[1]), np.sin(y[1])
        np.testing.assert_allclose(out.obs[0], [*circle, *y[2:]], atol=2e-5)

  @parameterized.parameters(AcrobotParams(), ODD_ACROBOT)
  def test_energy_is_kept_without_torque(self, *fields):
    params = AcrobotParams(*fields)._replace(time_step=0.01, goal_height=9.0)
    env = envs.acrobot()
    start = acrobot_state((2.0, 1.0, 0.5, -1.5))
    none = jnp.ones((1,), jnp.int32)
    run = jax.jit(
      lambda s: jax.lax.scan(
        lambda s, _: (env.step(KEY, s, none, params).state,) * 2, s, length=300
      )[1]
    )
    path = run(start)
    q = np.concatenate([path.angle, path.velocity], -1, dtype=np.float64)
    energy = np.array([acrobot_energy(row, params) for row in q])
    self.assertGreater(np.ptp(q[:, 0]), 1.0)  # it does move
    np.testing.assert_allclose(energy, energy[0], atol=1e-3)

  def test_the_goal(self):
    """Upright the tip is 2 above the bar, with a bent elbow less."""
    env = envs.acrobot()
    still = env.default_params._replace(time_step=0.0)
    for angles, over in (
      ((np.pi - 0.01, 0.0), True),
      ((np.pi / 2, np.pi / 2 - 0.2), False),  # height 0.98
      ((2.0, 0.5), True),  # 0.42 + 0.80
      ((0.0, 0.0), False),
    ):
      out = stepped(env, acrobot_state((*angles, 0, 0)), 1, still)
      self.assertEqual(bool(out.terminated), over, angles)
      self.assertEqual(out.reward.tolist(), [0.0 if over else -1.0])
    higher = still._replace(goal_height=1.3)
    out = stepped(env, acrobot_state((2.0, 0.5, 0, 0)), 1, higher)
    self.assertFalse(out.terminated)

  def test_angles_go_round_and_velocities_are_cut(self):
    env = envs.acrobot()
    params = env.default_params
    fast = acrobot_state((3.1, -3.1, 12.5, -28.2))
    out = stepped(env, fast, 1, params)
    self.assertTrue(np.all(np.abs(out.state.angle) <= np.float32(np.pi)))
    most = np.array(params.max_velocity, np.float32)
    self.assertTrue(np.all(np.abs(out.state.velocity) <= most))
    cut = params._replace(max_velocity=(0.3, 0.2))
    out = stepped(env, acrobot_state((0.5, 0.5, 5.0, -5.0)), 1, cut)
    np.testing.assert_allclose(out.state.velocity, [0.3, -0.2])

  def test_noise_of_the_torque(self):
    env = envs.acrobot()
    noisy = env.default_params._replace(torque_noise=1.0)
    keys = jax.random.split(KEY, 50)
    action = jnp.ones((1,), jnp.int32)
    start = acrobot_state((0, 0, 0, 0))
    step = jax.jit(jax.vmap(env.step, (0, None, None, None)))
    velocity = step(keys, start, action, noisy).state.velocity[:, 1]
    most = stepped(env, start, 2, env.default_params).state.velocity[1]
    self.assertLess(float(np.abs(velocity).max()), float(most))
    self.assertGreater(float(np.std(velocity)), 0.3 * float(most))
    calm = step(keys, start, action, env.default_params).state.velocity
    np.testing.assert_array_equal(calm, 0.0)


def plain_mountain_car(x, v, action, p):
  v += (action - 1) * p.force - np.cos(3 * x) * p.gravity
  v = min(max(v, -p.max_speed), p.max_speed)
  x = min(max(x + v, p.min_position), p.max_position)
  if x == p.min_position and v < 0:
    v = 0.0
  return x, v


class MountainCarTest(parameterized.TestCase):
  @parameterized.parameters(
    MountainCarParams(),
    MountainCarParams(force=0.004, gravity=0.001, max_speed=0.03),
  )
  def test_a_step(self, *fields):
    params, env = MountainCarParams(*fields), envs.mountain_car()
    for x, v in ((-0.5, 0.0), (0.1, 0.03), (-1.19, -0.05), (-0.9, 0.069)):
      for action in range(3):
        out = stepped(env, zero_time(MountainCarState, x, v), action, params)
        expected = plain_mountain_car(x, v, action, params)
        np.testing.assert_allclose(out.obs[0], expected, atol=1e-6)
        self.assertEqual(out.reward.tolist(), [-1.0])
        self.assertFalse(out.terminated)

  def test_the_goal_asks_for_place_and_velocity(self):
    env = envs.mountain_car()
    params = env.default_params
    for x, v, over in ((0.49, 0.02, True), (0.49, 0.005, False)):
      out = stepped(env, zero_time(MountainCarState, x, v), 1, params)
      self.assertEqual(bool(out.terminated), over)
    backwards = zero_time(MountainCarState, 0.55, -0.01)
    out = stepped(env, backwards, 1, params)
    self.assertGreater(float(out.state.position), 0.5)
    self.assertFalse(out.terminated)
    willing = params._replace(goal_velocity=-1.0)
    self.assertTrue(stepped(env, backwards, 1, willing).terminated)

  @parameterized.parameters(('full speed', False), ('with the motion', True))
  def test_only_who_swings_arrives(self, _, swings):
    env = envs.mountain_car()

    def step(state, _):
      action = jnp.where(swings & (state.velocity < 0), 0, 2)[None]
      out = env.step(KEY, state, action, env.default_params)
      return out.state, (out.terminated, out.truncated)

    start = zero_time(MountainCarState, -0.5, 0.0)
    terminated, truncated = jax.lax.scan(step, start, length=200)[1]
    self.assertEqual(np.any(terminated), swings)
    if not swings:
      np.testing.assert_array_equal(np.flatnonzero(truncated), [199])

  def test_starts_are_at_rest_in_the_valley(self):
    env = envs.mountain_car()
    keys = jax.random.split(KEY, 500)
    obs, _ = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    np.testing.assert_allclose(obs[:, 0, 0].min(), -0.6, atol=2e-3)
    np.testing.assert_allclose(obs[:, 0, 0].max(), -0.4, atol=2e-3)
    np.testing.assert_array_equal(obs[:, 0, 1], 0.0)


class TasksTest(parameterized.TestCase):
  @parameterized.parameters(envs.cart_pole, envs.acrobot, envs.mountain_car)
  def test_params_are_a_batch_without_compiling_again(self, make):
    env = make()
    scale = jnp.array([1.0, 1.0, 1.5], jnp.float32)
    params = jax.tree.map(lambda x: x * scale, env.default_params)
    keys = jax.random.split(KEY, 3)
    batch = envs.vectorize(env, batched_params=True)
    same = jnp.stack([keys[0]] * 3)

    @jax.jit
    def run(params):
      _, state = batch.reset(same, params)
      return batch.step(keys, state, jnp.zeros((3, 1), jnp.int32), params)

    out = run(params)
    np.testing.assert_array_equal(out.obs[0], out.obs[1])
    self.assertTrue(np.any(out.obs[0] != out.obs[2]))


if __name__ == '__main__':
  absltest.main()
