"""A policy that was saved plays as it did, and only where it fits."""

import jax
import numpy as np
import pytest

from ttc import agents, envs
from ttc.agents import PPO, Architecture, QLearning

RECURRENT = Architecture((8,), 4, shared=False)


@pytest.mark.parametrize('kind', ['actor', 'values'])
def test_it_plays_as_it_did(tmp_path, kind):
  env = envs.switch_riddle(3)
  if kind == 'actor':
    learner = agents.ippo(env, PPO(num_envs=4), RECURRENT)
  else:
    learner = agents.vdn(env, QLearning(num_envs=4), RECURRENT)
  params = learner.params(jax.jit(learner.init)(jax.random.key(0)))
  path = tmp_path / 'new' / 'policy.npz'
  agents.save_policy(path, kind, RECURRENT, params)
  policy, loaded = agents.load_policy(path, env)
  key = jax.random.key(1)
  play = lambda policy, params: agents.evaluate(
    env, policy, params, key, 20, 6, greedy=True
  )
  a, b = play(learner.policy, params), play(policy, loaded)
  np.testing.assert_array_equal(a.returns, b.returns)
  np.testing.assert_array_equal(a.lengths, b.lengths)
  states = agents.trajectory(env, policy, loaded, key, 6)
  assert 2 <= len(states) <= 7 and int(states[-1].time) == len(states) - 1


def test_another_environment_is_refused(tmp_path):
  env = envs.switch_riddle(3)
  learner = agents.ippo(env, PPO(num_envs=4))
  params = learner.params(jax.jit(learner.init)(jax.random.key(0)))
  path = tmp_path / 'policy.npz'
  agents.save_policy(path, 'actor', Architecture(), params)
  with pytest.raises(ValueError, match=r'two_step_game with .* needs'):
    agents.load_policy(path, envs.two_step_game())
  path.write_bytes(b'something else')
  with pytest.raises(ValueError, match='not a file of arrays'):
    agents.load_policy(path, env)
