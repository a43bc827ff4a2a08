r"""ROID: universal test-time adaptation (arXiv 2306.00650, WACV 2024).

Samples that are certain and unlike the running mean prediction weigh most,

.. math:: w_i = \exp(d_i c_i / T), \quad d_i = 1 - \cos(\bar p, p_i),
   \quad c_i = -H(p_i)

with both scaled to [0, 1] over the batch; those less diverse than the mean do
not count. They descend the soft likelihood ratio and agree with a view of
themselves. After the step the weights lean back to the source's, and the
prediction is corrected by the batch's own class prior. Two forward passes and
two backward.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  Learning,
  Prediction,
  Select,
  choose,
  descend,
  keep_if,
  masked_mean,
  put_back,
  start_learning,
)
from ttc.adaptation.losses import (
  entropy,
  soft_likelihood_ratio,
  symmetric_cross_entropy,
)
from ttc.adaptation.teacher import follow
from ttc.adaptation.views import View, cotta_view
from ttc.models.vision.classifier import Classifier, Moments

ROID_VIEW = cotta_view(padding='reflect', blur=0.0, noise=0.0)


class RoidState(NamedTuple):
  """What changes."""

  learning: Learning
  mean_probs: Float[Array, ' K']  # running, at first uniform


def roid(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  select: Select = 'norm',
  moments: Moments = 'batch',
  temperature: float | Float[Array, ''] = 1 / 3,
  momentum: float | Float[Array, ''] = 0.99,
  view: View = ROID_VIEW,
  prior: Literal['probabilities', 'logits'] | None = 'probabilities',
) -> Adapter:
  """Weighted likelihood ratio and consistency; predicts before the step.

  Args:
    network: the classifier.
    optimizer: of the parameters.
    select: parameters that learn.
    moments: whose moments normalise.
    temperature: `T` of the weights.
    momentum: of the parameters; the rest comes back from the source.
    view: draws what predictions should agree with.
    prior: what the smoothed class prior of the batch multiplies; `'logits'`
      is what the released code does, None leaves the prediction alone.
  """
  if prior not in ('probabilities', 'logits', None):
    raise ValueError(
      f"roid: prior {prior!r}: 'probabilities', 'logits' or None"
    )

  def init(source, key):
    del key
    learning = start_learning(source.variables, select, optimizer)
    count = network.num_classes
    return RoidState(learning, jnp.full(count, 1 / count, jnp.float32))

  def update(state, batch, key):
    learning, mask = state.learning, batch.mask
    count = jnp.sum(mask, dtype=jnp.int32)

    def loss_fn(params):
      variables = put_back(learning.variables, params)
      seen = network.apply(variables, batch.images, moments, mask)
      weights = weigh(seen.logits, state.mean_probs, mask, temperature)
      viewed = network.apply(
        variables, view(key, batch.images), moments, weights > 0
      )
      losses = soft_likelihood_ratio(seen.logits)
      losses += symmetric_cross_entropy(viewed.logits, seen.logits)
      return masked_mean(jnp.where(weights > 0, weights * losses, 0), mask), (
        seen,
        weights,
      )

    grads, (seen, weights) = jax.grad(loss_fn, has_aux=True)(learning.params)
    learning = descend(optimizer, learning, grads)
    anchor = choose(learning.variables, select)
    params = follow(learning.params, anchor, momentum)
    mean = _mean_probs(seen.logits, mask)
    new = RoidState(
      learning._replace(params=params),
      (0.9 * state.mean_probs + (1 - 0.9) * mean).astype(jnp.float32),
    )
    kept = jnp.sum(weights > 0, dtype=jnp.int32)
    logits = smooth_prior(seen.logits, mask, prior)
    prediction = Prediction(logits, seen.features, count + kept, 2 * kept)
    return prediction, keep_if(count > 0, new, state)

  return Adapter(init, update)


def weigh(
  logits: Float[Array, 'B K'],
  mean_probs: Float[Array, ' K'],
  mask: Bool[Array, ' B'],
  temperature: float | Float[Array, ''],
) -> Float[Array, ' B']:
  """Weights of samples by diversity and certainty.

  They are zero for rows that are masked or less diverse than the mean.

  Args:
    logits: of the batch; no gradient goes through.
    mean_probs: running mean of predictions.
    mask: rows that count.
    temperature: of the weights.
  """
  logits = jax.lax.stop_gradient(logits)
  probs = jax.nn.softmax(logits)
  norms = jnp.linalg.norm(probs, axis=-1) * jnp.linalg.norm(mean_probs)
  diversity = _scale(1 - probs @ mean_probs / norms, mask)
  certainty = _scale(-entropy(logits), mask)
  kept = mask & (diversity >= masked_mean(diversity, mask))
  return jnp.where(kept, jnp.exp(diversity * certainty / temperature), 0)


def smooth_prior(
  logits: Float[Array, 'B K'],
  mask: Bool[Array, ' B'],
  prior: Literal['probabilities', 'logits'] | None,
) -> Float[Array, 'B K']:
  r"""Multiplies by the smoothed mean prediction :math:`(\pi + s) / (1 + sK)`.

  The smoothing :math:`s = \max(1/B, 1/K) / \max_k \pi_k` grows as batches
  shrink.

  Args:
    logits: of the batch.
    mask: rows that count.
    prior: what is multiplied.

  Returns:
    Logits; of `'probabilities'` their logarithms, up to a constant.
  """
  if prior is None:
    return logits
  num_classes = logits.shape[-1]
  mean = _mean_probs(logits, mask)
  count = jnp.maximum(jnp.sum(mask), 1).astype(logits.dtype)
  smooth = jnp.maximum(1 / count, 1 / num_classes) / jnp.maximum(
    jnp.max(mean), 1 / num_classes
  )
  smoothed = (mean + smooth) / (1 + smooth * num_classes)
  if prior == 'logits':
    return logits * smoothed
  return jax.nn.log_softmax(logits) + jnp.log(smoothed)


def _mean_probs(logits: Array, mask: Array) -> Array:
  return jax.vmap(masked_mean, (1, None))(jax.nn.softmax(logits), mask)


def _scale(values: Array, mask: Array) -> Array:
  """To [0, 1] over rows that count; zero if they are all the same."""
  low = jnp.min(jnp.where(mask, values, jnp.inf))
  span = jnp.max(jnp.where(mask, values, -jnp.inf)) - low
  return jnp.where(span > 0, (values - low) / jnp.where(span > 0, span, 1), 0)
