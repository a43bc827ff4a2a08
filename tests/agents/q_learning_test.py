"""Values from replay: the ring, the target, and the game that tells mixers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest

from ttc import agents, envs
from ttc.agents import mixing, q_behaviour, q_learning, replay, rollouts
from ttc.agents.networks import AgentsNet
from ttc.agents.q_behaviour import Kept


class ReplayTest(absltest.TestCase):
  def test_the_oldest_goes_first(self):
    ring = replay.empty_replay({'x': jnp.zeros(())}, 5)
    for start in (0, 3, 6):
      ring = replay.add(ring, {'x': jnp.arange(start, start + 3.0)})
    self.assertEqual(sorted(ring.data['x'].tolist()), [4, 5, 6, 7, 8])

  def test_only_what_is_there_is_drawn(self):
    ring = replay.empty_replay({'x': jnp.zeros(())}, 50)
    ring = replay.add(ring, {'x': jnp.arange(1, 4.0)})
    drawn = replay.sample(ring, jax.random.key(0), 300)['x']
    self.assertEqual(set(drawn.tolist()), {1.0, 2.0, 3.0})
    np.testing.assert_allclose(drawn.mean(), 2.0, atol=0.15)  # 3 errors


def table_net():
  """Values of an agent's two actions are a table by what it sees."""

  def apply(params, obs, memory, reset):
    return params[obs[..., 0].astype(jnp.int32)], memory

  return AgentsNet(lambda key: jnp.zeros((4, 2)), apply, 0)


class TargetTest(absltest.TestCase):
  def test_double_q_by_hand(self):
    """Two agents, four steps; a rule ends at 1, a limit at 2."""
    q = jnp.array([[0.0, 1.0], [2.0, 0.0], [5.0, 4.0], [1.0, 3.0]])
    old = jnp.array([[9.0, 8.0], [1.0, 7.0], [3.0, 6.0], [2.0, 5.0]])
    seen = jnp.array([[0, 1], [1, 2], [2, 3], [3, 0]])  # [T, A]
    action = jnp.array([[0, 1], [0, 0], [1, 1], [0, 0]])
    reward = jnp.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [8.0, 8.0]])
    row = lambda x: x[None]
    shape = (4, 2)
    rollout = rollouts.Rollout(
      obs=row(seen[..., None].astype(jnp.float32)),
      legal=jnp.ones((1, *shape, 2), bool),
      reset=jnp.zeros((1, *shape), bool),
      active=jnp.ones((1, *shape), bool),
      action=row(action),
      reward=row(reward),
      terminated=jnp.array([[False, True, False, False]]),
      truncated=jnp.array([[False, False, True, False]]),
      cut_value=jnp.zeros((1, 4, 0)),
      kept=Kept(jnp.zeros((1, 4, 0)), jnp.zeros((1, 4, 1))),
    )
    sequence = q_learning.Sequence(rollout, jnp.zeros((1, 2, 0)))
    loss = q_learning.td_loss(
      table_net(),
      mixing.sum_of_values(),
      0.5,
      {'agents': q, 'mixer': {}},
      {'agents': old, 'mixer': {}},
      sequence,
    )
    # Step 0 took 0 + 0; then the best are 0 and 0, which the target says are
    # worth 1 + 3. Step 1 took 2 + 5 and ended. Step 2 was cut, step 3 is last.
    want = ((0 - (1 + 0.5 * 4)) ** 2 + (7 - 2) ** 2) / 2
    self.assertAlmostEqual(float(loss), want, delta=1e-5)

  def test_exploration_is_legal_and_as_frequent_as_asked(self):
    q = jnp.array([[0.0, 1.0, -1e10], [-1e10, 1.0, 2.0]])
    legal = jnp.array([[True, True, False], [False, True, True]])
    draw = jax.vmap(lambda key: q_behaviour.explore(key, q, legal, 0.4))
    actions = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    self.assertTrue(np.all(actions[:, 0] < 2) and np.all(actions[:, 1] > 0))
    np.testing.assert_allclose((actions[:, 0] == 1).mean(), 0.8, atol=0.02)
    np.testing.assert_allclose((actions[:, 1] == 2).mean(), 0.8, atol=0.02)


@pytest.mark.slow
class TwoStepGameTest(absltest.TestCase):
  def test_only_a_mixer_that_is_no_sum_finds_eight(self):
    hyper = agents.QLearning(
      8, 8, 500, 32, 4, learning_rate=5e-4, epsilon=1.0, target_period=20
    )
    env, found = envs.two_step_game(), {}
    for algorithm in (agents.iql, agents.vdn, agents.qmix):
      learner = algorithm(env, hyper)
      run = jax.jit(
        lambda s, learner=learner: jax.lax.scan(
          lambda s, _: learner.update(s), s, length=1000
        )
      )
      state, _ = run(jax.jit(learner.init)(jax.random.key(0)))
      play = agents.evaluate(
        env,
        learner.policy,
        learner.params(state),
        jax.random.key(1),
        1,
        2,
        greedy=True,
      )
      found[algorithm.__name__] = float(play.returns.mean())
    self.assertEqual(found, {'iql': 7.0, 'vdn': 7.0, 'qmix': 8.0})


if __name__ == '__main__':
  absltest.main()
