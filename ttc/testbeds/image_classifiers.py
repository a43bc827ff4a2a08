"""Classifiers of real images, trained once, and the shifts they are tested on.

The source of all adaptation: a small network with batch normalisation, trained
on clean images, mirrored at random and nothing else. About 91% of Fashion-MNIST
after four epochs, some minutes of one CPU core.
"""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from ttc.adaptation import corruptions
from ttc.io.paths import local_only
from ttc.models.vision import Classifier, convnet
from ttc.models.vision.classifier import Variables
from ttc.models.vision.training import (
  ClassifierTraining,
  classifier_optimizer,
  start_classifier,
  train_classifier,
)
from ttc.tasks import images
from ttc.testbeds.train import Directory, digest, keep, trained_params

# Mean and standard deviation of the pixels of the training images.
_MOMENTS = {
  'mnist': (0.1307, 0.3081),
  'fashion_mnist': (0.2860, 0.3530),
  'painted': (0.2998, 0.3725),
}
DATASETS = tuple(_MOMENTS)
_CLOTHES = (
  'T-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt',
  'sneaker', 'bag', 'boot',
)  # fmt: skip
_PAINTED = 4000, 1000  # to train and to test
_CHUNK = 500  # images corrupted at once


class ClassifierRecipe(NamedTuple):
  """How a source network is trained.

  Attributes:
    dataset: 'fashion_mnist', 'mnist' or 'painted'.
    num_epochs: over the training images.
    batch_size: images of a step.
    learning_rate: of SGD with Nesterov momentum, at its start.
    decay: of kernels.
    widths: channels of each convolution.
    num_images: of the training images that are used, the first ones.
  """

  dataset: str = 'fashion_mnist'
  num_epochs: float = 4.0
  batch_size: int = 128
  learning_rate: float = 0.1
  decay: float = 5e-4
  widths: tuple[int, ...] = (16, 32, 32, 64, 64)
  num_images: int = 60_000

  @property
  def num_steps(self) -> int:
    """Of the whole training."""
    there = _PAINTED[0] if self.dataset == 'painted' else 60_000
    num_images = min(self.num_images, there)
    return max(1, round(self.num_epochs * num_images / self.batch_size))

  @property
  def network(self) -> Classifier:
    """Which is trained; strides alternate."""
    mean, std = _MOMENTS[self.dataset]
    strides = tuple(1 + i % 2 for i in range(len(self.widths)))
    return convnet(10, self.widths, strides, (mean,), (std,))


def default_cache() -> pathlib.Path:
  """Where trained networks and corrupted images are kept for the user."""
  return images.data_directory().parent / 'testbeds'


def read(dataset: str, split: str) -> images.Images:
  """Images to train or to test on; painted ones need no files.

  Raises:
    FileNotFoundError: if they are not on this machine, saying what to do.
  """
  if dataset != 'painted':
    return images.read_images(dataset, split)
  drawn = images.painted_images(0, sum(_PAINTED))
  part = slice(_PAINTED[0]) if split == 'train' else slice(_PAINTED[0], None)
  return images.Images(drawn.images[part], drawn.labels[part])


def class_names(dataset: str) -> tuple[str, ...]:
  """Of the ten classes, for pictures."""
  digits = tuple(str(digit) for digit in range(10))
  return _CLOTHES if dataset == 'fashion_mnist' else digits


def grey(found: images.Images) -> UInt8[np.ndarray, 'n 28 28 1']:
  """Images with an axis of one channel."""
  return found.images[..., None]


def start_training(recipe: ClassifierRecipe, seed: int) -> ClassifierTraining:
  """The state before the first step."""
  shape = jnp.zeros((1, 28, 28, 1), jnp.float32)
  optimizer = classifier_optimizer(
    recipe.num_steps, recipe.learning_rate, recipe.decay
  )
  return start_classifier(
    recipe.network, optimizer, jax.random.key(seed), shape
  )


