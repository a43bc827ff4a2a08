r"""RoTTA's memory: few images, of all classes, new and certain.

A class may hold `N / K` of `N` places. An image's score grows with its age and
its entropy; a newcomer takes the place of the image with the largest score,
among its own class if that is full, else among the largest classes, if that
score exceeds its own (Yuan et al., 2023, arXiv 2303.13899, alg. 1).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Memory(NamedTuple):
  """`N` places for images."""

  images: Float[Array, 'N H W C']
  labels: Int[Array, ' N']  # predicted; -1 where there is none
  entropies: Float[Array, ' N']  # of the prediction, nats
  ages: Int[Array, ' N']  # images seen since


def empty_memory(num_places: int, image: Float[Array, 'H W C']) -> Memory:
  """Places for images like this one."""
  return Memory(
    jnp.zeros((num_places, *image.shape), image.dtype),
    jnp.full(num_places, -1, jnp.int32),
    jnp.zeros(num_places, jnp.float32),
    jnp.zeros(num_places, jnp.int32),
  )


def remember(
  memory: Memory,
  image: Float[Array, 'H W C'],
  label: Int[Array, ''],
  entropy: Float[Array, ''],
  num_classes: int,
) -> Memory:
  """Offers one image; it is taken or dropped, and all grow older.

  Args:
    memory: before.
    image: the newcomer.
    label: what it is thought to be.
    entropy: of that thought, nats.
    num_classes: `K`.
  """
  num_places = memory.labels.shape[0]
  is_filled = memory.labels >= 0
  counts = jnp.sum(
    memory.labels[:, None] == jnp.arange(num_classes), axis=0, dtype=jnp.int32
  )
  has_room = counts[label] < num_places / num_classes
  is_free = has_room & ~jnp.all(is_filled)
  is_majority = (counts == jnp.max(counts))[memory.labels]
  is_own = memory.labels == label
  candidates = is_filled & jnp.where(has_room, is_majority, is_own)
  scores = jax.nn.sigmoid(memory.ages / num_places) + (
    memory.entropies / math.log(num_classes)
  )
  scores = jnp.where(candidates, scores, -jnp.inf)
  worst = num_places - 1 - jnp.argmax(scores[::-1])  # the last of equals
  place = jnp.where(is_free, jnp.argmin(is_filled), worst)
  is_taken = is_free | (scores[worst] > 0.5 + entropy / math.log(num_classes))

  def put(values, value):
    value = jnp.asarray(value, values.dtype)
    return values.at[place].set(jnp.where(is_taken, value, values[place]))

  new = Memory(
    put(memory.images, image),
    put(memory.labels, label),
    put(memory.entropies, entropy),
    put(memory.ages, 0),
  )
  return new._replace(ages=new.ages + (new.labels >= 0))


def remember_some(
  memory: Memory,
  images: Float[Array, 'B H W C'],
  labels: Int[Array, ' B'],
  entropies: Float[Array, ' B'],
  mask: Bool[Array, ' B'],
  num_classes: int,
) -> Memory:
  """Offers images one after another; those masked out are not seen."""

  def step(memory, row):
    image, label, entropy, is_real = row
    new = remember(memory, image, label, entropy, num_classes)
    return jax.tree.map(lambda a, b: jnp.where(is_real, a, b), new, memory), ()

  return jax.lax.scan(step, memory, (images, labels, entropies, mask))[0]
