"""Small trainings with different difficulties, to compare optimisers on.

Six of them, a second of computation each, data drawn on the device: a convex
one with an ill-conditioned spectrum, a deep autoencoder, a student of a random
teacher, a transformer that retrieves, a recurrent net that has to remember, and
a convolutional one. Each has a variant with another shape of the net or of the
data, which nobody tunes on (2306.07179, section 4.2).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import finetuning, models, tasks
from ttc.agents.networks import GRU
from ttc.types import Params

_normal = functools.partial(jax.random.normal, dtype=jnp.float32)
_VALIDATION = 2**31 - 1  # seed of data that no batch has


class Workload(NamedTuple):
  """Something to be trained.

  Attributes:
    name: for tables.
    init: `key -> params`.
    loss: `(params, key) -> loss`, of a fresh batch.
    error: `params -> error`, of validation data; lower is better.
    num_steps: of a whole training.
    eval_every: steps between two evaluations; divides `num_steps`.
  """

  name: str
  init: Callable[[PRNGKeyArray], Params]
  loss: Callable[[Params, PRNGKeyArray], Float[Array, '']]
  error: Callable[[Params], Float[Array, '']]
  num_steps: int
  eval_every: int


# `held_out -> workload`.
WorkloadFn: TypeAlias = Callable[[bool], Workload]


class _MLP(nn.Module):
  widths: tuple[int, ...]
  activation: Callable[[Array], Array]

  @nn.compact
  def __call__(self, x):
    *hidden, last = self.widths
    for width in hidden:
      x = self.activation(nn.Dense(width)(x))
    return nn.Dense(last)(x)


def _supervised(
  name: str,
  net: nn.Module,
  draw: Callable[[PRNGKeyArray, int], tuple[Array, Array]],
  loss: Callable[[Array, Array], Array],
  num_steps: int,
  *,
  batch_size: int = 64,
  error: Callable[[Array, Array], Array] | None = None,
) -> Workload:
  """A workload of pairs: `loss` and `error` of outputs and targets."""
  error = error or loss

  def of(measure, params, data):
    x, y = data
    return jnp.mean(measure(net.apply(params, x), y))

  return Workload(
    name,
    lambda key: net.init(key, draw(key, 1)[0]),
    lambda params, key: of(loss, params, draw(key, batch_size)),
    lambda params: of(error, params, draw(jax.random.key(_VALIDATION), 1024)),
    num_steps,
    eval_every=num_steps // 20,
  )


_cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def _squared(outputs, targets):
  return jnp.mean((outputs - targets) ** 2, axis=-1)


def linear_classifier(held_out: bool = False) -> Workload:
  """Ten Gaussian classes, features with variances `k^-2`; `k^-3` held out."""
  width, power = 32, 1.5 if held_out else 1.0
  scale = jnp.arange(1, width + 1, dtype=jnp.float32) ** -power
  centers = _normal(jax.random.key(1), (10, width))

  def draw(key, num):
    label_key, noise_key = jax.random.split(key)
    y = jax.random.randint(label_key, (num,), 0, 10)
    x = centers[y] + _normal(noise_key, (num, width))
    return scale * x, y

  net = _MLP((10,), nn.tanh)
  return _supervised('linear_classifier', net, draw, _cross_entropy, 400)


def autoencoder(held_out: bool = False) -> Workload:
  """Seven layers, three numbers in the middle; ReLU held out."""
  key1, key2 = jax.random.split(jax.random.key(2))
  inner = _normal(key1, (3, 16))
  outer = _normal(key2, (16, 24)) / 4

  def draw(key, num):
    x = jnp.sin(_normal(key, (num, 3)) @ inner) @ outer
    return x, x

  net = _MLP((32, 16, 3, 16, 32, 24), nn.relu if held_out else nn.tanh)
  return _supervised('autoencoder', net, draw, _squared, 600)


def student(held_out: bool = False) -> Workload:
  """A wide net learns what a narrow random one says; a deeper one held out."""
  teacher = _MLP((8, 1), nn.tanh)
  params = teacher.init(jax.random.key(3), jnp.zeros((1, 8), jnp.float32))
  params = jax.tree.map(lambda x: 2.0 * x, params)

  def draw(key, num):
    x = _normal(key, (num, 8))
    return x, jnp.asarray(teacher.apply(params, x))

  net = _MLP((64, 64, 1) if held_out else (64, 1), nn.relu)
  return _supervised('student', net, draw, _squared, 400)


def pictures(held_out: bool = False) -> Workload:
  """Ten noisy shapes at random places; other activations held out."""
  shapes = jax.random.bernoulli(jax.random.key(4), 0.5, (10, 4, 4))
  canvas = jnp.zeros((10, 10, 10), jnp.float32).at[:, :4, :4].set(shapes)

  def place(y, shift):
    return jnp.roll(canvas[y], shift, axis=(0, 1))

  def draw(key, num):
    keys = jax.random.split(key, 3)
    y = jax.random.randint(keys[0], (num,), 0, 10)
    shift = jax.random.randint(keys[1], (num, 2), 0, 7)
    noise = 0.4 * _normal(keys[2], (num, 10, 10))
    return (jax.vmap(place)(y, shift) + noise)[..., None], y

  act = nn.gelu if held_out else nn.relu
  net = nn.Sequential(
    [
      nn.Conv(8, (3, 3), strides=2),
      act,
      nn.Conv(16, (3, 3), strides=2),
      act,
      lambda x: x.reshape(x.shape[0], -1),
      nn.Dense(10),
    ]
  )
  wrong = lambda logits, y: (jnp.argmax(logits, -1) != y).astype(jnp.float32)
  return _supervised('pictures', net, draw, _cross_entropy, 400, error=wrong)


class _Adder(nn.Module):
  width: int = 32

  @nn.compact
  def __call__(self, x):
    x = x.swapaxes(0, 1)
    memory = jnp.zeros((x.shape[1], self.width), jnp.float32)
    _, memory = GRU(self.width)(x, memory, jnp.zeros(x.shape[:2], bool))
    return nn.Dense(1)(memory)


def adding(held_out: bool = False) -> Workload:
  """The sum of the two marked ones of 12 numbers; of 20 held out.

  Hochreiter and Schmidhuber, 1997.
  """
  length = 20 if held_out else 12

  def draw(key, num):
    keys = jax.random.split(key, 3)
    values = jax.random.uniform(
      keys[0], (num, length), jnp.float32, minval=-1.0
    )
    half = length // 2
    first = jax.random.randint(keys[1], (num,), 0, half)
    second = jax.random.randint(keys[2], (num,), half, length)
    one_hot = lambda i: jax.nn.one_hot(i, length, dtype=jnp.float32)
    marks = one_hot(first) + one_hot(second)
    total = jnp.sum(values * marks, axis=-1, keepdims=True)
    return jnp.stack([values, marks], axis=-1), total

  return _supervised('adding', _Adder(), draw, _squared, 400)


def recall(held_out: bool = False) -> Workload:
  """A transformer looks up one of eight facts; two layers held out."""
  task = tasks.associative_recall(8)
  config = models.TransformerConfig(
    vocab_size=task.vocab_size,
    num_layers=2 if held_out else 1,
    embed_dim=32,
    mlp_dim=64,
    num_heads=2,
    num_kv_heads=2,
    head_dim=16,
    max_length=32,
    rope_theta=1e6,
  )
  model = models.transformer(config)

  def loss(params, key, num=32):
    problems = jax.vmap(task.generate)(jax.random.split(key, num))
    sequence = jax.vmap(tasks.training_sequence)(problems)
    return finetuning.next_token_loss(
      model, params, sequence.tokens, sequence.is_trace
    )

  return Workload(
    'recall',
    model.init,
    loss,
    lambda params: loss(params, jax.random.key(_VALIDATION), 256),
    num_steps=600,
    eval_every=30,
  )


WORKLOADS: tuple[WorkloadFn, ...] = (
  linear_classifier,
  autoencoder,
  student,
  pictures,
  adding,
  recall,
)
