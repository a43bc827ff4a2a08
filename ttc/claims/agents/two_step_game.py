"""Sums of values cannot say what the two-step game pays (QMIX, 2018)."""

import jax
import numpy as np

from ttc import agents, envs
from ttc.agents import QLearning
from ttc.claims.claim import Claim, text
from ttc.testbeds.played import played, trained

ENV = envs.two_step_game()
# Full exploration, as in the paper: values are those of uniform play.
HYPER = QLearning(
  num_envs=8,
  num_steps=8,
  capacity=500,
  num_epochs=4,
  learning_rate=5e-4,
  epsilon=1.0,
  target_period=20,
)
LEARNERS = (agents.iql, agents.vdn, agents.qmix)


def measure(seed, size, cache):
  """The greedy return of each, and the joint values that QMIX found."""
  del cache
  found = {}
  for make in LEARNERS:
    learner = make(ENV, HYPER)
    params = trained(learner, seed, size.steps(1000))
    found[make.__name__] = played(
      ENV, learner.policy, params, seed, 1, max_steps=2, greedy=True
    )['return'][0]
  return jax.tree.map(np.float64, found)


def says(data):
  """Returns by seed."""
  return '; '.join(
    f'{make.__name__} {", ".join(f"{x:g}" for x in data[make.__name__])}'
    for make in LEARNERS
  )


CLAIM = Claim(
  'QMIX on the two-step game',
  '1803.11485',
  'QMIX finds the 8 that IQL and VDN, whose values add up, cannot represent',
  measure,
  checks=[text(says, lambda d: np.all(d['qmix'] == 8.0))],
  controls=[
    text(
      lambda d: 'IQL and VDN settle for 7',
      lambda d: np.all(d['iql'] == 7.0) and np.all(d['vdn'] == 7.0),
    )
  ],
)
