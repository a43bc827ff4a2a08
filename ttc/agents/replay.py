"""A ring of sequences, in arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray


class Replay(NamedTuple):
  """Sequences, the oldest overwritten.

  Attributes:
    data: a pytree, leaves `[capacity, ...]`.
    added: sequences so far.
  """

  data: Any
  added: Int[Array, '']


def empty_replay(example: Any, capacity: int) -> Replay:
  """Room for sequences.

  Args:
    example: of one; arrays or their shapes.
    capacity: sequences.
  """
  data = jax.tree.map(
    lambda x: jnp.zeros((capacity, *x.shape), x.dtype), example
  )
  return Replay(data, jnp.zeros((), jnp.int32))


def add(replay: Replay, sequences: Any) -> Replay:
  """Puts sequences behind the latest one.

  Args:
    replay: to put them into.
    sequences: leaves `[E, ...]`; no more than it has room for.
  """
  capacity = jax.tree.leaves(replay.data)[0].shape[0]
  count = jax.tree.leaves(sequences)[0].shape[0]
  places = (replay.added + jnp.arange(count)) % capacity
  data = jax.tree.map(
    lambda old, new: old.at[places].set(new), replay.data, sequences
  )
  return Replay(data, (replay.added + count).astype(jnp.int32))


def sample(replay: Replay, key: PRNGKeyArray, num_sequences: int) -> Any:
  """Draws uniformly, with replacement, from what is there.

  Args:
    replay: not empty.
    key: consumed.
    num_sequences: static.

  Returns:
    Leaves `[num_sequences, ...]`.
  """
  capacity = jax.tree.leaves(replay.data)[0].shape[0]
  filled = jnp.minimum(replay.added, capacity)
  places = jax.random.randint(key, (num_sequences,), 0, filled)
  return jax.tree.map(lambda x: x[places], replay.data)
