r"""Contrast between an image, a view of it, and the class it is nearest to.

RMT (arXiv 2211.13081, eq. 7): three views of each image, `[prototype of the
source, features, features of a view]`, go through a projector to the unit
sphere and attract each other, and repel all others,

.. math:: -\frac{1}{3B} \sum_i \frac{1}{2} \sum_{j \in P(i)}
   \log \frac{e^{z_i z_j / \tau}}{\sum_{k \ne i} e^{z_i z_k / \tau}}
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.models.vision.classifier import Classifier, Moments, Variables


class Projector(NamedTuple):
  """Two dense layers with a rectifier between."""

  kernel0: Float[Array, 'D P']
  bias0: Float[Array, ' P']
  kernel1: Float[Array, 'P P']
  bias1: Float[Array, ' P']


def start_projector(key: Array, width: int, size: int) -> Projector:
  """Uniform within the inverse root of what comes in."""
  keys = jax.random.split(key, 4)

  def draw(key, shape, fan_in):
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

  return Projector(
    draw(keys[0], (width, size), width),
    draw(keys[1], (size,), width),
    draw(keys[2], (size, size), size),
    draw(keys[3], (size,), size),
  )


def project(
  projector: Projector, features: Float[Array, 'n D']
) -> Float[Array, 'n P']:
  """Onto the unit sphere."""
  hidden = jax.nn.relu(features @ projector.kernel0 + projector.bias0)
  out = hidden @ projector.kernel1 + projector.bias1
  square = jnp.sum(out**2, axis=-1, keepdims=True)
  return out * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def class_prototypes(
  network: Classifier,
  variables: Variables,
  images: Float[Array, 'n H W C'],
  labels: Int[Array, ' n'],
  batch_size: int = 100,
  moments: Moments = 'batch',
) -> Float[Array, 'K D']:
  """Mean features of each class of the source; zero for a class without.

  Args:
    network: the classifier.
    variables: of the source.
    images: of the source.
    labels: theirs.
    batch_size: images that are normalised together; the last may be fewer.
    moments: whose moments normalise.
  """
  if batch_size < 1:
    raise ValueError(f'batches of {batch_size} images: at least one')
  num_batches = -(-len(images) // batch_size)
  spare = num_batches * batch_size - len(images)
  images = jnp.pad(images, [(0, spare), *[(0, 0)] * 3])
  mask = jnp.arange(num_batches * batch_size) < len(labels)
  labels = jnp.pad(labels, (0, spare))

  def step(batch):
    x, y, is_real = batch
    seen = network.apply(variables, x, moments, is_real)
    member = (y[:, None] == jnp.arange(network.num_classes)) & is_real[:, None]
    member = member.astype(seen.features.dtype)
    return member.T @ seen.features, jnp.sum(member, 0)

  cut = lambda x: x.reshape(num_batches, batch_size, *x.shape[1:])
  sums, counts = jax.lax.map(step, (cut(images), cut(labels), cut(mask)))
  counts = jnp.maximum(jnp.sum(counts, 0), 1)
  return jnp.sum(sums, 0) / counts[:, None]


def nearest_prototype(
  features: Float[Array, 'B D'], prototypes: Float[Array, 'K D']
) -> Float[Array, 'B D']:
  """The prototype at the smallest angle; no gradient."""
  prototypes = jax.lax.stop_gradient(prototypes)
  lengths = jnp.linalg.norm(prototypes, axis=-1)
  directions = prototypes / jnp.maximum(lengths, 1e-8)[:, None]
  likeness = jax.lax.stop_gradient(features) @ directions.T
  likeness = jnp.where(lengths > 0, likeness, -jnp.inf)  # no class without any
  return prototypes[jnp.argmax(likeness, -1)]


def contrastive_loss(
  projected: Float[Array, 'V B P'],
  mask: Bool[Array, ' B'],
  temperature: float | Float[Array, ''] = 0.1,
) -> Float[Array, '']:
  """Views of an image attract each other and repel those of other images.

  Args:
    projected: `V` views of each image, on the unit sphere.
    mask: images that count.
    temperature: of the likeness.
  """
  num_views, num_images, _ = projected.shape
  rows = projected.reshape(num_views * num_images, -1)
  is_real = jnp.tile(mask, num_views)
  index = jnp.tile(jnp.arange(num_images), num_views)
  others = ~jnp.eye(len(rows), dtype=bool) & is_real
  likeness = rows @ rows.T / temperature
  # Finite where a row has no other, so that gradients are.
  lowest = jnp.finfo(likeness.dtype).min
  log_p = likeness - jax.nn.logsumexp(
    jnp.where(others, likeness, lowest), axis=-1, keepdims=True
  )
  positive = others & (index[:, None] == index)
  mean = jnp.sum(jnp.where(positive, log_p, 0), -1) / (num_views - 1)
  count = jnp.maximum(jnp.sum(is_real), 1)
  return -jnp.sum(jnp.where(is_real, mean, 0)) / count
