"""When a response ends, and when a problem has seen enough of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ttc.types import FinishReason


@runtime_checkable
class TextCodec(Protocol):
  """What `stop_at_texts` asks of a tokenizer, such as `models.Tokenizer`."""

  eos_ids: Sequence[int]

  def ids_containing(self, text: str) -> list[int]:
    """Tokens whose text contains `text`."""
    ...

  def encode(self, text: str) -> list[int]:
    """The tokens of a text."""
    ...


class StopRules(NamedTuple):
  """What ends a response, as arrays, so that no value recompiles."""

  is_stop: Bool[Array, ' V']  # tokens that end it
  sequences: Int[Array, 'Q W']  # token sequences that do, padded left with -1
  min_tokens: Int[Array, '']  # stop tokens are not drawn before this many


def stop_rules(
  vocab_size: int,
  stop_ids: Sequence[int] = (),
  sequences: Sequence[Sequence[int]] = (),
  min_tokens: int = 0,
) -> StopRules:
  """Builds `StopRules`.

  Args:
    vocab_size: `V`.
    stop_ids: tokens that end a response; they are part of it.
    sequences: token sequences that end it once they stand at its end.
    min_tokens: before this many tokens no stop token is drawn.

  Returns:
    The rules as arrays.

  Raises:
    ValueError: for ids outside the vocabulary, or an empty sequence.
  """
  ids = np.unique(np.asarray([*stop_ids, *(t for s in sequences for t in s)]))
  wrong = [int(i) for i in ids if not 0 <= i < vocab_size]
  if wrong:
    raise ValueError(
      f'stop ids {wrong} are outside the vocabulary of {vocab_size}'
    )
  if any(len(sequence) == 0 for sequence in sequences):
    raise ValueError('a stop sequence must have at least one token')
  is_stop = np.zeros((vocab_size,), bool)
  is_stop[list(stop_ids)] = True
  width = max((len(sequence) for sequence in sequences), default=0)
  padded = [[-1] * (width - len(s)) + list(s) for s in sequences]
  table = np.asarray(padded, np.int32).reshape(len(sequences), width)
  return StopRules(
    jnp.asarray(is_stop), jnp.asarray(table), jnp.int32(min_tokens)
  )


def stop_at_texts(
  tokenizer: TextCodec,
  vocab_size: int,
  texts: Sequence[str] = (),
  min_tokens: int = 0,
) -> StopRules:
  """Stops at the tokenizer's end tokens and where one of the texts appears.

  That is, at any token that contains a text (a newline stands in many) and at
  the tokens that the text itself is split into.
  """
  ids, sequences = set(tokenizer.eos_ids), []
  for text in texts:
    ids.update(tokenizer.ids_containing(text))
    tokens = tokenizer.encode(text)
    if len(tokens) > 1:
      sequences.append(tokens)
  return stop_rules(vocab_size, sorted(ids), sequences, min_tokens)


def ends_with(
  window: Int[Array, ' W'], sequences: Int[Array, 'Q W']
) -> Bool[Array, '']:
  """Whether the last `W` tokens end with one of the sequences."""
  match = jnp.all((sequences < 0) | (sequences == window), axis=-1)
  return jnp.any(match)


class Progress(NamedTuple):
  """What a policy sees of the `N` responses to one problem."""

  tokens: Int[Array, 'N T']
  lengths: Int[Array, ' N']
  finish_reasons: Int[Array, ' N']  # RUNNING for those not ended or not begun


# Whether to end the problem now: what still runs is cancelled.
Policy = Callable[[Progress], Bool[Array, '']]


def wait_for_all(progress: Progress) -> Bool[Array, '']:
  """Never cancels: every response runs to its own end."""
  del progress
  return jnp.bool_(False)


def first_finish(num_finished: int | Int[Array, '']) -> Policy:
  """Ends a problem once `num_finished` responses have stopped by themselves.

  A response cut by its length limit has not finished (2505.18149).
  """

  def policy(progress):
    stopped = progress.finish_reasons == FinishReason.STOP
    return jnp.sum(stopped) >= num_finished

  return policy


def token_budget(budget: int | Int[Array, '']) -> Policy:
  """Ends a problem once its responses have `budget` tokens together."""
  return lambda progress: jnp.sum(progress.lengths) >= budget
