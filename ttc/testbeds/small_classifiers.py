"""Two kinds of classifiers of small images: one rewards, the other judges.

A convolutional network and a perceptron, so that what deceives the one need not
deceive the other. They see images at all levels of noise that a prediction of a
denoiser has, blurred ones, and are trained for a minute.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from ttc.testbeds.image_diffusion import Examples
from ttc.testbeds.train import Directory, trained_params
from ttc.types import Params

NUM_CLASSES = 10
_BATCH = 128


class SmallClassifier(NamedTuple):
  """A trained classifier."""

  module: nn.Module
  params: Params

  def log_probs(self, images: Float[Array, 'N H W']) -> Float[Array, 'N C']:
    """Of each class; images as those it learned from."""
    logits = self.module.apply(self.params, images)
    return jax.nn.log_softmax(logits)  # type: ignore[arg-type]


class _ConvNet(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x[..., None]
    for width in (16, 32):
      x = nn.relu(nn.Conv(width, (5, 5), strides=2)(x))
    x = nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1)))
    return nn.Dense(NUM_CLASSES)(x)


class _Perceptron(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x.reshape(x.shape[0], -1)
    for width in (256, 128):
      x = nn.relu(nn.Dense(width)(x))
    return nn.Dense(NUM_CLASSES)(x)


KINDS = {'convnet': _ConvNet, 'perceptron': _Perceptron}


def small_classifier(
  kind: Literal['convnet', 'perceptron'],
  name: str,
  read: Callable[[], Examples],
  seed: int,
  num_steps: int,
  cache: Directory,
) -> SmallClassifier:
  """A classifier, trained unless the cache has it.

  Args:
    kind: which network.
    name: of the data, in the cache.
    read: what it learns from; images in [-1, 1] or [0, 1].
    seed: of the training.
    num_steps: of it.
    cache: directory.

  Returns:
    The classifier.
  """
  module = KINDS[kind]()
  side = 14 if 'digits' in name else 28
  like = lambda: module.init(jax.random.key(0), jnp.zeros((1, side, side)))
  return SmallClassifier(
    module,
    trained_params(
      f'{kind}-{name}-{num_steps}',
      seed,
      cache,
      like,
      lambda: _train(module, read(), jax.random.key(seed), num_steps),
    ),
  )


def accuracy(classifier: SmallClassifier, examples: Examples) -> float:
  """Share of examples whose label it says."""
  said = jnp.argmax(jax.jit(classifier.log_probs)(examples.images), axis=1)
  return float(jnp.mean(said == examples.labels))


def _train(module, examples, key, num_steps):
  """Adam with cosine decay; a program for each step, see train_diffusion."""
  init_key, key = jax.random.split(key)
  params = module.init(init_key, examples.images[:1])
  optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, num_steps))

  def loss_fn(params, images, labels):
    logits = module.apply(params, images)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses)

  @jax.jit
  def step(params, state, key, images, labels):
    which_key, how_key, noise_key = jax.random.split(key, 3)
    which = jax.random.randint(which_key, (_BATCH,), 0, images.shape[0])
    shown = images[which]
    # Half of them a little blurred or noisy, as predictions are.
    amount = jnp.maximum(
      0.0, jax.random.uniform(how_key, (_BATCH, 1, 1), jnp.float32) - 0.5
    )
    soft = sum(jnp.roll(shown, by, axis) for by in (-1, 1) for axis in (1, 2))
    noise = jax.random.normal(noise_key, shown.shape, jnp.float32)
    shown = shown + amount * (soft / 4 - shown) + 0.3 * amount * noise
    grads = jax.grad(loss_fn)(params, shown, labels[which])
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state

  state = optimizer.init(params)
  for i in range(num_steps):
    params, state = step(
      params, state, jax.random.fold_in(key, i), examples.images,
      examples.labels,
    )  # fmt: skip
  return params
