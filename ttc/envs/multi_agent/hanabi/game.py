"""Hanabi (Bard et al., 2019, 1902.00506): fireworks from cards others see.

Players hold cards that all but themselves can see, and build one firework a
colour by playing its ranks in order. A turn is to discard a card, which brings
back a token; to play one, which costs a life if it does not fit; or to spend a
token and tell another player which of its cards have some colour or some rank.
Everybody is rewarded for each card that fits. The game ends with the last life,
which takes all points with it, with all fireworks complete, or when each player
has had a turn after the deck ran out.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.envs.environment import Environment, Step
from ttc.envs.multi_agent.hanabi.cards import (
  NONE,
  HanabiParams,
  HanabiState,
  Hands,
  Meaning,
  Move,
  Size,
  is_of,
  kinds_of_words,
  player_after,
  read_action,
)
from ttc.envs.multi_agent.hanabi.drawing import draw
from ttc.envs.multi_agent.hanabi.observation import (
  as_seen,
  observation_size,
  observe,
)
from ttc.envs.spaces import Box, Discrete


def hanabi(
  num_players: int = 2,
  *,
  num_colors: int = 5,
  num_ranks: int = 5,
  hand_size: int | None = None,
  info_tokens: int = 8,
  life_tokens: int = 3,
  copies: tuple[int, ...] | None = None,
) -> Environment:
  """Hanabi.

  The actions are in the order of `cards.read_action`; whoever's turn it is not
  has the last one only, and what it does has no effect. An illegal action
  counts as the first legal one.

  Args:
    num_players: 2 to 5.
    num_colors: 1 to 6.
    num_ranks: 1 to 5.
    hand_size: None for the official 5 cards, 4 with more than 3 players.
    info_tokens: hints that can be saved up.
    life_tokens: mistakes that end the game.
    copies: cards of each rank in each colour; None for the official 3 of the
      lowest, 1 of the highest and 2 of others.

  Returns:
    The environment; its params are `cards.HanabiParams`.

  Raises:
    ValueError: on a number out of its range, or hands larger than the deck.
  """
  if hand_size is None:
    hand_size = 5 if num_players < 4 else 4
  if copies is None:
    copies = (3, *(2,) * (num_ranks - 2), *(1,) * (num_ranks > 1))
  size = Size(
    num_players,
    num_colors,
    num_ranks,
    hand_size,
    info_tokens,
    life_tokens,
    tuple(copies),
  )
  _check(size)
  box = Box((observation_size(size),), 0.0, 1.0)
  return Environment(
    name='hanabi',
    agents=tuple(f'agent_{i}' for i in range(num_players)),
    default_params=HanabiParams(info_tokens, life_tokens),
    reset=functools.partial(reset, size),
    step=functools.partial(step, size),
    observe=functools.partial(observe, size),
    observation_spaces=(box,) * num_players,
    action_spaces=(Discrete(size.num_actions),) * num_players,
    draw=functools.partial(draw, size),
    legal=functools.partial(legal_moves, size),
  )


def _check(size: Size) -> None:
  ranges = {
    'num_players': (2, 5),
    'num_colors': (1, 6),
    'num_ranks': (1, 5),
    'hand_size': (2, 10),
    'info_tokens': (1, 100),
    'life_tokens': (1, 100),
  }
  for name, (low, high) in ranges.items():
    value = getattr(size, name)
    if not low <= value <= high:
      raise ValueError(f'hanabi: {name}={value}, expected {low} .. {high}')
  if len(size.copies) != size.num_ranks or min(size.copies) < 1:
    raise ValueError(
      f'hanabi: copies={size.copies}, expected {size.num_ranks} numbers >= 1'
    )
  dealt = size.num_players * size.hand_size
  if dealt > size.deck_size:
    raise ValueError(
      f'hanabi: {size.num_players} hands of {size.hand_size} cards, expected '
      f'at most the {size.deck_size} cards of the deck'
    )


def reset(
  size: Size, key: PRNGKeyArray, params: HanabiParams
) -> tuple[Float[Array, 'A D'], HanabiState]:
  """A shuffled deck, dealt."""
  state = deal(size, shuffle(key, size.full_deck()), params)
  return observe(size, state, params), state


def shuffle(
  key: PRNGKeyArray, cards: Int[np.ndarray, ' N']
) -> Int[Array, ' N']:
  """A random order, by ranks of random numbers: some tens need no sort."""
  lots = jax.random.bits(key, cards.shape, jnp.uint32)
  index = jnp.arange(cards.shape[0])
  before = (lots[None] < lots[:, None]) | (
    (lots[None] == lots[:, None]) & (index[None] < index[:, None])
  )
  places = jnp.sum(before, axis=1, dtype=jnp.int32)
  places = jax.lax.optimization_barrier(places)
  return jnp.sum(
    jnp.where(places[None] == index[:, None], cards[None], 0),
    axis=1,
    dtype=jnp.int32,
  )


def deal(
  size: Size, deck: Int[Array, ' N'], params: HanabiParams
) -> HanabiState:
  """The start of a game with a deck: its first cards go to the first player."""
  shape = (size.num_players, size.hand_size)
  dealt = size.num_players * size.hand_size
  number = lambda x: jnp.asarray(x).astype(jnp.int32)
  no = jnp.zeros((), bool)
  return HanabiState(
    deck=deck,
    num_dealt=number(dealt),
    hands=Hands(
      card=deck[:dealt].reshape(shape),
      colors=jnp.full(shape, 2**size.num_colors - 1, jnp.int32),
      ranks=jnp.full(shape, 2**size.num_ranks - 1, jnp.int32),
      color_told=jnp.zeros(shape, bool),
      rank_told=jnp.zeros(shape, bool),
    ),
    fireworks=jnp.zeros((size.num_colors,), jnp.int32),
    discards=jnp.zeros((size.num_kinds,), jnp.int32),
    info_tokens=number(params.info_tokens),
    life_tokens=number(params.life_tokens),
    player=number(0),
    turns_left=number(size.num_players),
    move=Move(
      player=number(NONE),
      action=number(size.num_actions - 1),
      card=number(NONE),
      touched=jnp.zeros((size.hand_size,), bool),
      scored=no,
      gained=no,
    ),
    score=number(0),
    time=number(0),
  )


def step(
  size: Size,
  key: PRNGKeyArray,
  state: HanabiState,
  action: Int[Array, ' A'],
  params: HanabiParams,
) -> Step:
  """The turn of one player."""
  del key
  turn = jnp.arange(size.num_players) == state.player
  act = jnp.sum(jnp.where(turn, action, 0), dtype=jnp.int32)
  act, touched = legalize(size, state, act, params)
  meaning = read_action(size, state.player, act)
  hints = meaning.color_hint | meaning.rank_hint
  slots = jnp.arange(size.hand_size) == meaning.slot
  card = pick(state.hands.card, turn[:, None] & slots[None])
  lies = state.fireworks
  lowest = np.arange(0, size.num_kinds, size.num_ranks, dtype=np.int32)
  adds = meaning.play & (card == lowest + lies) & (lies < size.num_ranks)
  fits = jnp.any(adds)
  fails = meaning.play & ~fits
  completes = jnp.any(adds & (lies == size.num_ranks - 1))
  tokens = state.info_tokens + (meaning.discard | completes) - hints
  tokens = jnp.minimum(tokens, params.info_tokens).astype(jnp.int32)
  out = (jnp.arange(size.num_kinds) == card) & (meaning.discard | fails)
  empty = state.num_dealt >= size.deck_size
  top = pick(state.deck, jnp.arange(size.deck_size) == state.num_dealt)
  drawn = jnp.where(empty, NONE, top)
  hands = replace_card(size, state.hands, turn & ~hints, meaning.slot, drawn)
  fireworks = lies + adds
  points = jnp.sum(fireworks, dtype=jnp.int32)
  lives = state.life_tokens - fails
  turns_left = state.turns_left - empty
  reward = fits - jnp.where((lives <= 0) & params.lose_score, points, 0)
  state = HanabiState(
    deck=state.deck,
    num_dealt=state.num_dealt + ~(hints | empty),
    hands=tell(size, hands, meaning, touched),
    fireworks=fireworks,
    discards=state.discards + out,
    info_tokens=tokens,
    life_tokens=lives,
    player=player_after(size, state.player, 1),
    turns_left=turns_left,
    move=Move(
      player=state.player,
      action=act,
      card=jnp.where(hints, NONE, card),
      touched=touched,
      scored=fits,
      gained=completes & (tokens > state.info_tokens),
    ),
    score=state.score + reward,
    time=state.time + 1,
  )
  over = (lives <= 0) | (points == size.num_kinds) | (turns_left <= 0)
  return Step(
    observe(size, state, params),
    state,
    jnp.full((size.num_players,), reward, jnp.float32),
    over,
    jnp.zeros((), bool),
    {},
  )


def pick(values: Int[Array, ' *n'], mask: Bool[Array, ' *n']) -> Int[Array, '']:
  """The value where the mask is, which is in one place at most; else 0."""
  return jnp.sum(jnp.where(mask, values, 0), dtype=jnp.int32)


def legalize(
  size: Size, state: HanabiState, action: Int[Array, ''], params: HanabiParams
) -> tuple[Int[Array, ''], Bool[Array, ' H']]:
  """The action that is taken, and which cards of the target it names."""
  meaning = read_action(size, state.player, action)
  row = jnp.arange(size.num_players) == meaning.target
  cards = jnp.sum(
    jnp.where(row[:, None], state.hands.card, 0), axis=0, dtype=jnp.int32
  )
  touched = is_of(meaning.kinds, cards)
  saves = state.info_tokens < params.info_tokens
  hint = jnp.any(touched) & (state.info_tokens > 0)
  legal = (meaning.discard & saves) | meaning.play | hint
  first = jnp.where(saves, 0, size.hand_size)
  return jnp.where(legal, action, first).astype(jnp.int32), touched & legal


def replace_card(
  size: Size,
  hands: Hands,
  rows: Bool[Array, ' A'],
  slot: Int[Array, ''],
  drawn: Int[Array, ''],
) -> Hands:
  """Takes a card out of the hand in `rows`; younger ones move up."""
  real = drawn != NONE
  new = Hands(
    card=drawn,
    colors=jnp.where(real, 2**size.num_colors - 1, 0),
    ranks=jnp.where(real, 2**size.num_ranks - 1, 0),
    color_told=jnp.bool_(False),
    rank_told=jnp.bool_(False),
  )
  last = np.arange(size.hand_size) == size.hand_size - 1
  stays = (jnp.arange(size.hand_size) < slot)[None] | ~rows[:, None]

  def move_up(old, young):
    shifted = jnp.where(last, young, jnp.roll(old, -1, axis=1))
    return jnp.where(stays, old, shifted).astype(old.dtype)

  return jax.tree.map(move_up, hands, new)


def tell(
  size: Size, hands: Hands, meaning: Meaning, touched: Bool[Array, ' H']
) -> Hands:
  """What a hint adds to what the holder of the cards knows."""
  row = (jnp.arange(size.num_players) == meaning.target)[:, None]
  color, rank = row & meaning.color_hint, row & meaning.rank_hint
  bit = 1 << meaning.value
  narrow = lambda old: jnp.where(touched, old & bit, old & ~bit)
  return hands._replace(
    colors=jnp.where(color, narrow(hands.colors), hands.colors),
    ranks=jnp.where(rank, narrow(hands.ranks), hands.ranks),
    color_told=hands.color_told | (color & touched[None]),
    rank_told=hands.rank_told | (rank & touched[None]),
  )


def legal_moves(
  size: Size, state: HanabiState, params: HanabiParams
) -> Bool[Array, 'A n']:
  """Of the player whose turn it is; others wait."""
  players, cards = size.num_players, state.hands.card
  held = cards != NONE
  named = lambda kinds: as_seen(
    jnp.any(is_of(kinds, cards[..., None]), axis=1)
  )[:, 1:]
  colors, ranks = (named(kinds[None, None]) for kinds in kinds_of_words(size))
  turn = (jnp.arange(players) == state.player)[:, None]
  hints = jnp.concatenate(
    [colors.reshape(players, -1), ranks.reshape(players, -1)], axis=-1
  )
  saves = state.info_tokens < params.info_tokens
  rows = [held & saves, held, hints & (state.info_tokens > 0)]
  return jnp.concatenate([turn & x for x in rows] + [~turn], axis=-1)
