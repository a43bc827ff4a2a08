"""Domains that differ by an angle: Fashion-MNIST at half its size, turned.

Small networks learn some angles and meet others. What is learned on several
source domains at once (experts and their student, a loss that carries over to
other styles) and what is remembered from one domain to the next is measured
here.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.corruptions import rotated
from ttc.adaptation.meta_dmoe import (
  MetaDMoE,
  aggregate,
  meta_dmoe_loss,
  start_aggregator,
)
from ttc.models.vision import Classifier, convnet
from ttc.models.vision.classifier import Variables
from ttc.models.vision.training import (
  classifier_optimizer,
  start_classifier,
  train_classifier,
)
from ttc.tasks import images

SIDE = 14
NUM_HEADS = 4


class Domains(NamedTuple):
  """Images of `A` angles and their classes."""

  images: Float[Array, 'A n 14 14 1']
  labels: Int[Array, 'A n']


def network() -> Classifier:
  """Three convolutions, 16 features."""
  return convnet(10, (8, 16, 16), (1, 2, 1))


def domains(
  angles: Sequence[float], num_images: int, split: str, first: int = 0
) -> Domains:
  """Other images for every angle.

  Args:
    angles: in degrees.
    num_images: `n` of each.
    split: 'train' or 'test'.
    first: number of the first image.

  Raises:
    FileNotFoundError: without the files, saying what to do.
    ValueError: if there are too few images.
  """
  found = images.read_images('fashion_mnist', split)
  last = first + len(angles) * num_images
  if last > len(found.labels):
    raise ValueError(
      f'{last} images of {len(found.labels)} for {len(angles)} domains'
    )
  pixels = jnp.asarray(found.images[first:last], jnp.float32)[..., None] / 255
  half = pixels.reshape(-1, SIDE, 2, SIDE, 2, 1).mean((2, 4))
  half = half.reshape(len(angles), num_images, SIDE, SIDE, 1)
  turn = jax.jit(jax.vmap(jax.vmap(rotated, (0, None))))
  labels = jnp.asarray(found.labels[first:last], jnp.int32)
  return Domains(
    turn(half, jnp.asarray(angles, jnp.float32)), labels.reshape(half.shape[:2])
  )


def join(data: Domains) -> tuple[Array, Array]:
  """All domains as one set."""
  return data.images.reshape(-1, SIDE, SIDE, 1), data.labels.reshape(-1)


@functools.partial(jax.jit, static_argnames=('num_steps',))
def train(
  key: Array,
  pixels: Float[Array, 'n 14 14 1'],
  labels: Int[Array, ' n'],
  num_steps: int,
  start: Variables | None = None,
) -> Variables:
  """A network of one set, from `start` on if there is one."""
  net, optimizer = network(), classifier_optimizer(num_steps, 0.05)
  state = start_classifier(net, optimizer, key, pixels)
  if start is not None:
    state = state._replace(variables=start)
  _, state = train_classifier(
    net, optimizer, state, pixels, labels,
    num_steps=num_steps, batch_size=64, mirror=False,
  )  # fmt: skip
  return state.variables


def accuracy(
  variables: Variables, data: Domains, index: int
) -> Float[Array, '']:
  """On one domain, as trained."""
  seen = network().apply(variables, data.images[index])
  return jnp.mean(jnp.argmax(seen.logits, -1) == data.labels[index])


class Taught(NamedTuple):
  """What a training of experts and their student leaves."""

  experts: Variables  # leaves `[M, ...]`
  student: Variables  # of all domains
  aggregator: Variables
  meta: MetaDMoE
  longer: Variables  # the student, trained on for as long as meta-training


def teach(
  seed: int, data: Domains, num_steps: int, num_meta: int, rate: float
) -> Taught:
  """Trains experts, student and aggregator by labels, then all by lessons.

  Args:
    seed: of everything.
    data: source domains.
    num_steps: of each network.
    num_meta: lessons.
    rate: of a lesson's step.
  """
  key = jax.random.key(seed)
  keys = jax.random.split(key, len(data.labels) + 4)
  student = train(keys[0], *join(data), num_steps)
  # Features of experts mean the same where they come of one network.
  experts = jax.lax.map(
    lambda x: train(x[0], x[1], x[2], num_steps, student),
    (keys[4:], data.images, data.labels),
  )
  aggregator = _train_aggregator(keys[1], data, experts, student, 3 * num_steps)
  start = MetaDMoE(student, aggregator)
  meta = _lessons(keys[2], data, experts, start, num_meta, rate)
  longer = _lessons(keys[2], data, experts, start, num_meta, 0.0).student
  return Taught(experts, student, aggregator, meta, longer)


@functools.partial(jax.jit, static_argnames=('num_steps',))
def _train_aggregator(key, data, experts, student, num_steps):
  """By the loss of the student's head on its features, experts left out."""
  net, optimizer = network(), optax.adam(1e-3)
  count = len(data.labels)
  size = student['params']['head']['kernel'].shape[0]
  start = jax.random.fold_in(key, num_steps)
  params = start_aggregator(start, count, size, NUM_HEADS)
  head = student['params']['head']

  def loss_fn(params, domain, rows):
    features = aggregate(
      net, params, experts, jnp.arange(count) != domain,
      data.images[domain, rows], NUM_HEADS,
    )  # fmt: skip
    logits = features @ head['kernel'] + head['bias']
    return jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(
        logits, data.labels[domain, rows]
      )
    )

  return _descend(key, data, optimizer, params, loss_fn, num_steps, 64)


@functools.partial(jax.jit, static_argnames=('num_steps',))
def _lessons(key, data, experts, start, num_steps, rate):
  net = network()

  def loss_fn(learned, domain, rows):
    support, query = jnp.split(rows, 2)
    return meta_dmoe_loss(
      net, learned, experts, domain, data.images[domain, support],
      data.images[domain, query], data.labels[domain, query],
      rate=rate, num_heads=NUM_HEADS,
    )  # fmt: skip

  optimizer = optax.adam(1e-4)
  return _descend(key, data, optimizer, start, loss_fn, num_steps, 128)


def _descend(key, data, optimizer, params, loss_fn, num_steps, size):
  """Steps on random rows of random domains."""

  def step(carry, key):
    params, opt_state = carry
    which, draw = jax.random.split(key)
    domain = jax.random.randint(which, (), 0, len(data.labels))
    rows = jax.random.randint(draw, (size,), 0, data.labels.shape[1])
    grads = jax.grad(loss_fn)(params, domain, rows)
    updates, opt_state = optimizer.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  carry = (params, optimizer.init(params))
  return jax.lax.scan(step, carry, jax.random.split(key, num_steps))[0][0]
