r"""SAR: sharpness-aware, reliable entropy minimisation (arXiv 2302.12400).

The gradient of samples with entropy below :math:`E_0 = 0.4 \ln K` leads to the
worst point within :math:`\rho`; the gradient there, of the same samples as far
as they are still below, is applied at the start. If the running mean of that
loss falls below .2 the model has collapsed, and all begins anew. Two forward
and two backward passes a batch.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from ttc.adaptation.adapter import (
  Adapter,
  Learning,
  Prediction,
  Select,
  descend,
  keep_if,
  masked_mean,
  put_back,
  start_learning,
)
from ttc.adaptation.losses import entropy
from ttc.models.vision.classifier import Classifier, Moments

SGD = optax.sgd(1e-3, momentum=0.9)


class SarState(NamedTuple):
  """What changes."""

  learning: Learning
  mean_loss: Float[Array, '']  # running
  has_mean: Bool[Array, '']


def sar(
  network: Classifier,
  optimizer: optax.GradientTransformation = SGD,
  *,
  select: Select | None = None,
  moments: Moments = 'batch',
  margin: float | Float[Array, ''] = 0.4,
  radius: float | Float[Array, ''] = 0.05,
  collapse: float | Float[Array, ''] = 0.2,
  steps_on_nothing: bool = False,
  keeps_mean: bool = False,
  keeps_momentum: bool = False,
) -> Adapter:
  r"""Sharpness-aware entropy minimisation; predicts before the step.

  Args:
    network: the classifier.
    optimizer: SGD at 1e-3 with momentum .9; 2.5e-4 for ResNet-50 on ImageNet.
    select: parameters that learn; None for those that normalise, except in
      the last stage.
    moments: whose moments normalise.
    margin: greatest entropy of a sample that counts, over :math:`\ln K`.
    radius: :math:`\rho`.
    collapse: running loss below which all is reset.
    steps_on_nothing: where no sample counts the momentum moves on, as in the
      official code.
    keeps_mean: a reset leaves the running loss as it is, and so comes again
      with the next batch, as in the official code.
    keeps_momentum: a reset leaves the optimiser as it is, as in the official
      code, which clears the state of a wrapper around it.
  """
  chosen = spare_last_stage(network) if select is None else select
  limit = margin * math.log(network.num_classes)

  def init(source, key):
    del key
    learning = start_learning(source.variables, chosen, optimizer)
    zero = jnp.zeros((), jnp.float32)
    return SarState(learning, zero, jnp.zeros((), bool))

  def update(state, batch, key):
    del key
    learning = state.learning

    def loss_fn(params, kept):
      variables = put_back(learning.variables, params)
      seen = network.apply(variables, batch.images, moments, batch.mask)
      entropies = entropy(seen.logits)
      kept = kept & (entropies < limit)
      return masked_mean(entropies, kept), (seen, kept)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    (_, (seen, kept)), grads = gradient(learning.params, batch.mask)
    scale = radius / (optax.tree.norm(grads) + 1e-12)
    worst = jax.tree.map(
      lambda p, g: (p + scale * g).astype(p.dtype), learning.params, grads
    )
    (loss, (_, still)), grads = gradient(worst, kept)

    moved = jnp.where(
      state.has_mean, 0.9 * state.mean_loss + (1 - 0.9) * loss, loss
    )
    new = SarState(
      descend(optimizer, learning, grads),
      moved.astype(state.mean_loss.dtype),
      jnp.ones((), bool),
    )
    num_kept = jnp.sum(still, dtype=jnp.int32)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    if steps_on_nothing:
      state = state._replace(learning=keep_if(count > 0, new, state).learning)
    new = keep_if(num_kept > 0, new, state)
    backward = jnp.sum(kept, dtype=jnp.int32) + num_kept
    prediction = Prediction(seen.logits, seen.features, 2 * count, backward)
    fallen = new.has_mean & (new.mean_loss < collapse) & (count > 0)
    learning = start_learning(learning.variables, chosen, optimizer)
    fresh = _begun_anew(new, learning, keeps_mean, keeps_momentum)
    return prediction, keep_if(fallen, fresh, new)

  return Adapter(init, update)


def spare_last_stage(network: Classifier) -> Select:
  """Accepts what normalises before the last stage."""

  def accept(path):
    module = path.split('/')[0]
    return 'norm' in path and module not in network.last_stage

  return accept


def _begun_anew(
  state: SarState, fresh: Learning, keeps_mean: bool, keeps_momentum: bool
) -> SarState:
  """The state after a collapse."""
  if keeps_momentum:
    fresh = fresh._replace(opt_state=state.learning.opt_state)
  if keeps_mean:
    return state._replace(learning=fresh)
  nothing = jnp.zeros_like(state.mean_loss)
  return SarState(fresh, nothing, jnp.zeros((), bool))
