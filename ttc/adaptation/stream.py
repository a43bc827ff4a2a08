"""Running a method along a stream of batches.

A stream is one `scan`; several streams, seeds or severities are one `vmap` of
it, and so is a sweep of a hyper-parameter. A stream that is too long for the
memory is given in pieces: cut anywhere and taken up from the state, the
predictions are those of the uncut stream, bit for bit.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from ttc.adaptation.adapter import (
  Adapter,
  AdapterState,
  Batch,
  Prediction,
  Source,
)


class StreamState(NamedTuple):
  """Where a method stands in its stream; one pytree to save."""

  adapter: AdapterState
  step: Int[Array, '']  # batches seen
  key: Array  # of the stream; that of a batch folds in its number


def start_stream(adapter: Adapter, source: Source, key: Array) -> StreamState:
  """The state before the first batch.

  Args:
    adapter: the method.
    source: network and images of the source.
    key: of the whole stream.
  """
  first, rest = jax.random.split(key)
  return StreamState(adapter.init(source, first), jnp.int32(0), rest)


def run_stream(
  adapter: Adapter, state: StreamState, stream: Batch
) -> tuple[Prediction, StreamState]:
  """Predicts and adapts batch by batch.

  Args:
    adapter: the method.
    state: from `start_stream`, or from an earlier piece of the stream.
    stream: batches `[T, B, ...]`.

  Returns:
    Predictions `[T, B, ...]`, each made when its batch arrived, and the state
    after the last.

  Example:
    >>> head = {'kernel': jnp.eye(2), 'bias': jnp.zeros(2)}
    >>> apply = lambda variables, images, *_: Outputs(
    ...   images[..., 0, 0] @ variables['params']['head']['kernel'],
    ...   images[..., 0, 0], {})
    >>> network = Classifier(lambda *_: {}, apply, 2, 0, (), False)
    >>> no_images = jnp.zeros((0, 2, 1, 1)), jnp.zeros(0, int)
    >>> source = adaptation.Source({'params': {'head': head}}, *no_images)
    >>> method = adaptation.t3a(network, num_supports=5)
    >>> state = adaptation.start_stream(method, source, jax.random.key(0))
    >>> images = jnp.array([[[2.0, 1.0], [1.0, 3.0]]])[..., None, None]
    >>> said, _ = adaptation.run_stream(
    ...   method, state, adaptation.Batch(images, jnp.ones((1, 2), bool)))
    >>> said.logits.argmax(-1).tolist()
    [[0, 1]]
  """

  def step(state, batch):
    key = jax.random.fold_in(state.key, state.step)
    prediction, adapted = adapter.update(state.adapter, batch, key)
    return StreamState(adapted, state.step + 1, state.key), prediction

  state, predictions = jax.lax.scan(step, state, stream)
  return predictions, state
