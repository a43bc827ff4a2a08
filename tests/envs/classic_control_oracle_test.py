"""Classic control beside gymnax: its state built from ours, the same actions.

Where gymnax 1.0.1 differs and ours is right:

- `CartPole` has `total_mass` and `polemass_length` beside the masses and the
  length they follow from: who changes `masspole` alone simulates no cart that
  there is (compared with all of them set);
- a step can be both `terminated` and `truncated`; here the rules come first;
- gravity of `Acrobot` is fixed; here it is in the params;
- angles of `Acrobot`, of which pi and -pi are the same, are compared on the
  circle.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest
from gymnax_steps import side_by_side

from ttc import envs

pytestmark = pytest.mark.oracle
gymnax = pytest.importorskip('gymnax')


def check_ends(ours, theirs):
  np.testing.assert_array_equal(ours.terminated, theirs.terminated)
  np.testing.assert_array_equal(
    ours.truncated, theirs.truncated & ~theirs.terminated
  )
  np.testing.assert_array_equal(ours.state.time, theirs.state.time)
  np.testing.assert_array_equal(ours.reward[:, 0], theirs.reward)


class OracleTest(absltest.TestCase):
  def cart_pole(self, our_params=None, their_params=None):
    env, reference = envs.cart_pole(), gymnax.make('CartPole-v1')[0]
    _, start = reference.reset(jnp.zeros((2,), jnp.uint32), None)

    def to_theirs(s, key):
      del key
      return start.replace(
        x=s.position,
        x_dot=s.velocity,
        theta=s.angle,
        theta_dot=s.angular_velocity,
        time=s.time,
      )

    _, ours, theirs = side_by_side(
      env, reference, to_theirs, 1000, our_params, their_params
    )
    check_ends(ours, theirs)
    np.testing.assert_allclose(ours.obs[:, 0], theirs.obs, atol=1e-5)
    state = theirs.state
    for a, b in (
      (ours.state.position, state.x),
      (ours.state.velocity, state.x_dot),
      (ours.state.angle, state.theta),
      (ours.state.angular_velocity, state.theta_dot),
    ):
      np.testing.assert_allclose(a, b, atol=1e-5)
    return ours

  def test_cart_pole(self):
    ours = self.cart_pole()
    self.assertGreater(ours.terminated.sum(), 20)

  def test_cart_pole_with_other_params(self):
    env, (_, theirs) = envs.cart_pole(), gymnax.make('CartPole-v1')
    ours = env.default_params._replace(
      pole_mass=0.3, cart_mass=0.8, half_length=0.7, gravity=5.0, max_steps=15
    )
    theirs = theirs.replace(
      masspole=0.3,
      masscart=0.8,
      total_mass=0.3 + 0.8,
      length=0.7,
      polemass_length=0.3 * 0.7,
      gravity=5.0,
      max_steps_in_episode=15,
    )
    out = self.cart_pole(ours, theirs)
    self.assertGreater(out.truncated.sum(), 20)
    self.assertGreater(out.terminated.sum(), 2)

  def test_acrobot(self):
    env, (reference, theirs) = envs.acrobot(), gymnax.make('Acrobot-v1')
    _, start = reference.reset(jnp.zeros((2,), jnp.uint32), None)

    def to_theirs(s, key):
      del key
      return start.replace(
        joint_angle1=s.angle[0],
        joint_angle2=s.angle[1],
        velocity_1=s.velocity[0],
        velocity_2=s.velocity[1],
        time=s.time,
      )

    # From anywhere and with more torque, so that some come to the goal.
    ours_params = env.default_params._replace(
      torque=4.0, start_range=2.0, max_steps=60
    )
    theirs = theirs.replace(
      available_torque=jnp.array([-4.0, 0.0, 4.0]), max_steps_in_episode=60
    )
    _, ours, there = side_by_side(
      env, reference, to_theirs, 1000, ours_params, theirs
    )
    check_ends(ours, there)
    np.testing.assert_allclose(ours.obs[:, 0], there.obs, atol=1e-4)
    state = there.state
    for a, b in (
      (ours.state.angle[:, 0], state.joint_angle1),
      (ours.state.angle[:, 1], state.joint_angle2),
    ):
      np.testing.assert_allclose(np.cos(a - b), 1.0, atol=1e-6)
      np.testing.assert_allclose(np.sin(a - b), 0.0, atol=1e-4)
    for i, b in enumerate((state.velocity_1, state.velocity_2)):
      np.testing.assert_allclose(ours.state.velocity[:, i], b, atol=1e-4)
    self.assertTrue(np.any(ours.terminated) and np.any(ours.truncated))

  def test_mountain_car(self):
    env = envs.mountain_car()
    reference, theirs = gymnax.make('MountainCar-v0')
    _, start = reference.reset(jnp.zeros((2,), jnp.uint32), None)

    def to_theirs(s, key):
      del key
      return start.replace(
        position=s.position, velocity=s.velocity, time=s.time
      )

    ours_params = env.default_params._replace(
      force=0.004, max_steps=50, start_low=-1.2, start_high=0.5
    )
    _, ours, there = side_by_side(
      env,
      reference,
      to_theirs,
      1000,
      ours_params,
      theirs.replace(force=0.004, max_steps_in_episode=50),
    )
    check_ends(ours, there)
    np.testing.assert_allclose(ours.obs[:, 0], there.obs, atol=1e-6)
    np.testing.assert_allclose(
      ours.state.velocity, there.state.velocity, atol=1e-6
    )
    self.assertTrue(np.any(ours.terminated) and np.any(ours.truncated))
    self.assertTrue(np.any(ours.state.position == -1.2))


if __name__ == '__main__':
  absltest.main()
