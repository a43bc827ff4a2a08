"""Training a classifier: one `scan`, so that seeds and domains are a `vmap`.

SGD with Nesterov momentum, a cosine down to zero, decay of kernels, and images
mirrored at random: nothing that looks like a corruption, or there would be
nothing left to adapt to. Running moments of batch normalisation are averaged.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.models.vision.classifier import Classifier, Variables

_AVERAGING = 0.9  # of running moments


class ClassifierTraining(NamedTuple):
  """All that training carries; one pytree to save."""

  variables: Variables
  opt_state: optax.OptState
  step: Int[Array, '']
  key: Array  # of the training; that of a step folds in its number


def classifier_optimizer(
  num_steps: int, learning_rate: float = 0.1, decay: float = 5e-4
) -> optax.GradientTransformation:
  """SGD with Nesterov momentum .9, cosine and decay of kernels."""
  is_kernel = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
  return optax.chain(
    optax.add_decayed_weights(decay, is_kernel),
    optax.sgd(
      optax.cosine_decay_schedule(learning_rate, num_steps), 0.9, nesterov=True
    ),
  )


def start_classifier(
  network: Classifier,
  optimizer: optax.GradientTransformation,
  key: Array,
  images: Float[Array, 'n H W C'],
) -> ClassifierTraining:
  """The state before the first step.

  Args:
    network: to be trained.
    optimizer: of its parameters.
    key: of the parameters and of the whole training.
    images: of the shape to come.
  """
  first, rest = jax.random.split(key)
  variables = network.init(first, images[:1])
  return ClassifierTraining(
    variables, optimizer.init(variables['params']), jnp.int32(0), rest
  )


def train_classifier(
  network: Classifier,
  optimizer: optax.GradientTransformation,
  state: ClassifierTraining,
  images: Array,
  labels: Int[Array, ' n'],
  *,
  num_steps: int,
  batch_size: int = 128,
  mirror: bool = True,
) -> tuple[Float[Array, ' T'], ClassifierTraining]:
  """Some steps of training; more of them go on where these ended.

  Args:
    network: to be trained.
    optimizer: from `classifier_optimizer`.
    state: from `start_classifier` or an earlier piece.
    images: `[n, H, W, C]`, in [0, 1] or as bytes.
    labels: their classes.
    num_steps: of this piece; static.
    batch_size: images of a step, drawn with replacement.
    mirror: whether to mirror half of them.

  Returns:
    Losses in nats, and the state.
  """

  def loss_fn(params, variables, x, y):
    seen = network.apply(variables | {'params': params}, x, 'batch')
    losses = optax.softmax_cross_entropy_with_integer_labels(seen.logits, y)
    return jnp.mean(losses), seen.moments

  def step(state, _):
    draw, flip = jax.random.split(jax.random.fold_in(state.key, state.step))
    rows = jax.random.randint(draw, (batch_size,), 0, len(labels))
    x = as_floats(images[rows])
    if mirror:
      turned = jax.random.bernoulli(flip, shape=(batch_size, 1, 1, 1))
      x = jnp.where(turned, x[:, :, ::-1], x)
    params = state.variables['params']
    (loss, moments), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      params, state.variables, x, labels[rows]
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    variables = state.variables | {
      'params': optax.apply_updates(params, updates)
    }
    if network.normalises_batches:
      variables['batch_stats'] = jax.tree.map(
        lambda old, new: _AVERAGING * old + (1 - _AVERAGING) * new,
        state.variables['batch_stats'],
        moments,
      )
    new = ClassifierTraining(variables, opt_state, state.step + 1, state.key)
    return new, loss

  state, losses = jax.lax.scan(step, state, length=num_steps)
  return losses, state


def as_floats(images: Array) -> Float[Array, '*B H W C']:
  """Images in [0, 1]; bytes are divided by 255."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 255
  return images
