"""What all MinAtar games share: joystick, screen, clock (1903.03176).

A screen is `[10, 10, C]`, row 0 on top, a plane of zeros and ones for each kind
of thing. With `sticky_probability` the last action is repeated, whatever is
chosen. The games themselves know no limit of time but Freeway; `max_steps`
truncates. Defaults of both are those of gymnax: no sticky actions and 1000
steps, where the paper has a probability of 0.1 and no limit.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.envs.environment import Environment
from ttc.envs.rendering import Circle, Picture, Shape, Text, rectangle
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete

Place: TypeAlias = Int[Array | np.ndarray, '*n'] | np.integer | int

SIDE = 10
NOTHING, LEFT, UP, RIGHT, DOWN, FIRE = range(6)


def minatar_game(
  name: str,
  default_params: Any,
  reset: Callable[[Any, Any], Any],
  move: Callable[[Any, Any, Any, Any], tuple[Any, Any, Any]],
  observe: Callable[[Any, Any], Array],
  draw: Callable[[Any, Any], Picture],
  *,
  actions: Sequence[int] | None,
  num_planes: int,
  num_words: int = 0,
) -> Environment:
  """An environment from the rules of a game.

  Args:
    name: of the game.
    default_params: with the fields `sticky_probability` and `max_steps`.
    reset: `(key, params) -> state`, a NamedTuple with the fields `last_action`
      and `time`.
    move: `(words, state, action, params) -> (state, reward, terminated)`, the
      action one of the six, the words uint32 `[num_words]`, random.
    observe: `(state, params) -> [10, 10, num_planes]`.
    draw: `(state, params) -> Picture`.
    actions: those that the agent may choose; None for all six.
    num_planes: of a screen.
    num_words: how much chance a step needs.
  """
  meanings = tuple(range(6)) if actions is None else tuple(actions)

  def step(key, state, action, params):
    words = jax.random.bits(key, (1 + num_words,), jnp.uint32)
    share = (words[0] >> 8).astype(jnp.float32) * 2.0**-24
    chosen = action
    if meanings != tuple(range(len(meanings))):
      chosen = jnp.array(meanings, jnp.int32)[action]
    # Where a constant says never, no random number is drawn.
    sticks = params.sticky_probability > 0
    sticks &= share < params.sticky_probability
    chosen = jnp.where(sticks, state.last_action, chosen).astype(jnp.int32)
    state, reward, terminated = move(words[1:], state, chosen, params)
    time = state.time + 1
    state = state._replace(last_action=chosen, time=time)
    return state, reward, terminated, time >= params.max_steps, {}

  return single_agent(
    name,
    default_params,
    reset,
    step,
    observe,
    Box((SIDE, SIDE, num_planes), 0.0, 1.0),
    Discrete(len(meanings)),
    draw,
  )


def dark(num_planes: int) -> Float[Array, '10 10 C']:
  """A screen without anything on it."""
  return jnp.zeros((SIDE, SIDE, num_planes), jnp.float32)


def lit(
  screen: Float[Array, '10 10 C'],
  row: Place,
  column: Place,
  plane: Place,
  on: Shaped[Array | np.ndarray, '*n'] | bool = True,
) -> Float[Array, '10 10 C']:
  """A screen with cells of some planes on; none where `on` is false."""
  where = jnp.where(on, plane, screen.shape[-1])  # there is no such plane
  return screen.at[row, column, where].set(1.0, mode='drop')


def plane_of(row: Place, column: Place) -> Bool[Array, '10 10']:
  """A plane with one cell on."""
  at = jnp.arange(SIDE, dtype=jnp.int32)
  return (at == row)[:, None] & (at == column)[None]


def draw_screen(
  things: Sequence[tuple[Any, str, float]], caption: str
) -> Picture:
  """Things on a dark screen.

  Args:
    things: planes `[10, 10]`, the first one lowest, their colours, and their
      width, as a share of a cell; round ones have a negative width.
    caption: above the screen.
  """
  shapes: list[Shape] = [rectangle((0, 0), (SIDE, SIDE), '#16202a')]
  for i in range(1, SIDE):
    shapes.append(rectangle((i - 0.01, 0), (i + 0.01, SIDE), '#22303d'))
    shapes.append(rectangle((0, i - 0.01), (SIDE, i + 0.01), '#22303d'))
  for plane, color, width in things:
    for row, column in np.argwhere(plane):
      x, y, r = column + 0.5, SIDE - 0.5 - row, abs(width) / 2
      if width < 0:
        shapes.append(Circle((x, y), r, color))
      else:
        shapes.append(rectangle((x - r, y - r), (x + r, y + r), color))
  shapes.append(Text((SIDE / 2, SIDE + 0.4), caption, size=0.05))
  return Picture((-0.1, -0.1), (SIDE + 0.1, SIDE + 0.8), shapes)
