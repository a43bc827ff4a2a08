"""A teacher that follows its student slowly, and what it says of a batch.

The weights of a teacher are a running mean of the student's (Tarvainen and
Valpola, 2017, arXiv 1703.01780). Where the source is unsure of a batch, CoTTA
(arXiv 2203.13591, eq. 4) asks the teacher about many views of it instead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import (
  Batch,
  ChosenParams,
  Learning,
  Select,
  masked_mean,
  put_back,
  start_learning,
)
from ttc.adaptation.views import View
from ttc.models.vision.classifier import Classifier, Moments


class Teaching(NamedTuple):
  """A student, whose variables are the source's, and its teacher."""

  student: Learning
  teacher: ChosenParams


class Target(NamedTuple):
  """What a teacher says of `B` images, without a gradient."""

  logits: Float[Array, 'B K']
  features: Float[Array, 'B D']
  num_forward: Int[Array, '']  # images sent through, for the gate too


def start_teaching(
  variables, select: Select, optimizer: optax.GradientTransformation
) -> Teaching:
  """Student and teacher as the source is."""
  student = start_learning(variables, select, optimizer)
  return Teaching(student, student.params)


def follow(
  teacher: ChosenParams,
  student: ChosenParams,
  momentum: float | Float[Array, ''],
) -> ChosenParams:
  """One step of the running mean; where both agree, not a bit moves."""
  return jax.tree.map(
    lambda t, s: (t + (1 - momentum) * (s - t)).astype(t.dtype),
    teacher,
    student,
  )


def gated_target(
  network: Classifier,
  state: Teaching,
  batch: Batch,
  key: Array,
  *,
  view: View,
  num_views: int,
  threshold: float | Float[Array, ''],
  moments: Moments,
) -> Target:
  """The teacher's logits, of views where the source is unsure of the batch.

  Under `vmap` both sides of the gate are computed.

  Args:
    network: the classifier.
    state: student and teacher.
    batch: images.
    key: of the views; consumed.
    view: draws one.
    num_views: whose logits are averaged.
    threshold: least mean confidence of the source to do without views.
    moments: whose moments normalise.
  """
  if num_views < 1:
    raise ValueError(f'num_views {num_views}: at least 1')
  source = state.student.variables
  taught = put_back(source, state.teacher)
  anchor = network.apply(source, batch.images, moments, batch.mask)
  confidence = jnp.max(jax.nn.softmax(anchor.logits), axis=-1)
  is_unsure = masked_mean(confidence, batch.mask) < threshold

  def ask(images):
    seen = network.apply(taught, images, moments, batch.mask)
    return seen.logits, seen.features

  def ask_views():
    step = lambda i: ask(view(jax.random.fold_in(key, i), batch.images))
    said = jax.lax.map(step, jnp.arange(num_views))
    return jax.tree.map(lambda x: jnp.mean(x, 0), said)

  logits, features = jax.lax.stop_gradient(
    jax.lax.cond(is_unsure, ask_views, lambda: ask(batch.images))
  )
  count = jnp.sum(batch.mask, dtype=jnp.int32)
  asked = jnp.where(is_unsure, num_views, 1).astype(jnp.int32)
  return Target(logits, features, count * (1 + asked))
