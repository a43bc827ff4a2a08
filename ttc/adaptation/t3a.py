r"""T3A: prototypes of what was confidently seen (Iwasawa & Matsuo, 2021).

"Test-Time Classifier Adjustment Module for Model-Agnostic Domain
Generalization", NeurIPS 2021. Every class has a list of at most `M` supports of
lowest entropy, begun with its row of the last layer; an image belongs to the
class whose prototype, the mean of unit supports, is nearest:

.. math:: c_k = \mathrm{unit}(\textstyle\sum_{h \in S_k} \mathrm{unit}(h)),
   \qquad \mathrm{score}_k(h) = h^\top c_k.

Costs one forward pass and a sort of `K` lists of `M + B`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.adaptation.adapter import Adapter, Prediction, unit
from ttc.adaptation.losses import entropy
from ttc.models.vision.classifier import Classifier, Variables


class T3AState(NamedTuple):
  """Supports of each class; an entropy of infinity is an empty place."""

  variables: Variables
  supports: Float[Array, 'K M D']  # of length one
  entropies: Float[Array, 'K M']


def t3a(network: Classifier, num_supports: int = 100) -> Adapter:
  """Prototypes that include the batch which is predicted.

  Args:
    network: the classifier.
    num_supports: `M` of a class: 1, 5, 20, 50, 100 in the paper; as many as
      there will be images, to keep all.

  Raises:
    ValueError: without supports.
  """
  if num_supports < 1:
    raise ValueError(f'num_supports {num_supports}: at least 1')

  def init(source, key):
    del key
    head = source.variables['params']['head']
    rows = head['kernel'].T
    places = (network.num_classes, num_supports)
    empty = T3AState(
      source.variables,
      jnp.zeros((*places, rows.shape[1]), rows.dtype),
      jnp.full(places, jnp.inf, rows.dtype),
    )
    logits = rows @ head['kernel'] + head['bias']
    return _with_supports(empty, rows, logits, jnp.ones(len(rows), bool))

  def update(state, batch, key):
    del key
    seen = network.apply(state.variables, batch.images)
    state = _with_supports(state, seen.features, seen.logits, batch.mask)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    scores = seen.features @ prototypes(state).T
    return Prediction(scores, seen.features, count, 0 * count), state

  return Adapter(init, update)


def prototypes(state: T3AState) -> Float[Array, 'K D']:
  """Unit sums of each class's supports."""
  there = jnp.isfinite(state.entropies)[..., None]
  return unit(jnp.sum(jnp.where(there, state.supports, 0), axis=1))


def _with_supports(state, features, logits, mask):
  """The lists with new rows, each list cut to its lowest entropies."""
  label = jnp.argmax(logits, axis=-1)
  is_own = (jnp.arange(len(state.entropies))[:, None] == label) & mask
  entropies = jnp.concatenate(
    [state.entropies, jnp.where(is_own, entropy(logits), jnp.inf)], axis=1
  )
  new = jnp.broadcast_to(unit(features), (len(is_own), *features.shape))
  supports = jnp.concatenate([state.supports, new], axis=1)
  kept, place = jax.lax.top_k(-entropies, state.entropies.shape[1])
  return state._replace(
    supports=jnp.take_along_axis(supports, place[..., None], axis=1),
    entropies=-kept,
  )
