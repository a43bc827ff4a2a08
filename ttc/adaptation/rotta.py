"""RoTTA: robust adaptation in dynamic scenarios (arXiv 2303.13899).

Streams whose classes come in runs spoil the moments of a batch. Here they move
slowly, by `alpha` a step, and the student learns from a memory of all classes
(`memory`) after every 64th image: a view of each against the mean teacher, the
old weighing less. The teacher predicts. One forward pass a batch, and with
each step two more of the memory, one with a gradient.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import (
  ADAM,
  Adapter,
  ChosenParams,
  Learning,
  Prediction,
  Select,
  descend,
  masked_mean,
  put_back,
  start_learning,
)
from ttc.adaptation.losses import cross_entropy, entropy
from ttc.adaptation.memory import Memory, empty_memory, remember_some
from ttc.adaptation.teacher import follow
from ttc.adaptation.views import COTTA_VIEW, View
from ttc.models.vision.classifier import Classifier, Variables


class Follower(NamedTuple):
  """A student or a teacher: its parameters, and moments of its own."""

  params: ChosenParams
  moments: Any  # as `batch_stats`; empty without batch normalisation


class RottaState(NamedTuple):
  """What changes."""

  learning: Learning
  moments: Any  # of the student
  teacher: Follower
  memory: Memory
  num_seen: Int[Array, '']  # images


def rotta(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  select: Select = 'norm',
  alpha: float | Float[Array, ''] = 0.05,
  momentum: float | Float[Array, ''] = 0.999,
  num_places: int = 64,
  update_every: int = 64,
  view: View = COTTA_VIEW,
) -> Adapter:
  """Learns from a balanced memory; predicts with the teacher.

  Args:
    network: the classifier.
    optimizer: of the parameters.
    select: parameters that learn.
    alpha: how far a batch moves the moments.
    momentum: of the teacher's parameters.
    num_places: images that are remembered.
    update_every: images between steps.
    view: draws what the student sees of the memory.

  Raises:
    ValueError: for no place, and for no image between steps.
  """
  if num_places < 1 or update_every < 1:
    raise ValueError(
      f'rotta: {num_places} places, a step every {update_every} images: both '
      'at least one'
    )

  learn = functools.partial(_learn, network, optimizer, view, alpha, momentum)

  def init(source, key):
    del key
    variables = source.variables
    learning = start_learning(variables, select, optimizer)
    moments = variables.get('batch_stats', {})
    image = jnp.zeros(source.images.shape[1:], source.images.dtype)
    memory = empty_memory(num_places, image)
    return RottaState(
      learning,
      moments,
      Follower(learning.params, moments),
      memory,
      jnp.zeros((), jnp.int32),
    )

  def update(state, batch, key):
    variables = _seeing(state.learning.variables, state.teacher)
    seen = network.apply(variables, batch.images, 'source', batch.mask)
    labels = jnp.argmax(seen.logits, -1).astype(jnp.int32)
    entropies = entropy(seen.logits)
    rank = jnp.cumsum(batch.mask, dtype=jnp.int32) - batch.mask
    part = (state.num_seen % update_every + rank) // update_every

    def step(state, i):
      """Remembers images up to the next step, and takes it if it is due."""
      mine = batch.mask & (part == i)
      memory = remember_some(
        state.memory, batch.images, labels, entropies, mine, network.num_classes
      )
      new_count = state.num_seen + jnp.sum(mine, dtype=jnp.int32)
      is_due = (new_count > state.num_seen) & (new_count % update_every == 0)
      state = state._replace(memory=memory, num_seen=new_count)
      step_key = jax.random.fold_in(key, i)
      state = jax.lax.cond(is_due, learn, lambda s, k: s, state, step_key)
      learned = jnp.sum(memory.labels >= 0, dtype=jnp.int32)
      return state, jnp.where(is_due, learned, 0)

    num_parts = -(-batch.mask.shape[0] // update_every) + 1
    state, learned = jax.lax.scan(step, state, jnp.arange(num_parts))
    learned = jnp.sum(learned, dtype=jnp.int32)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    return Prediction(
      seen.logits, seen.features, count + 2 * learned, learned
    ), state

  return Adapter(init, update)


def _learn(
  network: Classifier,
  optimizer: optax.GradientTransformation,
  view: View,
  alpha: float | Array,
  momentum: float | Array,
  state: RottaState,
  key: Array,
) -> RottaState:
  """One step on the memory."""
  learning, teacher, memory = state.learning, state.teacher, state.memory
  is_filled = memory.labels >= 0
  weights = jax.nn.sigmoid(-memory.ages / len(memory.ages))
  variables = _seeing(learning.variables, teacher)
  taught = network.apply(variables, memory.images, alpha, is_filled)
  viewed = view(key, memory.images)

  def loss_fn(params):
    variables = _seeing(learning.variables, Follower(params, state.moments))
    seen = network.apply(variables, viewed, alpha, is_filled)
    losses = cross_entropy(seen.logits, taught.logits)
    return masked_mean(weights * losses, is_filled), seen.moments

  grads, moments = jax.grad(loss_fn, has_aux=True)(learning.params)
  learning = descend(optimizer, learning, grads)
  params = follow(teacher.params, learning.params, momentum)
  return state._replace(
    learning=learning,
    moments=moments,
    teacher=Follower(params, taught.moments),
  )


def _seeing(variables: Variables, follower: Follower) -> Variables:
  """The source's variables with parameters and moments in their places."""
  variables = put_back(variables, follower.params)
  if follower.moments:
    variables = variables | {'batch_stats': follower.moments}
  return variables
