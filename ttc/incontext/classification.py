"""Learning to classify in context: what is predicted, and how well.

A memory reads example i together with label i - 1, predicts label i, and is
trained by the cross-entropy of every position (Kirsch et al., 2212.04458).
Label i comes with example i + 1: to feed it with its own would be to tell.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.incontext.memories import Memory
from ttc.incontext.projected_tasks import Sequences
from ttc.types import Params


def predict(
  memory: Memory, params: Params, sequences: Sequences
) -> Float[Array, 'B T C']:
  """Logits of each label, from all examples so far and the labels before.

  Args:
    memory: that reads.
    params: its own.
    sequences: with their labels.

  Raises:
    ValueError: if the sequences are longer than the memory can read.
  """
  check_length(memory, sequences.labels.shape[-1])
  previous = jnp.pad(
    sequences.labels[:, :-1], ((0, 0), (1, 0)), constant_values=-1
  )
  return memory.logits(params, sequences.x, previous)


def check_length(memory: Memory, length: int) -> None:
  """Raises ValueError for sequences that the memory cannot read."""
  if memory.max_length is not None and length > memory.max_length:
    raise ValueError(
      f'length={length} is longer than the max_length={memory.max_length} of '
      'the memory'
    )


def classification_loss(
  memory: Memory, params: Params, sequences: Sequences
) -> Float[Array, '']:
  """Cross-entropy in nats, mean over positions and sequences."""
  log_probs = jax.nn.log_softmax(predict(memory, params, sequences))
  own = jax.nn.one_hot(
    sequences.labels, memory.num_classes, dtype=log_probs.dtype
  )
  return -jnp.mean(jnp.sum(log_probs * own, axis=-1))


def hits(
  memory: Memory, params: Params, sequences: Sequences
) -> Bool[Array, 'B T']:
  """Whether each label is predicted; the mean over `B` is the accuracy."""
  logits = predict(memory, params, sequences)
  return jnp.argmax(logits, axis=-1) == sequences.labels


def with_random_labels(
  key: jax.Array, sequences: Sequences, num_classes: int
) -> Sequences:
  """Labels that nothing tells of: who does better than chance has seen them."""
  labels: Int[Array, 'B T'] = jax.random.randint(
    key, sequences.labels.shape, 0, num_classes, jnp.int32
  )
  return sequences._replace(labels=labels)
