r"""The best accuracy that a price buys, task by task: Kinetics, algs. 1-2.

Each task may be attempted in several configurations (a model, a number of
trials, a length, a KV budget); a configuration has a cost and an accuracy on
each task. At a limit `C` a task gets the best accuracy among those with cost
`<= C`, and 0 where none fits:

.. math:: a_t(C) = \max_{c : \, \text{cost}_{tc} \le C} \text{acc}_{tc},
    \quad a(C) = \frac{1}{T} \sum_t a_t(C)

Tasks stay apart until the reader averages them, so that the bootstrap of
`ttc.evaluation` over tasks gives the band. The choice is made with hindsight,
on the accuracies that are reported. For one choice that all tasks share, pass
means: `frontier(costs.mean(0)[None], accuracies.mean(0)[None], limits)`.

Sadhukhan et al., 2025, arXiv 2506.05333.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int, Num

from ttc.scaling.pass_at_k import pass_at_k


class Frontier(NamedTuple):
  """What each task gets at each limit."""

  accuracy: Float[np.ndarray, 'tasks limits']  # 0 where nothing fits
  choice: Int[np.ndarray, 'tasks limits']  # the configuration, -1 for none


def frontier(
  costs: Num[np.ndarray, 'tasks configs'],
  accuracies: Float[np.ndarray, 'tasks configs'],
  limits: Num[np.ndarray, ' limits'],
) -> Frontier:
  """Best accuracy of each task at a cost of at most each limit.

  Args:
    costs: of a task in a configuration.
    accuracies: in 0..1.
    limits: costs.

  Returns:
    A `Frontier`; of equal accuracies the cheapest is chosen.
  """
  rows = np.arange(costs.shape[0])[:, None]
  order = np.lexsort((costs, -accuracies), axis=-1)  # best, then cheapest
  fits = costs[rows, order][:, :, None] <= limits
  found = fits.any(axis=1)
  choice = order[rows, fits.argmax(axis=1)]
  return Frontier(
    accuracy=np.where(found, accuracies[rows, choice], 0.0),
    choice=np.where(found, choice, -1),
  )


def pass_at_trials(
  num_samples: Int[ArrayLike, '*#tasks'],
  num_correct: Int[np.ndarray, ' tasks'],
  trials: Sequence[int],
) -> Float[np.ndarray, 'tasks trials']:
  """Unbiased pass@N of every task for several `N`; see `pass_at_k`."""
  columns = [pass_at_k(num_samples, num_correct, n) for n in trials]
  return np.stack([np.asarray(c, np.float64) for c in columns], axis=1)


def equivalent_tokens(
  lengths: Num[ArrayLike, '... samples'],
  num_trials: Num[ArrayLike, '...'] = 1,
  *,
  quadratic: bool = False,
) -> Float[np.ndarray, '...']:
  r"""Tokens that cost as much as `N` trials of random length.

  .. math:: N \, E[L_{out}] \quad \text{or} \quad N \sqrt{E[L_{out}^2]}

  Args:
    lengths: of the samples of each task.
    num_trials: `N`; broadcasts with all but the last axis of the lengths.
    quadratic: the cost of a trial grows with the square of its length (dense
      attention) instead of the length (parameters, sparse attention).

  Returns:
    Tokens.
  """
  lengths = np.asarray(lengths, np.float64)
  power = 2 if quadratic else 1
  mean = np.mean(lengths**power, axis=-1) ** (1 / power)
  return np.asarray(np.multiply(num_trials, mean))


def optimal_tokens(
  choice: Int[np.ndarray, 'tasks limits'],
  tokens: Num[np.ndarray, 'tasks configs'],
) -> Float[np.ndarray, ' limits']:
  """Most tokens that any task is given at each limit.

  Args:
    choice: of a `Frontier`.
    tokens: of a task in a configuration; see `equivalent_tokens`.

  Returns:
    Tokens; 0 where no task has a configuration.
  """
  given = np.take_along_axis(tokens, np.maximum(choice, 0), axis=1)
  return np.where(choice >= 0, given, 0.0).max(axis=0)


def growth_per_doubling(
  x: Num[np.ndarray, ' n'], y: Num[np.ndarray, ' n']
) -> float:
  """Factor of `y` for each doubling of `x`: a line in logarithms."""
  slope, _ = np.polyfit(np.log2(x), np.log2(y), deg=1)
  return float(2**slope)
