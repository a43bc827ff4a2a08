"""Two cooks learn to deliver soups (Carroll et al., 2019, 1910.05789)."""

import optax

from ttc import agents, envs
from ttc.agents import PPO, Architecture
from ttc.claims.claim import Claim, exceeds
from ttc.testbeds.played import played, trained

STEPS, SOUP = 600_000, 20.0
HYPER = PPO(
  num_envs=64,
  num_steps=128,
  num_minibatches=8,
  learning_rate=1e-3,
  value_clip=0.2,
  shaping=optax.linear_schedule(1.0, 0.0, STEPS),
)
ARCHITECTURE = Architecture((64, 64), activation='relu')


def measure(seed, size, cache):
  """Soups of 64 episodes: with shaped rewards, without, and at random."""
  del cache
  env = envs.overcooked('cramped_room')
  play = lambda policy, params: (
    played(env, policy, params, seed, size.problems(64), max_steps=400)[
      'return'
    ]
    / SOUP
  )
  soups = {'random': play(agents.random_policy(), ())}
  for name, hyper in {
    'shaped': HYPER,
    'plain': HYPER._replace(shaping=None),
  }.items():
    learner = agents.ippo(env, hyper, ARCHITECTURE)
    updates = size.steps(-(-STEPS // learner.steps_per_update))
    soups[name] = play(learner.policy, trained(learner, seed, updates))
  return soups


CLAIM = Claim(
  'IPPO on Overcooked',
  '1910.05789',
  'with shaped rewards that fade, two cooks deliver more than five soups',
  measure,
  checks=[exceeds('soups ', 'shaped', 5.0)],
  controls=[
    exceeds('and without shaping ', 'shaped', 'plain', by=1.0),
    exceeds('at random ', 'shaped', 'random', by=5.0),
  ],
  because=(
    'the control fails: in a room so small, cooks without shaping deliver '
    'more than five soups in two seeds of three'
  ),
)
