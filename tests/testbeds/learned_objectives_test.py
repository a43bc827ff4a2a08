"""Rules that are learned small, and what is said of their agents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import envs, metarl
from ttc.envs.grid_worlds.dynamic_programming import optimal_return
from ttc.testbeds import learned_objectives as bed


def setup_module():
  global TASK, RULE, META
  TASK = metarl.MetaTask(
    envs.bandit(3),
    envs.bandit_tasks(3, noise_std=0.1),
    low=2,
    high=4,
    agent=metarl.tabular_agent(2, 1, actor_rate=4.0, max_grad_norm=1e6),
    eval_episodes=16,
    max_episode_steps=1,
  )
  RULE = metarl.ta_lpg(2, 4)
  META = jax.jit(RULE.init)(jax.random.key(0))


BEST = lambda level: jnp.max(level.means)


def live(horizon, told=None):
  return bed.lived(TASK, RULE, META, horizon, 0, 8, told=told, best=BEST)


def test_who_is_told_the_truth_lives_as_ever():
  true, same, other = live(4), live(4, told=4), live(4, told=40)
  np.testing.assert_allclose(true['return'], same['return'], atol=1e-6)
  assert np.any(true['entropy'] != other['entropy'])
  assert true['entropy'].shape == (8, 3)
  # Play pays at most the best arm, but for the noise of 16 pulls.
  assert true['gap'].min() > -4 * 0.1 / 16**0.5


@pytest.mark.slow
def test_a_comparison_has_every_rule_at_every_horizon():
  found = bed.compare(
    TASK, 0, (2, 4), 4, 2, num_pairs=2, num_agents=4, best=BEST
  )
  names = ('ta_lpg', 'lpg', 'truncated', 'pair_wins', 'misled')
  assert {found[name].shape for name in names} == {(1, 2)}
  assert found['entropy'].shape == (1, 2, 3)


@pytest.mark.slow
def test_nobody_beats_the_best_in_grid_worlds():
  task = bed.grid_worlds()
  lives = bed.lived(
    task,
    metarl.a2c(),
    {},
    20,
    0,
    16,
    best=lambda level: optimal_return(level, 1.0, task.max_episode_steps),
  )
  # The mean of 16 episodes may lie above its expectation.
  assert lives['gap'].mean() > 0
  assert lives['gap'].min() > -0.5
