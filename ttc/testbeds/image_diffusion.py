"""Denoisers of small images: what they learn from, and how good they are.

Fashion-MNIST, MNIST or painted stand-ins in [-1, 1], or videos of bouncing
digits. A sample is judged by the label of its nearest training image, which
takes no classifier.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.diffusion import Batch
from ttc.tasks import images as image_files
from ttc.tasks.images import Images
from ttc.testbeds import bouncing_digits

DATA = ('fashion_mnist', 'mnist', 'painted', 'bouncing', 'painted_bouncing')


class Examples(NamedTuple):
  """What a denoiser learns from."""

  images: Float[Array, 'n H W']  # in [-1, 1]; of digits that bounce in 0..1
  labels: Int[Array, ' n']


def is_video(name: str) -> bool:
  """Whether data of a name are videos."""
  return name.endswith('bouncing')


def read_examples(name: str, split: str = 'train') -> Examples:
  """The examples of one of `DATA`.

  Raises:
    FileNotFoundError: if images are not on this machine.
  """
  if name.startswith('painted'):
    found = image_files.painted_images(0 if split == 'train' else 1, 4096)
  else:
    found = image_files.read_images(
      'mnist' if name == 'bouncing' else name, split
    )
  return _examples(found, is_video(name))


def _examples(found: Images, bounces: bool) -> Examples:
  labels = jnp.asarray(found.labels, jnp.int32)
  if bounces:
    return Examples(bouncing_digits.shrink(found.images), labels)
  grey = np.asarray(found.images, np.float32) / 127.5 - 1
  return Examples(jnp.asarray(grey), labels)


def draw_batch(
  bounces: bool, num: int, examples: Examples, key: PRNGKeyArray
) -> Batch:
  """A batch to learn from; the key is consumed.

  Args:
    bounces: whether examples are digits that bounce; static.
    num: of images or units; static.
    examples: to draw from.
    key: random key.

  Returns:
    A batch.
  """
  draw_key, key = jax.random.split(key)
  if bounces:
    unit, before, which = bouncing_digits.draw_unit(
      draw_key, examples.images, num
    )
    return Batch(unit, before, examples.labels[which], key)
  which = jax.random.randint(draw_key, (num,), 0, examples.images.shape[0])
  shown = examples.images[which][..., None]
  return Batch(shown, None, examples.labels[which], key)


def nearest_labels(
  images: Float[Array, 'N H W'], examples: Examples
) -> Int[Array, ' N']:
  """Labels of the nearest examples, by squared distance of pixels."""
  flat = lambda x: x.reshape(x.shape[0], -1)
  ours, theirs = flat(images), flat(examples.images)
  apart = jnp.sum(theirs**2, axis=1) - 2 * ours @ theirs.T
  return examples.labels[jnp.argmin(apart, axis=1)]
