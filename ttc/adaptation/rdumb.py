"""RDumb: ETA that begins anew every thousand batches (arXiv 2306.05401).

Press et al., 2023: over long streams a method that forgets all it has learned
now and then is hard to beat. Costs what ETA costs.
"""

import optax
from jaxtyping import Array, Float, Int

from ttc.adaptation.adapter import ADAM, Adapter, Select
from ttc.adaptation.combinators import reset_every
from ttc.adaptation.eata import eata
from ttc.models.vision.classifier import Classifier, Moments


def rdumb(
  network: Classifier,
  optimizer: optax.GradientTransformation = ADAM,
  *,
  num_updates: int | Int[Array, ''] = 1000,
  select: Select = 'norm',
  moments: Moments = 'batch',
  margin: float | Float[Array, ''] = 0.4,
  redundancy: float | Float[Array, ''] = 0.4,
) -> Adapter:
  """Entropy minimisation on samples that help, and resets.

  Args:
    network: the classifier.
    optimizer: of the parameters; it begins anew too.
    num_updates: batches between resets.
    select: parameters that learn.
    moments: whose moments normalise.
    margin: as in `eata`.
    redundancy: as in `eata`.
  """
  eta = eata(
    network, optimizer, select=select, moments=moments, margin=margin,
    redundancy=redundancy, fisher=None,
  )  # fmt: skip
  return reset_every(eta, num_updates)
