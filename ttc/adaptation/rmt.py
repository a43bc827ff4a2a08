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

import functools
from collections.abc import Callable
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
  Source,
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
from ttc.adaptation.losses import mean_label_loss, symmetric_cross_entropy
from ttc.adaptation.teacher import follow
from ttc.adaptation.views import COTTA_VIEW, View
from ttc.models.vision.classifier import (
  Classifier,
  Moments,
  Outputs,
  Variables,
)


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
  """What changes, and what the source left."""

  lesson: Lesson
  variables: Variables
  replay: tuple[Float[Array, 'n H W C'], Int[Array, ' n']] | None
  prototypes: Float[Array, 'K D'] | None


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
      rate rising from zero; the paper takes 50 000 images. 0, the default here,
      leaves it out, and the first batches are worse for it.
  """

  def init(source, key):
    return _begin(
      network, optimizer, source, key, moments=moments, momentum=momentum,
      contrasts=contrast_weight is not None,
      rehearses=source_weight is not None, projector_size=projector_size,
      source_batch=source_batch, warm_up=warm_up,
    )  # fmt: skip

  def update(state, batch, key):
    view_key, source_key = jax.random.split(key)
    mask, lesson = batch.mask, state.lesson
    see = lambda params, x, mask=None: _see(
      network, state.variables, params, x, moments, mask
    )
    taught = see(lesson.teacher, batch.images, mask).logits
    viewed = view(view_key, batch.images)
    rehearsed = _rehearse(source_key, state.replay, source_batch)

    def loss_fn(pupil):
      seen = see(pupil.params, batch.images, mask)
      other = see(pupil.params, viewed, mask)
      agreement = 0.5 * symmetric_cross_entropy(seen.logits, taught)
      agreement += 0.5 * symmetric_cross_entropy(other.logits, taught)
      loss = target_weight * masked_mean(agreement, mask)
      if contrast_weight is not None:
        views = seen.features, other.features
        projected = _project(pupil.projector, state.prototypes, *views)
        loss += contrast_weight * contrastive_loss(projected, mask, temperature)
      if source_weight is not None:
        images, labels = rehearsed
        said = see(pupil.params, images).logits
        loss += source_weight * mean_label_loss(said, labels)
      return loss, seen

    grads, seen = jax.grad(loss_fn, has_aux=True)(lesson.pupil)
    count = jnp.sum(mask, dtype=jnp.int32)
    learned = _learn(optimizer, momentum, lesson, grads)
    replayed = jnp.where(count > 0, len(rehearsed[1]), 0)
    costs = 3 * count + replayed, 2 * count + replayed
    prediction = Prediction(seen.logits + taught, seen.features, *costs)
    new = keep_if(count > 0, learned, lesson)
    return prediction, state._replace(lesson=new)

  return Adapter(init, update)


def _project(projector, prototypes, seen, other):
  """The nearest prototype and both views, projected, `[3, B, P]`."""
  views = jnp.stack([nearest_prototype(seen, prototypes), seen, other])
  return jax.vmap(project, (None, 0))(projector, views)


def _begin(
  network: Classifier,
  optimizer: optax.GradientTransformation,
  source: Source,
  key: Array,
  *,
  moments: Moments,
  momentum: float | Float[Array, ''],
  contrasts: bool,
  rehearses: bool,
  projector_size: int,
  source_batch: int,
  warm_up: int,
) -> RmtState:
  """The state before deployment, after the warm-up if there is one."""
  projector_key, warm_key = jax.random.split(key)
  uses = {
    'a contrast': contrasts,
    'a replay': rehearses,
    'a warm-up': warm_up > 0,
  }
  for use, is_used in uses.items():
    if is_used and not len(source.images):
      raise ValueError(f'rmt: {use} needs images of the source')
  params = choose(source.variables, 'all')
  projector, prototypes = None, None
  if contrasts:
    prototypes = class_prototypes(
      network, source.variables, source.images, source.labels, source_batch,
      moments,
    )  # fmt: skip
    projector = start_projector(
      projector_key, prototypes.shape[-1], projector_size
    )
  pupil = Pupil(params, projector)
  lesson = Lesson(pupil, params, optimizer.init(cast(Any, pupil)))
  if warm_up:
    see = lambda params, x: _see(network, source.variables, params, x, moments)
    learn = functools.partial(_learn, optimizer, momentum)
    lesson = _practise(
      lesson, see, learn, source, warm_key, source_batch, warm_up
    )
  replay = (source.images, source.labels) if rehearses else None
  return RmtState(lesson, source.variables, replay, prototypes)


def _see(
  network: Classifier,
  variables: Variables,
  params: ChosenParams,
  images: Array,
  moments: Moments,
  mask: Array | None = None,
) -> Outputs:
  return network.apply(put_back(variables, params), images, moments, mask)


def _draw(key: Array, num_images: int, batch_size: int) -> Array:
  """Rows of the source without repetition; all of them if fewer."""
  return jax.random.permutation(key, num_images)[:batch_size]


def _rehearse(key: Array, replay: Any, batch_size: int) -> tuple[Array, Array]:
  """Images of the source and their classes; none without a replay."""
  if replay is None:
    return jnp.zeros(0, jnp.float32), jnp.zeros(0, jnp.int32)
  images, labels = replay
  rows = _draw(key, len(labels), batch_size)
  return images[rows], labels[rows]


def _learn(
  optimizer: optax.GradientTransformation,
  momentum: float | Array,
  lesson: Lesson,
  grads: Any,
  scale: float | Array = 1.0,
) -> Lesson:
  """A step of the pupil, at a share of its rate, and of the teacher."""
  pupil: Any = lesson.pupil
  updates, opt_state = optimizer.update(grads, lesson.opt_state, pupil)
  updates = jax.tree.map(lambda u: scale * u, updates)
  pupil = optax.apply_updates(pupil, updates)
  teacher = follow(lesson.teacher, pupil.params, momentum)
  return Lesson(pupil, teacher, opt_state)


def _practise(
  lesson: Lesson,
  see: Callable[[ChosenParams, Array], Outputs],
  learn: Callable[..., Lesson],
  source: Source,
  key: Array,
  batch_size: int,
  num_steps: int,
) -> Lesson:
  """Self-training on clean images of the source, the rate rising from zero."""

  def step(lesson, i):
    rows = _draw(jax.random.fold_in(key, i), len(source.images), batch_size)
    images = source.images[rows]
    target = see(lesson.teacher, images).logits

    def loss_fn(pupil):
      said = see(pupil.params, images).logits
      return jnp.mean(symmetric_cross_entropy(said, target))

    grads = jax.grad(loss_fn)(lesson.pupil)
    scale = (i + 1).astype(jnp.float32) / num_steps
    return learn(lesson, grads, scale), None

  return jax.lax.scan(step, lesson, jnp.arange(num_steps))[0]
