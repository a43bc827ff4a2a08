"""SMAX against JaxMARL 0.2.0, by state injection.

States come from our own play, half of it random and half scripted. The
reference gets the same states and actions, and neither side draws: reloads are
without noise, and of several opponents in sight the script takes the first.

Where the reference is wrong, ours is right:

  defect of the reference                             how it is compared
  an episode of `max_steps=100` has 101 steps         ends without the limit
  surplus enemies of SMACv2 are always marines        states are injected
  SMACv2 starts units outside of the map, where they  states are injected
    die in the first tick
  conic: unit 0 is seen by nobody                     by `_conic`, in NumPy
  conic: the dead are seen                            by `_conic`
  conic: units due east or west, or on any border     by `_conic`
    between sections, are seen by nobody
  own position leaves [-1, 1] outside of the map      clipped
  scripted units keep moving when dead                of live units only
  attack on an opponent that does not exist hits a    not an action of ours
    unit counted from the end
"""

import contextlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from ttc import envs
from ttc.envs.multi_agent.smax import game
from ttc.envs.multi_agent.smax.scenarios import find_scenario

pytest.importorskip('jaxmarl')
pytestmark = pytest.mark.oracle

SCENARIOS = (
  '3m',
  '5m_vs_6m',
  '3s_vs_5z',
  '3s5z_vs_3s6z',
  'smacv2_5_units',
  '27m_vs_30m',
)
SELF_PLAY = ('3m', '5m_vs_6m', 'smacv2_10_units')


def reference(name, scenario, **options):
  import jaxmarl
  from jaxmarl.environments.smax import map_name_to_scenario

  return jaxmarl.make(name, scenario=map_name_to_scenario(scenario), **options)


def visited(scenario, num_envs=50, num_steps=100, keep=20):
  """`[keep * num_envs]` states of self-play and actions taken in them."""
  env = envs.smax(scenario, 'self_play')
  batch, params = envs.vectorize(env), env.default_params
  script = jax.vmap(envs.smax_script(scenario), in_axes=(0, 0, None))

  def step(states, key):
    keys = jax.random.split(key, 4)
    each = [jax.random.split(k, num_envs) for k in keys[:2]]
    logits = jnp.where(batch.legal(states, params), 0.0, -jnp.inf)
    anything = jax.random.categorical(keys[2], logits).astype(jnp.int32)
    told = script(each[0], states, params)
    obeys = jax.random.bernoulli(keys[3], 0.6, told.shape)
    actions = jnp.where(obeys, told, anything)
    after = batch.step(each[1], states, actions, params).state
    return after, (states, actions)

  keys = jax.random.split(jax.random.key(0), num_steps + 1)
  _, states = batch.reset(jax.random.split(keys[0], num_envs), params)
  out = jax.jit(lambda s: jax.lax.scan(step, s, keys[1:])[1])(states)
  some = np.linspace(0, num_steps - 1, keep).round().astype(int)
  return jax.tree.map(lambda x: x[some].reshape(-1, *x.shape[2:]), out)


def to_reference(state, num_allies):
  """Our state as theirs; of one environment."""
  from jaxmarl.environments.smax.smax_env import State

  action = state.action
  move_x = (action == 1) * 1.0 - (action == 3)
  move_y = (action == 0) * 1.0 - (action == 2)
  return State(
    unit_positions=jnp.stack([state.x, state.y], axis=-1),
    unit_alive=state.alive,
    unit_teams=(jnp.arange(len(action)) >= num_allies) * 1.0,
    unit_health=state.health,
    unit_types=state.unit_type.astype(jnp.uint8),
    unit_weapon_cooldowns=state.cooldown,
    prev_movement_actions=jnp.stack([move_x, move_y], axis=-1),
    prev_attack_actions=jnp.where(action > 4, action, 0),
    step=state.time,
    done=jnp.zeros((), bool),
  )


def to_scripted(state, params, num_allies):
  """Our state and what their script remembers of it."""
  from jaxmarl.environments.smax.heuristic_enemy import HeuristicPolicyState
  from jaxmarl.environments.smax.heuristic_enemy_smax_env import State

  starts = jnp.stack([state.start_x, state.start_y], axis=-1)[num_allies:]
  action = state.action[num_allies:]
  memory = HeuristicPolicyState(
    default_target=params.map_size - starts,
    last_attacked_enemy=jnp.where(action > 4, action - 5, -1),
  )
  return State(to_reference(state, num_allies), memory)


