"""Agents of two kinds learn to talk: a speaker and a listener (1706.02275)."""

import dataclasses

import numpy as np

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

# The speaker has three words and sees a color, the listener five moves and
# eleven numbers, the last three the word.
ENV = envs.simple_speaker_listener()
WORD = slice(8, 11)
HYPER = PPO(num_envs=64, num_steps=25, learning_rate=1e-3)
NUM_UPDATES = 300  # half a million steps
ARCHITECTURES = {
  'separate': Architecture(shared=False),
  'shared': Architecture(agent_ids=True),
}


def deaf(env):
  """The same game, in which the listener hears nothing."""
  heard = np.ones((2, 11), np.float32)
  heard[1, WORD] = 0.0

  def reset(key, params):
    obs, state = env.reset(key, params)
    return obs * heard, state

  def step(key, state, action, params):
    out = env.step(key, state, action, params)
    return out._replace(obs=out.obs * heard)

  observe = lambda state, params: env.observe(state, params) * heard
  return dataclasses.replace(env, reset=reset, step=step, observe=observe)


def measure(seed, size, cache):
  """Returns of 1024 episodes that begin alike, by who learned them."""
  del cache
  play = lambda env, policy, params: played(
    env, policy, params, seed, size.problems(1024), max_steps=25
  )['return']
  returns = {'random': play(ENV, agents.random_policy(), ())}
  games = {'': ENV, 'deaf ': deaf(ENV)}
  for name, architecture in ARCHITECTURES.items():
    for how, env in games.items():
      learner = agents.ippo(env, HYPER, architecture)
      params = trained(learner, seed, size.steps(NUM_UPDATES))
      returns[how + name] = play(env, learner.policy, params)
  return returns


CLAIM = Claim(
  'IPPO of two kinds of agents, speaker and listener',
  '1706.02275',
  'agents that see, say and do different things learn to talk: better by 5 '
  'than where the listener is deaf, with parameters apart and shared',
  measure,
  checks=[
    exceeds('parameters apart ', 'separate', 'deaf separate', by=5.0),
    exceeds('shared ', 'shared', 'deaf shared', by=5.0),
  ],
  controls=[exceeds('deaf and random ', 'deaf separate', 'random', by=5.0)],
)
