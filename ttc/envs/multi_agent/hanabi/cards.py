"""Records of Hanabi: sizes of a game, what may be set, what is on the table.

A card is the number `color * num_ranks + rank`, all counted from 0, or `NONE`
where a hand has a gap because the deck is empty. What its holder knows of it
are two sets, the colours and the ranks that it may have, as bits of integers:
hints never tie the one to the other.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

NONE = -1


class Size(NamedTuple):
  """What shapes depend on.

  Attributes:
    num_players: `A`.
    num_colors: `C`.
    num_ranks: `R`.
    hand_size: `H`.
    info_tokens: most that there can be.
    life_tokens: most that there can be.
    copies: cards of each rank, in each colour.
  """

  num_players: int
  num_colors: int
  num_ranks: int
  hand_size: int
  info_tokens: int
  life_tokens: int
  copies: tuple[int, ...]

  @property
  def num_kinds(self) -> int:
    """Of cards."""
    return self.num_colors * self.num_ranks

  @property
  def deck_size(self) -> int:
    """Cards, with those that are dealt at first."""
    return self.num_colors * sum(self.copies)

  @property
  def num_actions(self) -> int:
    """Discards, plays, hints of colours and of ranks, and waiting."""
    hints = (self.num_players - 1) * (self.num_colors + self.num_ranks)
    return 2 * self.hand_size + hints + 1

  def full_deck(self) -> Int[np.ndarray, ' N']:
    """All cards, in order."""
    ranks = np.repeat(np.arange(self.num_ranks), self.copies)
    colors = np.arange(self.num_colors)[:, None] * self.num_ranks
    return (colors + ranks).reshape(-1).astype(np.int32)


class HanabiParams(NamedTuple):
  """What a task may set.

  Attributes:
    info_tokens: at the start and at most; not above those of the maker, which
      observations have places for.
    life_tokens: at the start; the same holds.
    lose_score: whether the last life takes all points with it; the game is over
      either way.
  """

  info_tokens: Int[Array, ''] | int = 8
  life_tokens: Int[Array, ''] | int = 3
  lose_score: Bool[Array, ''] | bool = True


class Hands(NamedTuple):
  """The cards of each player, the oldest first, and what was told of them.

  Attributes:
    card: or `NONE`.
    colors: bits, which it may have to its holder's knowledge.
    ranks: bits, as well.
    color_told: whether a hint named its colour.
    rank_told: whether a hint named its rank.
  """

  card: Int[Array, 'A H']
  colors: Int[Array, 'A H']
  ranks: Int[Array, 'A H']
  color_told: Bool[Array, 'A H']
  rank_told: Bool[Array, 'A H']


class Move(NamedTuple):
  """The last move, as all have seen it.

  Attributes:
    player: who made it; `NONE` before the first one.
    action: of that player.
    card: that was played or discarded; `NONE` after a hint.
    touched: cards that the hint named.
    scored: whether a card was added to the fireworks.
    gained: whether playing it brought a token.
  """

  player: Int[Array, '']
  action: Int[Array, '']
  card: Int[Array, '']
  touched: Bool[Array, ' H']
  scored: Bool[Array, '']
  gained: Bool[Array, '']


class HanabiState(NamedTuple):
  """The table.

  Attributes:
    deck: in the order of dealing, dealt cards too.
    num_dealt: cards of the deck that are gone.
    hands: of the players.
    fireworks: cards of each colour that lie.
    discards: cards of each kind that are out.
    info_tokens: hints that can be given.
    life_tokens: mistakes that can be made, but for the last one.
    player: whose turn it is.
    turns_left: once the deck is empty.
    move: the last one.
    score: sum of rewards.
    time: moves so far.
  """

  deck: Int[Array, ' N']
  num_dealt: Int[Array, '']
  hands: Hands
  fireworks: Int[Array, ' C']
  discards: Int[Array, ' kinds']
  info_tokens: Int[Array, '']
  life_tokens: Int[Array, '']
  player: Int[Array, '']
  turns_left: Int[Array, '']
  move: Move
  score: Int[Array, '']
  time: Int[Array, '']


class Meaning(NamedTuple):
  """What an action of the player whose turn it is says.

  Attributes:
    discard, play, color_hint, rank_hint: which one of them it is.
    slot: place in the hand, of a discard or a play.
    target: player that is told.
    value: colour or rank that is told.
    kinds: of cards that a hint names, as bits.
  """

  discard: Bool[Array, '']
  play: Bool[Array, '']
  color_hint: Bool[Array, '']
  rank_hint: Bool[Array, '']
  slot: Int[Array, '']
  target: Int[Array, '']
  value: Int[Array, '']
  kinds: Int[Array, '']


def read_action(
  size: Size, player: Int[Array, ''], action: Int[Array, '']
) -> Meaning:
  """Takes the number of an action apart.

  In order: discard of slot 0, 1, ...; play of slot 0, 1, ...; each colour to
  the next player, to the one after, ...; each rank to the next player, ...; and
  waiting. This is a table, since divisions take long to compile.
  """
  row = jnp.take(_table(size), action, axis=0, mode='clip')
  discard, play, color, rank, slot, places, value, kinds = jnp.unstack(row)
  target = player_after(size, player, places)
  return Meaning(
    discard == 1, play == 1, color == 1, rank == 1, slot, target, value, kinds
  )


def _table(size: Size) -> Int[np.ndarray, 'n 8']:
  """A row for each action: `Meaning`, but for the target how far it sits."""
  slots, others = range(size.hand_size), range(1, size.num_players)
  colors, ranks = kinds_of_words(size)
  return np.array(
    [
      *((1, 0, 0, 0, slot, 0, 0, 0) for slot in slots),
      *((0, 1, 0, 0, slot, 0, 0, 0) for slot in slots),
      *((0, 0, 1, 0, 0, i, *x) for i in others for x in enumerate(colors)),
      *((0, 0, 0, 1, 0, i, *x) for i in others for x in enumerate(ranks)),
      (0,) * 8,
    ],
    np.int32,
  )


def kinds_of_words(
  size: Size,
) -> tuple[Int[np.ndarray, ' C'], Int[np.ndarray, ' R']]:
  """The kinds of cards of each colour and of each rank, as bits."""
  bits = (1 << np.arange(size.num_kinds, dtype=np.int32)).reshape(
    size.num_colors, size.num_ranks
  )
  total = lambda axis: np.sum(bits, axis=axis, dtype=np.int32)
  return total(1), total(0)


def is_of(
  kinds: Int[Array | np.ndarray, '*#n'], card: Int[Array, '*#n']
) -> Bool[Array, '*#n']:
  """Whether cards are of kinds that are given as bits; gaps are of none."""
  return (card != NONE) & ((kinds >> card) & 1 == 1)


def player_after(
  size: Size, player: Int[Array, ''], places: Int[Array, ''] | int
) -> Int[Array, '']:
  """Who sits some places, less than a round, behind a player or `NONE`."""
  seat = player + places
  return jnp.where(seat < size.num_players, seat, seat - size.num_players)
