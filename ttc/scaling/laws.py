r"""Laws of accuracy against compute, fitted.

Where accuracy approaches a ceiling by a power of compute,

.. math:: a(C) = a_\infty - b \, C^{-\alpha}

with samples, tokens or FLOPs for `C`. Where coverage goes to one, its logarithm
is such a power (Brown et al., "Large language monkeys", 2407.21787):

.. math:: \log a(k) = -b \, k^{-\alpha}

An exponential approach, and what problems of different difficulty make of it,
is in `plateau`. The fits are traceable, so that intervals over problems are one
call, with the fit of the mean curve for a statistic:

  statistic = lambda curves, weights: jnp.stack(
    fit_power_law(budgets, evaluation.weighted_mean(curves, weights)))
  evaluation.bootstrap(key, curves, statistic)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

# Exponents that are looked for; a law outside looks like one at the end.
MIN_EXPONENT, MAX_EXPONENT = 0.02, 4.0
EDGE = 1e-6  # coverages are kept this far from 0 and 1


class PowerLaw(NamedTuple):
  """Accuracy that approaches a ceiling by a power of compute."""

  ceiling: Float[Array, '']  # a_inf, at most 1
  scale: Float[Array, '']  # b, what is missing at C = 1
  exponent: Float[Array, '']  # alpha


class CoverageLaw(NamedTuple):
  """Coverage whose negative logarithm is a power of the samples."""

  scale: Float[Array, '']  # b
  exponent: Float[Array, '']  # alpha


def power_law(
  compute: Num[ArrayLike, '*B'], law: PowerLaw
) -> Float[Array, '*B']:
  """Accuracy that a law predicts."""
  return law.ceiling - law.scale * jnp.asarray(compute, float) ** -law.exponent


def coverage_law(
  num_samples: Num[ArrayLike, '*B'], law: CoverageLaw
) -> Float[Array, '*B']:
  """Coverage, pass@k, that a law predicts."""
  k = jnp.asarray(num_samples, float)
  return jnp.exp(-law.scale * k**-law.exponent)


def fit_power_law(
  compute: Num[ArrayLike, ' K'], accuracies: Float[Array, ' K']
) -> PowerLaw:
  """Least-squares fit of ceiling, scale and exponent.

  For a given exponent the other two are linear; it is found by a grid and a
  golden-section search around the best point of it. From points far below the
  ceiling the three cannot be told apart, which the bootstrap shows.

  Args:
    compute: positive, at least three different values.
    accuracies: mean over problems at each.

  Returns:
    A `PowerLaw` with a ceiling of at most 1.

  Example:
    >>> compute = jnp.array([1.0, 4.0, 16.0, 64.0])
    >>> fit = jax.jit(scaling.fit_power_law)
    >>> law = fit(compute, 0.9 - 0.4 * compute**-0.5)
    >>> [round(float(x), 2) for x in law]
    [0.9, 0.4, 0.5]
  """
  log_c = jnp.log(jnp.asarray(compute, jnp.float32))
  centre = jnp.mean(log_c)  # keeps the two columns apart

  def linear(log_exponent):
    x = jnp.exp(-jnp.exp(log_exponent) * (log_c - centre))
    dx, dy = x - jnp.mean(x), accuracies - jnp.mean(accuracies)
    slope = jnp.dot(dx, dy) / jnp.dot(dx, dx)
    ceiling = jnp.mean(accuracies) - slope * jnp.mean(x)
    through_one = jnp.dot(x, accuracies - 1) / jnp.dot(x, x)
    slope = jnp.where(ceiling > 1, through_one, slope)
    ceiling = jnp.minimum(ceiling, 1.0)
    return ceiling, slope, jnp.sum((ceiling + slope * x - accuracies) ** 2)

  loss = lambda log_exponent: linear(log_exponent)[2]
  grid = jnp.linspace(np.log(MIN_EXPONENT), np.log(MAX_EXPONENT), 101)
  best = grid[jnp.argmin(jax.vmap(loss)(grid))]
  step = grid[1] - grid[0]
  log_exponent = _golden_section(loss, best - step, best + step)
  log_exponent = jnp.clip(log_exponent, grid[0], grid[-1])
  ceiling, slope, _ = linear(log_exponent)
  exponent = jnp.exp(log_exponent)
  return PowerLaw(ceiling, -slope * jnp.exp(exponent * centre), exponent)


def fit_coverage_law(
  num_samples: Num[ArrayLike, ' K'], coverages: Float[Array, ' K']
) -> CoverageLaw:
  """A line through the double logarithms, by least squares.

  Args:
    num_samples: `k`, at least two different values.
    coverages: pass@k, mean over problems.

  Returns:
    A `CoverageLaw`.
  """
  x = jnp.log(jnp.asarray(num_samples, jnp.float32))
  y = jnp.log(-jnp.log(jnp.clip(coverages, EDGE, 1 - EDGE)))
  dx = x - jnp.mean(x)
  slope = jnp.dot(dx, y) / jnp.dot(dx, dx)
  return CoverageLaw(jnp.exp(jnp.mean(y) - slope * jnp.mean(x)), -slope)


def _golden_section(loss, low, high):
  """Where a function with one minimum in `[low, high]` is least."""
  ratio = (5**0.5 - 1) / 2

  def narrow(_, ends):
    low, high = ends
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    is_left = loss(left) < loss(right)
    return jnp.where(is_left, low, left), jnp.where(is_left, right, high)

  low, high = jax.lax.fori_loop(0, 20, narrow, (low, high))
  return (low + high) / 2
