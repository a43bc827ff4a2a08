"""IPPO learns to cover landmarks (de Witt et al., 2020)."""

from ttc import agents, envs
from ttc.agents import PPO
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

ENV = envs.simple_spread()
# A million steps of each seed.
HYPER = PPO(num_envs=32, num_steps=100, learning_rate=1e-3, value_clip=None)
NUM_UPDATES = 313


def measure(seed, size, cache):
  """Returns of 1024 episodes that begin alike, by policy."""
  del cache
  learner = agents.ippo(ENV, HYPER)
  params = trained(learner, seed, size.steps(NUM_UPDATES))
  play = lambda policy, params: played(
    ENV, policy, params, seed, size.problems(1024), max_steps=25
  )['return']
  return {
    'ippo': play(learner.policy, params),
    'nothing': play(agents.constant_policy(ENV, 0), ()),
    'random': play(agents.random_policy(), ()),
  }


CLAIM = Claim(
  'IPPO on simple_spread',
  '2011.09533',
  'in 1e6 steps IPPO covers landmarks better than standing still, by 5',
  measure,
  checks=[exceeds('return ', 'ippo', 'nothing', by=5.0)],
  controls=[exceeds('standing still ', 'nothing', 'random')],
)
