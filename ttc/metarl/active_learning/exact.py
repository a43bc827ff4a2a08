"""What no policy can beat: games that are small enough to be enumerated.

For labels +1 and -1 and a finite set of instances the best policy against a
prior is found by backward induction over histories, and the best one against
the worst prior by multiplicative weights: the value of the game is enclosed
between what the prior costs everybody and what the mixture of the answers to it
costs at worst. Costs `(2 n)^T J` numbers for `n` queries, a budget `T` and `J`
instances.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class GameValue(NamedTuple):
  """What the best policy loses on its worst instance.

  Attributes:
    low: nobody loses less.
    high: somebody loses no more.
    prior: under which everybody loses `low`.
  """

  low: float
  high: float
  prior: Float[np.ndarray, ' J']


def bayes_losses(
  means: Float[np.ndarray, 'J n'],
  losses: Float[np.ndarray, 'm J'],
  prior: Float[np.ndarray, ' J'],
  budget: int,
) -> Float[np.ndarray, ' J']:
  """What the best policy against a prior loses on each instance.

  Args:
    means: of the label of each query, by instance.
    losses: of each answer, by instance.
    prior: over instances.
    budget: `T`.

  Returns:
    Losses; `prior @ losses` is the least that a policy can lose.
  """
  num_instances, num_queries = means.shape
  likely = np.stack([(1 + means.T) / 2, (1 - means.T) / 2], axis=1)
  # mass[h, j]: the chance of history h if j is the instance.
  mass = np.ones((1, num_instances))
  for _ in range(budget):
    mass = (mass[:, None, None] * likely).reshape(-1, num_instances)
  answer = np.argmin((mass * prior) @ losses.T, axis=1)
  lost = mass * losses[answer]
  for _ in range(budget):
    lost = lost.reshape(-1, num_queries, 2, num_instances).sum(axis=2)
    query = np.argmin(lost @ prior, axis=1)
    lost = np.take_along_axis(lost, query[:, None, None], axis=1)[:, 0]
  return lost[0]


def game_value(
  means: Float[np.ndarray, 'J n'],
  losses: Float[np.ndarray, 'm J'],
  budget: int,
  num_rounds: int = 400,
) -> GameValue:
  """The value of the game between a policy and an instance.

  Args:
    means: of the label of each query, by instance, in [-1, 1].
    losses: of each answer, by instance, in [0, 1].
    budget: `T`.
    num_rounds: of multiplicative weights; `high - low` falls as one over its
      root.

  Raises:
    ValueError: if there are more histories than memory.
  """
  num_instances, num_queries = means.shape
  if (2 * num_queries) ** budget * num_instances > 5e7:
    raise ValueError(
      f'{num_queries} queries and a budget of {budget} have '
      f'{(2 * num_queries) ** budget:.1e} histories, too many to enumerate'
    )
  logits = np.zeros(num_instances)
  rate = np.sqrt(8 * np.log(max(num_instances, 2)) / num_rounds)
  total, low = np.zeros(num_instances), -np.inf
  best = np.full(num_instances, 1 / num_instances)
  for _ in range(num_rounds):
    prior = np.exp(logits - logits.max())
    prior /= prior.sum()
    lost = bayes_losses(means, losses, prior, budget)
    if prior @ lost > low:
      low, best = float(prior @ lost), prior
    total += lost
    logits += rate * lost
  return GameValue(low, float((total / num_rounds).max()), best)
