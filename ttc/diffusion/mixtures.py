r"""Gaussian mixtures: models of which everything is known exactly.

.. math:: p_0 = \sum_k w_k N(\mu_k, s^2 I)

Noised to :math:`\alpha x_0 + \sigma\varepsilon` it is the mixture of
:math:`N(\alpha\mu_k, v I)`, :math:`v = \alpha^2 s^2 + \sigma^2`, so denoiser,
score and density are sums over its modes. So is the law tilted by a linear or
a quadratic reward, :math:`p_0(x) e^{\lambda r(x)} / Z`: what steering should
draw from.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.diffusion.schedules import Level

Scalar = float | Float[Array, '']
_ONE: Any = np.float32(1.0)  # of NumPy: imports touch no device
_ZERO: Any = np.float32(0.0)
_DATA = Level(_ONE, _ZERO, _ZERO)


class Mixture(NamedTuple):
  """`K` modes in `d` dimensions, of one width."""

  log_weights: Float[Array, ' K']  # normalised
  means: Float[Array, 'K d']
  scale: Float[Array, '']  # standard deviation `s` of a mode


class Tilted(NamedTuple):
  """A mixture tilted by a reward."""

  law: Mixture
  log_normalizer: Float[Array, '']  # log E exp(lambda r)


def draw_mixture(
  key: PRNGKeyArray,
  num_modes: int,
  dim: int,
  *,
  spread: Scalar = 2.0,
  scale: Scalar = 0.3,
) -> Mixture:
  """Modes of equal weight around normal means; the key is consumed.

  Args:
    key: random key.
    num_modes: `K`.
    dim: `d`.
    spread: standard deviation of the means.
    scale: that of a mode.

  Returns:
    The mixture.
  """
  means = spread * jax.random.normal(key, (num_modes, dim), jnp.float32)
  log_weights = jnp.full(num_modes, -jnp.log(num_modes), jnp.float32)
  return Mixture(log_weights, means, jnp.float32(scale))


def sample_mixture(
  mixture: Mixture, key: PRNGKeyArray, num_samples: int
) -> Float[Array, 'N d']:
  """Exact samples; the key is consumed."""
  mode_key, noise_key = jax.random.split(key)
  modes = jax.random.categorical(
    mode_key, mixture.log_weights, shape=(num_samples,)
  )
  means = mixture.means[modes]
  noise = jax.random.normal(noise_key, means.shape, jnp.float32)
  return means + mixture.scale * noise


def responsibilities(
  mixture: Mixture, x: Float[Array, 'N d'], level: Level = _DATA
) -> Float[Array, 'N K']:
  """Posterior probability of each mode."""
  return jax.nn.softmax(_log_joint(mixture, x, level), axis=-1)


def log_density(
  mixture: Mixture, x: Float[Array, 'N d'], level: Level = _DATA
) -> Float[Array, ' N']:
  """Of the noised mixture; without a level, of the mixture itself."""
  return jax.nn.logsumexp(_log_joint(mixture, x, level), axis=-1)


def posterior_mean(
  mixture: Mixture, x: Float[Array, 'N d'], level: Level
) -> Float[Array, 'N d']:
  r"""The perfect denoiser.

  .. math:: \hat x_0 = \sum_k \rho_k
    [\mu_k + \tfrac{\alpha s^2}{v} (x - \alpha\mu_k)]

  Args:
    mixture: of the data.
    x: states.
    level: their noise.

  Returns:
    `E[x_0 | x]`.
  """
  mean = responsibilities(mixture, x, level) @ mixture.means
  shrink = level.alpha * mixture.scale**2 / _variance(mixture, level)
  return mean + shrink * (x - level.alpha * mean)


def score(
  mixture: Mixture, x: Float[Array, 'N d'], level: Level
) -> Float[Array, 'N d']:
  """Gradient of the log density."""
  mean = responsibilities(mixture, x, level) @ mixture.means
  return (level.alpha * mean - x) / _variance(mixture, level)


def noise_prediction(
  mixture: Mixture, x: Float[Array, 'N d'], level: Level
) -> Float[Array, 'N d']:
  r"""What a perfect network of noise says, :math:`-\sigma\nabla\log p`."""
  return -level.sigma * score(mixture, x, level)


def tilt_linear(
  mixture: Mixture, direction: Float[Array, ' d'], strength: Scalar
) -> Tilted:
  r"""Tilted by :math:`r(x) = a^T x`: modes move by :math:`\lambda s^2 a`."""
  reach = strength * mixture.scale**2
  gain = strength * (
    mixture.means @ direction + reach / 2 * jnp.sum(direction**2)
  )
  means = mixture.means + reach * direction
  return _tilted(mixture.log_weights + gain, means, mixture.scale)


def tilt_quadratic(
  mixture: Mixture, center: Float[Array, ' d'], strength: Scalar
) -> Tilted:
  r"""Tilted by :math:`r(x) = -\|x - c\|^2 / 2`."""
  width = 1 + strength * mixture.scale**2
  apart = jnp.sum((mixture.means - center) ** 2, axis=-1)
  dim = mixture.means.shape[-1]
  gain = -strength * apart / (2 * width) - dim / 2 * jnp.log(width)
  means = center + (mixture.means - center) / width
  scale = mixture.scale / jnp.sqrt(width)
  return _tilted(mixture.log_weights + gain, means, scale)


def _tilted(log_weights, means, scale):
  total = jax.nn.logsumexp(log_weights)
  return Tilted(Mixture(log_weights - total, means, scale), total)


def _variance(mixture, level):
  return level.alpha**2 * mixture.scale**2 + level.sigma**2


def _log_joint(mixture, x, level):
  """Log of weight times density, `[N, K]`."""
  variance = _variance(mixture, level)
  apart = x[:, None] - level.alpha * mixture.means
  dim = x.shape[-1]
  return (
    mixture.log_weights
    - jnp.sum(apart**2, axis=-1) / (2 * variance)
    - dim / 2 * jnp.log(2 * jnp.pi * variance)
  )
