r"""Estimates of a linear response from a context: exact yardsticks.

All take one context of which `length` examples are shown, the others being 0,
and give w. Where responses are `y = X w + noise`, w is Gaussian and its
covariance is known, nothing has a smaller mean squared error than the posterior
mean.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def posterior_mean(
  x: Float[Array, 'S d'],
  y: Float[Array, ' S'],
  root: Float[Array, 'd r'],
  noise: Float[Array, ''] | float,
) -> Float[Array, ' d']:
  r"""The mean of w given the context, if w ~ N(0, A A^T).

  .. math:: \hat w = A (A^\top X^\top X A + \sigma^2 I)^{-1} A^\top X^\top y

  Args:
    x: examples.
    y: responses.
    root: A.
    noise: sigma, above 0.
  """
  features = x @ root
  gram = features.T @ features + noise**2 * jnp.eye(
    root.shape[1], dtype=x.dtype
  )
  return root @ solve(gram, features.T @ y)


def ridge(
  x: Float[Array, 'S d'],
  y: Float[Array, ' S'],
  penalty: Float[Array, ''] | float,
) -> Float[Array, ' d']:
  """Ridge regression; the posterior mean if penalty = sigma^2 / tau^2."""
  return posterior_mean(
    x, y, jnp.eye(x.shape[1], dtype=x.dtype), jnp.sqrt(penalty)
  )


def cross_validated_ridge(
  x: Float[Array, 'S d'],
  y: Float[Array, ' S'],
  penalties: Sequence[float] = tuple(10.0 ** (k / 4) for k in range(-12, 9)),
) -> Float[Array, ' d']:
  r"""Ridge with the penalty that predicts best what is left out.

  One example is left out at a time, whose error is in closed form

  .. math:: y_i - \hat y_{-i} = \frac{y_i - \hat y_i}{1 - H_{ii}}, \qquad
     H = X (X^\top X + \lambda I)^{-1} X^\top

  Examples that are not shown are zeros and add nothing.

  Args:
    x: examples.
    y: responses.
    penalties: to choose from.
  """
  gram = x.T @ x

  def fit(penalty):
    regular = gram + penalty * jnp.eye(x.shape[1], dtype=x.dtype)
    weights = solve(regular, x.T @ y)
    leverage = jnp.sum(x * solve(regular, x.T).T, axis=1)
    return jnp.sum(jnp.square((y - x @ weights) / (1 - leverage))), weights

  errors, weights = jax.vmap(fit)(jnp.asarray(penalties, x.dtype))
  return weights[jnp.argmin(errors)]


def squared_error(
  weights: Float[Array, '*B d'],
  query_x: Float[Array, '*B Q d'],
  query_y: Float[Array, '*B Q'],
  bias: Float[Array, '*B'] | float = 0.0,
) -> Float[Array, '*B']:
  """Mean squared error of `<w, x> + b` over queries."""
  found = jnp.einsum('...qd,...d->...q', query_x, weights)
  found = found + jnp.asarray(bias)[..., None]
  return jnp.mean(jnp.square(found - query_y), axis=-1)


def solve(
  matrix: Float[Array, 'd d'], y: Float[Array, 'd *n']
) -> Float[Array, 'd *n']:
  """`matrix^-1 y` of a positive definite matrix, by elimination.

  Without LAPACK: its calls inside one program can wait for each other for ever
  on CPUs with few cores.

  Args:
    matrix: positive definite, so that no pivot is small.
    y: a vector, or columns.
  """
  d = matrix.shape[0]
  rows = jnp.concatenate([matrix, y.reshape(d, -1)], axis=1)

  def eliminate(i, rows):
    pivot = rows[i] / rows[i, i]
    return (rows - jnp.outer(rows[:, i], pivot)).at[i].set(pivot)

  return jax.lax.fori_loop(0, d, eliminate, rows)[:, d:].reshape(y.shape)
