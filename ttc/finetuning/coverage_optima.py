r"""What a model should believe that is asked N times: optima without training.

Labels of one prompt come with chances `p` over C answers; the model says `q`.
Both optima are on the simplex and found by bisection of their multiplier.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_HALVINGS = 100


def coverage(
  probs: Float[Array, ' C'], q: Float[Array, ' C'], num_samples: int
) -> Float[Array, '']:
  r"""Chance that N samples of `q` contain the label.

  .. math:: \sum_i p_i (1 - (1 - q_i)^N)
  """
  return jnp.sum(probs * (1 - (1 - q) ** num_samples))


def most_coverage(
  probs: Float[Array, ' C'], num_samples: int
) -> Float[Array, ' C']:
  r"""The `q` of the largest coverage: water-filling.

  .. math:: q_i = \max(0, 1 - (\lambda / (N p_i))^{1 / (N - 1)})

  Args:
    probs: chances of the labels.
    num_samples: `N`; 1 gives all to the likeliest.

  Returns:
    `q`; sums to 1.
  """
  if num_samples == 1:
    return jax.nn.one_hot(jnp.argmax(probs), probs.size)
  n = num_samples

  def q_of(level):
    ratio = level / (n * jnp.maximum(probs, 1e-30))
    return jnp.clip(1 - ratio ** (1 / (n - 1)), 0.0, 1.0)

  return _on_simplex(q_of, 0.0, n * jnp.max(probs))


def least_coverage_loss(
  probs: Float[Array, ' C'], num_samples: int
) -> Float[Array, ' C']:
  r"""The `q` of the least expected `coverage_loss`: what training tends to.

  .. math:: p_i N (1 - q_i)^{N - 1} / (1 - (1 - q_i)^N) = \lambda

  Args:
    probs: chances of the labels.
    num_samples: `N`; 1 gives `probs`, as cross-entropy does.

  Returns:
    `q`; sums to 1.
  """
  n = num_samples
  if n == 1:
    return probs / jnp.sum(probs)

  def pull(q):
    return n * (1 - q) ** (n - 1) / jnp.maximum(1 - (1 - q) ** n, 1e-30)

  def q_of(level):
    # The pull falls in q: the q at which it is level / p_i.
    q = _bisect(lambda q: probs * pull(q) > level, jnp.zeros_like(probs),
                jnp.ones_like(probs))  # fmt: skip
    return jnp.where(probs > 0, q, 0.0)

  return _on_simplex(q_of, 0.0, n / jnp.maximum(jnp.min(probs), 1e-6))


def _on_simplex(q_of, low, high):
  """The `q` of the multiplier at which it sums to 1; its sum falls in it."""
  above = lambda level: jnp.sum(q_of(level)) > 1
  q = q_of(_bisect(above, jnp.float32(low), jnp.float32(high)))
  return q / jnp.sum(q)


def _bisect(goes_up, low, high):
  """Where a monotone condition changes from true to false."""

  def halve(_, ends):
    low, high = ends
    middle = (low + high) / 2
    up = goes_up(middle)
    return jnp.where(up, middle, low), jnp.where(up, high, middle)

  low, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
  return (low + high) / 2
