r"""AdaNPC: a classifier that remembers (Zhang et al., 2023, arXiv 2304.12566).

A memory of unit features with labels; the `k` nearest by cosine vote,

.. math:: s_c(h) = \sum_{j \in N_k(h)}
   \mathrm{softmax}_j(\cos(h, m_j) / \tau)\, 1[y_j = c],

and images of which the vote is sure enough join the memory with the class they
were given. What is known of the source is never overwritten.

Costs one forward pass and `B x (n + M)` cosines.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.adaptation.adapter import Adapter, Prediction, unit
from ttc.models.vision.classifier import Classifier, Variables

_CHUNK = 500  # source images sent through the network at once


class Memory(NamedTuple):
  """Unit features and their classes."""

  keys: Float[Array, 'n D']
  labels: Int[Array, ' n']
  is_filled: Bool[Array, ' n']


class AdaNPCState(NamedTuple):
  """A network, its memory, and how many images have joined."""

  variables: Variables
  memory: Memory  # of the source first, then a ring of what joined
  num_joined: Int[Array, '']


def adanpc(
  network: Classifier,
  num_neighbours: int = 100,
  num_places: int = 10_000,
  *,
  temperature: float | Float[Array, ''] = 0.1,
  threshold: float | Float[Array, ''] = 0.25,
  confidence: Literal['score', 'softmax_of_scores'] = 'score',
) -> Adapter:
  """A vote of neighbours, who are the source's images and sure ones since.

  All images of a batch are voted upon before any of them joins.

  Args:
    network: the classifier; its features are what is remembered.
    num_neighbours: `k`.
    num_places: for images of the stream; the oldest makes room.
    temperature: tau.
    threshold: beta, the least confidence of an image that joins; above 1
      nothing ever does. Where the source is often wrong, a low one lets wrong
      images in.
    confidence: the largest class score; or, as in the release, of a second
      softmax over the scores, which for ten classes stays below .232.

  Raises:
    ValueError: for sizes below 1 or an unknown confidence.
  """
  if num_neighbours < 1 or num_places < 1:
    raise ValueError(
      f'{num_neighbours} neighbours, {num_places} places: at least 1'
    )
  if confidence not in ('score', 'softmax_of_scores'):
    raise ValueError(f'confidence {confidence!r}: score, softmax_of_scores')

  def init(source, key):
    del key
    if len(source.images) < num_neighbours:
      raise ValueError(
        f'adanpc: {len(source.images)} images of the source for '
        f'{num_neighbours} neighbours'
      )
    features = jax.lax.map(
      lambda image: network.apply(source.variables, image[None]).features[0],
      source.images,
      batch_size=_CHUNK,
    )
    known = Memory(unit(features), source.labels, jnp.ones(len(features), bool))
    memory = jax.tree.map(
      lambda x: jnp.pad(x, [(0, num_places)] + [(0, 0)] * (x.ndim - 1)), known
    )
    return AdaNPCState(source.variables, memory, jnp.int32(0))

  def update(state, batch, key):
    del key
    if len(batch.mask) > num_places:
      raise ValueError(
        f'adanpc: a batch of {len(batch.mask)} for {num_places} places'
      )
    seen = network.apply(state.variables, batch.images)
    keys = unit(seen.features)
    scores = neighbour_scores(
      state.memory, keys, network.num_classes, num_neighbours, temperature
    )
    sure = scores if confidence == 'score' else jax.nn.softmax(scores)
    joins = batch.mask & (jnp.max(sure, axis=-1) >= threshold)
    labels = jnp.argmax(scores, -1).astype(jnp.int32)
    count = jnp.sum(batch.mask, dtype=jnp.int32)
    prediction = Prediction(jnp.log(scores), seen.features, count, 0 * count)
    return prediction, _join(state, Memory(keys, labels, joins), num_places)

  return Adapter(init, update)


def neighbour_scores(
  memory: Memory,
  queries: Float[Array, 'B D'],
  num_classes: int,
  num_neighbours: int,
  temperature: float | Float[Array, ''] = 0.1,
) -> Float[Array, 'B K']:
  """Votes of the nearest; minus its logarithm at the label trains features.

  Args:
    memory: with `n` places, of which the empty ones do not vote.
    queries: features of length one.
    num_classes: `K`.
    num_neighbours: `k`.
    temperature: tau.

  Returns:
    Scores from 1e-5 to 1.
  """
  cosine = jnp.where(memory.is_filled, queries @ memory.keys.T, -jnp.inf)
  nearest, place = jax.lax.top_k(cosine, num_neighbours)
  weights = jax.nn.softmax(nearest / jnp.asarray(temperature, nearest.dtype))
  is_class = jax.nn.one_hot(memory.labels[place], num_classes)
  scores = jnp.einsum('bk,bkc->bc', weights, is_class.astype(weights.dtype))
  return jnp.minimum(scores + 1e-5, 1)


def _join(state: AdaNPCState, new: Memory, num_places: int) -> AdaNPCState:
  """Puts filled rows into the ring behind what the source left."""
  total = len(state.memory.labels)
  rank = state.num_joined + jnp.cumsum(new.is_filled, dtype=jnp.int32) - 1
  in_ring = total - num_places + rank % num_places
  place = jnp.where(new.is_filled, in_ring, total)  # the others nowhere
  memory = jax.tree.map(
    lambda old, rows: old.at[place].set(rows, mode='drop'), state.memory, new
  )
  num_joined = state.num_joined + jnp.sum(new.is_filled, dtype=jnp.int32)
  return AdaNPCState(state.variables, memory, num_joined)
