r"""How well a method uses the compute it is given.

Control, Scaling and Performance: Muennighoff et al., 2025, "s1: Simple
test-time scaling", arXiv 2501.19393, eqs. 1-3.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num


def budget_control(
  lengths: Num[Array, '...'], min_length: ArrayLike, max_length: ArrayLike
) -> Float[Array, '']:
  r"""Fraction of responses whose length obeys the budget (s1's Control).

  .. math:: \frac{1}{|A|} \sum_{a \in A} 1[a_{\min} \le a \le a_{\max}]

  Args:
    lengths: tokens that each response really used.
    min_length: smallest length asked for, in tokens; broadcasts.
    max_length: largest length asked for.

  Returns:
    A fraction, 1 is perfect control.
  """
  return jnp.mean((lengths >= min_length) & (lengths <= max_length))


def budget_scaling(
  budgets: Num[Array, ' A'], accuracies: Float[Array, ' A']
) -> Float[Array, '']:
  r"""Mean slope of accuracy over all pairs of budgets (s1's Scaling).

  .. math:: \binom{|A|}{2}^{-1} \sum_{b > a} \frac{f(b) - f(a)}{b - a}

  Pairs of equal budgets have no slope and are left out.

  Args:
    budgets: `a`, in tokens (or any unit of compute), in any order.
    accuracies: `f(a)`.

  Returns:
    Accuracy gained per unit of budget; positive where compute helps.
  """
  gap = budgets[None, :] - budgets[:, None]
  gain = accuracies[None, :] - accuracies[:, None]
  later = gap > 0
  slopes = jnp.where(later, gain / jnp.where(later, gap, 1), 0.0)
  return jnp.sum(slopes) / jnp.sum(later)


def budget_performance(accuracies: Float[Array, ' A']) -> Float[Array, '']:
  """Best accuracy at any budget (s1's Performance)."""
  return jnp.max(accuracies)


def tokens_per_correct(
  tokens: Num[Array, '...'], correct: Num[Array, '...']
) -> Float[Array, '']:
  """Tokens spent for each correct answer; infinite where none is correct.

  Args:
    tokens: generated tokens of each problem, all responses together.
    correct: 1 (or a probability) where the problem was solved.

  Returns:
    All tokens over all correct answers; not the mean of ratios.
  """
  return jnp.sum(tokens) / jnp.sum(correct)
