r"""EATA: entropy minimisation on samples that help (arXiv 2204.02610).

A sample counts if its entropy is below :math:`E_0 = 0.4 \ln K` and its
prediction points elsewhere than the running mean :math:`\bar p` of those that
counted, :math:`|\cos(p, \bar p)| < \epsilon`. Those that count are weighed by
:math:`\exp(E_0 - E)`, and what the source needs is held near its values:
:math:`\beta \sum_j F_j (\theta_j - \theta_{0,j})^2`. Without the Fisher
information `F` it is ETA. One forward and one backward pass a batch; with
static shapes, samples that do not count save nothing.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  ChosenParams,
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
from ttc.adaptation.fisher import (
  Fisher,
  diagonal_fisher,
  weighted_distance,
)
from ttc.adaptation.losses import entropy
from ttc.models.vision.classifier import Classifier, Moments


class EataState(NamedTuple):
  """What changes, and what holds it."""

  learning: Learning
  fisher: ChosenParams  # empty without
  mean_probs: Float[Array, ' K']  # of samples that counted
  has_mean: Bool[Array, '']


def eata(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  select: Select = 'norm',
  moments: Moments = 'batch',
  margin: float | Float[Array, ''] = 0.4,
  redundancy: float | Float[Array, ''] = 0.4,
  fisher: Fisher | None = 'batch',
  strength: float | Float[Array, ''] = 1.0,
  fisher_batch: int = 100,
) -> Adapter:
  r"""Entropy minimisation on reliable, new samples; predicts before the step.

  The defaults are CIFAR-10's; CIFAR-100: redundancy .1; ImageNet: SGD at
  2.5e-4 with momentum .9 on batches of 64, redundancy .05, strength 2000.

  Args:
    network: the classifier.
    optimizer: of the parameters.
    select: parameters that learn.
    moments: whose moments normalise.
    margin: greatest entropy of a sample that counts, over :math:`\ln K`.
    redundancy: :math:`\epsilon`. Must grow with fewer classes: the cosine of
      two distributions over ten is seldom below .05.
    fisher: how it is estimated, from 500 to 2000 images of the source; None
      is ETA, which needs none.
    strength: :math:`\beta`, for `fisher='batch'`; about `fisher_batch` times
      less does the same with `'example'`.
    fisher_batch: images of the source in a batch.
  """
  limit = margin * math.log(network.num_classes)

  def init(source, key):
    del key
    learning = start_learning(source.variables, select, optimizer)
    held = {}
    if fisher is not None:
      held = diagonal_fisher(
        network, source.variables, learning.params, source.images, fisher,
        fisher_batch, moments,
      )  # fmt: skip
    mean_probs = jnp.zeros(network.num_classes, jnp.float32)
    return EataState(learning, held, mean_probs, jnp.zeros((), bool))

  def update(state, batch, key):
    del key
    learning = state.learning
    anchor = choose(learning.variables, select)

    def loss_fn(params):
      variables = put_back(learning.variables, params)
      seen = network.apply(variables, batch.images, moments, batch.mask)
      entropies = entropy(seen.logits)
      weights = jax.lax.stop_gradient(jnp.exp(limit - entropies))
      kept = batch.mask & (entropies < limit)
      kept &= ~state.has_mean | (likeness(seen.logits, state) < redundancy)
      loss = masked_mean(weights * entropies, kept)
      if state.fisher:
        loss += strength * weighted_distance(params, anchor, state.fisher)
      return loss, (seen, kept)

    grads, (seen, kept) = jax.grad(loss_fn, has_aux=True)(learning.params)
    num_kept = jnp.sum(kept, dtype=jnp.int32)
    probs = jax.nn.softmax(seen.logits)
    mean = jax.vmap(masked_mean, (1, None))(probs, kept)
    moved = jnp.where(
      state.has_mean, 0.9 * state.mean_probs + (1 - 0.9) * mean, mean
    )
    new = EataState(
      descend(optimizer, learning, grads),
      state.fisher,
      moved.astype(state.mean_probs.dtype),
      jnp.ones((), bool),
    )
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    prediction = Prediction(seen.logits, seen.features, count, num_kept)
    return prediction, keep_if(num_kept > 0, new, state)

  return Adapter(init, update)


def likeness(
  logits: Float[Array, 'B K'], state: EataState
) -> Float[Array, ' B']:
  """How like the running mean predictions are, an absolute cosine."""
  probs = jax.nn.softmax(logits)
  norms = jnp.linalg.norm(probs, axis=-1) * jnp.linalg.norm(state.mean_probs)
  return jnp.abs(probs @ state.mean_probs / jnp.maximum(norms, 1e-8))
