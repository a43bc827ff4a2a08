r"""Exact accuracy of majority voting over `k` responses.

Ties are broken uniformly; invalid answers do not vote, and where nothing votes
the answer is wrong. The law of `k` votes is that of independent counts given
that they sum to `k`: binomial counts when drawing without replacement from the
answers of one problem, Poisson counts when drawing from a known law.
Conditioning keeps every number in [0, 1], so float32 suffices. With
`g_m = P(gold gets m)` and, for a rival `a`,
`b_a(x) = sum_{j<m} P(a gets j) x^j`,

.. math:: \text{accuracy} = \frac{\sum_{m \ge 1} g_m \sum_t \frac{1}{1 + t}
    [x^{k-m} u^t] \prod_a \big(b_a(x) + u P(a \text{ gets } m) x^m\big)}
    {[x^k] \prod_a \sum_j P(a \text{ gets } j) x^j}

Cost O(A^2 k^3) for `A` answers. Self-consistency: Wang et al., 2022,
arXiv 2203.11171; the formula is ours. Functions take one problem; `vmap` over
problems.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from ttc.types import AnyArray


def majority_accuracy(
  counts: Int[Array, ' A'],
  gold: Int[ArrayLike, ''],
  k: int,
  num_invalid: Int[ArrayLike, ''] = 0,
) -> Float[Array, '']:
  """Accuracy of the vote of `k` responses drawn without replacement.

  Args:
    counts: how many responses gave each valid answer.
    gold: index of the correct answer, -1 if no response gave it.
    k: voters; static.
    num_invalid: responses without a valid answer; they may be drawn.

  Returns:
    Probability that the vote is correct. NaN if `k` exceeds the number of
    responses and `counts` is traced.

  Raises:
    ValueError: if `k < 1`, or `k` exceeds a concrete number of responses.
  """
  total = jnp.sum(counts) + num_invalid
  if not isinstance(total, Tracer) and int(total) < k:
    raise ValueError(f'k = {k} needs at least {k} responses, got {int(total)}')
  j = _ballots(k)
  odds = (k + 0.5) / (total - k + 0.5)  # any odds do; these make sums near k
  law = lambda count: _law_from_ratios(jnp.maximum(count - j + 1, 0) * odds / j)
  accuracy = _plurality(
    jax.vmap(law)(counts), law(jnp.asarray(num_invalid)), gold, k
  )
  return jnp.where(total < k, jnp.nan, accuracy)


def majority_accuracy_population(
  probs: Float[AnyArray, ' A'],
  gold: Int[ArrayLike, ''],
  k: int,
  invalid_prob: Float[ArrayLike, ''] = 0.0,
) -> Float[Array, '']:
  """Accuracy of the vote of `k` independent responses from a known law.

  Args:
    probs: probability of each valid answer.
    gold: index of the correct answer, -1 if it has no probability.
    k: voters; static.
    invalid_prob: probability of a response without a valid answer.

  Returns:
    Probability that the vote is correct.

  Raises:
    ValueError: if `k < 1`, or the concrete probabilities do not sum to 1.
  """
  total = jnp.sum(probs) + invalid_prob
  if not isinstance(total, Tracer) and abs(float(total) - 1) > 1e-4:
    raise ValueError(f'probabilities sum to {float(total)}, not 1')
  j = _ballots(k)
  law = lambda prob: _law_from_ratios(k * prob / j)
  return _plurality(
    jax.vmap(law)(jnp.asarray(probs)), law(jnp.asarray(invalid_prob)), gold, k
  )


def _ballots(k: int) -> Int[np.ndarray, ' k']:
  if k < 1:
    raise ValueError(f'k must be at least 1, got {k}')
  return np.arange(1, k + 1)


def _law_from_ratios(ratios: Float[Array, ' k']) -> Float[Array, ' k_plus_1']:
  """Law `p` on 0..k from its decreasing ratios `p[j] / p[j - 1]`.

  Multiplies outwards from the mode, where the ratios cross 1.
  """
  one = jnp.ones(1)
  rise = jnp.concatenate([one, jax.lax.cumprod(jnp.minimum(ratios, 1))])
  fall = jax.lax.cumprod(jnp.minimum(1 / ratios, 1), reverse=True)
  law = rise * jnp.concatenate([fall, one])
  return law / jnp.sum(law)


@functools.partial(jax.jit, static_argnames='k')  # else compiled every call
def _plurality(
  votes: Float[Array, 'A k_plus_1'],
  invalid: Float[Array, ' k_plus_1'],
  gold: Int[ArrayLike, ''],
  k: int,
) -> Float[Array, '']:
  """Chance that gold wins, given independent counts that sum to `k`."""
  num_answers = votes.shape[0]
  is_gold = jnp.arange(num_answers) == gold
  j = jnp.arange(k + 1)

  def wins_with(m):
    """Gold gets `m` votes; `state[t, x]`: `t` rivals tie, others got `x`."""

    def add_rival(state, rival):
      law, skip = rival
      fewer = _multiply(state, jnp.where(j < m, law, 0))
      moved = jnp.where(j >= m, jnp.roll(state, (1, m), axis=(0, 1)), 0)
      return jnp.where(skip, state, fewer + law[m] * moved), None

    state = jnp.zeros((num_answers, k + 1)).at[0].set(invalid)
    state = jax.lax.scan(add_rival, state, (votes, is_gold))[0]
    share = state[:, k - m] / jnp.arange(1, num_answers + 1)
    return votes[gold, m] * jnp.sum(share)

  add = lambda sums, law: (_multiply(sums, law), None)
  sums = jax.lax.scan(add, invalid[None], votes)[0]
  won = jnp.sum(jax.lax.map(wins_with, jnp.arange(1, k + 1)))
  return jnp.where(jnp.any(is_gold), won / sums[0, k], 0.0)


def _multiply(
  rows: Float[Array, 'R k_plus_1'], law: Float[Array, ' k_plus_1']
) -> Float[Array, 'R k_plus_1']:
  """Each row times `law`, as polynomials cut after degree `k`."""
  j = jnp.arange(law.size)
  shift = j[None, :] - j[:, None]
  matrix = jnp.where(shift >= 0, law[shift], 0)
  return jnp.matmul(rows, matrix, precision='highest')
