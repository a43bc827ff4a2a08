r"""When to solve and when to verify: generative verifiers and their price.

Draw `S` solutions, ask a generative verifier `V` times of each, keep the one
with the most yeses; or spend all on solutions and let them vote. At equal
*cost*, with a verification costing `lambda` solutions,

.. math:: C_{\text{verified}} = S (1 + \lambda V), \quad C_{\text{vote}} = S

Comparing at equal `S` is the usual mistake. If the verifier says yes with
probability `tpr` to a right solution and `fpr` to a wrong one, independently,
yeses are binomial and best-of-`S` has a closed form, ties included.

Singhi et al., 2025, arXiv 2504.01005: the best `S` grows as `C^a` and the best
`V` as `C^b`, with `a = .57` and `b = .39` for Llama-3.1-8B on MATH; `lambda` is
1 for an untrained verifier and 2 for a fine-tuned one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num

from ttc.scaling.best_of_k import best_of_n_law
from ttc.scaling.frontier import frontier, growth_per_doubling


class OptimalVerification(NamedTuple):
  """The best numbers of solutions and verifications at each budget."""

  accuracy: Float[np.ndarray, ' budgets']  # 0 where nothing can be afforded
  num_solutions: Int[np.ndarray, ' budgets']  # S, 0 likewise
  num_verifications: Int[np.ndarray, ' budgets']  # V, 0 likewise


def verification_cost(
  num_solutions: Num[ArrayLike, '*#B'],
  num_verifications: Num[ArrayLike, '*#B'],
  cost_ratio: Num[ArrayLike, ''] = 1.0,
) -> Float[Array, '*B']:
  """`S (1 + lambda V)`, in units of one solution.

  Args:
    num_solutions: `S`.
    num_verifications: `V` of each solution; 0 for a vote.
    cost_ratio: `lambda`, tokens of a verification by tokens of a solution.

  Returns:
    The cost.
  """
  return jnp.asarray(num_solutions) * (
    1.0 + cost_ratio * jnp.asarray(num_verifications)
  )


def verified_accuracy(
  accuracy: Num[ArrayLike, ''],
  num_solutions: Num[ArrayLike, ''],
  num_verifications: int,
  true_positive_rate: Num[ArrayLike, ''],
  false_positive_rate: Num[ArrayLike, ''],
  invalid_prob: Num[ArrayLike, ''] = 0.0,
) -> Float[Array, '']:
  r"""Exact accuracy of the best of `S` solutions by `V` noisy verdicts each.

  .. math:: \sum_{v=0}^{V} \big(F(v)^S - F(v - 1)^S\big)
      \frac{p \, b(v; V, \text{tpr})}
      {p \, b(v; V, \text{tpr}) + (1 - p) \, b(v; V, \text{fpr})}

  with `b` the binomial law and `F` that of the number of yeses of one solution.
  Solutions with equally many yeses win equally often.

  Args:
    accuracy: `p`, chance that one solution is right.
    num_solutions: `S`; may be traced.
    num_verifications: `V`; static. With 0 the choice is blind.
    true_positive_rate: chance of a yes for a right solution.
    false_positive_rate: chance of a yes for a wrong one.
    invalid_prob: chance of a solution without an answer. It counts as wrong and
      wins only against its like; `accuracy` includes it in the denominator.

  Returns:
    The accuracy.
  """
  v = jnp.arange(num_verifications + 1)
  law = lambda rate: _binomial_law(rate, num_verifications)
  right = jnp.multiply(accuracy, law(true_positive_rate))
  wrong = (1 - accuracy - invalid_prob) * law(false_positive_rate)
  probs = jnp.concatenate([right, wrong, jnp.asarray([invalid_prob])])
  probs /= jnp.sum(probs)  # an error here would be raised to the power S
  yeses = jnp.concatenate([v, v, jnp.asarray([-1])]).astype(jnp.float32)
  return jnp.sum(best_of_n_law(probs, yeses, num_solutions)[: v.size])


def optimal_verification(
  accuracies: Float[np.ndarray, 'S V'],
  num_solutions: Int[np.ndarray, ' S'],
  num_verifications: Int[np.ndarray, ' V'],
  budgets: Num[np.ndarray, ' budgets'],
  cost_ratio: float = 1.0,
) -> OptimalVerification:
  """The cell of a grid with the best accuracy at a cost within each budget.

  Args:
    accuracies: mean over problems, of each cell.
    num_solutions: `S` of each row.
    num_verifications: `V` of each column.
    budgets: in units of one solution.
    cost_ratio: `lambda`.

  Returns:
    An `OptimalVerification`; of equally good cells the cheapest.
  """
  solutions, verifications = np.meshgrid(
    num_solutions, num_verifications, indexing='ij'
  )
  costs = np.asarray(verification_cost(solutions, verifications, cost_ratio))
  best = frontier(costs.reshape(1, -1), accuracies.reshape(1, -1), budgets)
  choice = best.choice[0]
  pick = lambda grid: np.where(choice >= 0, grid.ravel()[choice], 0)
  return OptimalVerification(
    best.accuracy[0], pick(solutions), pick(verifications)
  )


def scaling_exponent(
  budgets: Num[np.ndarray, ' n'], amounts: Num[np.ndarray, ' n']
) -> float:
  """`a` of `amount = c budget^a`, by least squares in logarithms."""
  return float(np.log2(growth_per_doubling(budgets, amounts)))


def crossover_budget(
  budgets: Num[np.ndarray, ' budgets'],
  challenger: Float[np.ndarray, ' budgets'] | Sequence[float],
  incumbent: Float[np.ndarray, ' budgets'] | Sequence[float],
) -> float:
  """The budget from which on the challenger is better, at each larger one too.

  Args:
    budgets: increasing.
    challenger: accuracy at each budget.
    incumbent: likewise, of the other method.

  Returns:
    One of the budgets; infinity if the incumbent is as good at the largest.
  """
  worse = np.flatnonzero(np.asarray(challenger) <= np.asarray(incumbent))
  first = worse[-1] + 1 if worse.size else 0
  return float(budgets[first]) if first < len(budgets) else float('inf')


def _binomial_law(
  rate: Num[ArrayLike, ''], num_trials: int
) -> Float[Array, ' trials_plus_1']:
  """Law of the number of successes, trial by trial.

  In float32 the closed form, through log-gamma, is off by 1e-5.
  """
  nothing = jnp.zeros(num_trials + 1).at[0].set(1.0)
  trial = lambda _, law: (1 - rate) * law + rate * jnp.roll(law, 1)
  return jax.lax.fori_loop(0, num_trials, trial, nothing)
