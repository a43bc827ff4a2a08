r"""How good the predictions of a classifier are.

Every measure takes a mask: rows that only fill a batch up do not count. Logits
may be log-probabilities up to a constant. All may be compiled and vmapped.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.evaluation.calibration import expected_calibration_error

Logits = Float[Array, '*B K']
Labels = Int[Array, '*B']
Mask = Bool[Array, '*B']
Value = Float[Array, '']


def error_rate(logits: Logits, labels: Labels, mask: Mask) -> Value:
  """Share of predictions that are wrong, in 0 to 1; nan if nothing counts."""
  return _mean(jnp.argmax(logits, axis=-1) != labels, mask)


def negative_log_likelihood(
  logits: Logits, labels: Labels, mask: Mask
) -> Value:
  """Mean negative logarithm of the probability of the label, in nats."""
  log_probs = jax.nn.log_softmax(logits)
  given = jnp.take_along_axis(log_probs, labels[..., None], axis=-1)
  return _mean(-given[..., 0], mask)


def brier_score(logits: Logits, labels: Labels, mask: Mask) -> Value:
  r"""Mean of :math:`\sum_k (p_k - 1[y = k])^2`, in 0 to 2 (Brier, 1950)."""
  wanted = jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32)
  distance = jnp.sum((jax.nn.softmax(logits) - wanted) ** 2, axis=-1)
  return _mean(distance, mask)


def calibration_error(
  logits: Logits, labels: Labels, mask: Mask, num_bins: int = 15
) -> Value:
  """Expected calibration error of the most likely class (1706.04599)."""
  confidences = jnp.max(jax.nn.softmax(logits), axis=-1)
  correct = jnp.argmax(logits, axis=-1) == labels
  # An item of confidence 0 is left out.
  return expected_calibration_error(
    jnp.where(mask, confidences, 0).ravel(),
    correct.ravel().astype(jnp.float32),
    num_bins,
  )


def macro_accuracy(logits: Logits, labels: Labels, mask: Mask) -> Value:
  """Mean over classes that occur of the share of them that is recognised."""
  num_classes = logits.shape[-1]
  weights = mask.ravel().astype(jnp.float32)
  correct = (jnp.argmax(logits, axis=-1) == labels).ravel() * weights
  count = lambda x: jax.ops.segment_sum(x, labels.ravel(), num_classes)
  there, right = count(weights), count(correct)
  shares = right / jnp.maximum(there, 1)
  return jnp.sum(shares) / jnp.sum(there > 0)


def slope(values: Float[Array, ' R']) -> Value:
  """Least-squares slope of a series, per step: of errors over rounds."""
  steps = jnp.arange(len(values), dtype=jnp.float32)
  steps = steps - steps.mean()
  return jnp.sum(steps * values) / jnp.sum(steps**2)


def _mean(values, mask):
  """Mean over what counts."""
  kept = jnp.where(mask, values, 0).astype(jnp.float32)
  return jnp.sum(kept) / jnp.sum(mask)
