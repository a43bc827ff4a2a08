r"""MEMO: marginal entropy over views of one image (arXiv 2110.09506).

For each image anew: all parameters take a step down the entropy of the mean
prediction over `M` views of it,

.. math:: H\left(\frac{1}{M} \sum_m p(\cdot \mid x_m)\right)

and the clean image is then predicted. `M + 1` forward passes and `M` backward
an image, images one after another.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ttc.adaptation.adapter import (
  Adapter,
  Prediction,
  Select,
  descend,
  put_back,
  start_learning,
)
from ttc.adaptation.augmix import AUGMIX_VIEW
from ttc.adaptation.views import View
from ttc.models.vision.classifier import Classifier, Moments

SGD = optax.sgd(5e-3)


def memo(
  network: Classifier,
  optimizer: optax.GradientTransformation = SGD,
  *,
  select: Select = 'all',
  moments: Moments = 1 / 17,
  view: View = AUGMIX_VIEW,
  num_views: int = 32,
) -> Adapter:
  """One step for each image; predicts after it, and forgets it.

  Args:
    network: the classifier.
    optimizer: SGD at .005 for CIFAR, 2.5e-4 with 64 views for ImageNet.
    select: parameters that learn.
    moments: the batch's weigh `n / (n + 16)` for one image; `'source'` for a
      network without batch normalisation.
    view: draws views; each row of what it is given its own.
    num_views: `M`.
  """
  if num_views < 1:
    raise ValueError(f'num_views {num_views}: at least 1')

  def init(source, key):
    del key
    return source.variables

  def update(variables, batch, key):
    def adapt(row):
      index, image = row
      views = jnp.broadcast_to(image, (num_views, *image.shape))
      views = view(jax.random.fold_in(key, index), views)

      def loss_fn(params):
        seen = network.apply(put_back(variables, params), views, moments)
        return marginal_entropy(seen.logits)

      learning = start_learning(variables, select, optimizer)
      grads = jax.grad(loss_fn)(learning.params)
      learning = descend(optimizer, learning, grads)
      adapted = put_back(variables, learning.params)
      seen = network.apply(adapted, image[None], moments)
      return seen.logits[0], seen.features[0]

    rows = jnp.arange(len(batch.images)), batch.images
    logits, features = jax.lax.map(adapt, rows)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    return Prediction(
      logits, features, count * (num_views + 1), count * num_views
    ), variables

  return Adapter(init, update)


def marginal_entropy(logits: Float[Array, 'M K']) -> Float[Array, '']:
  """Entropy of the mean of `M` predictions, nats."""
  log_p = jax.nn.log_softmax(logits)
  log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(
    jnp.asarray(logits.shape[0], logits.dtype)
  )
  log_mean = jnp.maximum(log_mean, jnp.finfo(log_mean.dtype).min)
  return -jnp.sum(jnp.exp(log_mean) * log_mean)
