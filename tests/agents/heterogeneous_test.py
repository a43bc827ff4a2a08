"""Agents that see and do different things learn by the same learners.

In `simple_speaker_listener` one has three words and sees three numbers, the
other five moves and eleven numbers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.testbeds.played import played, trained

ENV = envs.simple_speaker_listener()
HYPER = PPO(num_envs=64, num_steps=25, learning_rate=1e-3)
LEARNERS = {
  'apart': lambda: agents.ippo(ENV, HYPER, Architecture(shared=False)),
  'shared': lambda: agents.ippo(ENV, HYPER, Architecture(agent_ids=True)),
  'central critic': lambda: agents.mappo(
    ENV, HYPER, Architecture(shared=False)
  ),
}


@functools.cache
def returns(name):
  """Of 512 episodes, which begin alike."""
  play = functools.partial(played, ENV, seed=0, num_episodes=512, max_steps=25)
  if name == 'random':
    return play(agents.random_policy(), ())['return'].mean()
  learner = LEARNERS[name]()
  return play(learner.policy, trained(learner, 0, 100))['return'].mean()


@pytest.mark.slow
@pytest.mark.parametrize('name', LEARNERS)
def test_learning(name):
  assert returns(name) > returns('random') + 10


def test_nobody_does_what_only_others_can():
  """Of 500 draws none is a fourth or fifth word; moves are all there."""
  learner = LEARNERS['shared']()

  @jax.jit
  def draw(key):
    params = learner.params(learner.init(key))
    obs, state = ENV.reset(key, ENV.default_params)
    legal = ENV.avail_actions(state, ENV.default_params)
    memory, reset = jnp.zeros((2, 0)), jnp.zeros(2, bool)
    act = lambda k: learner.policy.act(params, k, obs, legal, memory, reset)[0]
    return jax.vmap(act)(jax.random.split(key, 500))

  words, moves = np.asarray(draw(jax.random.key(0))).T
  assert set(words) == {0, 1, 2} and set(moves) == {0, 1, 2, 3, 4}
