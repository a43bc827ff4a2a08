"""Trained networks that meet streams of corrupted images, and what they say.

A network of `image_classifiers` for each seed, one thousand test images in
every corruption, and clean ones apart from them, which tell what was
forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from ttc.adaptation import (
  Adapter,
  Batch,
  Source,
  protocols,
  run_stream,
  start_stream,
)
from ttc.adaptation.protocols import Schedule, gather, to_unit
from ttc.adaptation.stream import StreamState
from ttc.models.vision import Classifier
from ttc.testbeds import image_classifiers
from ttc.testbeds.train import Directory
from ttc.testbeds.world import Size

_NUM_KNOWN = 2000  # images of the source that a method may have
_NUM_CLEAN = 1000


class Bed(NamedTuple):
  """A network, what it may know, and `D` domains of the same `n` images."""

  network: Classifier
  source: Source
  pixels: UInt8[np.ndarray, 'D n 28 28 1']
  labels: Int[np.ndarray, ' n']
  clean: Batch  # `[T, B, ...]`, other images
  clean_labels: Int[np.ndarray, 'T B']
  batch_size: int


class Met(NamedTuple):
  """What a method made of a stream."""

  wrong: Bool[np.ndarray, ' m']  # of images that counted, as they came
  logits: Float[np.ndarray, 'm K']
  labels: Int[np.ndarray, ' m']
  state: StreamState


def prepare(
  seed: int,
  size: Size,
  shifts: Sequence[tuple[str, int]],
  cache: Directory,
  num_images: int = 1000,
  batch_size: int = 50,
) -> Bed:
  """A bed of Fashion-MNIST; the smallest size is painted and hardly trained.

  Args:
    seed: of network and corruptions.
    size: how much of it.
    shifts: corruption and severity of each domain, of the table `small`.
    cache: directory of networks and images.
    num_images: `n`.
    batch_size: of streams.
  """
  recipe = image_classifiers.ClassifierRecipe()
  if size.num_steps is not None:
    recipe = image_classifiers.ClassifierRecipe(
      'painted', num_epochs=size.num_steps / 31, num_images=4000
    )
  known = image_classifiers.read(recipe.dataset, 'train')
  test = image_classifiers.read(recipe.dataset, 'test')
  n = size.fewer(num_images)
  grey = image_classifiers.grey(test)
  pixels = image_classifiers.corrupted(grey[:n], shifts, 'small', seed, cache)
  batch_size = min(batch_size, n)
  clean = slice(num_images, num_images + size.fewer(_NUM_CLEAN))
  as_batches = lambda x: x[clean].reshape(-1, batch_size, *x.shape[1:])
  images = to_unit(as_batches(grey))
  few = slice(size.fewer(_NUM_KNOWN))
  return Bed(
    recipe.network,
    Source(
      image_classifiers.trained_classifier(recipe, seed, cache),
      to_unit(image_classifiers.grey(known)[few]),
      jnp.asarray(known.labels[few], jnp.int32),
    ),
    pixels,
    test.labels[:n],
    Batch(images, jnp.ones(images.shape[:2], bool)),
    as_batches(test.labels),
    batch_size,
  )


def meet(bed: Bed, adapter: Adapter, schedule: Schedule, seed: int) -> Met:
  """Runs a method along a stream.

  Args:
    bed: where.
    adapter: the method.
    schedule: of the stream.
    seed: of what the method draws.
  """
  stream, labels = gather(bed.pixels, bed.labels, schedule)
  run = jax.jit(lambda state, stream: run_stream(adapter, state, stream))
  start = jax.jit(lambda source, key: start_stream(adapter, source, key))
  said, state = run(start(bed.source, jax.random.key(seed)), stream)
  logits = np.asarray(said.logits)[schedule.mask]
  labels = labels[schedule.mask]
  return Met(logits.argmax(-1) != labels, logits, labels, state)


def forgotten(bed: Bed, adapter: Adapter, state: StreamState) -> float:
  """Error on clean images of the method as it is now; it stays so."""

  def say(state, batch):
    return adapter.update(state.adapter, batch, state.key)[0].logits

  say = jax.jit(say)
  wrong = [
    np.asarray(say(state, jax.tree.map(lambda x, t=t: x[t], bed.clean)))
    .argmax(-1) != labels
    for t, labels in enumerate(bed.clean_labels)
  ]  # fmt: skip
  return float(np.mean(wrong))


def through_rounds(
  bed: Bed, methods: Mapping[str, Adapter], num_rounds: int, seed: int
) -> dict[str, Float[np.ndarray, '1 R+1']]:
  """All domains of a bed, round after round, without a reset.

  Args:
    bed: where.
    methods: by name.
    num_rounds: `R`.
    seed: of the order and of what methods draw.

  Returns:
    For each method its error in each round, then on clean images, %.
  """
  schedule = protocols.continual(
    jax.random.key(200 + seed),
    lambda key: protocols.shuffled(key, len(bed.labels)),
    len(bed.pixels),
    bed.batch_size,
    num_rounds,
  )
  found = {}
  for name, adapter in methods.items():
    met = meet(bed, adapter, schedule, seed)
    rounds = 100 * met.wrong.reshape(num_rounds, -1).mean(1)
    clean = 100 * forgotten(bed, adapter, met.state)
    found[name] = np.append(rounds, clean)[None]
  return found


def kept_bytes(loss_fn: Callable[..., Array], params: Any, *others: Any) -> int:
  """Bytes that the forward pass keeps for the gradient of a loss.

  Args:
    loss_fn: of the parameters that learn, and of others.
    params: those, or their shapes.
    *others: what else it takes.
  """

  def backward(params, *others):
    return jax.vjp(lambda params: loss_fn(params, *others), params)[1]

  back = jax.eval_shape(backward, params, *others)
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(back))
