"""No adaptation, and moments of the batch in batch normalisation.

Schneider et al., 2020, arXiv 2006.16971; Nado et al., 2020, arXiv 2006.10963.
One forward pass of a batch; nothing is learned and nothing is kept.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.adaptation.adapter import Adapter, Prediction
from ttc.models.vision.classifier import Classifier, Moments


def source(network: Classifier) -> Adapter:
  """The network as it was trained."""
  return _frozen(network, 'source')


def batch_norm(
  network: Classifier, alpha: float | Float[Array, ''] | None = None
) -> Adapter:
  r"""Normalises with :math:`(1 - \alpha)` source + :math:`\alpha` batch.

  Args:
    network: with batch normalisation.
    alpha: weight of the batch; None for the batch alone. `n / (n + 16)` for
      batches of few images `n`.

  Raises:
    ValueError: for a network without batch normalisation.
  """
  if not network.normalises_batches:
    raise ValueError('batch_norm: this network has no batch normalisation')
  return _frozen(network, 'batch' if alpha is None else alpha)


def _frozen(network: Classifier, moments: Moments) -> Adapter:
  def init(source, key):
    del key
    return source.variables

  def update(variables, batch, key):
    del key
    seen = network.apply(variables, batch.images, moments, batch.mask)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    nothing = jnp.zeros_like(count)
    return Prediction(seen.logits, seen.features, count, nothing), variables

  return Adapter(init, update)
