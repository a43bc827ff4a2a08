"""Losses of predictions, one number for each row unless it says mean."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def entropy(logits: Float[Array, '*B K']) -> Float[Array, '*B']:
  """Entropy of the softmax in nats."""
  return cross_entropy(logits, logits)


def cross_entropy(
  logits: Float[Array, '*B K'], targets: Float[Array, '*B K']
) -> Float[Array, '*B']:
  r""":math:`-\sum_k q_k \log p_k`, nats.

  Args:
    logits: of `p`.
    targets: logits of `q`; a gradient goes through them too.
  """
  return -jnp.sum(jax.nn.softmax(targets) * jax.nn.log_softmax(logits), axis=-1)


def symmetric_cross_entropy(
  logits: Float[Array, '*B K'], targets: Float[Array, '*B K']
) -> Float[Array, '*B']:
  """Half of the cross-entropy each way (RMT, arXiv 2211.13081, eq. 5)."""
  there = cross_entropy(logits, targets)
  return 0.5 * there + 0.5 * cross_entropy(targets, logits)


def soft_likelihood_ratio(
  logits: Float[Array, '*B K'], greatest: float = 0.99
) -> Float[Array, '*B']:
  r""":math:`-\sum_k q_k \log(q_k / (1 - q_k) + 10^{-5})` (ROID, eq. 3).

  Unlike the entropy's, its gradient does not vanish where a class is certain,
  up to `greatest`, above which :math:`q = \min(p, greatest)` is constant.
  """
  q = jnp.minimum(jax.nn.softmax(logits), greatest)
  return -jnp.sum(q * jnp.log(q / (1 - q) + 1e-5), axis=-1)


def mean_label_loss(
  logits: Float[Array, 'B K'], labels: Int[Array, ' B']
) -> Float[Array, '']:
  """Cross-entropy of known classes, nats, a mean over rows."""
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  )
