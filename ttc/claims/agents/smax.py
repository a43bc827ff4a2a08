"""IPPO beats the script on 3m (Rutherford et al., 2023, 2311.10090)."""

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

HYPER = PPO(num_envs=64, num_steps=64, learning_rate=1e-3, value_clip=0.2)
ARCHITECTURE = Architecture((64, 64), activation='relu')
NUM_UPDATES = 366  # 1.5 million steps


def measure(seed, size, cache):
  """Battles won of 512, of the learned policy and of random orders."""
  del cache
  env = envs.smax('3m')
  learner = agents.ippo(env, HYPER, ARCHITECTURE)
  params = trained(learner, seed, size.steps(NUM_UPDATES))
  play = lambda policy, params: played(
    env, policy, params, seed, size.problems(512), max_steps=100
  )['won']
  return {
    'ippo': play(learner.policy, params),
    'random': play(agents.random_policy(), ()),
  }


CLAIM = Claim(
  'IPPO on SMAX 3m',
  '2311.10090',
  'in 1.5e6 steps IPPO wins more than half of its battles with the script',
  measure,
  checks=[exceeds('won ', 'ippo', 0.5)],
  controls=[exceeds('at random ', 'ippo', 'random', by=0.5)],
)
