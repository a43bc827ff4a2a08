"""Replay by regret: its law, what is kept, and that old levels come back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import absltest, parameterized

from ttc import envs, metarl
from ttc.agents import PPO, Architecture
from ttc.metarl.level_replay import (
  LevelBuffer,
  Replay,
  antagonist_returns,
  empty_buffer,
  find,
  remember,
  replay_law,
  replayed,
)

LEVELS = envs.TaskDistribution(lambda key: jax.random.uniform(key, (2,)))


def filled(regrets):
  regrets = jnp.asarray(regrets, jnp.float32)
  levels = jnp.arange(len(regrets), dtype=jnp.float32)[:, None] + jnp.ones(2)
  return LevelBuffer(levels, regrets, jnp.zeros(len(regrets)))


class LawTest(parameterized.TestCase):
  def test_by_rank(self):
    law = replay_law(filled([0.1, 3.0, -np.inf, 0.5]), Replay())
    np.testing.assert_allclose(law, np.array([2, 6, 0, 3]) / 11, atol=1e-6)

  def test_by_regret(self):
    buffer = filled([1.0, 3.0, -np.inf, -2.0])
    law = replay_law(buffer, Replay(prioritization='proportional'))
    np.testing.assert_allclose(law, [0.25, 0.75, 0, 0], atol=1e-5)

  def test_cold_is_the_greatest_alone(self):
    law = replay_law(filled([0.1, 3.0, 0.5]), Replay(temperature=0.05))
    np.testing.assert_allclose(law, [0, 1, 0], atol=1e-5)


class BufferTest(absltest.TestCase):
  def test_new_ones_push_the_least_out(self):
    buffer = empty_buffer(LEVELS, 2)
    levels = jnp.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    returns = -jnp.array([0.3, 0.1, 0.2, 0.05])  # minus the regrets
    every = jnp.ones(4, bool)
    buffer = remember(buffer, levels, returns, jnp.zeros(4), every)
    np.testing.assert_allclose(sorted(buffer.regrets), [0.2, 0.3], atol=1e-6)
    self.assertTrue(bool(find(buffer, levels[2])[0]))
    self.assertFalse(bool(find(buffer, levels[1])[0]))

  def test_a_level_is_there_once_with_its_last_regret(self):
    buffer = empty_buffer(LEVELS, 3)
    level = jnp.ones((1, 2))
    for regret in (0.5, 0.1):
      buffer = remember(
        buffer, level, -jnp.array([regret]), jnp.zeros(1), jnp.ones(1, bool)
      )
    kept = np.asarray(buffer.regrets)
    np.testing.assert_allclose(kept[np.isfinite(kept)], [0.1], atol=1e-6)

  def test_lives_that_go_on_say_nothing(self):
    buffer = empty_buffer(LEVELS, 3)
    after = remember(
      buffer, jnp.ones((1, 2)), jnp.zeros(1), jnp.ones(1), jnp.zeros(1, bool)
    )
    self.assertFalse(np.any(np.isfinite(after.regrets)))

  def test_no_room(self):
    with self.assertRaisesRegex(ValueError, 'capacity=0, expected >= 1'):
      empty_buffer(LEVELS, 0)


class ReplayedTest(absltest.TestCase):
  def shares(self, buffer, replay):
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(jax.vmap(replayed(buffer, LEVELS, replay).sample))(keys)
    return [float(jnp.mean(drawn[:, 0] == i + 1)) for i in range(3)]

  def test_half_of_the_lives_are_on_old_levels(self):
    shares = self.shares(filled([1.0, 3.0, -np.inf]), Replay())
    # 3 standard errors of a share of 2000
    np.testing.assert_allclose(shares, [1 / 6, 1 / 3, 0], atol=0.034)

  def test_before_there_is_any_all_are_new(self):
    nothing = empty_buffer(LEVELS, 3)
    self.assertEqual(self.shares(nothing, Replay()), [0, 0, 0])


class TrainingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    agent = metarl.Agent(
      PPO(num_envs=2, num_steps=2, num_epochs=1, num_minibatches=1),
      Architecture((4,)),
    )
    self.task = metarl.MetaTask(
      envs.bandit(3), envs.bandit_tasks(3), 1, 3, agent, 8, 1
    )
    self.rule = metarl.lpg(2, 4)
    self.replay = Replay(capacity=6)

  @pytest.mark.slow
  def test_evolution_fills_and_replays(self):
    evolve = lambda fitness: metarl.evolution(fitness, optax.adam(0.01), 4)
    method = metarl.evolution_with_replay(
      self.task, self.rule, evolve, 4, self.replay
    )
    self.check(method, 3, full=True)

  @pytest.mark.slow
  def test_meta_gradients_fill_and_replay(self):
    improve = lambda task: metarl.meta_gradients(
      task, self.rule, optax.adam(0.01), metarl.MetaGradients(4, 1)
    )
    method = metarl.meta_gradients_with_replay(
      self.task, self.rule, improve, self.replay
    )
    self.check(method, 4, full=False)

  def check(self, method, num_updates, full):
    state = jax.jit(method.init)(
      jax.jit(self.rule.init)(jax.random.key(0)), jax.random.key(1)
    )
    update = jax.jit(method.update)
    for _ in range(num_updates):
      state, _ = update(state)
    known = np.isfinite(state.buffer.regrets)
    self.assertGreater(known.sum(), 0)
    if full:
      self.assertTrue(known.all())

  @pytest.mark.slow
  def test_an_antagonist_lives_once(self):
    keys = jax.random.split(jax.random.key(2), 2)
    lives = jax.jit(jax.vmap(lambda key: metarl.draw_life(self.task, key)))(
      keys
    )
    every = jnp.ones(2, bool)
    ask = jax.jit(
      lambda buffer: antagonist_returns(buffer, self.task, lives, every)
    )
    buffer = empty_buffer(self.task.levels, 6)
    first = ask(buffer)
    buffer = remember(buffer, lives.env_params, first - 1, first, every)
    changed = buffer._replace(antagonists=buffer.antagonists + 5)
    np.testing.assert_allclose(ask(changed), first + 5, atol=1e-5)


if __name__ == '__main__':
  absltest.main()