def train(
  recipe: ClassifierRecipe,
  state: ClassifierTraining,
  data: images.Images,
  every: int = 100,
) -> Iterator[tuple[ClassifierTraining, Float[Array, ' T']]]:
  """Trains to the end, and tells how it goes on the way.

  Args:
    recipe: of the training.
    state: to go on from; a training that was cut anywhere ends with the same
      parameters, bit for bit, if it is cut at multiples of `every`.
    data: to train on.
    every: steps from one report to the next.

  Yields:
    The state, and the losses since the last one.
  """
  optimizer = classifier_optimizer(
    recipe.num_steps, recipe.learning_rate, recipe.decay
  )
  run = jax.jit(
    functools.partial(
      train_classifier,
      recipe.network,
      optimizer,
      batch_size=recipe.batch_size,
      mirror=recipe.dataset == 'fashion_mnist',
    ),
    static_argnames='num_steps',
  )
  pixels = jnp.asarray(grey(data)[: recipe.num_images])
  labels = jnp.asarray(data.labels[: recipe.num_images])
  while (done := int(state.step)) < recipe.num_steps:
    num_steps = min(every, recipe.num_steps - done)
    losses, state = run(state, pixels, labels, num_steps=num_steps)
    yield state, losses


def trained_classifier(
  recipe: ClassifierRecipe, seed: int, cache: Directory
) -> Variables:
  """The variables of a source network; trained unless that was done before.

  Args:
    recipe: of the training.
    seed: of it.
    cache: directory.

  Raises:
    FileNotFoundError: if the images are not on this machine.
  """

  def make():
    data = read(recipe.dataset, 'train')
    *_, (state, _) = train(recipe, start_training(recipe, seed), data)
    return state.variables

  return keep_classifier(recipe, seed, cache, make)


def keep_classifier(
  recipe: ClassifierRecipe,
  seed: int,
  cache: Directory,
  make: Callable[[], Variables],
) -> Variables:
  """What is kept of a training; made if there is nothing."""
  return trained_params(
    f'classifier-{recipe.dataset}-{digest(recipe)}',
    seed,
    cache,
    lambda: start_training(recipe, seed).variables,
    make,
  )


def corrupted(
  pixels: UInt8[np.ndarray, 'n H W C'],
  shifts: Sequence[tuple[str, int]],
  table: str,
  seed: int,
  cache: Directory,
  frost: Directory | None = None,
) -> UInt8[np.ndarray, 'D n H W C']:
  """Images in each domain, corrupted once and kept.

  Args:
    pixels: clean images.
    shifts: name and severity of the corruption of each domain; ('clean', 0) for
      none.
    table: of severities.
    seed: of the corruption.
    cache: directory.
    frost: directory of photographs of frost; None for the package's.

  Raises:
    ValueError: for a corruption, severity or table that is not known.
    ImportError: for frost without its photographs.
  """
  for name, severity in shifts:
    if name != 'clean':
      corruptions.parameters(name, severity, table)  # before any work
  named = hashlib.sha256(pixels.tobytes()).hexdigest()[:8]
  found = []
  for name, severity in shifts:
    if name == 'clean':
      found.append(pixels)
      continue
    place = local_only(cache, 'cache') / f'corrupted-{named}-{table}-{seed}'
    if name == 'frost' and frost is not None:
      place /= hashlib.sha256(str(frost).encode()).hexdigest()[:8]

    def make(name=name, severity=severity):
      return _corrupt(pixels, name, severity, table, seed, frost)

    def save(path, value):
      with open(path, 'wb') as file:
        np.save(file, value)

    found.append(keep(place / f'{name}_{severity}.npy', make, save, np.load))
  return np.stack(found)


def _corrupt(pixels, name, severity, table, seed, frost):
  """In chunks; an image does not depend on them."""
  number = int(hashlib.sha256(name.encode()).hexdigest()[:7], 16)
  key = jax.random.fold_in(jax.random.key(seed), number)
  textures = None
  if name == 'frost':
    stride = 1 if table == 'imagenet' else 5
    textures = corruptions.frost_textures(frost, stride)

  @jax.jit
  def run(part, numbers):
    part = part.astype(jnp.float32) / 255
    found = corruptions.corrupt(
      key, part, name, severity, table, numbers=numbers, textures=textures
    )
    return jnp.round(255 * found).astype(jnp.uint8)

  parts = []
  for start in range(0, len(pixels), _CHUNK):
    part = pixels[start : start + _CHUNK]
    numbers = jnp.arange(start, start + len(part), dtype=jnp.int32)
    parts.append(np.asarray(run(jnp.asarray(part), numbers)))
  return np.concatenate(parts)
