"""Methods out of methods: adapter in, adapter out."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.adaptation.adapter import (
  Adapter,
  AdapterState,
  Batch,
  Prediction,
  keep_if,
)

# `(prediction, mask) -> prediction`; without a state.
Correction = Callable[[Prediction, Bool[Array, ' B']], Prediction]


class Restarted(NamedTuple):
  """A method's state, and where it goes back to."""

  now: AdapterState
  start: AdapterState
  step: Int[Array, '']  # updates so far


class Window(NamedTuple):
  """The last images of a stream of single ones."""

  now: AdapterState
  images: Float[Array, 'W H W C']
  mask: Bool[Array, ' W']  # False until an image has come
  place: Int[Array, '']  # where the next goes


def chain_prediction(adapter: Adapter, correct: Correction) -> Adapter:
  """Corrects what a method says; the method does not learn of it.

  Args:
    adapter: the method.
    correct: of a batch, such as a vote among neighbours or another prior.
  """

  def update(state, batch, key):
    prediction, state = adapter.update(state, batch, key)
    return correct(prediction, batch.mask), state

  return Adapter(adapter.init, update)


def reset_every(adapter: Adapter, num_updates: int | Int[Array, '']) -> Adapter:
  """Begins anew after so many updates (RDumb, arXiv 2306.05401).

  Args:
    adapter: the method.
    num_updates: batches between resets.
  """
  if isinstance(num_updates, int) and num_updates < 1:
    raise ValueError(f'{num_updates} updates between resets: at least one')

  def init(source, key):
    start = adapter.init(source, key)
    return Restarted(start, start, jnp.zeros((), jnp.int32))

  def update(state, batch, key):
    prediction, now = adapter.update(state.now, batch, key)
    step = state.step + jnp.any(batch.mask).astype(jnp.int32)
    is_over = (step > state.step) & (step % num_updates == 0)
    return prediction, Restarted(
      keep_if(is_over, state.start, now), state.start, step
    )

  return Adapter(init, update)


def episodic(adapter: Adapter) -> Adapter:
  """Throws away what was learned after each batch."""

  def update(state, batch, key):
    prediction, _ = adapter.update(state, batch, key)
    return prediction, state

  return Adapter(adapter.init, update)


def multi_step(adapter: Adapter, num_steps: int) -> Adapter:
  """Several updates on each batch; predicts with the last.

  Args:
    adapter: the method.
    num_steps: updates, at least one; static.

  Raises:
    ValueError: for fewer.
  """
  if num_steps < 1:
    raise ValueError(f'{num_steps} steps a batch: at least one')

  def update(state, batch, key):
    def step(state, i):
      key_of_step = jax.random.fold_in(key, i)
      prediction, state = adapter.update(state, batch, key_of_step)
      return state, prediction

    state, said = jax.lax.scan(step, state, jnp.arange(num_steps))
    last = jax.tree.map(lambda x: x[-1], said)
    return last._replace(
      num_forward=jnp.sum(said.num_forward, dtype=jnp.int32),
      num_backward=jnp.sum(said.num_backward, dtype=jnp.int32),
    ), state

  return Adapter(adapter.init, update)


def sliding_window(adapter: Adapter, length: int) -> Adapter:
  """A stream of single images: each is seen with those before it.

  Each image is predicted among the last `length`, for the moments of a batch;
  the method learns from them once they are all new. Between, its update is
  computed and thrown away, as far as the compiler cannot tell that it is.

  Args:
    adapter: the method.
    length: `W`, images that are kept.

  Raises:
    ValueError: for batches of more than one image, and for no length.
  """
  if length < 1:
    raise ValueError(f'a window of {length} images: at least one')

  def init(source, key):
    shape = (length, *source.images.shape[1:])
    images = jnp.zeros(shape, source.images.dtype)
    unseen = jnp.zeros(length, bool)
    place = jnp.zeros((), jnp.int32)
    return Window(adapter.init(source, key), images, unseen, place)

  def update(state, batch, key):
    if batch.images.shape[0] != 1:
      raise ValueError(
        f'sliding_window: batches of one image, not of {len(batch.images)}'
      )
    images = state.images.at[state.place].set(batch.images[0])
    mask = state.mask.at[state.place].set(True)
    window = Batch(images, mask)

    def predict(now):
      return adapter.update(now, window, key)[0], now

    def learn(now):
      return adapter.update(now, window, key)

    is_full = state.place == length - 1
    said, now = jax.lax.cond(is_full, learn, predict, state.now)
    prediction = said._replace(
      logits=said.logits[state.place][None],
      features=said.features[state.place][None],
      num_forward=jnp.where(batch.mask[0], said.num_forward, 0),
      num_backward=jnp.where(batch.mask[0] & is_full, said.num_backward, 0),
    )
    new = Window(now, images, mask, (state.place + 1) % length)
    return prediction, keep_if(batch.mask[0], new, state)

  return Adapter(init, update)
