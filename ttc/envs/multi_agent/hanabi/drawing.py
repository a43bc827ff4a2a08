"""Pictures of the table."""

from ttc.envs.multi_agent.hanabi.cards import (
  NONE,
  HanabiParams,
  HanabiState,
  Size,
)
from ttc.envs.rendering import Circle, Picture, Shape, Text, rectangle

_COLORS = ('#d62728', '#f0c808', '#2ca02c', '#f7f7f7', '#1f77b4', '#9467bd')
_INK = ('#ffffff', '#222222', '#ffffff', '#222222', '#ffffff', '#ffffff')
_NO, _EDGE, _GREY = '#e3e3e3', '#222222', '#555555'
_STEP, _ROW = 1.25, 2.1  # from card to card, from player to player


def draw(size: Size, state: HanabiState, params: HanabiParams) -> Picture:
  """Fireworks and tokens above, a row for each hand, discards on the right.

  Under a card is what its holder knows: the colours and the ranks that it may
  have, with an edge or a line where a hint named them.
  """
  del params
  players = size.num_players
  width = max(1.4 + _STEP * max(size.hand_size, size.num_colors) + 2.6, 8.0)
  height = _ROW * players + 2.8
  text = lambda x, y, words, color=_EDGE, size=0.25: Text(
    (x, y), words, color, size / width
  )
  shapes: list[Shape] = [text(0.7, height - 1.0, 'fireworks')]
  for color in range(size.num_colors):
    x, y = 1.4 + _STEP * color, height - 1.7
    lies = int(state.fireworks[color])
    shapes += _card(text, x, y, color, lies - 1 if lies else None)
  left = f'{size.deck_size - int(state.num_dealt)} in deck'
  title = f'move {int(state.time)}, score {int(state.score)}, {left}'
  shapes.append(text(width / 2, height - 0.17, title, size=0.3))
  shapes += _tokens(1.55, height - 2.3, state.info_tokens, size, '#2b7bba')
  shapes += _tokens(
    1.55 + 0.4 * size.info_tokens + 0.4,
    height - 2.3,
    state.life_tokens,
    size._replace(info_tokens=size.life_tokens),
    '#d62728',
  )
  shapes.append(text(0.7, height - 2.3, 'hints, lives'))
  for player in range(players):
    y = height - 2.8 - _ROW * (player + 1) + 0.7
    if player == int(state.player):
      low, high = (0.05, y - 0.62), (1.4 + _STEP * size.hand_size, y + 1.3)
      shapes.append(rectangle(low, high, '#fff3c4'))
    shapes.append(text(0.7, y + 0.5, f'player {player}'))
    for slot in range(size.hand_size):
      shapes += _held(text, size, state, player, slot, 1.4 + _STEP * slot, y)
  shapes += _discards(text, size, state, width - 2.3, height - 3.2)
  return Picture((0.0, 0.0), (width, height), shapes)


def _card(text, x, y, color, rank):
  """A card; a place for one without a rank."""
  fill = _NO if rank is None else _COLORS[color]
  shapes: list[Shape] = [
    rectangle((x, y), (x + 0.95, y + 1.2), fill, _COLORS[color])
  ]
  if rank is not None:
    shapes[0] = rectangle((x, y), (x + 0.95, y + 1.2), fill, _EDGE)
    shapes.append(
      text(x + 0.475, y + 0.6, str(rank + 1), _INK[color], size=0.7)
    )
  return shapes


def _held(text, size, state, player, slot, x, y):
  """A card of a hand, over what its holder knows."""
  hands = state.hands
  card = int(hands.card[player, slot])
  if card == NONE:
    return []
  shapes = _card(text, x, y, card // size.num_ranks, card % size.num_ranks)
  part = 0.95 / size.num_colors
  for color in range(size.num_colors):
    may = int(hands.colors[player, slot]) >> color & 1
    low = (x + part * color + 0.02, y - 0.25)
    high = (x + part * (color + 1) - 0.02, y - 0.07)
    edge = _EDGE if may and hands.color_told[player, slot] else None
    shapes.append(rectangle(low, high, _COLORS[color] if may else _NO, edge))
    if may and color == 3:  # white, on what may be white
      shapes[-1] = rectangle(low, high, _COLORS[color], edge or _GREY)
  part = 0.95 / size.num_ranks
  for rank in range(size.num_ranks):
    may = int(hands.ranks[player, slot]) >> rank & 1
    known = may and hands.rank_told[player, slot]
    at = (x + part * (rank + 0.5), y - 0.42)
    shapes.append(text(*at, str(rank + 1), _EDGE if may else '#cccccc', 0.22))
    if known:
      shapes.append(
        rectangle((at[0] - 0.1, y - 0.57), (at[0] + 0.1, y - 0.53), _EDGE)
      )
  return shapes


def _tokens(x, y, count, size, color):
  """Those that are there, and places of others."""
  return [
    Circle((x + 0.4 * i, y), 0.15, color if i < int(count) else _NO, _GREY)
    for i in range(size.info_tokens)
  ]


def _discards(text, size, state, x, y):
  """Small cards, a column for each colour."""
  shapes: list[Shape] = [text(x + 1.1, y + 0.1, 'discards')]
  for color in range(size.num_colors):
    lies = 0
    for rank in range(size.num_ranks):
      for _ in range(int(state.discards[color * size.num_ranks + rank])):
        low = (x + 0.38 * color, y - 0.5 - 0.4 * lies)
        high = (low[0] + 0.33, low[1] + 0.35)
        shapes.append(rectangle(low, high, _COLORS[color], _EDGE))
        middle = (low[0] + 0.165, low[1] + 0.175)
        shapes.append(text(*middle, str(rank + 1), _INK[color], 0.28))
        lies += 1
  return shapes
