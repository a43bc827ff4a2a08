r"""Where scaling stops to pay: the plateau of TTSPM, and its correction.

.. math:: F(N) = F_{\max} \big(1 - (1 - p)^N\big), \quad
    F(N + 1) - F(N) = F_{\max} \, p \, (1 - p)^N

One form with two meanings. In parallel, `p` is the chance that one sample is
right and would be selected; in sequence, the chance that one more round of
rethinking turns a wrong answer right, in a chain of two states whose right one
is never left, and `N` counts rounds. Wang et al., 2025, arXiv 2505.20522.

Problems differ, and a mean of such curves is not such a curve: it rises faster
at first and saturates far later than any single `p` fitted to it says. With
`p ~ Beta(a, b)` over problems,

.. math:: F(N) = F_{\max} \Big(1 - \frac{B(a, b + N)}{B(a, b)}\Big)

which falls short of its plateau by about :math:`N^{-a}`, not exponentially. The
correction is ours.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Num

EDGE = 1e-6  # p lies in [EDGE, 1 - EDGE]


class Plateau(NamedTuple):
  """A curve of one success probability."""

  ceiling: Float[Array, '']  # F_max, accuracy as N grows
  p: Float[Array, '']


class BetaPlateau(NamedTuple):
  """A curve of problems whose success probabilities follow Beta(a, b)."""

  ceiling: Float[Array, '']
  a: Float[Array, '']
  b: Float[Array, '']


def plateau_accuracy(
  n: Num[ArrayLike, '*#B'],
  p: Num[ArrayLike, '*#B'],
  ceiling: Num[ArrayLike, '*#B'] = 1.0,
) -> Float[Array, '*B']:
  """Accuracy after `n` samples or rounds.

  Args:
    n: units of compute.
    p: success probability of one unit.
    ceiling: `F_max`.

  Returns:
    `F(n)`.
  """
  return -jnp.expm1(n * jnp.log1p(-_inside(p))) * ceiling


def marginal_gain(
  n: Num[ArrayLike, '*#B'],
  p: Num[ArrayLike, '*#B'],
  ceiling: Num[ArrayLike, '*#B'] = 1.0,
) -> Float[Array, '*B']:
  """What unit `n + 1` adds to the accuracy: `F(n + 1) - F(n)`."""
  p = _inside(p)
  return p * ceiling * jnp.exp(n * jnp.log1p(-p))


def saturation_point(
  p: Num[ArrayLike, '*#B'],
  threshold: Num[ArrayLike, '*#B'],
  ceiling: Num[ArrayLike, '*#B'] = 1.0,
) -> Int[Array, '*B']:
  r"""The smallest `N` after which one more unit gains at most `threshold`.

  .. math:: N^* = \Big\lceil \frac{\ln(\epsilon / (F_{\max} p))}{\ln(1 - p)}
      \Big\rceil, \quad 0 \text{ if } \epsilon \ge F_{\max} p

  Args:
    p: success probability of one unit.
    threshold: `epsilon`; with units at cost `c` and answers worth `v`, `c / v`.
    ceiling: `F_max`.

  Returns:
    Units of compute.
  """
  p = _inside(p)
  exact = jnp.log(threshold / (ceiling * p)) / jnp.log1p(-p)
  whole = jnp.round(exact)  # where rounding alone would add a unit
  exact = jnp.where(
    jnp.abs(exact - whole) < 1e-5 * jnp.maximum(whole, 1), whole, exact
  )
  return jnp.maximum(jnp.ceil(exact), 0).astype(jnp.int32)


def beta_plateau_accuracy(
  a: Num[ArrayLike, ''],
  b: Num[ArrayLike, ''],
  max_n: int,
  ceiling: Num[ArrayLike, ''] = 1.0,
) -> Float[Array, ' max_n_plus_1']:
  r"""Mean accuracy after 0..max_n units where `p ~ Beta(a, b)` over problems.

  From :math:`B(a, b + N) / B(a, b) = \prod_{j < N} (b + j) / (a + b + j)`; in
  float32 differences of log-gamma functions are not accurate enough.

  Args:
    a: first parameter of the law of `p`; its mean is `a / (a + b)`.
    b: second parameter.
    max_n: the largest `N`; static.
    ceiling: `F_max`.

  Returns:
    `F(0), F(1), ..., F(max_n)`.
  """
  j = jnp.arange(max_n)
  log_missed = jnp.cumsum(jnp.log1p(-(a / (a + b + j))))
  return -jnp.expm1(jnp.append(0.0, log_missed)) * ceiling


def beta_saturation_point(
  a: Num[ArrayLike, ''],
  b: Num[ArrayLike, ''],
  threshold: Num[ArrayLike, ''],
  max_n: int,
  ceiling: Num[ArrayLike, ''] = 1.0,
) -> Int[Array, '']:
  """As `saturation_point`, where `p ~ Beta(a, b)` over problems.

  The gain of unit `N + 1` is `F_max a / (a + b + N)` times the share that is
  still missed, so it falls with `N`.

  Args:
    a: first parameter of the law of `p`.
    b: second parameter.
    threshold: `epsilon`.
    max_n: how far to look; static.
    ceiling: `F_max`.

  Returns:
    Units of compute; `max_n + 1` if it lies beyond.
  """
  j = jnp.arange(max_n + 1)
  missed = 1 - beta_plateau_accuracy(a, b, max_n)
  gain = ceiling * missed * a / (a + b + j)
  return jnp.sum(gain > threshold).astype(jnp.int32)


def fit_plateau(n: Num[Array, ' K'], accuracies: Float[Array, ' K']) -> Plateau:
  """Least-squares fit of one success probability and of the ceiling.

  Args:
    n: units of compute of each point, at least two different ones.
    accuracies: observed, mean over problems.

  Returns:
    A `Plateau`.

  Example:
    >>> n = jnp.array([1, 2, 4, 8])
    >>> fit = jax.jit(scaling.fit_plateau)(n, 0.8 * (1 - 0.7**n))
    >>> round(float(fit.ceiling), 2), round(float(fit.p), 2)
    (0.8, 0.3)
  """
  curve = lambda x: plateau_accuracy(n, jax.nn.sigmoid(x[0]))
  starts = jnp.linspace(-7.0, 3.0, 21)[:, None]  # logits of p
  x, ceiling = _fit(curve, starts, accuracies)
  return Plateau(ceiling, jax.nn.sigmoid(x[0]))


def fit_beta_plateau(
  n: Int[Array, ' K'], accuracies: Float[Array, ' K'], max_n: int
) -> BetaPlateau:
  """Least-squares fit of the law of the success probabilities and the ceiling.

  Args:
    n: units of compute of each point, at least three different ones.
    accuracies: observed, mean over problems.
    max_n: largest of `n`; static.

  Returns:
    A `BetaPlateau`. From points far below the plateau ceiling and law cannot be
    told apart.
  """
  curve = lambda x: beta_plateau_accuracy(*jnp.exp(x), max_n=max_n)[n]
  a, b = jnp.meshgrid(jnp.linspace(-2.0, 2.0, 5), jnp.linspace(-1.0, 4.0, 6))
  starts = jnp.stack([a.ravel(), b.ravel()], axis=1)  # logarithms
  x, ceiling = _fit(curve, starts, accuracies)
  return BetaPlateau(ceiling, *jnp.exp(x))


def _inside(p: Num[ArrayLike, '*B']) -> Float[Array, '*B']:
  return jnp.clip(p, EDGE, 1 - EDGE)


def _fit(
  curve: Callable[[Array], Array],
  starts: Float[Array, 'M D'],
  accuracies: Float[Array, ' K'],
) -> tuple[Float[Array, ' D'], Float[Array, '']]:
  """Parameters of `curve` and the ceiling in [0, 1] that fit best.

  For given parameters the best ceiling is linear least squares; what is left is
  minimised by Levenberg-Marquardt from the best of the starts.
  """

  def ceiling(x):
    shape = curve(x)
    best = jnp.dot(shape, accuracies) / jnp.maximum(
      jnp.dot(shape, shape), 1e-12
    )
    return jnp.clip(best, 0.0, 1.0)

  residuals = lambda x: ceiling(x) * curve(x) - accuracies
  loss = lambda x: jnp.sum(residuals(x) ** 2)

  def step(_, state):
    x, damping = state
    r, jacobian = residuals(x), jax.jacfwd(residuals)(x)
    normal = jacobian.T @ jacobian
    damped = normal + damping * (jnp.diag(jnp.diag(normal)) + 1e-9)
    move = jnp.linalg.solve(damped + 1e-12 * jnp.eye(x.size), jacobian.T @ r)
    new = x - jnp.clip(move, -1.0, 1.0)
    better = loss(new) < loss(x)
    x = jnp.where(better, new, x)
    damping = jnp.where(better, damping / 3, damping * 5)
    return x, jnp.clip(damping, 1e-7, 1e7)

  start = starts[jnp.argmin(jax.vmap(loss)(starts))]
  x, _ = jax.lax.fori_loop(0, 60, step, (start, jnp.float32(1e-2)))
  return x, ceiling(x)
