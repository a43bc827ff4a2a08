r"""How much a loss depends on each parameter, and what follows from it.

The diagonal of the Fisher information, with the network's own answers as
labels, over images of the source. Papers that hold parameters by it (EATA,
arXiv 2204.02610, eq. 9; PSMT) square the gradient of a *batch's mean* loss,
about one `B`-th of the true diagonal, and choose their weights accordingly.
"""

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.adaptation.adapter import ChosenParams, masked_mean, put_back
from ttc.models.vision.classifier import Classifier, Moments, Variables

# Squares of the gradient of a batch's mean loss, or of each example's.
Fisher = Literal['batch', 'example']


def diagonal_fisher(
  network: Classifier,
  variables: Variables,
  params: ChosenParams,
  images: Float[Array, 'n H W C'],
  kind: Fisher = 'batch',
  batch_size: int = 100,
  moments: Moments = 'batch',
) -> ChosenParams:
  """Mean square of the gradient of the loss of the network's own labels.

  Args:
    network: the classifier.
    variables: of the source.
    params: those of them that are asked about.
    images: of the source, without labels; the last batch may be smaller.
    kind: whose gradients are squared. `'example'` is the true diagonal and
      costs `batch_size` backward passes for each batch.
    batch_size: images that are normalised together.
    moments: whose moments normalise.

  Raises:
    ValueError: without images, and for another kind.
  """
  if not images.shape[0]:
    raise ValueError('Fisher information: no images of the source')
  if kind not in ('batch', 'example'):
    raise ValueError(f"Fisher information {kind!r}: 'batch' or 'example'")
  if batch_size < 1:
    raise ValueError(f'batches of {batch_size} images: at least one')
  num_images = images.shape[0]
  num_batches = -(-num_images // batch_size)
  spare = num_batches * batch_size - num_images
  images = jnp.pad(images, [(0, spare), *[(0, 0)] * 3])
  mask = jnp.arange(num_batches * batch_size) < num_images

  def squares(batch_images, batch_mask):
    def losses_fn(params):
      seen = network.apply(
        put_back(variables, params), batch_images, moments, batch_mask
      )
      answers = jax.nn.one_hot(jnp.argmax(seen.logits, -1), network.num_classes)
      return jnp.where(batch_mask, _loss(seen.logits, answers), 0)

    if kind == 'batch':
      loss_fn = lambda params: masked_mean(losses_fn(params), batch_mask)
      return jax.tree.map(jnp.square, jax.grad(loss_fn)(params))
    losses, back = jax.vjp(losses_fn, params)

    def add(total, row):
      (grads,) = back(row)
      return jax.tree.map(lambda t, g: t + g**2, total, grads), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    return jax.lax.scan(add, zeros, jnp.eye(len(losses), dtype=losses.dtype))[0]

  def step(total, batch):
    return jax.tree.map(jnp.add, total, squares(*batch)), None

  batches = (
    images.reshape(num_batches, batch_size, *images.shape[1:]),
    mask.reshape(num_batches, batch_size),
  )
  zeros = jax.tree.map(jnp.zeros_like, params)
  total, _ = jax.lax.scan(step, zeros, batches)
  count = num_batches if kind == 'batch' else num_images
  return jax.tree.map(lambda t: t / count, total)


def weighted_distance(
  params: ChosenParams, anchor: ChosenParams, weights: ChosenParams
) -> Float[Array, '']:
  r""":math:`\sum_j w_j (\theta_j - \theta_{0,j})^2`."""
  terms = jax.tree.map(
    lambda p, a, w: jnp.sum(w * (p - a) ** 2), params, anchor, weights
  )
  return jax.tree.reduce(jnp.add, terms)


def squared_below(
  grads: ChosenParams,
  share: float | Float[Array, ''],
  max_exact: int = 1_000_000,
) -> ChosenParams:
  """Whether the square of each number lies below a quantile of them all.

  The quantile interpolates between neighbours. Numbers equal to it are not
  below: with many zeros, from dead channels, none is.

  Args:
    grads: of all parameters.
    share: which quantile.
    max_exact: of more numbers than this, the quantile is that of so many drawn
      once and for all.

  Returns:
    Truth values by path.
  """
  leaves, tree = jax.tree.flatten(grads)
  flat = jnp.concatenate([jnp.square(leaf).reshape(-1) for leaf in leaves])
  if flat.size > max_exact:
    drawn = jax.random.randint(jax.random.key(0), (max_exact,), 0, flat.size)
    below = flat < _quantile(jnp.sort(flat[drawn]), share)
  else:
    # Compared where they are sorted: a compiler may compute numbers anew
    # elsewhere, and differently in the last bit.
    index = jnp.arange(flat.size, dtype=jnp.int32)
    ordered, index = jax.lax.sort((flat, index), num_keys=1)
    below = jnp.zeros(flat.size, bool)
    below = below.at[index].set(ordered < _quantile(ordered, share))
  ends = list(itertools.accumulate(leaf.size for leaf in leaves))
  parts = jnp.split(below, ends[:-1])
  shaped = [
    part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
  ]
  return jax.tree.unflatten(tree, shaped)


def swap(
  where: ChosenParams, new: ChosenParams, old: ChosenParams
) -> ChosenParams:
  """`new` where true, else `old`, number by number."""
  return jax.tree.map(jnp.where, where, new, old)


def _quantile(ordered: Array, share: float | Float[Array, '']) -> Array:
  """Between neighbours, linearly."""
  place = jnp.asarray(share, ordered.dtype) * (ordered.size - 1)
  low = jnp.floor(place)
  lower = ordered[low.astype(jnp.int32)]
  upper = ordered[jnp.ceil(place).astype(jnp.int32)]
  return lower + (upper - lower) * (place - low)


def _loss(logits: Array, answers: Array) -> Array:
  return -jnp.sum(answers * jax.nn.log_softmax(logits), axis=-1)
