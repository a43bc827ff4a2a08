"""Stop texts: a response ends where a text appears in it, however it is split.

One text has many splits into tokens: it begins inside of one, ends inside of
another, and is written in others at the start of a line. So what is matched is
the text. An automaton over bytes looks for the stop texts; what it does over
all bytes of a token is one move, so on the device a row carries its state and
makes one look-up for each token. Tokens that make the same moves share them: a
table of `A` states (one more than the bytes of all texts) and `C` kinds of
tokens, and the kind of each token of the vocabulary.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, SupportsInt, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from ttc.sampling.stopping import StopRules, automaton, pack_rules
from ttc.types import FinishReason


@runtime_checkable
class TextCodec(Protocol):
  """What stop texts ask of a tokenizer, such as `models.Tokenizer`."""

  @property
  def eos_ids(self) -> Sequence[int]:
    """Tokens that end a response."""
    ...

  def token_bytes(self, token_id: int) -> bytes:
    """What a token writes; nothing for control tokens and unknown ids."""
    ...

  def decode(self, ids: Sequence[int]) -> str:
    """The text of tokens, without control tokens."""
    ...


def stop_at_texts(
  tokenizer: TextCodec,
  vocab_size: int,
  texts: Sequence[str] = (),
  min_tokens: int = 0,
) -> StopRules:
  """Stops at the tokenizer's end tokens and where one of the texts appears.

  The token in which a text becomes complete is the last of the response. What
  it holds of the text, and behind it, is still part of the tokens;
  `response_text` leaves it out.

  Args:
    tokenizer: says what each token writes.
    vocab_size: `V`, of the model.
    texts: that end a response, wherever in it they begin.
    min_tokens: of the first so many tokens none is an end token, and a text
      that is complete within them does not count.

  Returns:
    The rules as arrays.

  Raises:
    ValueError: for an empty text, or end tokens outside the vocabulary.
  """
  moves, is_match = _byte_automaton(texts)
  pieces = [tokenizer.token_bytes(i) for i in range(vocab_size)]
  after, completes = _read_pieces(moves, is_match, pieces)
  # Columns that are the same are one kind.
  columns = np.concatenate([after, completes.astype(np.int32)]).T
  seen: dict[bytes, int] = {}
  kinds = np.array([seen.setdefault(c.tobytes(), len(seen)) for c in columns])
  first = np.unique(kinds, return_index=True)[1]
  return pack_rules(
    tokenizer.eos_ids, kinds, after[:, first], completes[:, first], min_tokens
  )


def response_text(
  tokenizer: TextCodec,
  tokens: Iterable[SupportsInt],
  finish_reason: SupportsInt,
  texts: Sequence[str] = (),
) -> str:
  """The text of a response, up to where the stop text that ended it begins.

  Args:
    tokenizer: as for `stop_at_texts`.
    tokens: of the response, without padding.
    finish_reason: of the response. Unless it stopped, all its text counts.
    texts: those it was to stop at.

  Returns:
    The text. Of texts that end at the same place the longest is left out.
  """
  tokens = [int(token) for token in tokens]
  whole = tokenizer.decode(tokens)
  if int(finish_reason) != FinishReason.STOP or not tokens:
    return whole
  pieces = [tokenizer.token_bytes(token) for token in tokens]
  written = b''.join(pieces)
  for end in range(len(written) - len(pieces[-1]) + 1, len(written) + 1):
    found = [t for t in texts if written[:end].endswith(t.encode())]
    if found:
      begin = end - max(len(text.encode()) for text in found)
      dropped = written[begin:].decode(errors='replace')
      return whole[: max(len(whole) - len(dropped), 0)]
  return whole


def _byte_automaton(texts: Sequence[str]):
  """Over all 256 bytes."""
  if not all(texts):
    raise ValueError(f'stop texts {list(texts)} must have a character each')
  return automaton([list(text.encode()) for text in texts], 256)


def _read_pieces(
  moves: Int[np.ndarray, 'A 256'],
  is_match: Bool[np.ndarray, ' A'],
  pieces: Sequence[bytes],
) -> tuple[Int[np.ndarray, 'A V'], Bool[np.ndarray, 'A V']]:
  """What all bytes of each token do to each state, and whether a text ends."""
  lengths = np.array([len(piece) for piece in pieces])
  state = np.broadcast_to(
    np.arange(len(moves), dtype=np.int32)[:, None], (len(moves), len(pieces))
  ).copy()
  completes = np.zeros(state.shape, bool)
  for i in range(max(lengths, default=0)):
    longer = np.flatnonzero(lengths > i)
    byte = np.array([pieces[int(token)][i] for token in longer])
    state[:, longer] = moves[state[:, longer], byte]
    completes[:, longer] |= is_match[state[:, longer]]
  return state, completes
