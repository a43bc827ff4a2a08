"""A network of a long tail, and streams of other priors.

Fashion-MNIST at half its size, of which training saw a hundred times more of
the first class than of the last.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.adaptation import Source, protocols
from ttc.adaptation.label_shift_adapter import (
  ShiftParams,
  train_label_shift_adapter,
)
from ttc.models.vision import Classifier
from ttc.testbeds import rotated_images

RATIO = 100.0  # of the first class to the last
_NUM_TRAIN = 20_000  # images from which the tail is drawn
_NUM_TEST = 8_000
_NUM_STEPS = 1200


class LongTail(NamedTuple):
  """A source, its adapter, and images to draw streams from."""

  network: Classifier
  source: Source
  prior: Float[Array, ' K']  # of the source
  params: ShiftParams
  pixels: Float[Array, 'n 14 14 1']
  labels: Int[np.ndarray, ' n']


def prepare(seed: int, num_steps: int = _NUM_STEPS) -> LongTail:
  """Trains a network on a long tail, and its label-shift adapter.

  Args:
    seed: of both.
    num_steps: of each.
  """
  draw_key, net_key, adapter_key = jax.random.split(jax.random.key(seed), 3)
  known = rotated_images.domains([0.0], _NUM_TRAIN, 'train')
  tail = protocols.exponential_prior(10, RATIO)
  order = protocols.label_shift(draw_key, np.asarray(known.labels[0]), tail)
  pixels, labels = known.images[0, order], known.labels[0, order]
  prior = jnp.bincount(labels, length=10) / len(labels)
  variables = rotated_images.train(net_key, pixels, labels, num_steps)
  network = rotated_images.network()
  features = jax.lax.map(
    lambda x: network.apply(variables, x[None]).features[0],
    pixels,
    batch_size=500,
  )
  params = train_label_shift_adapter(
    adapter_key, features, labels, variables['params']['head'], prior,
    num_steps=num_steps,
  )  # fmt: skip
  test = rotated_images.domains([0.0], _NUM_TEST, 'test')
  return LongTail(
    network, Source(variables, pixels, labels), prior, params,
    test.images[0], np.asarray(test.labels[0]),
  )  # fmt: skip


def stream(
  bed: LongTail, seed: int, prior: Float[np.ndarray, ' K'], batch_size: int
) -> tuple[Float[Array, 'T B 14 14 1'], Int[np.ndarray, 'T B']]:
  """Batches drawn with a prior, and their labels."""
  order = protocols.label_shift(jax.random.key(1000 + seed), bed.labels, prior)
  order = order[: len(order) // batch_size * batch_size]
  order = order.reshape(-1, batch_size)
  return bed.pixels[order], bed.labels[order]
