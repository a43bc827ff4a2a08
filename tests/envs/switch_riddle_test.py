"""The switch riddle, all of its trajectories."""

import itertools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from ttc import envs
from ttc.envs.multi_agent import switch_riddle as riddle

NOTHING, SWITCH, TELL = range(3)
NUM_AGENTS, DAYS = 3, 6


class Counter:
  """Prisoner 0 counts bulbs that the others light once each, then tells."""

  def __init__(self):
    self.count, self.lit = 0, set()

  def __call__(self, agent, bulb, day):
    del day
    if agent:
      if bulb or agent in self.lit:
        return NOTHING
      self.lit.add(agent)
      return SWITCH
    self.count += bulb
    if self.count == NUM_AGENTS - 1:
      return TELL
    return SWITCH if bulb else NOTHING


class LastDay:
  """Whoever is in the room on the last day tells."""

  def __call__(self, agent, bulb, day):
    del agent, bulb
    return TELL if day == DAYS - 1 else NOTHING


def plain_game(protocol, visitors):
  """Actions, days played and the reward, of a sequence of visitors."""
  bulb, been, actions = False, set(), []
  for day, agent in enumerate(visitors):
    been.add(agent)
    act = protocol(agent, bulb, day)
    actions.append(act)
    if act == TELL:
      return actions, day + 1, 1.0 if len(been) == NUM_AGENTS else -1.0
    bulb ^= act == SWITCH
  return actions, DAYS, 0.0


def played(protocol):
  """Every sequence of visitors, by the environment and by plain code."""
  sequences = list(itertools.product(range(NUM_AGENTS), repeat=DAYS))
  plain = [plain_game(protocol(), visitors) for visitors in sequences]
  actions = np.array(
    [acts + [NOTHING] * (DAYS - len(acts)) for acts, _, _ in plain], np.int32
  )
  env = envs.switch_riddle(NUM_AGENTS)
  params = env.default_params

  def run(visitors, acts):
    _, state = env.reset(visitors[0], params)
    rest = jnp.concatenate([visitors[1:], visitors[:1]])

    def body(state, inputs):
      following, act, visitor = inputs
      # Who is not in the room tells all the time, to no effect.
      action = jnp.full((NUM_AGENTS,), TELL, jnp.int32).at[visitor].set(act)
      out = env.step(following, state, action, params)
      return out.state, (out.obs, out.reward, out.terminated, out.truncated)

    return jax.lax.scan(body, state, (rest, acts, visitors))[1]

  # Keys are the visitors themselves.
  with mock.patch.object(
    riddle, 'random_index', lambda key, shape, n, dtype: key.astype(dtype)
  ):
    out = jax.jit(jax.vmap(run))(jnp.array(sequences, jnp.int32), actions)
  return sequences, plain, jax.device_get(out)


class SwitchRiddleTest(absltest.TestCase):
  def check(self, protocol):
    sequences, plain, (obs, reward, terminated, truncated) = played(protocol)
    returns = []
    for i, visitors in enumerate(sequences):
      actions, days, value = plain[i]
      done = terminated[i] | truncated[i]
      self.assertEqual(np.flatnonzero(done)[0], days - 1)
      self.assertTrue(terminated[i, days - 1])  # told, or too late
      self.assertFalse(truncated[i].any())
      np.testing.assert_array_equal(reward[i, days - 1], [value] * NUM_AGENTS)
      np.testing.assert_array_equal(reward[i, : days - 1], 0.0)
      bulb = False
      for day in range(days - 1):
        bulb ^= actions[day] == SWITCH
        expected = np.zeros((NUM_AGENTS, 2))
        expected[visitors[day + 1]] = [1, bulb]
        np.testing.assert_array_equal(obs[i, day], expected)
      returns.append(value)
    return np.mean(returns)

  def test_counting_is_never_wrong(self):
    value = self.check(Counter)
    # The counter must come back after each of the two others has lit.
    self.assertGreater(value, 0)
    wins = np.array([p[2] for p in played(Counter)[1]])
    self.assertEqual(set(wins), {0.0, 1.0})
    # 0 a 0 b 0 within six days, by a chain of 5 states: w(c) is the chance in
    # n days when c are counted and the bulb is off, l(c) when it is on.
    w, l = np.zeros((3, 7)), np.zeros((3, 7))
    w[2] = l[2] = 1
    for n in range(1, 7):
      for c in (1, 0):
        fresh = (2 - c) / 3  # somebody who has not lit
        w[c, n] = fresh * l[c, n - 1] + (1 - fresh) * w[c, n - 1]
        l[c, n] = (1 if c == 1 else w[1, n - 1]) / 3 + 2 / 3 * l[c, n - 1]
    self.assertAlmostEqual(value, w[0, 6], places=6)

  def test_the_last_day(self):
    # 540 of the 3^6 sequences have all three visitors.
    self.assertAlmostEqual(self.check(LastDay), 2 * 540 / 729 - 1, places=6)

  def test_visitors_are_uniform_and_rewards_scale(self):
    env = envs.switch_riddle(4)
    self.assertEqual(env.default_params.max_steps, 10)
    params = env.default_params._replace(tell_reward=np.float32(2.5))
    keys = jax.random.split(jax.random.key(0), 4000)
    _, state = jax.jit(jax.vmap(env.reset, (0, None)))(keys, params)
    tell = jnp.full((4000, 4), TELL, jnp.int32)
    out = jax.jit(jax.vmap(env.step, (0, 0, 0, None)))(
      keys, state, tell, params
    )
    np.testing.assert_array_equal(out.reward, -2.5)
    for rooms in (state.in_room, out.state.in_room):
      # 1000 expected, deviation 27: within 5 of them.
      counts = np.bincount(rooms, minlength=4)
      self.assertLess(np.abs(counts - 1000).max(), 137)

  def test_two_are_too_few(self):
    with self.assertRaisesRegex(ValueError, 'num_agents=2'):
      envs.switch_riddle(2)


if __name__ == '__main__':
  absltest.main()
