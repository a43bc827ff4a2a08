"""IPPO learns to cover landmarks (de Witt et al., 2020)."""

from ttc import agents, envs
from ttc.agents import PPO
from ttc.claims.claim import Claim, across_seeds, exceeds, text
from ttc.testbeds.played import played, trained

# A million steps of each seed.
HYPER = PPO(num_envs=32, num_steps=100, learning_rate=1e-3)
NUM_UPDATES = 313


def measure(seed, size, cache):
  """Returns of 1024 episodes that begin alike, by policy."""
  del cache
  env = envs.simple_spread()
  play = lambda policy, params: played(
    env, policy, params, seed, size.problems(1024), max_steps=25
  )['return']
  returns = {
    'nothing': play(agents.constant_policy(env, 0), ()),
    'random': play(agents.random_policy(), ()),
  }
  for name, value_clip in {'ippo': None, 'clipped': 0.2}.items():
    learner = agents.ippo(env, HYPER._replace(value_clip=value_clip))
    params = trained(learner, seed, size.steps(NUM_UPDATES))
    returns[name] = play(learner.policy, params)
  return returns


CLAIM = Claim(
  'IPPO on simple_spread',
  '2011.09533',
  'in 1e6 steps IPPO covers landmarks better than standing still, by 5',
  measure,
  checks=[exceeds('return ', 'ippo', 'nothing', by=5.0)],
  controls=[
    exceeds('standing still ', 'nothing', 'random'),
    text(
      lambda d: (
        'with values clipped to 0.2 of the old ones '
        + across_seeds(d['clipped'], d['num_seeds'])
      )
    ),
  ],
)
