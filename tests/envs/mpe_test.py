"""Particle games: physics beside plain loops, symmetries, rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

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


def crowded_state(env, seed, width=0.4):
  """A state whose bodies touch, at any speed."""
  rng = np.random.default_rng(seed)
  _, state = env.reset(jax.random.key(seed), env.default_params)
  within = lambda x: jnp.asarray(
    rng.uniform(-width, width, x.shape), jnp.float32
  )
  return state._replace(
    position=within(state.position),
    velocity=4 * within(state.velocity),
    landmarks=within(state.landmarks),
  )


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
    for _ in range(5):
      position = jnp.asarray(rng.uniform(-0.2, 0.2, (3, 2)), jnp.float32)
      force = world.contact_forces(
        position, jnp.zeros((0, 2), jnp.float32), params
      )
      self.assertGreater(np.abs(force).max(), 0.1)
      np.testing.assert_allclose(np.sum(force, 0), 0.0, atol=1e-4)
    pair = world.world_params([0.15, 0.1], [])
    force = world.contact_forces(
      position[:2], jnp.zeros((0, 2), jnp.float32), pair
    )
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
        jax.random.key(0), state, jnp.zeros(5, jnp.int32), params
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
    _, state = env.reset(jax.random.key(0), env.default_params)
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

    return jax.jit(lambda s, a: jax.lax.scan(body, s, a))(state, actions)[1]

  @parameterized.named_parameters(
    ('spread', envs.simple_spread),
    ('adversary', envs.simple_adversary),
    ('reference', envs.simple_reference),
  )
  def test_games_without_borders_may_be_shifted(self, make):
    env = make()
    state = crowded_state(env, 5)
    shift = jnp.array([0.5, -0.25], jnp.float32)
    moved = state._replace(
      position=state.position + shift, landmarks=state.landmarks + shift
    )
    actions = jnp.ones((8, env.num_agents), jnp.int32) * 2
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
    flip = jnp.array([-1.0, 1.0], jnp.float32)
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
    states, rewards = self.play(env, state, jnp.int32(move + word))
    others, same = self.play(env, mirrored, jnp.int32(reflected + word))
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
    _, state = env.reset(jax.random.key(0), env.default_params)

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
    _, state = jax.vmap(env.reset, (0, None))(keys, env.default_params)
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
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *tasks)
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


class RulesTest(parameterized.TestCase):
  """One hand-made state of each game."""

  def outcome(self, env, action=None, params=None, **fields):
    params = env.default_params if params is None else params
    _, state = env.reset(jax.random.key(0), params)
    array = lambda x: jnp.asarray(
      x, jnp.int32 if np.asarray(x).dtype.kind == 'i' else jnp.float32
    )
    state = state._replace(**{name: array(x) for name, x in fields.items()})
    action = [0] * env.num_agents if action is None else action
    return jax.jit(env.step)(jax.random.key(0), state, array(action), params)

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
        a = jax.jit(discrete.step)(key, state, jnp.array(action), params)
        b = jax.jit(boxed.step)(key, state, jnp.array(box), params)
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


class HelpersTest(absltest.TestCase):
  def test_drop_own(self):
    pairs = jnp.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(
      game.drop_own(pairs), [[1, 2], [3, 5], [6, 7]]
    )
    self.assertEqual(game.drop_own(jnp.zeros((1, 1, 2))).shape, (1, 0, 2))


if __name__ == '__main__':
  absltest.main()