@contextlib.contextmanager
def without_draws():
  """Uniform draws are 0, choices the first one that is possible."""

  def uniform(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
    del key, minval, maxval
    return jnp.zeros(shape, dtype)

  def choice(key, a, shape=(), replace=True, p=None):
    del key, shape, replace
    return a[jnp.argmax(p > 0)]

  def pairs(key, count):
    del key
    return jnp.zeros((2, count), jnp.float32)

  theirs = mock.patch.multiple(jax.random, uniform=uniform, choice=choice)
  with theirs, mock.patch.object(game, 'uniform_pairs', pairs):
    yield


def without_noise(params):
  return params._replace(reload_noise=np.zeros(2, np.float32))


def rows_of(theirs, env, key=None):
  """Values by agent, padded: `[.., A, n]`."""
  values = [np.asarray(theirs[agent]) for agent in env.agents]
  if values[0].ndim == 1:
    return np.stack(values, axis=-1)
  width = max(x.shape[-1] for x in values)
  pad = lambda x: np.pad(x, ((0, 0), (0, width - x.shape[-1])))
  return np.stack([pad(x) for x in values], axis=1)


class OracleTest(parameterized.TestCase):
  def check(self, env, out, theirs, num_allies):
    """A step of ours against theirs, both of a batch."""
    obs, after, reward, done, state = theirs
    ours = out.state
    alive = np.asarray(ours.alive)
    near = lambda a, b, atol=2e-5: np.testing.assert_allclose(
      np.asarray(a, np.float64), np.asarray(b, np.float64), 0, atol
    )
    # Crowds amplify rounding: a push turns with the line between two centres.
    near(ours.x, after.unit_positions[..., 0], 2e-4)
    near(ours.y, after.unit_positions[..., 1], 2e-4)
    near(ours.health, after.unit_health)
    near(ours.cooldown, after.unit_weapon_cooldowns)
    np.testing.assert_array_equal(alive, after.unit_alive)
    attack = np.where(ours.action > 4, ours.action, 0)
    np.testing.assert_array_equal(
      attack[alive], np.asarray(after.prev_attack_actions)[alive]
    )
    near(out.reward, rows_of(reward, env))
    limit = np.asarray(state.time) >= 100
    np.testing.assert_array_equal(out.terminated | limit, done['__all__'])
    theirs_obs = rows_of(obs, env)
    theirs_obs[..., -9:-7] = theirs_obs[..., -9:-7].clip(0, 1)
    near(out.obs, theirs_obs)
    world = jax.vmap(env.world, in_axes=(0, None))(ours, env.default_params)
    near(world, obs['world_state'], 2e-4)

  @parameterized.parameters(*SCENARIOS)
  def test_scripted_enemies(self, scenario):
    env = envs.smax(scenario)
    params = without_noise(env.default_params)
    allies = env.num_agents
    states, actions = visited(scenario)
    self.assertGreaterEqual(len(actions), 1000)
    with without_draws():
      step = jax.vmap(env.step, in_axes=(None, 0, 0, None))
      out = jax.jit(step)(
        jax.random.key(0), states, actions[:, :allies], params
      )
      theirs = reference('HeuristicEnemySMAX', scenario)

      def their_step(state, action):
        named = dict(zip(theirs.agents, action, strict=False))
        obs, after, reward, done, _ = theirs.step_env(
          jax.random.key(0), to_scripted(state, params, allies), named
        )
        return obs, after.state, reward, done

      other = jax.jit(jax.vmap(their_step))(states, actions)
    self.check(env, out, (*other, states), allies)
    self.assertTrue(np.any(out.terminated))
    self.assertTrue(np.any(~states.alive))
    moves = out.state.action < 4
    their_moves = np.asarray(other[1].prev_movement_actions)
    alive = np.asarray(states.alive)
    named = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}
    for action, way in named.items():
      some = alive & moves & (np.asarray(out.state.action) == action)
      np.testing.assert_allclose(
        their_moves[some], np.tile(way, (some.sum(), 1)), atol=1e-6
      )

  @parameterized.product(scenario=SELF_PLAY, zero_sum=(False, True))
  def test_self_play(self, scenario, zero_sum):
    env = envs.smax(scenario, 'self_play')
    params = without_noise(env.default_params)
    if not zero_sum:
      zero, one = np.zeros((), np.float32), np.ones((), np.float32)
      params = params._replace(damage_reward=one, loss_penalty=zero)
    allies = len(find_scenario(scenario).allies)
    states, actions = visited(scenario)
    with without_draws():
      step = jax.vmap(env.step, in_axes=(None, 0, 0, None))
      out = jax.jit(step)(jax.random.key(0), states, actions, params)
      theirs = reference('SMAX', scenario, use_self_play_reward=zero_sum)

      def their_step(state, action):
        named = dict(zip(theirs.agents, action, strict=True))
        out = theirs.step_env(
          jax.random.key(0), to_reference(state, allies), named
        )
        return out[:4]

      other = jax.jit(jax.vmap(their_step))(states, actions)
      legal = jax.vmap(theirs.get_avail_actions)(
        jax.vmap(lambda s: to_reference(s, allies))(states)
      )
    self.check(env, out, (*other, states), allies)
    ours = jax.vmap(env.legal, in_axes=(0, None))(states, params)
    np.testing.assert_array_equal(ours, rows_of(legal, env) > 0)

  @parameterized.parameters('3m', 'smacv2_10_units')
  def test_conic_observation(self, scenario):
    env = envs.smax(scenario, 'self_play', 'conic')
    states, _ = visited(scenario, keep=4)
    allies = len(find_scenario(scenario).allies)
    theirs = reference('SMAX', scenario, observation_type='conic')
    other = jax.jit(
      jax.vmap(lambda s: theirs.get_obs(to_reference(s, allies)))
    )(states)
    ours = jax.jit(jax.vmap(env.observe, in_axes=(0, None)))(
      states, env.default_params
    )
    other = rows_of(other, env)
    self.assertEqual(other.shape, ours.shape)
    np.testing.assert_allclose(
      ours[..., -10:], other[..., -10:].clip(0, 1), atol=2e-5
    )
    # Elsewhere than where unit 0 or a dead one lies.
    cones = (*ours.shape[:2], 32, 26)
    ours = np.asarray(ours)[:, :allies, :-10].reshape(-1, allies, *cones[2:])
    other = other[:, :allies, :-10].reshape(ours.shape)
    x, y = (np.asarray(a) for a in (states.x, states.y))
    angle = np.arctan2(
      y[:, None] - y[:, :allies, None], x[:, None] - x[:, :allies, None]
    )
    turn = (angle + np.pi) / (2 * np.pi) * 32
    section = np.floor(turn) % 32
    wrong = ~np.asarray(states.alive)[:, None]
    wrong = wrong | (np.arange(x.shape[1]) == 0)
    wrong = wrong | (np.abs(turn - np.round(turn)) < 1e-4)
    wrong = (section[..., None] == np.arange(32)) & wrong[..., None]
    wrong = wrong.any(axis=2)
    right = ~(wrong | np.roll(wrong, 1, -1) | np.roll(wrong, -1, -1))
    np.testing.assert_allclose(ours[right], other[right], atol=2e-5)
    self.assertGreater(np.any(ours[right] != 0, axis=-1).sum(), 300)
    self.assertGreater(np.any(ours[~right] != other[~right], axis=-1).sum(), 50)

  def test_reload_noise_has_their_law(self):
    env = envs.smax('3m', 'self_play')
    states, actions = visited('3m')
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    keys = jax.random.split(jax.random.key(1), len(actions))
    out = jax.jit(step)(keys, states, actions, env.default_params)
    theirs = reference('SMAX', '3m')

    def their_step(key, state, action):
      named = dict(zip(theirs.agents, action, strict=True))
      return theirs.step_env(key, to_reference(state, 3), named)[1]

    other = jax.jit(jax.vmap(their_step))(keys, states, actions)
    before = np.asarray(states.cooldown)
    ours = np.asarray(out.state.cooldown)
    fired = ours > before
    theirs_cooldown = np.asarray(other.unit_weapon_cooldowns)
    np.testing.assert_array_equal(fired, theirs_cooldown > before)
    np.testing.assert_allclose(ours[~fired], theirs_cooldown[~fired], atol=1e-5)
    self.assertGreater(fired.sum(), 300)
    difference = ours[fired] - theirs_cooldown[fired]
    self.assertLess(np.abs(difference).max(), 3 / 16 + 1e-5)
    # Means of two uniform laws of width 3/16, three standard errors.
    error = 3 * (3 / 16) * np.sqrt(2 / 12 / fired.sum())
    self.assertLess(np.abs(difference.mean()), error)


if __name__ == '__main__':
  absltest.main()
