"""Thresholds on a line: asking with a budget, with labels that may be wrong.

Seven queries, eight thresholds. Without noise binary search takes three
queries; with it a query's label is wrong in 10% to 30% of the cases, each query
has a share of its own, and twelve may be asked.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.metarl import active_learning as al
from ttc.types import Params

NUM_QUERIES = 7
RADII = (6.0, 10.0, 20.5)  # 4%, 73% and all of the uniform law
BUDGET = 12


@functools.cache
def noise_free() -> al.Exploration:
  """Labels as they are."""
  return al.thresholds(NUM_QUERIES, 1.0, 1.0)


@functools.cache
def noisy() -> al.Exploration:
  """Labels with flips."""
  return al.thresholds(NUM_QUERIES)


class Policies(NamedTuple):
  """Of one seed, for noisy labels.

  Attributes:
    robust: learned against the hardest instances.
    bayes: learned on the uniform law, in as many steps.
    floors: what is achievable on each class.
    hard: instances that the adversary found, `[K N, p]`.
  """

  robust: Params
  bayes: Params
  floors: Float[Array, ' K']
  hard: Float[Array, 'J p']


def learn_search(seed: int, budget: int, num_steps: int) -> Params:
  """A policy for labels without noise."""
  numbers = al.Robust(budget, 32, num_steps=num_steps, instance_rate=0.0)
  return _minimax(
    noise_free(), numbers, True, jax.random.key(seed), jnp.full((1,), jnp.inf)
  ).params


def learn_noisy(seed: int, num_steps: int) -> Policies:
  """Policies for noisy labels."""
  problem = noisy()
  init, policy = al.network(problem)
  numbers = al.Robust(BUDGET, num_steps=num_steps)
  key = jax.random.key(seed)
  found, floors = al.learn(problem, policy, init(key), key, RADII, numbers)
  longer = numbers._replace(num_steps=num_steps * (len(RADII) + 1))
  everything = jnp.full((1,), jnp.inf)
  bayes = _minimax(problem, longer, False, key, everything).params
  hard = found.adversary.parameters
  return Policies(found.params, bayes, floors, hard.reshape(-1, hard.shape[-1]))


def _minimax(problem, numbers, adversarial, key, radii):
  init, policy = al.network(problem)
  run = lambda key, radii: al.minimax(
    problem,
    policy,
    init(key),
    key,
    radii,
    jnp.zeros(radii.shape, jnp.float32),
    numbers,
    adversarial=adversarial,
  )
  return jax.jit(run)(key, radii)


def instances(
  problem: al.Exploration, margin: float = 0.0
) -> Float[Array, '8 p']:
  """One of each threshold, all margins the least, or with these logits."""
  num = NUM_QUERIES + 1
  ranks = (jnp.arange(num, dtype=jnp.float32) + 0.5) / num
  rest = jnp.full((num, NUM_QUERIES), margin, jnp.float32)
  return jnp.concatenate([ranks[:, None], rest], axis=1)


def worst_losses(
  problem: al.Exploration,
  policy: al.PolicyFn,
  params: Params,
  key: PRNGKeyArray,
  pool: Float[Array, 'J p'],
  budget: int,
  *,
  num_inquiries: int = 256,
  again: int = 4096,
) -> dict[str, Float[Array, '']]:
  """Chances of a wrong answer, on the hardest of a pool and on average.

  The hardest 16 are found with some inquiries and measured with others, so that
  a maximum over noisy numbers is not taken for a loss.

  Args:
    problem: of the instances.
    policy: that asks.
    params: of the policy.
    key: consumed.
    pool: instances.
    budget: queries.
    num_inquiries: to find the hardest.
    again: to measure them.
  """
  first_key, second_key = jax.random.split(key)
  measure = jax.jit(
    functools.partial(al.expected_losses, problem, policy),
    static_argnums=(3, 4),
  )
  losses = measure(params, first_key, pool, budget, num_inquiries)
  hardest = pool[jnp.argsort(-losses)[:16]]
  worst = measure(params, second_key, hardest, budget, again)
  return {'worst': jnp.max(worst), 'mean': jnp.mean(losses)}
