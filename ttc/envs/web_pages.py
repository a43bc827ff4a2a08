"""A shop of linked pages in which a value has to be found.

The home page links to four categories and to a help page; a category lists four
items, an item shows two attributes. The task names an item and an attribute,
and is done by submitting its value. Which category holds the item is not told:
home marks one as a hint, right with chance 1/2. One category is locked and
shows a form only, until the code that the help page shows is typed into it.
Whoever looks at one page and answers is right half of the time at best; whoever
goes back, looks on and unlocks is always right, after `2 j + 1` steps if the
item is in the j-th category visited and 5 more if the lock was met by then.

Pages and actions are tokens (for 2506.07976, "Thinking vs. Doing"; the site is
ours). An observation is the current page alone: what was seen before is up to
the agent's memory.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc.envs.environment import Environment
from ttc.envs.rendering import Picture, Polygon, Shape, Text
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box, Discrete, random_index

NUM_CATEGORIES, NUM_ITEMS, NUM_ATTRIBUTES, NUM_VALUES = 4, 4, 2, 8
PAGE_LENGTH = 16  # tokens
HOME, CATEGORY, FORM, ITEM, HELP = range(1, 6)  # kinds of pages, and tokens
_ATTRIBUTE = 6  # the first token of each kind of word
_CATEGORY = _ATTRIBUTE + NUM_ATTRIBUTES
_ITEM = _CATEGORY + NUM_CATEGORIES
_VALUE = _ITEM + NUM_CATEGORIES * NUM_ITEMS
NUM_TOKENS = _VALUE + NUM_VALUES  # 0 is padding

# Actions: links 0 ... 4 of a page (4 is help), back, then type and submit.
HELP_LINK, BACK = 4, 5
TYPE = BACK + 1
SUBMIT = TYPE + NUM_VALUES
NUM_ACTIONS = SUBMIT + NUM_VALUES

WORDS = (
  '', 'home', 'category', 'form', 'item', 'help', 'colour', 'size',
  *(f'category {c}' for c in 'ABCD'),
  *(f'item {i}' for i in range(NUM_CATEGORIES * NUM_ITEMS)),
  *(f'value {v}' for v in range(NUM_VALUES)),
)  # fmt: skip


class WebPagesParams(NamedTuple):
  """What a task may set.

  Attributes:
    hint_accuracy: chance that the category marked at home holds the item.
    max_steps: before truncation.
  """

  hint_accuracy: Float[Array, ''] | float = 0.5
  max_steps: Int[Array, ''] | int = 16


class WebPagesState(NamedTuple):
  """The site, the task, and where the agent is.

  Attributes:
    items: name of each item, by category and place.
    values: of each item's attributes.
    code: that opens the lock.
    locked: category.
    hint: category marked at home.
    target: category and place of the item that is asked for.
    attribute: that is asked for.
    kind: of the page, `HOME` and so on; `CATEGORY` for the form too.
    category: of the page; 0 where it has none.
    place: of the item shown.
    is_open: whether the lock is.
    time: steps taken.
  """

  items: Int[Array, 'C I']
  values: Int[Array, 'C I 2']
  code: Int[Array, '']
  locked: Int[Array, '']
  hint: Int[Array, '']
  target: Int[Array, '2']
  attribute: Int[Array, '']
  kind: Int[Array, '']
  category: Int[Array, '']
  place: Int[Array, '']
  is_open: Bool[Array, '']
  time: Int[Array, '']


def web_pages() -> Environment:
  """The shop; reward 1 for submitting the right value, which ends the episode.

  `info` has `success`. Actions that a page does not have change nothing but the
  time.

  Returns:
    The environment; its params are `WebPagesParams`.
  """
  return single_agent(
    'web_pages',
    WebPagesParams(),
    _reset,
    _step,
    observe,
    Box((PAGE_LENGTH,), 0.0, float(NUM_TOKENS - 1)),
    Discrete(NUM_ACTIONS),
    draw,
  )


def shows_form(state: WebPagesState) -> Bool[Array, '']:
  """Whether the page is the locked category."""
  locked = (state.category == state.locked) & ~state.is_open
  return (state.kind == CATEGORY) & locked


def right_value(state: WebPagesState) -> Int[Array, '']:
  """What has to be submitted."""
  category, place = state.target
  return state.values[category, place, state.attribute]


def _reset(key, params):
  keys = jax.random.split(key, 9)
  draw = lambda i, num, shape=(): random_index(keys[i], shape, num)
  target = jnp.stack([draw(4, NUM_CATEGORIES), draw(5, NUM_ITEMS)])
  # A wrong hint is one of the other categories.
  wrong = jnp.mod(target[0] + 1 + draw(6, NUM_CATEGORIES - 1), NUM_CATEGORIES)
  told = jax.random.uniform(keys[7], (), jnp.float32) < params.hint_accuracy
  names = jnp.arange(NUM_CATEGORIES * NUM_ITEMS, dtype=jnp.int32)
  names = jax.random.permutation(keys[0], names)
  zero = jnp.zeros((), jnp.int32)
  return WebPagesState(
    items=names.reshape(NUM_CATEGORIES, NUM_ITEMS),
    values=draw(1, NUM_VALUES, (NUM_CATEGORIES, NUM_ITEMS, NUM_ATTRIBUTES)),
    code=draw(2, NUM_VALUES),
    locked=draw(3, NUM_CATEGORIES),
    hint=jnp.where(told, target[0], wrong),
    target=target,
    attribute=draw(8, NUM_ATTRIBUTES),
    kind=zero + HOME,
    category=zero,
    place=zero,
    is_open=jnp.zeros((), bool),
    time=zero,
  )


def _step(key, state, action, params):
  del key
  form, kind = shows_form(state), state.kind
  is_link = action < HELP_LINK
  to_category = (kind == HOME) & is_link
  to_help = (kind == HOME) & (action == HELP_LINK)
  to_item = (kind == CATEGORY) & ~form & is_link
  back_home = (action == BACK) & ((kind == CATEGORY) | (kind == HELP))
  back_up = (action == BACK) & (kind == ITEM)
  new_kind = jnp.select(
    [to_category | back_up, to_help, to_item, back_home],
    [CATEGORY, HELP, ITEM, HOME],
    kind,
  )
  submits = action >= SUBMIT
  success = submits & (action - SUBMIT == right_value(state))
  state = state._replace(
    kind=new_kind.astype(jnp.int32),
    category=jnp.where(to_category, action, state.category).astype(jnp.int32),
    place=jnp.where(to_item, action, state.place).astype(jnp.int32),
    is_open=state.is_open | (form & (action - TYPE == state.code)),
    time=state.time + 1,
  )
  reward = success.astype(jnp.float32)
  truncated = state.time >= params.max_steps
  return state, reward, submits, truncated, {'success': success}


def observe(
  state: WebPagesState, params: WebPagesParams
) -> Float[Array, ' 16']:
  """The page: its kind, the task's item and attribute, then what it shows."""
  del params
  c, place = state.category, state.place
  pad = lambda x: jnp.pad(x, (0, 12 - x.size)).astype(jnp.int32)
  home = jnp.append(_CATEGORY + jnp.arange(NUM_CATEGORIES), jnp.int32(HELP))
  attributes = _ATTRIBUTE + jnp.arange(NUM_ATTRIBUTES)
  values = _VALUE + state.values[c, place]
  form = shows_form(state)
  category = jnp.where(form, 0, _ITEM + state.items[c])
  shown = jnp.select(
    [state.kind == k for k in (HOME, CATEGORY, ITEM, HELP)],
    [
      pad(jnp.append(home, _CATEGORY + state.hint)),
      pad(category),
      pad(jnp.stack([attributes, values], axis=1).reshape(-1)),
      pad((_VALUE + state.code)[None]),
    ],
  )
  has_category = (state.kind == CATEGORY) | (state.kind == ITEM)
  head = jnp.stack([
    jnp.where(form, FORM, state.kind),
    _ITEM + state.items[tuple(state.target)],
    _ATTRIBUTE + state.attribute,
    jnp.where(has_category, _CATEGORY + c, 0),
  ])  # fmt: skip
  return jnp.concatenate([head, shown]).astype(jnp.float32)


