r"""The conformal rejection test: is this score among the worst we have seen?

The test of ATTS, "asynchronous test-time scaling via conformal prediction",
2509.15148. A score `s` (here: higher is worse) is compared with `n` calibration
scores, in one of two forms:

.. math::
    \text{rank:} \quad \#\{s_i < s\} / n \ge \tau, \qquad
    \text{p-value:} \quad p = \frac{1 + \#\{s_i \ge s\}}{n + 1} \le \alpha

If the `n + 1` scores are exchangeable and distinct, then exactly

.. math::
    P(\text{rank} \ge \tau) = \frac{n - \lceil \tau n \rceil + 1}{n + 1}, \qquad
    P(p \le \alpha) = \frac{\lfloor \alpha (n + 1) \rfloor}{n + 1} \le \alpha

and ties only make rejections rarer. The rank test is `s > threshold`, one
stored number: a chain need not wait for the others of its batch. It costs
`O(log n)`; an append costs a sort of the calibration scores.

All functions are pure and map: calibrations of several turns or problems are
one `Calibration` with leading axes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

_ROUNDING = 1e-6  # so that 0.6 of 5 is 3, whatever float32 makes of it


class Calibration(NamedTuple):
  """The latest scores, at most `C` of them, in ascending order."""

  scores: Float[Array, ' C']  # +inf where there is none
  arrivals: Int[Array, ' C']  # when each came, from 0; -1 where there is none

  @property
  def num_scores(self) -> Int[Array, ' *A']:
    """How many there are: `n`."""
    return jnp.sum(self.arrivals >= 0, axis=-1)


def calibrate(
  scores: Float[Array, ' M'],
  keep: Bool[Array, ' M'] | None = None,
  capacity: int | None = None,
) -> Calibration:
  """A calibration of given scores, the last ones if they are too many.

  Args:
    scores: in order of arrival; higher is worse, and NaN the worst.
    keep: which of them count; None for all.
    capacity: `C`, most scores it will ever hold; `M` by default. Static.

  Returns:
    The calibration.
  """
  capacity = scores.shape[0] if capacity is None else capacity
  empty = Calibration(
    jnp.full((capacity,), jnp.inf, scores.dtype),
    jnp.full((capacity,), -1, jnp.int32),
  )
  return append_scores(empty, scores, keep)


def append_scores(
  calibration: Calibration,
  scores: Float[Array, ' M'],
  keep: Bool[Array, ' M'] | None = None,
) -> Calibration:
  """Adds scores as they come; once it is full, the oldest make room.

  Append every score that was tested: then the running test keeps its rate. If
  only those below the threshold are appended, it falls with each of them.
  """
  keep = jnp.ones(scores.shape, bool) if keep is None else keep
  next_arrival = jnp.max(calibration.arrivals) + 1
  new = jnp.where(keep, next_arrival + jnp.cumsum(keep) - 1, -1)
  arrivals = jnp.concatenate([calibration.arrivals, new])
  known = keep & ~jnp.isnan(scores)
  scores = jnp.where(known, scores, jnp.inf)
  scores = jnp.concatenate([calibration.scores, scores])
  arrivals, latest = jax.lax.top_k(arrivals, calibration.arrivals.shape[0])
  order = jnp.argsort(scores[latest])
  return Calibration(scores[latest][order], arrivals[order])


def conformal_rank(
  calibration: Calibration, score: Float[Array, '*A']
) -> Int[Array, '*A']:
  """How many calibration scores are below each score: `#{s_i < s}`.

  A score of NaN is above them all.
  """
  rank = jnp.searchsorted(calibration.scores, score, side='left')
  rank = jnp.where(jnp.isnan(score), calibration.num_scores, rank)  # the worst
  return jnp.minimum(rank, calibration.num_scores)


def p_value(
  calibration: Calibration, score: Float[Array, '*A']
) -> Float[Array, '*A']:
  """The chance of a score as high as each: `(1 + #{s_i >= s}) / (n + 1)`."""
  n = calibration.num_scores
  return (1 + n - conformal_rank(calibration, score)) / (n + 1)


def rank_test(
  calibration: Calibration, score: Float[Array, '*A'], tau: ArrayLike
) -> Bool[Array, '*A']:
  """Whether to reject: at least a fraction `tau` of the scores are below.

  Args:
    calibration: of `n` scores; with none of them everything is rejected.
    score: higher is worse.
    tau: in [0, 1]; 0 rejects everything, more than 1 nothing. Traced.

  Returns:
    True where the score is rejected.
  """
  smallest = _ceil(jnp.multiply(tau, calibration.num_scores))
  never = jnp.asarray(tau) > 1
  return (conformal_rank(calibration, score) >= smallest) & ~never


def p_value_test(
  calibration: Calibration, score: Float[Array, '*A'], alpha: ArrayLike
) -> Bool[Array, '*A']:
  """Whether to reject: the p-value is at most `alpha`.

  Args:
    calibration: of `n` scores; with fewer than `1/alpha - 1` of them nothing is
      rejected.
    score: higher is worse.
    alpha: bound on the rate of rejection, in [0, 1]. Traced.

  Returns:
    True where the score is rejected.
  """
  n = calibration.num_scores
  as_high = n - conformal_rank(calibration, score)
  return 1 + as_high <= _floor(jnp.multiply(alpha, n + 1))


def rejection_threshold(
  calibration: Calibration, tau: ArrayLike
) -> Float[Array, '']:
  """The number `q` for which `rank_test` is `score > q`.

  The smallest score with a fraction `tau` at or below it; `-inf` for a `tau` of
  0 or no scores, `inf` for a `tau` above 1.
  """
  smallest = _ceil(jnp.multiply(tau, calibration.num_scores))
  at = calibration.scores[jnp.maximum(smallest - 1, 0)]
  threshold = jnp.where(smallest > 0, at, -jnp.inf)
  return jnp.where(jnp.asarray(tau) > 1, jnp.inf, threshold)


def rank_test_rate(num_scores: ArrayLike, tau: ArrayLike) -> Float[Array, '*A']:
  """How often `rank_test` rejects an exchangeable score; `0 <= tau <= 1`."""
  n = jnp.asarray(num_scores)
  return (n - _ceil(jnp.multiply(tau, n)) + 1) / (n + 1)


def p_value_test_rate(
  num_scores: ArrayLike, alpha: ArrayLike
) -> Float[Array, '*A']:
  """How often `p_value_test` rejects one; `0 <= alpha <= 1`."""
  n = jnp.asarray(num_scores)
  return _floor(jnp.multiply(alpha, n + 1)) / (n + 1)


def _ceil(x: Float[Array, '*A']) -> Int[Array, '*A']:
  """The ceiling, of what is a whole number up to rounding that number."""
  return jnp.ceil(x * (1 - _ROUNDING)).astype(jnp.int32)


def _floor(x: Float[Array, '*A']) -> Int[Array, '*A']:
  """The floor, likewise."""
  return jnp.floor(x * (1 + _ROUNDING)).astype(jnp.int32)
