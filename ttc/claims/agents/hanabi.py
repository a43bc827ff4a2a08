"""Self-play finds conventions for Hanabi (Bard et al., 2019, 1902.00506)."""

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

ENV = envs.hanabi()
HYPER = PPO(num_envs=128, num_steps=64, learning_rate=1e-3)
ARCHITECTURE = Architecture((128, 128), activation='relu')
NUM_UPDATES = 150


def measure(seed, size, cache):
  """Scores of 512 games of two players, and of random legal ones."""
  del cache
  learner = agents.ippo(ENV, HYPER, ARCHITECTURE)
  params = trained(learner, seed, size.steps(NUM_UPDATES))
  play = lambda policy, params: played(
    ENV, policy, params, seed, size.problems(512), max_steps=100
  )['return']
  return {
    'ippo': play(learner.policy, params),
    'random': play(agents.random_policy(), ()),
  }


CLAIM = Claim(
  'IPPO on Hanabi',
  '1902.00506',
  'self-play of two scores at least two fireworks more than random play',
  measure,
  checks=[exceeds('score ', 'ippo', 'random', by=2.0)],
  controls=[exceeds('above nothing played ', 'ippo', 1.5)],
)
