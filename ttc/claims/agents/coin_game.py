"""Independent learners defect in the coin game (1707.01068)."""

import numpy as np

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

ENV = envs.coin_game()
SHARED = ENV.default_params._replace(others_weight=np.float32(1.0))
HYPER = PPO(num_envs=64, num_steps=100, learning_rate=1e-3, discount=0.96)
ARCHITECTURE = Architecture(shared=False)
NUM_UPDATES = 200


def measure(seed, size, cache):
  """Payoffs of 512 episodes of ten games, by what was learned from."""
  del cache
  play = lambda policy, params: played(
    ENV, policy, params, seed, size.problems(512), max_steps=100
  )['return']
  payoffs = {'random': play(agents.random_policy(), ())}
  for name, env_params in {'own': None, 'shared': SHARED}.items():
    learner = agents.ippo(ENV, HYPER, ARCHITECTURE, env_params=env_params)
    params = trained(learner, seed, size.steps(NUM_UPDATES))
    payoffs[name] = play(learner.policy, params)
  return payoffs


CLAIM = Claim(
  'IPPO on the coin game',
  '1707.01068',
  'agents that learn from their own payoff earn less than half of what those '
  'who share theirs do',
  measure,
  checks=[
    exceeds(
      'payoff less twice the selfish one: ',
      lambda d: d['shared'] - 2 * d['own'],
      0.0,
    )
  ],
  controls=[
    exceeds('shared ', 'shared', 'own'),
    exceeds('shared and random ', 'shared', 'random', by=5.0),
  ],
)
