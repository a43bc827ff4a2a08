r"""The source's posterior, as SWAG-diagonal sees it (arXiv 1902.02476).

Training goes on at a constant rate, and the iterates' first and second moments
are averaged: :math:`q(\theta) = N(\mu, diag(E\theta^2 - \mu^2))`. Twenty or
more iterates, some fifty steps apart, do for a small network; PETAL's own code
takes four, an epoch apart.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import ChosenParams, choose, put_back
from ttc.adaptation.losses import mean_label_loss
from ttc.models.vision.classifier import Classifier, Variables

SGD = optax.sgd(0.01, momentum=0.9)


class Posterior(NamedTuple):
  """A Gaussian over parameters."""

  mean: Variables  # with moments of the source under the mean
  var: ChosenParams  # of each number, never negative


class Iterates(NamedTuple):
  """Running moments of parameters."""

  num: Int[Array, '']
  mean: ChosenParams
  square: ChosenParams


def start_iterates(params: ChosenParams) -> Iterates:
  """Nothing collected."""
  zeros = jax.tree.map(jnp.zeros_like, params)
  return Iterates(jnp.zeros((), jnp.int32), zeros, zeros)


def collect(iterates: Iterates, params: ChosenParams) -> Iterates:
  """One more iterate."""
  share = 1 / (iterates.num + 1).astype(jnp.float32)
  move = lambda old, new: old + share * (new - old)
  return Iterates(
    iterates.num + 1,
    jax.tree.map(move, iterates.mean, params),
    jax.tree.map(lambda old, p: move(old, p**2), iterates.square, params),
  )


def variance(iterates: Iterates) -> ChosenParams:
  """Of what was collected; rounding never makes it negative."""
  return jax.tree.map(
    lambda square, mean: jnp.maximum(square - mean**2, 0),
    iterates.square,
    iterates.mean,
  )


def fit_posterior(
  network: Classifier,
  variables: Variables,
  images: Float[Array, 'n H W C'],
  labels: Int[Array, ' n'],
  key: Array,
  optimizer: optax.GradientTransformation = SGD,
  *,
  num_iterates: int = 20,
  steps_between: int = 50,
  batch_size: int = 128,
) -> Posterior:
  """Goes on training a network and collects its iterates.

  Args:
    network: the classifier.
    variables: of the trained source.
    images: it was trained on.
    labels: theirs.
    key: draws batches; consumed.
    optimizer: at a constant rate, without weight decay.
    num_iterates: that are collected.
    steps_between: them.
    batch_size: images a step.

  Returns:
    The posterior; moments of batches are averaged over the collected ones.

  Raises:
    ValueError: with fewer images than a batch, fewer than two iterates, or no
      steps between them.
  """
  if len(images) < batch_size:
    raise ValueError(f'{len(images)} images: fewer than a batch, {batch_size}')
  if num_iterates < 2:
    raise ValueError(f'{num_iterates} iterates have no variance: two or more')
  if steps_between < 1:
    raise ValueError(f'steps_between {steps_between}: at least 1')

  def loss_fn(params, x, y):
    seen = network.apply(put_back(variables, params), x, 'batch')
    return mean_label_loss(seen.logits, y)

  def rows(i):
    key_of_step = jax.random.fold_in(key, i)
    return jax.random.randint(key_of_step, (batch_size,), 0, len(images))

  def step(carry, i):
    params, opt_state, iterates = carry
    drawn = rows(i)
    grads = jax.grad(loss_fn)(params, images[drawn], labels[drawn])
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params: Any = optax.apply_updates(params, updates)
    is_due = (i + 1) % steps_between == 0
    more = collect(iterates, params)
    iterates = jax.tree.map(
      lambda a, b: jnp.where(is_due, a, b), more, iterates
    )
    return (params, opt_state, iterates), None

  params = choose(variables, 'all')
  carry = params, optimizer.init(params), start_iterates(params)
  num_steps = num_iterates * steps_between
  (_, _, iterates), _ = jax.lax.scan(step, carry, jnp.arange(num_steps))
  mean = put_back(variables, iterates.mean)

  def moments_of(i) -> Any:
    x = images[rows(num_steps + i)]
    return network.apply(mean, x, 'batch').moments

  if network.normalises_batches:
    moments = jax.lax.map(moments_of, jnp.arange(num_iterates))
    mean = mean | {
      'batch_stats': jax.tree.map(lambda x: jnp.mean(x, 0), moments)
    }
  return Posterior(mean, variance(iterates))
