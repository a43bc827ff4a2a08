r"""Two Bernoulli arms, of which all is known that can be: exact returns.

Arms pay 1 with probabilities that are uniform in [0, 1]; `n` pulls. What has
been seen is a state :math:`(s_1, f_1, s_2, f_2)` of successes and failures, an
arm's next reward has the mean :math:`(s + 1) / (s + f + 2)`, and backward
induction over states gives the return of any policy, and of the best one
(Bayes; Gittins, 1979, is as good without an end).
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import numpy as np

# `(s1, f1, s2, f2) -> probability of the first arm`, arrays of all states.
Policy: TypeAlias = Callable[..., np.ndarray]


def exact_return(num_pulls: int, policy: Policy | None = None) -> float:
  """The expected sum of rewards, of a policy or of the best one.

  Args:
    num_pulls: `n`.
    policy: of states; None for the best.
  """
  states = np.indices((num_pulls + 1,) * 4)
  s1, f1, s2, f2 = states
  first, second = (s1 + 1) / (s1 + f1 + 2), (s2 + 1) / (s2 + f2 + 2)
  share = None if policy is None else policy(*states)
  value = np.zeros(s1.shape)
  for _ in range(num_pulls):
    after = [_shift(value, axis) for axis in range(4)]
    one = first * (1 + after[0]) + (1 - first) * after[1]
    two = second * (1 + after[2]) + (1 - second) * after[3]
    if share is None:
      value = np.maximum(one, two)
    else:
      value = share * one + (1 - share) * two
  return float(value[0, 0, 0, 0])


def _shift(value, axis):
  """Of the state with one more; what is beyond the table is never asked."""
  return np.concatenate(
    [
      np.take(value, range(1, value.shape[axis]), axis),
      np.take(value, [-1], axis),
    ],
    axis,
  )


def thompson(s1, f1, s2, f2) -> np.ndarray:
  r"""Thompson sampling: the probability that the first arm's draw is larger.

  .. math:: P = \sum_{i=0}^{a_1 - 1}
    \frac{B(a_2 + i, b_1 + b_2)}{(b_1 + i) B(1 + i, b_1) B(a_2, b_2)}

  of laws Beta(a, b) with a success and a failure more than were seen.
  """
  beta = lambda a, b: np.asarray(jax.scipy.special.betaln(a, b), np.float64)
  a1, b1, a2, b2 = (np.float32(x + 1) for x in (s1, f1, s2, f2))
  total = np.zeros(s1.shape)
  for i in range(int(a1.max())):
    term = beta(a2 + i, b1 + b2) - beta(1 + i, b1) - beta(a2, b2)
    total += np.where(i < a1, np.exp(term) / (b1 + i), 0.0)
  return total


def ucb(s1, f1, s2, f2) -> np.ndarray:
  """UCB1 (Auer et al., 2002); an arm that was never pulled comes first."""
  n1, n2 = s1 + f1, s2 + f2
  bonus = lambda n: np.sqrt(
    2 * np.log(np.maximum(n1 + n2, 1)) / np.maximum(n, 1)
  )
  index = lambda s, n: np.where(n > 0, s / np.maximum(n, 1) + bonus(n), np.inf)
  one, two = index(s1, n1), index(s2, n2)
  return np.where(one == two, 0.5, (one > two).astype(float))


def uniform(s1, f1, s2, f2) -> np.ndarray:
  """Either arm."""
  del f1, s2, f2
  return np.full(s1.shape, 0.5)
