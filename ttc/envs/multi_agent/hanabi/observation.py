"""What players of Hanabi see: the 658 numbers of two players, and others.

In order, players counted from whoever looks:

  cards of the other players, each one-hot; who has a gap in the hand
  cards left in the deck, the top of each firework, tokens, lives
  discards, each kind as many ones as there are
  the last move: player; play, discard, hint of a colour or a rank; its target;
    colour; rank; cards it named; slot; card; whether it scored; gained a token
  for each card of each player, the own first: the law of its kind given what
    its holder was told and what lies on the table; colour and rank if told

This is the observation of the Hanabi Learning Environment with the first
version of beliefs, in the order of JaxMARL 0.2.0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.envs.multi_agent.hanabi.cards import (
  NONE,
  HanabiParams,
  HanabiState,
  Size,
  read_action,
)


def observation_size(size: Size) -> int:
  """Numbers that a player sees."""
  players, hand, kinds = size.num_players, size.hand_size, size.num_kinds
  hands = (players - 1) * hand * kinds + players
  deck = size.deck_size - players * hand
  board = deck + kinds + size.info_tokens + size.life_tokens
  words = size.num_colors + size.num_ranks
  move = 2 * players + 4 + words + 2 * hand + kinds + 2
  beliefs = players * hand * (kinds + words)
  return hands + board + size.deck_size + move + beliefs


def observe(
  size: Size, state: HanabiState, params: HanabiParams
) -> Float[Array, 'A D']:
  """What each player sees."""
  del params
  hands = state.hands
  beliefs = jnp.concatenate(
    [
      law(size, state),
      told(hands.colors, hands.color_told, size.num_colors),
      told(hands.ranks, hands.rank_told, size.num_ranks),
    ],
    axis=-1,
  )
  players = size.num_players
  behind = lambda x, places: jnp.roll(x, -places, axis=0)
  held = one_hot(hands.card, size.num_kinds).reshape(players, -1)
  gaps = as_seen(jnp.any(hands.card == NONE, axis=1))
  table, beliefs = board(size, state), beliefs.reshape(players, -1)
  # Each is computed once and then copied to where players see it: the compiler
  # alone would compute what it joins entry by entry, at several times the cost.
  held, gaps, table, move, beliefs = jax.lax.optimization_barrier(
    tuple(
      x.astype(jnp.float32)
      for x in (held, gaps, table, last_move(size, state), beliefs)
    )
  )
  pieces = [
    *(behind(held, places) for places in range(1, players)),
    gaps,
    jnp.broadcast_to(table, (players, *table.shape)),
    move,
    *(behind(beliefs, places) for places in range(players)),
  ]
  return jnp.concatenate(jax.lax.optimization_barrier(pieces), axis=1)


def seats(players: int) -> Int[np.ndarray, 'A A']:
  """All players, in the order in which each sees them."""
  index = np.arange(players, dtype=np.int32)
  return (index[:, None] + index) % players


def as_seen(values: Shaped[Array, 'A *n']) -> Shaped[Array, 'A A *n']:
  """What belongs to players, in the order in which each sees them."""
  return values.at[seats(len(values))].get(mode='promise_in_bounds')


def one_hot(values: Int[Array, ' *n'], size: int) -> Bool[Array, ' *n size']:
  """All zeros for `NONE`."""
  return values[..., None] == jax.lax.broadcasted_iota(
    jnp.int32, (*values.shape, size), values.ndim
  )


def first(count: Int[Array, ''], size: int) -> Bool[Array, ' size']:
  """As many ones as counted, then zeros."""
  return jnp.arange(size) < count


def digits(words: Int[Array, ' *n'], size: int) -> Int[Array, ' *n size']:
  """The lowest bits of integers, the lowest one first."""
  place = jax.lax.broadcasted_iota(jnp.int32, (*words.shape, size), words.ndim)
  return (words[..., None] >> place) & 1


def told(
  possible: Int[Array, 'A H'], known: Bool[Array, 'A H'], size: int
) -> Int[Array, 'A H size']:
  """The colour or rank that a hint named."""
  return digits(possible, size) * known[..., None]


def law(size: Size, state: HanabiState) -> Float[Array, 'A H kinds']:
  """Of each card, to its holder who forgets what other players hold."""
  colors = digits(state.hands.colors, size.num_colors)
  ranks = digits(state.hands.ranks, size.num_ranks)
  possible = colors[..., :, None] * ranks[..., None, :]
  copies = np.tile(np.array(size.copies, np.int32), size.num_colors)
  lies = state.fireworks[:, None] > jnp.arange(size.num_ranks)[None]
  left = copies - state.discards - lies.reshape(-1)
  left = jax.lax.optimization_barrier(left)[None, None]
  weights = possible.reshape(*state.hands.card.shape, -1) * left
  total = jnp.sum(weights, axis=-1, keepdims=True, dtype=jnp.int32)
  return weights.astype(jnp.float32) / jnp.maximum(total, 1)


def board(size: Size, state: HanabiState) -> Bool[Array, ' n']:
  """What lies on the table."""
  kinds = np.repeat(np.arange(size.num_kinds), size.copies * size.num_colors)
  nth = np.concatenate([np.arange(n) for n in size.copies * size.num_colors])
  deck = size.deck_size - size.num_players * size.hand_size
  return jnp.concatenate(
    [
      first(size.deck_size - state.num_dealt, deck),
      one_hot(state.fireworks - 1, size.num_ranks).reshape(-1),
      first(state.info_tokens, size.info_tokens),
      first(state.life_tokens, size.life_tokens),
      state.discards.at[kinds].get(mode='promise_in_bounds') > nth,
    ]
  )


def last_move(size: Size, state: HanabiState) -> Bool[Array, 'A n']:
  """The last move, to each player; zeros before the first one."""
  move, players = state.move, size.num_players
  meaning = read_action(size, move.player, move.action)
  hints = meaning.color_hint | meaning.rank_hint
  seat = lambda player: seats(players) == player
  kinds = [meaning.play, meaning.discard, meaning.color_hint, meaning.rank_hint]
  public = jnp.concatenate(
    [
      one_hot(meaning.value, size.num_colors) & meaning.color_hint,
      one_hot(meaning.value, size.num_ranks) & meaning.rank_hint,
      move.touched,
      one_hot(meaning.slot, size.hand_size) & (meaning.play | meaning.discard),
      one_hot(move.card, size.num_kinds),
      jnp.stack([move.scored, move.gained]),
    ]
  )
  all_see = lambda x: jnp.broadcast_to(x, (players, *x.shape))
  return jnp.concatenate(
    [
      seat(move.player),
      all_see(jnp.stack(kinds)),
      seat(meaning.target) & hints,
      all_see(public),
    ],
    axis=-1,
  )
