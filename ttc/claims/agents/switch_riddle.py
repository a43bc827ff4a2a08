"""Three prisoners invent a code for one bit of memory (1605.06676)."""

import optax

from ttc import agents, envs
from ttc.agents import PQN, Architecture
from ttc.claims.claim import Claim, exceeds, text
from ttc.testbeds.played import played, trained

ENV = envs.switch_riddle(3)
MAX_STEPS = 6
# Whether all three have been there after six days: 1 - 3 (2/3)^6 + 3 (1/3)^6.
SEEN = 1 - 3 * (2 / 3) ** 6 + 3 * (1 / 3) ** 6
ORACLE = SEEN  # who is told tells the truth as soon as it is so
NO_CODE = 2 * SEEN - 1  # on the last day everybody tells
STEPS = 1_500_000
HYPER = PQN(
  num_envs=64,
  num_steps=24,
  num_epochs=2,
  num_minibatches=4,
  learning_rate=optax.linear_schedule(2e-3, 0.0, 8 * STEPS // (64 * 24)),
  epsilon=optax.linear_schedule(1.0, 0.02, STEPS // 2),
  discount=1.0,
  trace=0.95,
)
ARCHITECTURE = Architecture((64,), 64, 'relu', agent_ids=True, layer_norm=True)


def measure(seed, size, cache):
  """Returns of 4096 episodes, with a memory and without."""
  del cache
  returns = {}
  for name, width in {'memory': 64, 'none': 0}.items():
    shape = ARCHITECTURE._replace(memory_width=width)
    learner = agents.pqn(ENV, HYPER, shape)
    updates = size.steps(-(-STEPS // learner.steps_per_update))
    params = trained(learner, seed, updates)
    returns[name] = played(
      ENV,
      learner.policy,
      params,
      seed,
      size.problems(4096),
      MAX_STEPS,
      greedy=True,
    )['return']
  return returns


CLAIM = Claim(
  'PQN-VDN on the switch riddle',
  '2407.04811',
  'recurrent value decomposition uses the bulb: above the best without a code',
  measure,
  checks=[
    exceeds('return ', 'memory', NO_CODE, by=0.05),
    text(lambda d: f'best possible at most {ORACLE:.3f}'),
  ],
  controls=[exceeds('without memory ', 'memory', 'none', by=0.05)],
)
