r"""Pure exploration: ask queries, see noisy answers, then name the best one.

Zhang, Katz-Samuels and Jamieson, 2020, 2010.15382. Queries `x` and answers `z`
are vectors; an instance is a vector `theta`. A query's outcome has the mean
:math:`\langle x, \theta \rangle`, and the best answer is
:math:`z^* = \arg\max_z \langle z, \theta \rangle`. How hard an instance is for
whoever knows it, up to a logarithm the number of queries that it takes:

.. math::
  \rho(\theta) = \min_{\lambda \in \Delta(X)} \max_{z \ne z^*}
    \frac{\|z - z^*\|^2_{A(\lambda)^{-1}}}{\langle z^* - z, \theta \rangle^2},
  \qquad A(\lambda) = \sum_x \lambda_x x x^\top
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


class Outcomes(NamedTuple):
  """A law of what is seen of a query.

  Attributes:
    sample: `(key, mean) -> outcome`; the key is consumed.
    log_prob: `(outcome, mean) -> log p`, differentiable in the mean.
  """

  sample: Callable[[PRNGKeyArray, Float[Array, '']], Float[Array, '']]
  log_prob: Callable[[Float[Array, ''], Float[Array, '']], Float[Array, '']]


class Exploration(NamedTuple):
  """What may be asked, what may be answered, and how outcomes fall.

  Attributes:
    queries: the rows `x`.
    answers: the rows `z`.
    outcomes: of a query with some mean.
    instance: `parameters -> theta`, from any real numbers into the instances
      that are possible.
    init: `key -> parameters` of an instance, of the uniform law over them.
  """

  queries: Float[Array, 'n d']
  answers: Float[Array, 'm d']
  outcomes: Outcomes
  instance: Callable[[Array], Float[Array, ' d']]
  init: Callable[[PRNGKeyArray], Array]


def signs() -> Outcomes:
  """+1 with probability `(1 + mean) / 2`, else -1: labels with flips."""

  def sample(key, mean):
    up = jax.random.uniform(key, (), jnp.float32) < (1 + mean) / 2
    return jnp.where(up, 1.0, -1.0).astype(jnp.float32)

  def log_prob(outcome, mean):
    return jnp.log(jnp.maximum((1 + outcome * mean) / 2, 1e-12))

  return Outcomes(sample, log_prob)


def normal(std: float = 1.0) -> Outcomes:
  """Normal around the mean; log-probabilities up to a constant."""
  return Outcomes(
    lambda key, mean: mean + std * jax.random.normal(key, (), jnp.float32),
    lambda outcome, mean: -0.5 * ((outcome - mean) / std) ** 2,
  )


def thresholds(
  num_queries: int, low: float = 0.4, high: float = 0.8
) -> Exploration:
  """Where on a line labels change sign: binary search, with wrong labels.

  An instance has a threshold, -1 left of it and +1 right of it, and a margin of
  every query: the mean of its label, `1 - 2 p` if a share `p` of them is wrong.
  Its parameters are `[1 + n]`: the threshold's rank in (0, 1), moved by no
  gradient, and the logits of margins between `low` and `high`.

  Args:
    num_queries: `n`; there are `n + 1` thresholds.
    low: least margin.
    high: greatest; both 1 for labels without noise.

  Raises:
    ValueError: on no queries, or margins that are not from 0 to 1.
  """
  if num_queries < 1:
    raise ValueError(f'thresholds: num_queries={num_queries}, expected >= 1')
  if not 0 < low <= high <= 1:
    raise ValueError(
      f'thresholds: margins from low={low} to high={high}, expected '
      '0 < low <= high <= 1'
    )
  n = num_queries
  right = jnp.arange(n)[None] >= jnp.arange(n + 1)[:, None]
  patterns = jnp.where(right, 1.0, -1.0).astype(jnp.float32)

  def instance(parameters):
    rank = jnp.clip(parameters[0], 0.0, 1.0 - 1e-6)
    threshold = jnp.floor(rank * (n + 1)).astype(jnp.int32)
    margin = low + (high - low) * jax.nn.sigmoid(parameters[1:])
    return patterns[threshold] * margin

  def init(key):
    uniform = jax.random.uniform(
      key, (n + 1,), jnp.float32, minval=1e-6, maxval=1 - 1e-6
    )
    logits = jnp.log(uniform) - jnp.log1p(-uniform)
    return logits.at[0].set(uniform[0])

  eye = jnp.eye(n, dtype=jnp.float32)
  return Exploration(eye, patterns, signs(), instance, init)


def best_arm(
  arms: Float[Array, 'n d'], std: float = 1.0, bound: float = 1.0
) -> Exploration:
  """A linear bandit whose best arm is asked for; instances in a ball.

  Args:
    arms: both queries and answers.
    std: of the normal noise.
    bound: largest norm of an instance.
  """
  width = arms.shape[1]

  def instance(parameters):
    norm = jnp.sqrt(jnp.sum(parameters**2) + 1e-12)
    return parameters * bound * jnp.minimum(1.0, 1.0 / norm)

  def init(key):
    direction_key, radius_key = jax.random.split(key)
    x = jax.random.normal(direction_key, (width,), jnp.float32)
    radius = jax.random.uniform(radius_key, (), jnp.float32) ** (1 / width)
    return radius * x / jnp.linalg.norm(x)

  return Exploration(arms, arms, normal(std), instance, init)


def best_answer(
  problem: Exploration, theta: Float[Array, ' d']
) -> Float[Array, ' d']:
  """`z*`, the first of equals."""
  return problem.answers[jnp.argmax(problem.answers @ theta)]


def difficulty(
  problem: Exploration,
  theta: Float[Array, ' d'],
  *,
  num_steps: int = 200,
  min_gap: float = 1e-3,
) -> Float[Array, '']:
  r"""Complexity :math:`\rho(\theta)`, by mirror descent on the shares.

  Its gradient is that of the pairs that are hardest at the best shares, held
  fixed, each by its weight in the dual (envelope theorem): how often it was the
  hardest on the way there.

  Args:
    problem: queries and answers.
    theta: the instance.
    num_steps: of mirror descent; 200 are within 1%.
    min_gap: gaps count as at least so much, so that it stays finite.

  Returns:
    The complexity; an upper bound that falls with `num_steps`.
  """
  queries, answers = problem.queries, problem.answers
  best = best_answer(problem, theta)
  apart = best - answers
  gap = jnp.maximum(apart @ theta, min_gap)
  other = jnp.any(apart != 0, axis=1)
  ridge = 1e-6 * jnp.eye(queries.shape[1], dtype=jnp.float32)

  def sizes(shares, gap):
    matrix = (queries * shares[:, None]).T @ queries + ridge
    size = jnp.sum(apart * jnp.linalg.solve(matrix, apart.T).T, axis=1)
    return jnp.where(other, size / gap**2, 0.0)

  def worst(logits):
    of_answers = sizes(jax.nn.softmax(logits), jax.lax.stop_gradient(gap))
    hardest = jnp.argmax(of_answers)
    return jnp.log(of_answers[hardest]), hardest

  def step(carry, t):
    logits, low, best_logits, dual = carry
    (value, hardest), slope = jax.value_and_grad(worst, has_aux=True)(logits)
    better = value < low
    low = jnp.where(better, value, low)
    best_logits = jnp.where(better, logits, best_logits)
    # By the gradient in the shares: mirror descent on the simplex.
    slope = slope / jnp.maximum(jax.nn.softmax(logits), 1e-6)
    rate = jnp.maximum(jnp.max(jnp.abs(slope)), 1e-12) * jnp.sqrt(1.0 + t)
    dual = dual.at[hardest].add(1 / rate)
    return (logits - slope / rate, low, best_logits, dual), None

  start = (
    jnp.zeros((queries.shape[0],), jnp.float32),
    jnp.float32(jnp.inf),
    jnp.zeros((queries.shape[0],), jnp.float32),
    jnp.zeros_like(gap),
  )
  times = jnp.arange(num_steps, dtype=jnp.float32)
  (_, _, logits, dual), _ = jax.lax.scan(step, start, times)
  shares, dual = jax.lax.stop_gradient(
    (jax.nn.softmax(logits), dual / jnp.sum(dual))
  )
  of_answers = sizes(shares, gap)
  along = dual @ of_answers
  return jax.lax.stop_gradient(jnp.max(of_answers) - along) + along
