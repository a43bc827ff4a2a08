r"""A mixture of two Weibull laws, fitted by maximum likelihood.

.. math:: f(p) = \sum_{c=1}^{2} w_c W(p; k_c, \lambda_c), \quad
    W(p; k, \lambda) = \frac{k}{\lambda} \Big(\frac{p}{\lambda}\Big)^{k-1}
    e^{-(p / \lambda)^k}

The law of the confidences of right and wrong reasoning paths in RPC (Zhou et
al., 2502.00511). Their code runs L-BFGS-B from one start; here EM runs from
three splits of the sorted values and the best is kept, which needs no line
search and maps over problems. The fit is in logarithms, so values may be as
small as the probability of a long text, and multiplying all of them by a
constant multiplies the scales and changes nothing else.

The likelihood has no maximum: a component that shrinks on one value makes it as
large as one likes. The largest shape is therefore part of the estimator.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

MIN_WEIGHT = 0.2  # of a component, in the code of 2502.00511
MIN_SHAPE, MAX_SHAPE = 0.01, 100.0  # 0.01 theirs, 100 ours
_SPLITS = (0.25, 0.5, 0.75)  # shares of values that start in one component


class WeibullMixture(NamedTuple):
  """Two components; the first has the larger mean."""

  weights: Float[Array, ' 2']
  shapes: Float[Array, ' 2']  # k
  log_scales: Float[Array, ' 2']  # log lambda

  def log_densities(self, x: Float[Array, ' N']) -> Float[Array, '2 N']:
    """Of each component at `p = exp(x)`, times its weight; density in `p`."""
    k, z = self.shapes[:, None], x - self.log_scales[:, None]
    log_weibull = jnp.log(k) - self.log_scales[:, None] + (k - 1) * z
    return jnp.log(self.weights)[:, None] + log_weibull - jnp.exp(k * z)


class WeibullFit(NamedTuple):
  """A fit, and how well it explains the values."""

  mixture: WeibullMixture
  log_likelihood: Float[Array, '']  # in nats, summed over the values
  posterior: Float[Array, ' N']  # P(first component | value)


def fit_weibull_mixture(
  log_values: Float[Array, ' N'],
  mask: Bool[Array, ' N'],
  *,
  num_steps: int = 100,
) -> WeibullFit:
  """Fits the mixture to the values that `mask` counts.

  Args:
    log_values: logarithms of the values of one problem.
    mask: which values count; at least two.
    num_steps: EM steps from each start; static.

  Returns:
    A `WeibullFit`; `posterior` holds for the values that count.
  """
  # What does not count is put where its densities stay finite.
  top = jnp.max(jnp.where(mask, log_values, -jnp.inf))
  x = jnp.where(mask, log_values, jnp.where(jnp.any(mask), top, 0.0))

  def log_odds(mixture):
    densities = mixture.log_densities(x)
    total = jnp.logaddexp(*densities)
    return densities[0] - total, jnp.sum(jnp.where(mask, total, 0.0))

  def step(_, first):
    mixture = _maximize(jnp.stack([first, 1 - first]) * mask, x)
    return jnp.exp(log_odds(mixture)[0])

  def run(share):
    above = jnp.sum((x > x[:, None]) & mask, axis=1)
    high = above < share * jnp.sum(mask)
    first = jax.lax.fori_loop(0, num_steps, step, jnp.where(high, 0.95, 0.05))
    return _maximize(jnp.stack([first, 1 - first]) * mask, x)

  mixtures = jax.vmap(run)(jnp.array(_SPLITS))
  best = jnp.argmax(jax.vmap(lambda m: log_odds(m)[1])(mixtures))
  mixture = _high_first(jax.tree.map(lambda leaf: leaf[best], mixtures))
  log_posterior, log_likelihood = log_odds(mixture)
  return WeibullFit(mixture, log_likelihood, jnp.exp(log_posterior))


def _maximize(
  counts: Float[Array, '2 N'], x: Float[Array, ' N']
) -> WeibullMixture:
  """The M-step: weighted Weibull fits.

  The shape solves `E_q[x] - E[x] = 1 / k` with `q` proportional to
  `counts * exp(k x)`, by Newton in `log k` from the shape that has the variance
  of `x`: a Weibull's logarithm has standard deviation `pi / (sqrt(6) k)`.
  """
  total = jnp.maximum(jnp.sum(counts, axis=1), 1e-6)
  mean = counts @ x / total
  spread = jnp.sqrt(
    jnp.sum(counts * (x - mean[:, None]) ** 2, axis=1) / total + 1e-12
  )
  top = jnp.max(x)
  clip = lambda shapes: jnp.clip(shapes, MIN_SHAPE, MAX_SHAPE)

  def tilted(shapes):
    powers = counts * jnp.exp(shapes[:, None] * (x - top))
    size = jnp.maximum(jnp.sum(powers, axis=1), 1e-30)
    first = powers @ x / size
    second = jnp.sum(powers * (x - first[:, None]) ** 2, axis=1) / size
    return size, first, second

  def newton(_, shapes):
    _, first, second = tilted(shapes)
    gap = first - mean - 1 / shapes
    slope = shapes * second + 1 / shapes  # of the gap in log k
    return clip(shapes * jnp.exp(-jnp.clip(gap / slope, -1.0, 1.0)))

  shapes = jax.lax.fori_loop(0, 3, newton, clip(1.2825 / spread))
  log_scales = top + jnp.log(tilted(shapes)[0] / total) / shapes
  first = jnp.clip(total[0] / jnp.sum(total), MIN_WEIGHT, 1 - MIN_WEIGHT)
  return WeibullMixture(jnp.stack([first, 1 - first]), shapes, log_scales)


def _high_first(mixture: WeibullMixture) -> WeibullMixture:
  """Orders the components by their means `lambda Gamma(1 + 1 / k)`."""
  log_means = mixture.log_scales + gammaln(1 + 1 / mixture.shapes)
  swap = log_means[1] > log_means[0]
  return jax.tree.map(lambda leaf: jnp.where(swap, leaf[::-1], leaf), mixture)
