"""A network whose images are its logits: each method's step by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc.adaptation import Adapter, Batch, Source
from ttc.models.vision import Classifier, Outputs


def given_logits(num_classes):
  """Logits `scale * image + bias`; features are the image."""

  def init(key, images):
    del key, images
    ones, zeros = jnp.ones(num_classes), jnp.zeros(num_classes)
    return {'params': {'norm': {'scale': ones, 'bias': zeros}}}

  def apply(variables, images, moments='source', mask=None, between=None):
    del moments, mask, between
    rows = images.reshape(len(images), -1)
    norm = variables['params']['norm']
    return Outputs(rows * norm['scale'] + norm['bias'], rows, {})

  return Classifier(init, apply, num_classes, 1, (), False)


def compiled(adapter):
  """The same, each function one program."""
  return Adapter(jax.jit(adapter.init), jax.jit(adapter.update))


def batch_of(logits, mask=None):
  """Rows `[B, K]` as a batch of images."""
  rows = jnp.asarray(logits, jnp.float32)
  mask = jnp.ones(len(rows), bool) if mask is None else jnp.asarray(mask)
  return Batch(rows[:, None, None], mask)


def source_of(network, logits=None):
  """The untouched network, and images it knows."""
  unknown = np.zeros((1, network.num_classes))
  images = batch_of(unknown if logits is None else logits).images
  variables = network.init(jax.random.key(0), images)
  return Source(variables, images, jnp.zeros(len(images), jnp.int32))


def logits_of_entropy(nats):
  """Two logits whose softmax has this entropy."""
  low, high = 0.0, 40.0
  for _ in range(80):
    z = (low + high) / 2
    p = 1 / (1 + np.exp(-z))
    h = np.log1p(np.exp(-z)) + (1 - p) * z
    low, high = (z, high) if h > nats else (low, z)
  return [z, 0.0]
