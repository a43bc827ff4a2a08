"""Responses: without a token yet, and joined from parts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from ttc.types import FinishReason, Generation


def empty(
  num_problems: int,
  num_samples: int,
  capacity: int,
  finish_reasons: Int[Array, '*A'] | int = FinishReason.RUNNING,
) -> Generation:
  """`[B, N]` responses without a token and with room for `capacity`."""
  zeros = jnp.zeros((num_problems, num_samples, capacity), jnp.float32)
  none = jnp.zeros((num_problems, num_samples), jnp.int32)
  return Generation(
    tokens=zeros.astype(jnp.int32),
    lengths=none,
    log_probs=zeros,
    sampling_log_probs=zeros,
    finish_reasons=none + finish_reasons,
  )


def join(
  first: Generation,
  then: Generation,
  lengths: Int[Array, 'B N'] | None = None,
) -> Generation:
  """Responses followed by what was written behind them.

  Args:
    first: with room for both.
    then: their continuations; cancelled without a token if there is none.
    lengths: how much of `first` is kept; None for all of it.

  Returns:
    The whole responses, which end as their continuations do.
  """
  kept = first.lengths if lengths is None else lengths
  behind = lambda old, new: write_behind(old, new, kept)
  nothing = (then.lengths == 0) & (
    then.finish_reasons == FinishReason.CANCELLED
  )
  return Generation(
    tokens=behind(first.tokens, then.tokens),
    lengths=kept + then.lengths,
    log_probs=behind(first.log_probs, then.log_probs),
    sampling_log_probs=behind(
      first.sampling_log_probs, then.sampling_log_probs
    ),
    finish_reasons=jnp.where(
      nothing, first.finish_reasons, then.finish_reasons
    ),
  )


def write_behind(
  old: Num[Array, 'B N T'], new: Num[Array, 'B N S'], lengths: Int[Array, 'B N']
) -> Num[Array, 'B N T']:
  """The first `lengths` entries of `old`, and `new` behind them."""
  index = jnp.arange(old.shape[-1]) - lengths[..., None]
  moved = jnp.take_along_axis(
    new, jnp.maximum(index, 0), axis=-1, mode='fill', fill_value=0
  )
  return jnp.where(index < 0, old, moved)


def first_tokens(responses: Generation, capacity: int) -> Generation:
  """Responses of at most `T` tokens, without the room that is behind them."""
  cut = lambda x: x[..., :capacity] if x.ndim == 3 else x
  return jax.tree.map(cut, responses)
