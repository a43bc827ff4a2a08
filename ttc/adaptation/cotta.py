r"""CoTTA: continual test-time adaptation (Wang et al., 2022, arXiv 2203.13591).

All parameters descend the cross-entropy to the teacher, which says what it
thinks of the batch, or of 32 views of it where the source is unsure. The
teacher follows, and each of the student's numbers returns to the source with
probability `r`. Two forward passes and one with a gradient a batch, and 31
more where the source is unsure.
"""

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
from ttc.adaptation.losses import cross_entropy, symmetric_cross_entropy
from ttc.adaptation.teacher import (
  Teaching,
  follow,
  gated_target,
  start_teaching,
)
from ttc.adaptation.views import COTTA_VIEW, View
from ttc.models.vision.classifier import Classifier, Moments


def cotta(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  moments: Moments = 'batch',
  momentum: float | Float[Array, ''] = 0.999,
  restore: float | Float[Array, ''] = 0.01,
  threshold: float | Float[Array, ''] = 0.92,
  view: View = COTTA_VIEW,
  num_views: int = 32,
  symmetric: bool = False,
) -> Adapter:
  """Learns from a mean teacher; predicts with it, before the step.

  The defaults are CIFAR-10's; CIFAR-100: threshold .72; ImageNet: SGD at .01,
  threshold .1, restore .001, symmetric.

  Args:
    network: the classifier.
    optimizer: of all parameters; a restored one keeps its moments.
    moments: whose moments normalise.
    momentum: of the teacher. A stream of `n` batches needs about `1 - 1/n`.
    restore: probability `r` that a number returns to the source.
    threshold: mean confidence of the source from which views are spared.
    view: draws one.
    num_views: where the source is unsure.
    symmetric: half of the cross-entropy each way.
  """
  loss = symmetric_cross_entropy if symmetric else cross_entropy

  def init(source, key):
    del key
    return start_teaching(source.variables, 'all', optimizer)

  def update(state, batch, key):
    view_key, restore_key = jax.random.split(key)
    student = state.student
    target = gated_target(
      network, state, batch, view_key,
      view=view, num_views=num_views, threshold=threshold, moments=moments,
    )  # fmt: skip

    def loss_fn(params):
      variables = put_back(student.variables, params)
      seen = network.apply(variables, batch.images, moments, batch.mask)
      return masked_mean(loss(seen.logits, target.logits), batch.mask)

    student = descend(optimizer, student, jax.grad(loss_fn)(student.params))
    teacher = follow(state.teacher, student.params, momentum)
    source = choose(student.variables, 'all')
    params = restore_some(restore_key, student.params, source, restore)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    new = Teaching(student._replace(params=params), teacher)
    prediction = Prediction(
      target.logits, target.features, target.num_forward + count, count
    )
    return prediction, keep_if(count > 0, new, state)

  return Adapter(init, update)


def restore_some(
  key: Array,
  params: ChosenParams,
  source: ChosenParams,
  probability: float | Float[Array, ''],
) -> ChosenParams:
  """Each number returns to the source's with a probability.

  Args:
    key: consumed; the draws of a leaf fold in its place among sorted paths.
    params: that have learned.
    source: what they were.
    probability: of a return.
  """
  restored = {}
  for i, path in enumerate(sorted(params)):
    p, leaf_key = params[path], jax.random.fold_in(key, i)
    drawn = jax.random.uniform(leaf_key, p.shape, jnp.float32)
    restored[path] = jnp.where(drawn < probability, source[path], p)
  return restored
