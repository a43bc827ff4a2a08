"""What DAPO adds to the loss (Yu et al., 2503.14476): whom it samples on.

Prompts whose responses all earn the same teach nothing: one samples on until a
batch is filled with others, here in static shapes. Responses that come near the
limit of their length pay for it. Cost: rounds of sampling, as many as dead
groups make necessary.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.finetuning.policy_gradients import Number


def overlong_penalty(
  lengths: Int[Array, '*A'],
  max_length: Number = 20480,
  cache_length: Number = 4096,
) -> Float[Array, '*A']:
  """DAPO's soft penalty of long responses, to be added to their rewards.

  0 up to `max_length - cache_length` tokens, -1 from `max_length` on, a line
  between.

  Args:
    lengths: in tokens, the end token included.
    max_length: 20480 in the paper.
    cache_length: 4096 in the paper.
  """
  start = jnp.asarray(max_length - cache_length, jnp.float32)
  return jnp.clip((start - lengths) / cache_length, -1.0, 0.0)


class GroupBuffer(NamedTuple):
  """Room for `P` groups, those that are filled in front."""

  groups: Any  # leaves `[P, ...]`
  is_filled: Bool[Array, ' P']


def fill_buffer(
  buffer: GroupBuffer, groups: Any, wanted: Bool[Array, ' M']
) -> GroupBuffer:
  """Takes groups that are wanted into the room that is left, in their order.

  DAPO's dynamic sampling in static shapes: prompts whose groups are dead are
  not wanted, and one samples on until the buffer is filled.

  Args:
    buffer: of `P` groups; begin with all False.
    groups: leaves `[M, ...]`.
    wanted: which of them.

  Returns:
    The buffer; what was in it stays in front.
  """
  P = buffer.is_filled.shape[0]
  valid = jnp.concatenate([buffer.is_filled, wanted])
  order = jnp.argsort(~valid, stable=True)[:P]
  take = lambda old, new: jnp.concatenate([old, new])[order]
  return GroupBuffer(jax.tree.map(take, buffer.groups, groups), valid[order])
