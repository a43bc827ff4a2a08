"""The shop of pages as a world for agents: two scripts in it.

The explorer takes the hint, goes back, looks on and unlocks; the greedy one
takes the hint and guesses where the item is not listed. See `acting_agents`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ttc import envs
from ttc.envs.web_pages import (
  BACK,
  CATEGORY,
  HELP,
  HELP_LINK,
  HOME,
  NUM_ACTIONS,
  NUM_CATEGORIES,
  NUM_TOKENS,
  NUM_VALUES,
  SUBMIT,
  TYPE,
  right_value,
  shows_form,
)  # fmt: skip
from ttc.testbeds.acting_agents import Site

LONGEST = 16  # h_max
_ENV = envs.web_pages()
_PARAMS = _ENV.default_params


class _Script(NamedTuple):
  """What a scripted agent keeps in mind."""

  visited: Bool[Array, ' C']
  knows_code: Bool[Array, '']
  goal: Int[Array, '']  # the category it is after


def _scripted(key, state, mind, explores):
  """The action of the explorer, or of the greedy one, and what it keeps."""
  guess_key, order_key = jax.random.split(key)
  guess = SUBMIT + jax.random.randint(guess_key, (), 0, NUM_VALUES)
  category, place = state.target
  noise = jax.random.uniform(order_key, (NUM_CATEGORIES,))
  unseen = jnp.where(mind.visited, -1.0, noise)
  fresh = ~jnp.any(mind.visited)
  chosen = jnp.where(fresh, state.hint, jnp.argmax(unseen)).astype(jnp.int32)
  form = shows_form(state)
  listed = (state.kind == CATEGORY) & ~form & (state.category == category)
  must_unlock = mind.knows_code & ~state.is_open
  wants_code = mind.visited[state.locked] & ~mind.knows_code & ~state.is_open
  at_home = jnp.select(
    [wants_code, must_unlock], [HELP_LINK, mind.goal], chosen
  )
  at_form = jnp.where(mind.knows_code, TYPE + state.code, BACK)
  looking = jnp.where(listed, place, jnp.where(form, at_form, BACK))
  greedy = jnp.where(listed, place, guess)
  answer = SUBMIT + right_value(state)
  right_item = (state.category == category) & (state.place == place)
  action = jnp.select(
    [state.kind == HOME, state.kind == CATEGORY, state.kind == HELP],
    [at_home, jnp.where(explores, looking, greedy), BACK],
    jnp.where(right_item, answer, BACK),
  ).astype(jnp.int32)
  goes = (state.kind == HOME) & (action < HELP_LINK)
  mind = _Script(
    mind.visited | (goes & (jnp.arange(NUM_CATEGORIES) == action)),
    mind.knows_code | (state.kind == HELP),
    jnp.where(goes, action, mind.goal),
  )
  return action, mind


def _reset(key):
  """The first page."""
  pages, state = _ENV.reset(key, _PARAMS)
  return pages[0], state


def _step(key, state, action):
  """The next."""
  out = _ENV.step(key, state, action[None], _PARAMS)
  return out.obs[0], out.state, out.reward[0], out.terminated


def _start(state):
  """Nothing was visited."""
  del state
  none = jnp.zeros((NUM_CATEGORIES,), bool)
  return _Script(none, jnp.zeros((), bool), jnp.zeros((), jnp.int32))


def _act(key, state, mind, explores, odd, num_thoughts):
  """What a script does, now and then anything; it does not think."""
  del num_thoughts
  script_key, odd_key, pick_key = jax.random.split(key, 3)
  action, mind = _scripted(script_key, state, mind, explores)
  anything = jax.random.randint(pick_key, (), 0, NUM_ACTIONS)
  is_odd = jax.random.uniform(odd_key, ()) < odd
  action = jnp.where(is_odd, anything, action)
  return action, jnp.zeros((0,), jnp.int32), mind


def _encode(page):
  """Its tokens, one-hot."""
  tokens = jax.nn.one_hot(page.astype(jnp.int32), NUM_TOKENS)
  return tokens.reshape(len(page), -1)


SITE = Site(
  reset=_reset,
  step=_step,
  encode=_encode,
  start=_start,
  script=_act,
  part_of=lambda state: state.hint,  # where it begins
  num_actions=NUM_ACTIONS,
  num_parts=NUM_CATEGORIES,
  longest=LONGEST,
)
