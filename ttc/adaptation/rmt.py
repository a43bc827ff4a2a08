r"""RMT: robust mean teacher (Döbler et al., 2023, arXiv 2211.13081).

All parameters descend

.. math:: \lambda_{trg} \left[\tfrac12 SCE(f_s(x), f_t(x)) +
   \tfrac12 SCE(f_s(\tilde x), f_t(x))\right] + \lambda_{cont} L_{CL} +
   \lambda_{src} CE(f_s(x_{src}), y_{src})

with a mean teacher `t`, a view, the contrast of `contrast`, and labelled
images of the source replayed. Student and teacher predict together. Before
deployment, student and teacher practise on the source. A batch costs four
forward passes, three of them with a gradient.
"""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  ChosenParams,
  Prediction,
  choose,
  keep_if,
  masked_mean,
  put_back,
)
from ttc.adaptation.contrast import (
  Projector,
  class_prototypes,
  contrastive_loss,
  nearest_prototype,
  project,
  start_projector,
)
from ttc.adaptation.losses import symmetric_cross_entropy
from ttc.adaptation.teacher import follow
from ttc.adaptation.views import COTTA_VIEW, View
from ttc.models.vision.classifier import Classifier, Moments, Variables


class Pupil(NamedTuple):
  """What descends: a student, and the projector of its features."""

  params: ChosenParams
  projector: Projector | None


class Lesson(NamedTuple):
  """What changes with a batch."""

  pupil: Pupil
  teacher: ChosenParams
  opt_state: optax.OptState


class RmtState(NamedTuple):
  """What changes, and what the source left; empty arrays where unused."""

  lesson: Lesson
  variables: Variables
  images: Float[Array, 'n H W C']
  labels: Int[Array, ' n']
  prototypes: Float[Array, 'K D']


def rmt(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  moments: Moments = 'batch',
  momentum: float | Float[Array, ''] = 0.999,
  view: View = COTTA_VIEW,
  target_weight: float | Float[Array, ''] = 1.0,
  contrast_weight: float | Float[Array, ''] | None = 1.0,
  source_weight: float | Float[Array, ''] | None = 1.0,
  temperature: float | Float[Array, ''] = 0.1,
  projector_size: int = 128,
  source_batch: int = 100,
  warm_up: int = 0,
) -> Adapter:
  """A mean teacher that does not lose the source; predicts before the step.

  Args:
    network: the classifier.
    optimizer: of all parameters: Adam at 1e-3 for CIFAR, SGD at .01 for
      ImageNet.
    moments: whose moments normalise, for each of the three batches apart.
    momentum: of the teacher.
    view: draws the other view of the batch.
    target_weight: of the teacher's targets.
    contrast_weight: of the contrast with the source's prototypes; None for
      none.
    source_weight: of the replayed images of the source; None for none.
    temperature: of the contrast.
    projector_size: of its two layers.
    source_batch: images of the source at once; all of them if fewer.
    warm_up: batches of practice on the source before deployment, the learning
      rate rising from zero; the paper takes 50 000 images.
  """

  def init(source, key):
    uses = {
      'a contrast': contrast_weight is not None,
      'a replay': source_weight is not None,
      'a warm-up': warm_up > 0,
    }
    for use, is_used in uses.items():
      if is_used and not len(source.images):
        raise ValueError(f'rmt: {use} needs images of the source')
    projector_key, warm_key = jax.random.split(key)
    params = choose(source.variables, 'all')
    projector, prototypes = (
      None,
      jnp.zeros((network.num_classes, 0), jnp.float32),
    )
    if contrast_weight is not None:
      prototypes = class_prototypes(
        network, source.variables, source.images, source.labels, source_batch,
        moments,
      )  # fmt: skip
      projector = start_projector(
        projector_key, prototypes.shape[-1], projector_size
      )
    pupil = Pupil(params, projector)
    lesson = Lesson(pupil, params, optimizer.init(cast(Any, pupil)))
    state = RmtState(
      lesson, source.variables, source.images, source.labels, prototypes
    )
    state = practise(state, warm_key) if warm_up else state
    if source_weight is None:
      none = slice(0, 0)
      state = state._replace(
        images=state.images[none], labels=state.labels[none]
      )
    return state

  def see(state, params, images, mask=None):
    variables = put_back(state.variables, params)
    return network.apply(variables, images, moments, mask)

  def draw_source(state, key):
    size = min(source_batch, len(state.images))
    rows = jax.random.permutation(key, len(state.images))[:size]
    return state.images[rows], state.labels[rows]

  def learn(lesson, grads, scale: Any = 1.0):
    updates, opt_state = optimizer.update(grads, lesson.opt_state, lesson.pupil)
    updates = jax.tree.map(lambda u: scale * u, updates)
    pupil: Any = optax.apply_updates(lesson.pupil, updates)
    teacher = follow(lesson.teacher, pupil.params, momentum)
    return Lesson(pupil, teacher, opt_state)

  def practise(state, key):
    """Self-training on clean images of the source."""

    def step(lesson, i):
      images, _ = draw_source(state, jax.random.fold_in(key, i))
      target = see(state, lesson.teacher, images).logits

      def loss_fn(pupil):
        said = see(state, pupil.params, images).logits
        return jnp.mean(symmetric_cross_entropy(said, target))

      grads = jax.grad(loss_fn)(lesson.pupil)
      scale = (i + 1).astype(jnp.float32) / warm_up
      return learn(lesson, grads, scale), None

    lesson, _ = jax.lax.scan(step, state.lesson, jnp.arange(warm_up))
    return state._replace(lesson=lesson)

  def update(state, batch, key):
    view_key, source_key = jax.random.split(key)
    mask, lesson = batch.mask, state.lesson
    taught = see(state, lesson.teacher, batch.images, mask).logits
    viewed = view(view_key, batch.images)

    def loss_fn(pupil):
      seen = see(state, pupil.params, batch.images, mask)
      other = see(state, pupil.params, viewed, mask)
      agreement = 0.5 * symmetric_cross_entropy(seen.logits, taught)
      agreement += 0.5 * symmetric_cross_entropy(other.logits, taught)
      loss = target_weight * masked_mean(agreement, mask)
      if contrast_weight is not None:
        nearest = nearest_prototype(seen.features, state.prototypes)
        views = jnp.stack([nearest, seen.features, other.features])
        projected = jax.vmap(project, (None, 0))(pupil.projector, views)
        loss += contrast_weight * contrastive_loss(projected, mask, temperature)
      if source_weight is not None:
        images, labels = draw_source(state, source_key)
        said = see(state, pupil.params, images).logits
        losses = optax.softmax_cross_entropy_with_integer_labels(said, labels)
        loss += source_weight * jnp.mean(losses)
      return loss, seen

    grads, seen = jax.grad(loss_fn, has_aux=True)(lesson.pupil)
    count = jnp.sum(mask, dtype=jnp.int32)
    new = keep_if(count > 0, learn(lesson, grads), lesson)
    num_replayed = min(source_batch, len(state.images))
    replayed = jnp.where(count > 0, num_replayed, 0)
    if source_weight is None:
      replayed = 0
    prediction = Prediction(
      seen.logits + taught, seen.features, 3 * count + replayed,
      2 * count + replayed,
    )  # fmt: skip
    return prediction, state._replace(lesson=new)

  return Adapter(init, update)
