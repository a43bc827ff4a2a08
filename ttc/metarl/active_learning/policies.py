"""Who asks: a network that sees counts and sums, or fixed ways of asking.

A policy sees sufficient statistics only: how often each query was asked, the
sum of its outcomes, and how much of the budget is left. After the last query
the same network names an answer.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.agents.networks import AgentNet
from ttc.metarl.active_learning.problems import Exploration, best_answer
from ttc.types import Params


class Statistics(NamedTuple):
  """What was seen so far.

  Attributes:
    counts: how often each query was asked.
    sums: of its outcomes.
    left: share of the budget that is left.
  """

  counts: Float[Array, ' n']
  sums: Float[Array, ' n']
  left: Float[Array, '']


# `(params, statistics) -> (logits of queries [n], logits of answers [m])`.
PolicyFn: TypeAlias = Callable[
  [Params, Statistics], tuple[Float[Array, ' n'], Float[Array, ' m']]
]


class Inquiry(NamedTuple):
  """A budget that was spent.

  Attributes:
    queries: that were asked, in order.
    outcomes: that were seen.
    query_log_prob: of all of them, by the policy.
    outcome_log_prob: of all of them, by the instance.
    answer: probabilities of the answers.
  """

  queries: Int[Array, ' T']
  outcomes: Float[Array, ' T']
  query_log_prob: Float[Array, '']
  outcome_log_prob: Float[Array, '']
  answer: Float[Array, ' m']


def network(
  problem: Exploration, widths: Sequence[int] = (64, 64)
) -> tuple[Callable[[PRNGKeyArray], Params], PolicyFn]:
  """Init and apply of a policy that learns."""
  num_queries, num_answers = len(problem.queries), len(problem.answers)
  net = AgentNet(
    num_queries + num_answers, widths, activation='relu', head_scale=0.01
  )
  no_memory, reset = jnp.zeros((1, 0), jnp.float32), jnp.zeros((1, 1), bool)

  def inputs(seen):
    means = seen.sums / jnp.maximum(seen.counts, 1)
    # A count tells most where it is small.
    root = jnp.sqrt(seen.counts)
    return jnp.concatenate([root, seen.sums, means, seen.left[None]])

  def init(key):
    x = jnp.zeros((1, 1, 3 * num_queries + 1), jnp.float32)
    return net.init(key, x, no_memory, reset)

  def apply(params, seen):
    x = inputs(seen)[None, None]
    out = net.apply(params, x, no_memory, reset)[0][0, 0]
    return out[:num_queries], out[num_queries:]

  return init, apply


def uniform(problem: Exploration) -> PolicyFn:
  """Asks at random and names what the least squares of outcomes say."""
  ridge = 1e-3 * jnp.eye(problem.queries.shape[1], dtype=jnp.float32)

  def apply(params, seen):
    del params
    x = problem.queries
    matrix = (x * seen.counts[:, None]).T @ x + ridge
    theta = jnp.linalg.solve(matrix, x.T @ seen.sums)
    # So much larger than any difference that the best one is certain.
    return jnp.zeros_like(seen.counts), 1e6 * (problem.answers @ theta)

  return apply


def inquire(
  problem: Exploration,
  policy: PolicyFn,
  params: Params,
  key: PRNGKeyArray,
  theta: Float[Array, ' d'],
  budget: int,
) -> Inquiry:
  """Spends a budget on an instance.

  Args:
    problem: what may be asked and answered.
    policy: who asks.
    params: of the policy.
    key: consumed.
    theta: the instance.
    budget: `T`; static.
  """
  means = problem.queries @ theta

  def step(seen, key):
    query_key, outcome_key = jax.random.split(key)
    logits, _ = policy(params, seen)
    query = jax.random.categorical(query_key, logits).astype(jnp.int32)
    outcome = jax.lax.stop_gradient(
      problem.outcomes.sample(outcome_key, means[query])
    )
    log_probs = (
      jax.nn.log_softmax(logits)[query],
      problem.outcomes.log_prob(outcome, means[query]),
    )
    seen = Statistics(
      seen.counts.at[query].add(1.0),
      seen.sums.at[query].add(outcome),
      seen.left - 1 / budget,
    )
    return seen, (query, outcome, *log_probs)

  zeros = jnp.zeros_like(means)
  start = Statistics(zeros, zeros, jnp.float32(1.0))
  seen, (queries, outcomes, asked, fell) = jax.lax.scan(
    step, start, jax.random.split(key, budget)
  )
  _, answer = policy(params, seen)
  return Inquiry(
    queries, outcomes, jnp.sum(asked), jnp.sum(fell), jax.nn.softmax(answer)
  )


# `(problem, answer probabilities, theta) -> loss`.
LossFn: TypeAlias = Callable[
  [Exploration, Float[Array, ' m'], Float[Array, ' d']], Float[Array, '']
]


def misidentification(
  problem: Exploration, answer: Float[Array, ' m'], theta: Float[Array, ' d']
) -> Float[Array, '']:
  """The chance of another answer than the best one."""
  return 1 - answer[jnp.argmax(problem.answers @ theta)]


def simple_regret(
  problem: Exploration, answer: Float[Array, ' m'], theta: Float[Array, ' d']
) -> Float[Array, '']:
  """How much worse the answer is than the best one, in expectation."""
  gaps = (best_answer(problem, theta) - problem.answers) @ theta
  return answer @ gaps
