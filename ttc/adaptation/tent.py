r"""TENT: entropy minimisation (Wang et al., 2021, arXiv 2006.10726).

Scale and shift of normalisation descend the mean entropy
:math:`-\sum_k p_k \log p_k` of the batch's own predictions, which are made
before the step. One forward and one backward pass a batch.
"""

import jax
import jax.numpy as jnp
import optax

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  Prediction,
  Select,
  descend,
  masked_mean,
  put_back,
  start_learning,
)
from ttc.adaptation.losses import entropy
from ttc.models.vision.classifier import Classifier, Moments


def tent(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  select: Select = 'norm',
  moments: Moments = 'batch',
) -> Adapter:
  """Entropy minimisation; predicts before the step.

  Args:
    network: the classifier.
    optimizer: Adam at 1e-3 on batches of 200 (CIFAR); SGD at 2.5e-4 with
      momentum .9 on batches of 64 (ImageNet).
    select: parameters that learn.
    moments: whose moments normalise.
  """

  def init(source, key):
    del key
    return start_learning(source.variables, select, optimizer)

  def update(state, batch, key):
    del key

    def loss_fn(params):
      variables = put_back(state.variables, params)
      seen = network.apply(variables, batch.images, moments, batch.mask)
      return masked_mean(entropy(seen.logits), batch.mask), seen

    grads, seen = jax.grad(loss_fn, has_aux=True)(state.params)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    state = descend(optimizer, state, grads, count > 0)
    return Prediction(seen.logits, seen.features, count, count), state

  return Adapter(init, update)
