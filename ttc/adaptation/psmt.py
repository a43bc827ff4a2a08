r"""PSMT: parameter-selective mean teacher (arXiv 2407.02253).

The student agrees with CoTTA's teacher and stays near the source where the
source's Fisher information is large, :math:`\lambda \sum_j F_j (\theta_j -
\theta_{0,j})^2`. Then the teacher follows; numbers whose squared gradient is
among the smallest share return to the source, in student and teacher; all
others of the teacher follow once more, so that its momentum is in effect the
square. One forward pass more than CoTTA, with a gradient.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  ChosenParams,
  Prediction,
  choose,
  descend,
  keep_if,
  masked_mean,
  put_back,
)
from ttc.adaptation.fisher import (
  diagonal_fisher,
  squared_below,
  swap,
  weighted_distance,
)
from ttc.adaptation.losses import symmetric_cross_entropy
from ttc.adaptation.teacher import (
  Teaching,
  follow,
  gated_target,
  start_teaching,
)
from ttc.adaptation.views import COTTA_VIEW, View, unchanged
from ttc.models.vision.classifier import Classifier, Moments


class PsmtState(NamedTuple):
  """What changes, and what the source depends on."""

  teaching: Teaching
  fisher: ChosenParams


def psmt(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  moments: Moments = 'batch',
  momentum: float | Float[Array, ''] = 0.999,
  strength: float | Float[Array, ''] = 500.0,
  share: float | Float[Array, ''] = 0.03,
  threshold: float | Float[Array, ''] = 0.92,
  view: View = COTTA_VIEW,
  num_views: int = 32,
  use_views: bool = True,
  fisher_batch: int = 100,
) -> Adapter:
  r"""A selective mean teacher; student and teacher predict before the step.

  Args:
    network: the classifier.
    optimizer: of all parameters.
    moments: whose moments normalise.
    momentum: of the teacher, each of the two times.
    strength: :math:`\lambda`.
    share: of the numbers that return to the source.
    threshold: mean confidence of the source from which views are spared.
    view: draws one.
    num_views: where the source is unsure.
    use_views: False puts the batch itself in the place of every view, as the
      released code does.
    fisher_batch: images of the source at once.
  """
  if not use_views:
    view, num_views = unchanged, 1

  def init(source, key):
    del key
    teaching = start_teaching(source.variables, 'all', optimizer)
    fisher = diagonal_fisher(
      network, source.variables, teaching.student.params, source.images,
      'batch', fisher_batch, moments,
    )  # fmt: skip
    return PsmtState(teaching, fisher)

  def update(state, batch, key):
    target_key, view_key = jax.random.split(key)
    mask, student = batch.mask, state.teaching.student
    source = choose(student.variables, 'all')
    target = gated_target(
      network, state.teaching, batch, target_key,
      view=view, num_views=num_views, threshold=threshold, moments=moments,
    )  # fmt: skip
    viewed = view(view_key, batch.images)

    def loss_fn(params):
      variables = put_back(student.variables, params)
      seen = network.apply(variables, batch.images, moments, mask)
      other = seen
      if use_views:
        other = network.apply(variables, viewed, moments, mask)
      losses = 0.5 * symmetric_cross_entropy(seen.logits, target.logits)
      losses += 0.5 * symmetric_cross_entropy(other.logits, target.logits)
      distance = weighted_distance(params, source, state.fisher)
      return masked_mean(losses, mask) + strength * distance, seen

    grads, seen = jax.grad(loss_fn, has_aux=True)(student.params)
    small = squared_below(grads, share)
    student = descend(optimizer, student, grads)
    once = follow(state.teaching.teacher, student.params, momentum)
    params = swap(small, source, student.params)
    teacher = swap(small, source, follow(once, params, momentum))
    count = jnp.sum(mask, dtype=jnp.int32)
    new = Teaching(student._replace(params=params), teacher)
    new = keep_if(count > 0, new, state.teaching)
    num_images = count * (2 if use_views else 1)
    prediction = Prediction(
      seen.logits + target.logits, seen.features,
      target.num_forward + num_images, num_images,
    )  # fmt: skip
    return prediction, state._replace(teaching=new)

  return Adapter(init, update)
