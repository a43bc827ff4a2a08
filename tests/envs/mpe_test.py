"""Particle games: physics beside plain loops, symmetries, episodes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from mpe_states import crowded_state

from ttc import envs
from ttc.envs.multi_agent.mpe import game, world


def plain_forces(position, landmarks, params):
  """Forces of contacts on agents, in float64, pair by pair."""
  bodies = np.concatenate([position, landmarks]).astype(np.float64)
  radius = np.concatenate(
    [params.radius, params.landmark_radius[: len(landmarks)]]
  ).astype(np.float64)
  force = np.zeros_like(bodies)
  k = float(params.contact_margin)
  for i in range(len(bodies)):
    for j in range(i):
      delta = bodies[i] - bodies[j]
      dist = np.hypot(*delta)
      if dist == 0:
        continue
      depth = k * np.logaddexp(0.0, -(dist - radius[i] - radius[j]) / k)
      push = float(params.contact_force) * delta / dist * depth
      force[i] += push
      force[j] -= push
  return force[: len(position)]


def plain_step(position, velocity, push, landmarks, params):
  """Position and velocity of agents after a step, in float64."""
  force = plain_forces(position, landmarks, params)
  after, speeds = np.array(position, np.float64), np.zeros_like(force)
  dt = float(params.dt)
  for i in range(len(position)):
    total = force[i] + push[i] * float(params.accel[i])
    after[i] = position[i] + velocity[i].astype(np.float64) * dt
    v = velocity[i].astype(np.float64) * (1 - float(params.damping))
    v = v + total / float(params.mass[i]) * dt
    speed, most = np.hypot(*v), float(params.max_speed[i])
    speeds[i] = v * most / speed if 0 <= most < speed else v
  return after, speeds


class PhysicsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('spread', envs.simple_spread, 0),
    ('tag', envs.simple_tag, 2),
    ('world_comm', envs.simple_world_comm, 1),
    ('adversary', envs.simple_adversary, None),
  )
  def test_a_step_is_that_of_plain_loops(self, make, num_solid):
    env = make()
    rng = np.random.default_rng(0)
    draw = lambda x, low, high: rng.uniform(low, high, x.shape).astype('f4')
    step = jax.jit(env.step)
    moves = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64)
    for seed in range(10):
      base = env.default_params.world
      params = base._replace(
        mass=draw(base.mass, 0.5, 2.0),
        accel=draw(base.accel, 1.0, 6.0),
        radius=draw(base.radius, 0.05, 0.2),
        max_speed=draw(base.max_speed, -0.5, 1.5),
        dt=np.float32(rng.uniform(0.05, 0.2)),
        damping=np.float32(rng.uniform(0.0, 0.5)),
        contact_force=np.float32(rng.uniform(50, 150)),
        contact_margin=np.float32(rng.uniform(1e-3, 1e-2)),
      )
      state = crowded_state(env, seed)
      move = rng.integers(0, 5, env.num_agents)
      out = step(
        jax.random.key(0),
        state,
        move.astype(np.int32),
        env.default_params._replace(world=params),
      )
      if num_solid is None:  # nobody collides
        solid, params = state.landmarks[:0], params._replace(contact_force=0.0)
      else:
        solid = state.landmarks[:num_solid]
      after, velocity = plain_step(
        *jax.device_get((state.position, state.velocity)),
        moves[move],
        np.asarray(solid),
        params,
      )
      np.testing.assert_allclose(out.state.position, after, atol=1e-5)
      np.testing.assert_allclose(out.state.velocity, velocity, atol=2e-4)
      np.testing.assert_array_equal(out.state.landmarks, state.landmarks)

  def test_forces_are_equal_and_opposite(self):
    params = world.world_params([0.15, 0.1, 0.2], [])
    rng = np.random.default_rng(1)
    nothing = np.zeros((0, 2), np.float32)
    contact_forces = jax.jit(world.contact_forces)
    for _ in range(5):
      position = rng.uniform(-0.2, 0.2, (3, 2)).astype(np.float32)
      force = contact_forces(position, nothing, params)
      self.assertGreater(np.abs(force).max(), 0.1)
      np.testing.assert_allclose(np.sum(force, 0), 0.0, atol=1e-4)
    pair = world.world_params([0.15, 0.1], [])
    force = np.asarray(contact_forces(position[:2], nothing, pair))
    np.testing.assert_array_equal(force[0], -force[1])

  def test_momentum_is_kept_without_damping(self):
    env = envs.simple_spread(5)
    params = env.default_params
    mass = np.array([1.0, 2.0, 0.5, 1.5, 1.0], np.float32)
    params = params._replace(
      world=params.world._replace(damping=np.float32(0.0), mass=mass)
    )
    state = crowded_state(env, 3)
    momentum = lambda s: mass @ np.asarray(s.velocity)
    step = jax.jit(env.step)
    before, start = momentum(state), state
    for _ in range(10):
      state = step(
        jax.random.key(0), state, np.zeros(5, np.int32), params
      ).state
    self.assertGreater(np.abs(state.velocity - start.velocity).max(), 0.1)
    np.testing.assert_allclose(momentum(state), before, atol=1e-4)

  def test_bodies_at_one_point_do_not_push(self):
    params = world.world_params([0.15, 0.15], [0.2])
    point = jnp.full((2, 2), 0.3, jnp.float32)
    forces = jax.jit(functools.partial(world.contact_forces, params=params))
    np.testing.assert_array_equal(forces(point, point[:1]), 0.0)
    total = lambda p: jnp.sum(forces(p, point[:1]) ** 2)
    slope = jax.jit(jax.grad(total))(point)
    self.assertTrue(np.all(np.isfinite(slope)))

  def test_free_fall_of_a_push(self):
    # v_n = (a dt / d) (1 - (1 - d)^n), and positions lag by one step.
    env = envs.simple()
    _, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    start, positions = state.position[0, 0], []
    step, action = jax.jit(env.step), jnp.array([2], jnp.int32)
    for _ in range(6):
      state = step(jax.random.key(0), state, action, env.default_params).state
      positions.append(float(state.position[0, 0] - start))
    velocity = 5.0 * 0.1 / 0.25 * (1 - 0.75 ** np.arange(6))
    np.testing.assert_allclose(positions, 0.1 * np.cumsum(velocity), atol=1e-5)

  def test_border_costs(self):
    points = jnp.array([[0.0, 0.89], [0.95, 0.0], [1.0, -1.5], [9.0, 0.2]])
    expected = [0.0, 0.5, 1.0 + np.exp(1.0), 10.0]
    np.testing.assert_allclose(world.out_of_bounds(points), expected, atol=1e-5)


class SymmetryTest(parameterized.TestCase):
  def play(self, env, state, actions, params=None):
    params = env.default_params if params is None else params

    def body(state, action):
      out = env.step(jax.random.key(0), state, action, params)
      return out.state, (out.state, out.reward)

    run = jax.jit(lambda s, a: jax.lax.scan(body, s, a))
    return jax.device_get(run(state, actions)[1])

  @parameterized.named_parameters(
    ('spread', envs.simple_spread),
    ('adversary', envs.simple_adversary),
    ('reference', envs.simple_reference),
  )
  def test_games_without_borders_may_be_shifted(self, make):
    env = make()
    state = crowded_state(env, 5)
    shift = np.array([0.5, -0.25], np.float32)
    moved = state._replace(
      position=state.position + shift, landmarks=state.landmarks + shift
    )
    actions = np.full((8, env.num_agents), 2, np.int32)
    states, rewards = self.play(env, state, actions)
    shifted, same = self.play(env, moved, actions)
    np.testing.assert_allclose(
      shifted.position, states.position + shift, atol=1e-3
    )
    np.testing.assert_allclose(same, rewards, atol=1e-2)

  @parameterized.parameters(
    envs.simple_push,
    envs.simple_speaker_listener,
    envs.simple_tag,
    envs.simple_world_comm,
  )
  def test_games_may_be_mirrored(self, make):
    env = make()
    state = crowded_state(env, 6)
    flip = np.array([-1.0, 1.0], np.float32)
    mirrored = state._replace(
      position=state.position * flip,
      velocity=state.velocity * flip,
      landmarks=state.landmarks * flip,
    )
    speaks = np.array([s.num_values != 5 for s in env.action_spaces])
    mirror = np.array([0, 2, 1, 3, 4])
    move = np.random.default_rng(0).integers(0, 5, (8, env.num_agents))
    only_speaks = np.array([s.num_values < 5 for s in env.action_spaces])
    move = np.where(only_speaks, 1, move)
    reflected = np.where(only_speaks, 1, mirror[move])
    word = np.where(speaks & ~only_speaks, 5 * 2, 0)  # the third symbol
    states, rewards = self.play(env, state, np.int32(move + word))
    others, same = self.play(env, mirrored, np.int32(reflected + word))
    np.testing.assert_allclose(
      others.position, states.position * flip, atol=1e-4
    )
    np.testing.assert_allclose(same, rewards, atol=1e-3)

  def test_agents_are_alike(self):
    env = envs.simple_spread(4)
    state = crowded_state(env, 7)
    order = np.array([2, 0, 3, 1])
    permuted = state._replace(
      position=state.position[order], velocity=state.velocity[order]
    )
    move = np.random.default_rng(0).integers(0, 5, (8, 4)).astype(np.int32)
    states, rewards = self.play(env, state, move)
    others, same = self.play(env, permuted, move[:, order])
    np.testing.assert_allclose(
      others.position, states.position[:, order], atol=1e-4
    )
    np.testing.assert_allclose(same, rewards[:, order], atol=1e-4)


class EpisodeTest(parameterized.TestCase):
  @parameterized.parameters(envs.simple, envs.simple_crypto)
  def test_25_steps_exactly(self, make):
    env = make()
    auto = envs.auto_reset(env)
    _, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)

    def body(state, key):
      action = jnp.zeros((env.num_agents,), jnp.int32)
      out = auto.step(key, state, action, env.default_params)
      return out.state, (out.terminated, out.truncated)

    keys = jax.random.split(jax.random.key(1), 76)
    _, (terminated, truncated) = jax.jit(lambda s: jax.lax.scan(body, s, keys))(
      state
    )
    self.assertFalse(np.any(terminated))
    np.testing.assert_array_equal(np.flatnonzero(truncated), [24, 49, 74])

  @parameterized.parameters(envs.simple_world_comm, envs.simple_reference)
  def test_a_start_fills_the_square(self, make):
    env = make()
    keys = jax.random.split(jax.random.key(2), 500)
    start = jax.jit(jax.vmap(env.reset, (0, None)))
    _, state = start(keys, env.default_params)
    points = np.concatenate([state.position, state.landmarks], 1)
    self.assertLess(np.abs(points).max(), 1 + 1e-6)
    # 500 to 5500 uniform values: deviation of a mean below 0.02.
    np.testing.assert_allclose(points.mean(), 0.0, atol=0.08)
    np.testing.assert_allclose((points**2).mean(), 1 / 3, atol=0.05)
    np.testing.assert_array_equal(state.velocity, 0.0)
    for goal in np.asarray(state.goal).T:
      counts = np.bincount(goal, minlength=3)
      expected = len(goal) / 3
      # 5 standard deviations of a count.
      self.assertLess(np.abs(counts - expected).max(), 5 * expected**0.5)

  def test_params_may_be_batched_and_compile_once(self):
    env = envs.simple_tag()
    factors = np.linspace(0.5, 1.5, 4, dtype=np.float32)
    tasks = [
      env.default_params._replace(
        max_steps=np.int32(3 + i),
        catch_reward=np.float32(10 * factor),
        world=env.default_params.world._replace(
          radius=env.default_params.world.radius * factor,
          dt=np.float32(0.1 * factor),
        ),
      )
      for i, factor in enumerate(factors)
    ]
    traces = []

    @jax.jit
    def play(state, params):
      traces.append(1)

      def body(state, t):
        action = (t + jnp.arange(4, dtype=jnp.int32)) % 5
        out = env.step(jax.random.key(0), state, action, params)
        return out.state, (out.reward, out.obs, out.truncated)

      return jax.lax.scan(body, state, jnp.arange(6, dtype=jnp.int32))[1]

    state = crowded_state(env, 8)
    alone = [play(state, task) for task in tasks]
    self.assertLen(traces, 1)
    stacked = jax.tree.map(lambda *x: np.stack(x), *tasks)
    together = jax.jit(jax.vmap(play, (None, 0)))(state, stacked)
    for i, one in enumerate(alone):
      for a, b in zip(one, together, strict=True):
        np.testing.assert_allclose(a, b[i], rtol=1e-4, atol=1e-4)
    self.assertFalse(np.allclose(alone[0][0], alone[3][0]))
    ends = [np.flatnonzero(truncated)[0] for *_, truncated in alone]
    self.assertEqual(ends, [2, 3, 4, 5])

  @parameterized.parameters((True, -26.6), (False, -24.2))
  @pytest.mark.slow
  def test_known_returns_of_simple_spread(self, is_random, expected):
    env = envs.simple_spread()
    batch, params = envs.vectorize(env), env.default_params
    _, state = batch.reset(jax.random.split(jax.random.key(3), 2048), params)

    def body(state, key):
      key, action_key = jax.random.split(key)
      action = jax.random.randint(action_key, (2048, 3), 0, 5) * is_random
      keys = jax.random.split(key, 2048)
      out = batch.step(keys, state, action, params)
      return out.state, out.reward

    keys = jax.random.split(jax.random.key(4), 25)
    rewards = jax.jit(lambda s: jax.lax.scan(body, s, keys)[1])(state)
    # Returns of 2048 episodes: a standard error of 0.2.
    self.assertAlmostEqual(rewards.sum(0).mean(), expected, delta=0.6)


class HelpersTest(absltest.TestCase):
  def test_drop_own(self):
    pairs = jnp.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(
      game.drop_own(pairs), [[1, 2], [3, 5], [6, 7]]
    )
    self.assertEqual(game.drop_own(jnp.zeros((1, 1, 2))).shape, (1, 0, 2))


if __name__ == '__main__':
  absltest.main()