def draw(state: WebPagesState, params: WebPagesParams) -> Picture:
  """The page as a browser would show it, the task above it."""
  state = jax.tree.map(jnp.asarray, state)
  page = [int(x) for x in jax.device_get(jax.jit(observe)(state, params))]
  kind, item, attribute, category, *shown = page
  title = ' '.join(filter(None, (WORDS[kind], WORDS[category])))
  shapes: list[Shape] = [
    Polygon([(0, 0), (1, 0), (1, 1), (0, 1)], '#f4f4f4'),
    Polygon(
      [(0.05, 0.05), (0.95, 0.05), (0.95, 0.85), (0.05, 0.85)], '#ffffff'
    ),
    Text((0.5, 0.93), f'{WORDS[attribute]} of {WORDS[item]}?', size=0.05),
    Text((0.5, 0.78), title, '#0072b2', 0.05),
  ]
  if kind == HOME:
    *shown, hint = [token for token in shown if token]
    shapes.append(Text((0.5, 0.15), f'try {WORDS[hint]}', '#d55e00'))
  lines = [WORDS[token] for token in shown if token]
  if kind == ITEM:
    pairs = zip(lines[::2], lines[1::2], strict=True)
    lines = [f'{name}: {value}' for name, value in pairs]
  if kind == FORM:
    lines = ['a code is needed']
  shapes += [Text((0.5, 0.66 - 0.1 * i), x) for i, x in enumerate(lines)]
  return Picture((0.0, 0.0), (1.0, 1.0), shapes)
