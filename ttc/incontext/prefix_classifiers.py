"""Classifiers that are fitted to what a sequence has revealed so far.

What an in-context learner is compared with: at each position they know the
examples and labels before it, as it does.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def nearest_class_mean(
  x: Float[Array, 'T d'], labels: Int[Array, ' T'], num_classes: int
) -> Int[Array, ' T']:
  """The class whose mean over the examples before is nearest.

  With classes that are equal spheres around their templates, nothing that
  learns from scratch does much better.

  Args:
    x: examples.
    labels: theirs.
    num_classes: of all, seen or not.

  Returns:
    Predictions; class 0 before anything was seen.
  """
  own = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
  before = lambda y: jnp.cumsum(y, axis=0) - y
  counts = before(own)  # [T, C]
  sums = before(own[..., None] * x[:, None])  # [T, C, d]
  means = sums / jnp.maximum(counts, 1.0)[..., None]
  distances = jnp.sum(jnp.square(x[:, None] - means), axis=-1)
  distances = jnp.where(counts > 0, distances, jnp.inf)
  return jnp.argmin(distances, axis=-1).astype(jnp.int32)


def linear_softmax(
  x: Float[Array, 'T d'],
  labels: Int[Array, ' T'],
  num_classes: int,
  *,
  num_steps: int = 100,
  learning_rate: float = 0.5,
) -> Int[Array, ' T']:
  """A linear classifier, trained from zero on the examples before.

  Args:
    x: examples.
    labels: theirs.
    num_classes: of all.
    num_steps: of gradient descent on the mean cross-entropy, for each position.
    learning_rate: of it.

  Returns:
    Predictions.
  """
  T, d = x.shape
  inputs = jnp.concatenate([x, jnp.ones((T, 1), x.dtype)], axis=1)

  def predict(t):
    share = (jnp.arange(T) < t).astype(x.dtype) / jnp.maximum(t, 1)

    def loss(kernel):
      losses = optax.softmax_cross_entropy_with_integer_labels(
        inputs @ kernel, labels
      )
      return jnp.sum(share * losses)

    step = lambda kernel, _: (
      kernel - learning_rate * jax.grad(loss)(kernel),
      None,
    )
    start = jnp.zeros((d + 1, num_classes), x.dtype)
    kernel, _ = jax.lax.scan(step, start, length=num_steps)
    return jnp.argmax(inputs[t] @ kernel).astype(jnp.int32)

  return jax.vmap(predict)(jnp.arange(T, dtype=jnp.int32))
