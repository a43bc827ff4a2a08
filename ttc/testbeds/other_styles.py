"""Training on some domains for another: with and without a learned loss.

Four angles of Fashion-MNIST; three are trained on, the fourth is met at test
time. Both trainings begin at the same network and see the same batches.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from ttc import adaptation
from ttc.adaptation import Source
from ttc.adaptation.itta import (
  Affine,
  ITTATraining,
  itta_train_step,
  start_itta_training,
)
from ttc.adaptation.losses import mean_label_loss
from ttc.models.vision.classifier import Variables
from ttc.testbeds import rotated_images

ANGLES = (0.0, 25.0, 50.0, 75.0)
_RATE = 1e-3
_BATCH = 64


class Trained(NamedTuple):
  """Two networks of the same steps, and the loss that one of them learned."""

  plain: Source
  ours: Source
  weights: Affine


def train(
  seed: int, target: int, num_images: int, num_steps: int, num_more: int
) -> Trained:
  """Trains on all angles but one.

  Args:
    seed: of everything.
    target: number of the angle that is left out.
    num_images: of each angle.
    num_steps: of the network that both begin at.
    num_more: steps of each after that.
  """
  angles = [x for i, x in enumerate(ANGLES) if i != target]
  pixels, labels = rotated_images.join(
    rotated_images.domains(angles, num_images, 'train')
  )
  key = jax.random.key(seed)
  start = rotated_images.train(key, pixels, labels, num_steps)
  plain = _plain(key, pixels, labels, start, num_more)
  ours = _with_learned_loss(key, pixels, labels, start, num_more)
  few = slice(100)
  as_source = lambda variables: Source(variables, pixels[few], labels[few])
  return Trained(as_source(plain), as_source(ours.variables), ours.weights)


@functools.partial(jax.jit, static_argnames='num_steps')
def _plain(
  key: Array, pixels: Array, labels: Array, start: Variables, num_steps: int
) -> Variables:
  """Cross-entropy alone, moments frozen."""
  net, optimizer = rotated_images.network(), optax.adam(_RATE)

  def step(carry, key):
    params, opt_state = carry
    rows, _ = _draw(key, labels)

    def loss_fn(params):
      seen = net.apply(start | {'params': params}, pixels[rows])
      return mean_label_loss(seen.logits, labels[rows])

    updates, opt_state = optimizer.update(jax.grad(loss_fn)(params), opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  carry = (start['params'], optimizer.init(start['params']))
  keys = jax.random.split(key, num_steps)
  return start | {'params': jax.lax.scan(step, carry, keys)[0][0]}


@functools.partial(jax.jit, static_argnames='num_steps')
def _with_learned_loss(
  key: Array, pixels: Array, labels: Array, start: Variables, num_steps: int
) -> ITTATraining:
  net, optimizer = rotated_images.network(), optax.adam(_RATE)
  weights_optimizer = optax.adam(0.1 * _RATE)
  size = start['params']['head']['kernel'].shape[0]

  def step(state, key):
    rows, style = _draw(key, labels)
    _, state = itta_train_step(
      net, optimizer, weights_optimizer, state, style, pixels[rows],
      labels[rows],
    )  # fmt: skip
    return state, None

  state = start_itta_training(start, size, optimizer, weights_optimizer)
  return jax.lax.scan(step, state, jax.random.split(key, num_steps))[0]


def _draw(key, labels):
  """Rows of a batch, and a key for styles."""
  draw, style = jax.random.split(key)
  return jax.random.randint(draw, (_BATCH,), 0, len(labels)), style


def errors(
  trained: Trained, target: int, num_images: int, rate: float
) -> dict[str, Array]:
  """Error in % on the angle that was left out, by what is done there.

  Args:
    trained: from `train`.
    target: number of the angle.
    num_images: of it, in batches of 50.
    rate: of the blocks' Adam.
  """
  net = rotated_images.network()
  data = rotated_images.domains([ANGLES[target]], num_images, 'test')
  stream = adaptation.Batch(
    data.images[0].reshape(-1, 50, *data.images.shape[2:]),
    jnp.ones((num_images // 50, 50), bool),
  )
  labels = data.labels[0].reshape(-1, 50)
  methods = {
    'plain': (adaptation.source(net), trained.plain),
    'trained with the loss': (adaptation.source(net), trained.ours),
    'adapted': (
      adaptation.itta(net, trained.weights, optax.adam(rate)), trained.ours,
    ),
    'batch moments': (adaptation.batch_norm(net), trained.plain),
  }  # fmt: skip
  found = {}
  for name, (adapter, source) in methods.items():
    state = adaptation.start_stream(adapter, source, jax.random.key(0))
    run = jax.jit(lambda s, b, a=adapter: adaptation.run_stream(a, s, b)[0])
    said = run(state, stream)
    found[name] = 100 * jnp.mean(said.logits.argmax(-1) != labels)
  return found
