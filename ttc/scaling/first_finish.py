r"""The exact law of First Finish Search: run `n`, keep the first that ends.

With `f_c(t)` and `f_w(t)` the probabilities that a response has `t` tokens and
is correct or wrong, `f = f_c + f_w` and `S(t) = P(L > t)`,

.. math::
    P(\text{correct}) &= \sum_t \big(S(t-1)^n - S(t)^n\big) f_c(t) / f(t) \\
    E[\min L] &= \sum_{t \ge 1} S(t-1)^n

Responses that end at the same step are equally likely to be kept. Shorter is
better where `f_c / f_w` falls with `t`; where it rises, the method loses to a
single sample. First Finish Search: Agarwal et al., 2025, arXiv 2505.18149
(the law for discrete lengths is ours).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float


class FirstFinishLaw(NamedTuple):
  """What First Finish Search with `n` responses achieves and costs."""

  accuracy: Float[Array, '']  # chance that the kept response is correct
  depth: Float[Array, '']  # E[min L], tokens one after another
  tokens: Float[Array, '']  # n * E[min L]: all rows run until the first ends


def first_finish_law(
  correct_pmf: Float[Array, ' T'],
  wrong_pmf: Float[Array, ' T'],
  n: ArrayLike,
) -> FirstFinishLaw:
  """Accuracy and cost of keeping the first of `n` responses to finish.

  Args:
    correct_pmf: `f_c`; entry `t` is for responses of `t + 1` tokens.
    wrong_pmf: `f_w`; the two together sum to 1.
    n: number of parallel responses; may be traced.

  Returns:
    A `FirstFinishLaw`; lengths in tokens.
  """
  pmf = correct_pmf + wrong_pmf
  still_running = jax.lax.cumsum(pmf, reverse=True)  # S(t - 1)
  after = jnp.append(still_running[1:], 0.0)  # S(t)
  ends_here = still_running**n - after**n
  correct_here = correct_pmf / jnp.where(pmf > 0, pmf, 1.0)
  depth = jnp.sum(still_running**n)
  accuracy = jnp.dot(ends_here, correct_here)
  return FirstFinishLaw(accuracy, depth, jnp.multiply(n, depth))
