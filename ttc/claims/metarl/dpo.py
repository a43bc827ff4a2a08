"""DPO does as well as PPO, whose clipping it replaces (2210.05639)."""

import jax.numpy as jnp

from ttc import agents, envs, evaluation, metarl
from ttc.claims.claim import Claim, text
from ttc.metarl import Agent, MetaTask
from ttc.testbeds.learned_objectives import lived

HYPER = agents.PPO(16, 64)
VECTORS = Agent(HYPER, agents.Architecture((64,), activation='relu'))
IMAGES = Agent(
  HYPER._replace(num_envs=64, num_steps=32, num_epochs=2),
  agents.Architecture((64,), activation='relu'),
)
# Environment, agent, updates of its life, steps of an episode.
BEDS = {
  'cart_pole': (envs.cart_pole(), VECTORS, 300, 500),
  'catch': (envs.catch(), VECTORS, 300, 9),
  'breakout': (envs.breakout(), IMAGES, 150, 500),
}


def measure(seed, size, cache):
  """Returns of agents at the ends of their lives, by bed and rule."""
  del cache
  found = {}
  for name, (env, agent, horizon, max_steps) in BEDS.items():
    task = MetaTask(env, None, 1, 1, agent, 32, max_steps)
    rules = (metarl.dpo(), metarl.ppo())
    found[name] = {
      rule.name: lived(
        task, rule, {}, size.steps(horizon), seed, size.problems(10)
      )['return']
      for rule in rules
    }
  return found


def scores(data, rule):
  """`[agents, beds]`."""
  return jnp.stack([jnp.asarray(data[bed][rule]) for bed in BEDS], axis=1)


def improvement(data):
  """Chance that an agent of DPO ends better than one of PPO."""
  return float(
    evaluation.probability_of_improvement(
      scores(data, 'dpo'), scores(data, 'ppo')
    )
  )


def by_bed(data):
  """Means and standard errors."""

  def say(bed, rule):
    x = data[bed][rule]
    return f'{x.mean():.3g} ± {x.std(ddof=1) / len(x) ** 0.5:.2g}'

  return ', '.join(
    f'{bed} DPO {say(bed, "dpo")} PPO {say(bed, "ppo")}' for bed in BEDS
  )


CLAIM = Claim(
  'DPO on CartPole, Catch, Breakout',
  '2210.05639',
  'ten agents each, 3e5 steps: an agent of DPO ends better than one of PPO '
  'with a chance of 0.4 or more',
  measure,
  checks=[
    text(
      lambda d: f'{by_bed(d)}; chance {improvement(d):.2f}',
      lambda d: improvement(d) >= 0.4,
    )
  ],
  controls=[],
  seeds=range(1),
)
