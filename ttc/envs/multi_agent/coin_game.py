"""The coin game (Lerer and Peysakhovich, 2017, 1707.01068), a social dilemma.

Two agents on a 3x3 torus, and a coin of the colour of each. Whoever steps onto
a coin takes it, for +1 whatever its colour, but the owner of a coin that the
other one takes loses 2: good for one, bad for both. A taken coin appears
anywhere. As in meta-games (Lu et al., 2022, 2205.01447) an episode is several
games of the same pair: after 10 steps all pieces are placed anew and the play
goes on, after 10 games the episode is truncated.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttc.envs.environment import Environment, Step
from ttc.envs.rendering import (
  AGENT_COLORS,
  Circle,
  Picture,
  Text,
  rectangle,
)
from ttc.envs.spaces import Box, Discrete, random_index
from ttc.types import AnyArray, AnyNumber

RIGHT, LEFT, UP, DOWN, STAY = range(5)
SIDE = 3


class CoinGameParams(NamedTuple):
  """What a task may set.

  Attributes:
    game_steps: of a game.
    num_games: of an episode.
    payoff: of each agent, for a coin of its own, for one of the other's, and
      for the other one taking its own.
    others_weight: how much of the other's payoff an agent's reward adds; 1 for
      shared rewards.
  """

  game_steps: Int[AnyNumber, '']
  num_games: Int[AnyNumber, '']
  payoff: Float[AnyArray, '2 3']
  others_weight: Float[AnyNumber, '']


class CoinGameState(NamedTuple):
  """Rows and columns of pieces, and time.

  Attributes:
    position: of agents.
    coin: of the coin of each agent.
    time: steps of this game.
    game: games before it.
  """

  position: Int[Array, '2 2']
  coin: Int[Array, '2 2']
  time: Int[Array, '']
  game: Int[Array, '']


def coin_game(egocentric: bool = False, image: bool = False) -> Environment:
  """The coin game.

  Observations are planes of the board, `[self, other, own coin, other's coin]`
  of each cell. `info` has `game_done`, whether the step ended a game, and
  `own_coin` and `other_coin` `[2]`, whether each agent took one of those. Where
  a game ends that is not the last one, the observation is that of the next one.

  Args:
    egocentric: whether boards are shifted so that oneself is in the middle.
    image: whether observations are `[3, 3, 4]`, not `[36]`.

  Returns:
    The environment; its params are `CoinGameParams`.
  """
  shape = (SIDE, SIDE, 4) if image else (SIDE * SIDE * 4,)

  def observe(state, params):
    del params
    return _planes(state, egocentric).reshape(2, *shape)

  def reset(key, params):
    places = _random_places(key)
    zero = jnp.zeros((), jnp.int32)
    state = CoinGameState(places[:2], places[2:], zero, zero)
    return observe(state, params), state

  def step(key, state, action, params):
    position = (state.position + _direction(action)) % SIDE
    on_coin = jnp.all(
      position[:, None] == state.coin[None], axis=-1
    )  # agent, coin
    own = jnp.stack([on_coin[0, 0], on_coin[1, 1]])
    other = jnp.stack([on_coin[0, 1], on_coin[1, 0]])
    events = jnp.stack([own, other, other[::-1]], axis=-1)
    payoff = jnp.sum(jnp.where(events, params.payoff, 0.0), axis=-1)

    places = _random_places(key)  # for taken coins, or for all pieces
    taken = jnp.any(on_coin, axis=0)[:, None]
    time = state.time + 1
    game_done = time >= params.game_steps
    game = state.game + game_done
    truncated = game >= params.num_games
    anew = game_done & ~truncated
    state = CoinGameState(
      position=jnp.where(anew, places[:2], position),
      coin=jnp.where(anew | taken, places[2:], state.coin),
      time=jnp.where(anew, 0, time),
      game=game.astype(jnp.int32),
    )
    return Step(
      observe(state, params),
      state,
      payoff + params.others_weight * payoff[::-1],
      jnp.zeros((), bool),
      truncated,
      {'game_done': game_done, 'own_coin': own, 'other_coin': other},
    )

  return Environment(
    name='coin_game',
    agents=('0', '1'),
    default_params=CoinGameParams(
      game_steps=np.int32(10),
      num_games=np.int32(10),
      payoff=np.array([[1.0, 1.0, -2.0]] * 2, np.float32),
      others_weight=np.float32(0.0),
    ),
    reset=reset,
    step=step,
    observe=observe,
    observation_spaces=(Box(shape, 0.0, 1.0),) * 2,
    action_spaces=(Discrete(5),) * 2,
    draw=draw,
  )


def _planes(state, egocentric):
  """Planes of the pieces on the board of each agent, `[2, cells, 4]`."""
  # Of each agent: self, other, own coin, other's coin; row and column.
  pieces = jnp.concatenate(
    [
      jnp.stack([state.position, state.position[::-1]]),
      jnp.stack([state.coin, state.coin[::-1]]),
    ],
    axis=1,
  )
  if egocentric:
    pieces = (pieces - state.position[:, None] + SIDE + 1) % SIDE
  cell = pieces[..., 0] * SIDE + pieces[..., 1]
  planes = cell[:, None] == jnp.arange(SIDE * SIDE)[None, :, None]
  return planes.astype(jnp.float32)


def _direction(action):
  """Rows and columns that actions move by: up is a row more."""
  is_move = lambda n: (action == n).astype(jnp.int32)
  return jnp.stack(
    [is_move(UP) - is_move(DOWN), is_move(RIGHT) - is_move(LEFT)], axis=-1
  )


def _random_places(key):
  """Uniform cells of the four pieces `[4, 2]`: digits of a number, base 9."""
  number = random_index(key, (), 9**4)
  cell = number // 9 ** jnp.arange(4, dtype=jnp.int32) % 9
  return jnp.stack([cell // SIDE, cell % SIDE], axis=-1)


def draw(state: CoinGameState, params: CoinGameParams) -> Picture:
  """Agents are large, coins small discs; one's own coin has one's colour."""
  colors = (AGENT_COLORS[1], AGENT_COLORS[0])
  shapes = []
  for row in range(SIDE):
    for column in range(SIDE):
      shapes.append(
        rectangle((column, row), (column + 1, row + 1), '#f4f4f4', '#cccccc')
      )
  for agent, color in enumerate(colors):
    row, column = state.position[agent]
    center = (column + 0.36 + 0.28 * agent, row + 0.64)
    shapes.append(Circle(center, 0.24, color, '#333333'))
  for agent, color in enumerate(colors):
    row, column = state.coin[agent]
    center = (column + 0.36 + 0.28 * agent, row + 0.22)
    shapes.append(Circle(center, 0.12, '#ffd700', '#997f00'))
    shapes.append(Circle(center, 0.07, color))
  game = min(int(state.game) + 1, int(params.num_games))
  text = (
    f'game {game} of {int(params.num_games)}, '
    f'step {int(state.time)} of {int(params.game_steps)}'
  )
  shapes.append(Text((SIDE / 2, SIDE + 0.15), text, size=0.05))
  return Picture((0.0, 0.0), (float(SIDE), SIDE + 0.3), shapes)
