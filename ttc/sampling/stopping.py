"""When a response ends, and when a problem has seen enough of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ttc.types import FinishReason


class StopRules(NamedTuple):
  """What ends a response, as arrays, so that no value recompiles.

  Sequences and texts are found by an automaton (Aho and Corasick, 1975) that
  reads the tokens of a response one by one, from its first. Tokens that move it
  alike are of one kind; `A` states, `C` kinds.
  """

  is_stop: Bool[Array, ' V']  # tokens that end it
  kinds: Int[Array, ' V']
  moves: Int[Array, 'A C']  # the state after a token of a kind; 0 is the first
  completes: Bool[Array, 'A C']  # whether a sequence or text ends in that token
  min_tokens: Int[Array, '']  # this many tokens neither are nor complete a stop


def stop_rules(
  vocab_size: int,
  stop_ids: Sequence[int] = (),
  sequences: Sequence[Sequence[int]] = (),
  min_tokens: int = 0,
) -> StopRules:
  """Builds `StopRules` from token ids; for texts see `stop_at_texts`.

  Args:
    vocab_size: `V`.
    stop_ids: tokens that end a response; they are part of it.
    sequences: token sequences that end it once they stand at its end.
    min_tokens: of the first so many tokens none is a stop token, and a sequence
      that is complete within them does not count.

  Returns:
    The rules as arrays.

  Raises:
    ValueError: for ids outside the vocabulary, or an empty sequence.
  """
  in_sequences = sorted({token for s in sequences for token in s})
  _check_ids([*stop_ids, *in_sequences], vocab_size)
  if any(len(sequence) == 0 for sequence in sequences):
    raise ValueError('a stop sequence must have at least one token')
  kinds = np.zeros((vocab_size,), np.int32)  # 0: in no sequence
  kinds[in_sequences] = 1 + np.arange(len(in_sequences))
  patterns = [[int(kinds[token]) for token in s] for s in sequences]
  moves, is_match = automaton(patterns, 1 + len(in_sequences))
  return pack_rules(stop_ids, kinds, moves, is_match[moves], min_tokens)


def pack_rules(
  stop_ids: Sequence[int],
  kinds: Int[np.ndarray, ' V'],
  moves: Int[np.ndarray, 'A C'],
  completes: Bool[np.ndarray, 'A C'],
  min_tokens: int,
) -> StopRules:
  """`StopRules` of these stop tokens and this automaton."""
  _check_ids(stop_ids, kinds.size)
  is_stop = np.zeros(kinds.shape, bool)
  is_stop[list(stop_ids)] = True
  return StopRules(
    jnp.asarray(is_stop),
    jnp.asarray(kinds, jnp.int32),
    jnp.asarray(moves, jnp.int32),
    jnp.asarray(completes),
    jnp.int32(min_tokens),
  )


def automaton(
  patterns: Sequence[Sequence[int]], num_symbols: int
) -> tuple[Int[np.ndarray, 'A C'], Bool[np.ndarray, ' A']]:
  """Finds any of some patterns in a stream of symbols `0..num_symbols - 1`.

  A state stands for the longest beginning of a pattern that the stream ends
  with; 0 for none.

  Args:
    patterns: not empty.
    num_symbols: `C`.

  Returns:
    The state after each symbol in each state, and the states that end with a
    whole pattern.
  """
  children: list[dict[int, int]] = [{}]
  matches = [False]
  for pattern in patterns:
    state = 0
    for symbol in pattern:
      if symbol not in children[state]:
        children[state][symbol] = len(children)
        children.append({})
        matches.append(False)
      state = children[state][symbol]
    matches[state] = True
  moves = np.zeros((len(children), num_symbols), np.int32)
  is_match = np.array(matches)
  waiting = [(0, 0)]  # a state, and that of its longest proper suffix
  for state, suffix in waiting:
    is_match[state] |= is_match[suffix]
    behind = moves[suffix].copy()  # of the root: all to the root
    moves[state] = behind
    for symbol, child in children[state].items():
      moves[state, symbol] = child
      waiting.append((child, int(behind[symbol])))
  return moves, is_match


def advance(
  rules: StopRules,
  state: Int[Array, '*A'],
  token: Int[Array, '*A'],
  position: Int[Array, '*A'],
) -> tuple[Int[Array, '*A'], Bool[Array, '*A']]:
  """Reads the next token of each response.

  Args:
    rules: what ends a response.
    state: of the automaton, 0 at the start of a response.
    token: that was written.
    position: of it in the response, from 0.

  Returns:
    The state after it, and whether it ends the response.
  """
  kind = rules.kinds[token]
  stops = rules.is_stop[token] | rules.completes[state, kind]
  return rules.moves[state, kind], stops & (position >= rules.min_tokens)


def read_tokens(
  rules: StopRules, tokens: Int[Array, '*A T'], lengths: Int[Array, '*A']
) -> Int[Array, '*A']:
  """The state after the first `lengths` tokens of each response.

  What ends a response may span a cut: to go on behind one, begin here. Rules
  without sequences and texts have one state, and nothing is read.
  """
  state = jnp.zeros(lengths.shape, jnp.int32)
  if rules.moves.shape[0] == 1:
    return state
  kinds = rules.kinds[tokens]

  def read(t, state):
    kind = jax.lax.dynamic_index_in_dim(kinds, t, axis=-1, keepdims=False)
    return jnp.where(t < lengths, rules.moves[state, kind], state)

  return jax.lax.fori_loop(0, jnp.max(lengths), read, state)


def has_ended(
  rules: StopRules, tokens: Int[Array, '*A T'], lengths: Int[Array, '*A']
) -> Bool[Array, '*A']:
  """Whether the last token of each response ends it; not for an empty one."""
  last = jnp.maximum(lengths - 1, 0)
  token = jnp.take_along_axis(tokens, last[..., None], axis=-1)[..., 0]
  _, ends = advance(rules, read_tokens(rules, tokens, last), token, last)
  return ends & (lengths > 0)


def forbid_early_stops(
  rules: StopRules, logits: Float[Array, '*A V'], position: Int[Array, '*A']
) -> Float[Array, '*A V']:
  """Masks stop tokens in the first `min_tokens` positions of a response."""
  too_early = (position < rules.min_tokens)[..., None]
  return jnp.where(too_early & rules.is_stop, -jnp.inf, logits)


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


def _check_ids(ids: Sequence[int], vocab_size: int) -> None:
  wrong = sorted({int(i) for i in ids if not 0 <= i < vocab_size})
  if wrong:
    raise ValueError(
      f'stop ids {wrong} are outside the vocabulary of {vocab_size}'
    )
