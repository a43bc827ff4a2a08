r"""PETAL: a probabilistic view of lifelong adaptation (arXiv 2212.09713).

The source's posterior (`swag`) is the prior of the student, which descends the
cross-entropy to CoTTA's teacher plus

.. math:: \frac{s}{2} \sum_j (\theta_j - \mu_j)^2 / (\sigma_j^2 + 10^{-6})

After the step the numbers whose squared gradient is among the smallest share
:math:`\delta` go back to :math:`\mu`. Costs what CoTTA costs, and a sort of
all parameters.
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
from ttc.adaptation.cotta import restore_some
from ttc.adaptation.fisher import squared_below, swap, weighted_distance
from ttc.adaptation.losses import cross_entropy
from ttc.adaptation.swag import Posterior
from ttc.adaptation.teacher import (
  Teaching,
  follow,
  gated_target,
  start_teaching,
)
from ttc.adaptation.views import COTTA_VIEW, View
from ttc.models.vision.classifier import Classifier, Moments


class PetalState(NamedTuple):
  """What changes, and how stiffly the source holds it."""

  teaching: Teaching
  precision: ChosenParams  # of the prior


def petal(
  network: Classifier,
  posterior: Posterior,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  moments: Moments = 'batch',
  momentum: float | Float[Array, ''] = 0.999,
  strength: float | Float[Array, ''] = 1e-9,
  share: float | Float[Array, ''] | None = 0.03,
  restore: float | Float[Array, ''] = 0.01,
  threshold: float | Float[Array, ''] = 0.92,
  view: View = COTTA_VIEW,
  num_views: int = 32,
) -> Adapter:
  r"""A mean teacher under the source's posterior; predicts with the teacher.

  Args:
    network: the classifier.
    posterior: from `fit_posterior`. Student, teacher and anchor start at its
      mean, whatever network the stream's source holds.
    optimizer: of all parameters, without weight decay.
    moments: whose moments normalise.
    momentum: of the teacher.
    strength: `s`, the power of the posterior.
    share: :math:`\delta`, of the numbers that go back for their small
      gradient (PETAL-FIM); None for numbers at random (PETAL-SRes).
    restore: probability that a number goes back at random.
    threshold: mean confidence of the source from which views are spared.
    view: draws one.
    num_views: where the source is unsure.
  """

  def init(source, key):
    del source, key
    precision = jax.tree.map(lambda v: 1 / (v + 1e-6), posterior.var)
    teaching = start_teaching(posterior.mean, 'all', optimizer)
    return PetalState(teaching, precision)

  def update(state, batch, key):
    view_key, restore_key = jax.random.split(key)
    student = state.teaching.student
    source = choose(student.variables, 'all')
    target = gated_target(
      network, state.teaching, batch, view_key,
      view=view, num_views=num_views, threshold=threshold, moments=moments,
    )  # fmt: skip

    def loss_fn(params):
      variables = put_back(student.variables, params)
      seen = network.apply(variables, batch.images, moments, batch.mask)
      losses = cross_entropy(seen.logits, target.logits)
      distance = weighted_distance(params, source, state.precision)
      return masked_mean(losses, batch.mask) + 0.5 * strength * distance

    grads = jax.grad(loss_fn)(student.params)
    student = descend(optimizer, student, grads)
    teacher = follow(state.teaching.teacher, student.params, momentum)
    if share is None:
      params = restore_some(restore_key, student.params, source, restore)
    else:
      params = swap(squared_below(grads, share), source, student.params)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    new = Teaching(student._replace(params=params), teacher)
    new = keep_if(count > 0, new, state.teaching)
    prediction = Prediction(
      target.logits, target.features, target.num_forward + count, count
    )
    return prediction, state._replace(teaching=new)

  return Adapter(init, update)
