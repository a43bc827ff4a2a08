"""Agents of the shop of pages: scripts, clones of them, and TTI.

A policy is a GRU over the pages seen, which thinks before each action for as
many steps as it is told: a thought is a token that it draws and reads again,
and part of what cloning repeats.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import envs, finetuning
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
from ttc.types import Params

LONGEST = 16  # h_max
_ENV = envs.web_pages()
_PARAMS = _ENV.default_params
_WIDTH, _THOUGHTS = 96, 8  # of the memory; different thoughts
_BATCH = 32  # episodes of a step of training


class Episodes(NamedTuple):
  """What agents saw and did, steps in front; nothing counts after the end.

  Attributes:
    pages: before each step.
    thoughts: drawn before each action; `[h, n, m]`.
    actions: taken.
    active: whether the step was taken.
    rewards: of the episode.
    lengths: steps taken.
    sites: category that was hinted at: the part of the shop it begins in.
  """

  pages: Float[Array, 'h n 16']
  thoughts: Int[Array, 'h n m']
  actions: Int[Array, 'h n']
  active: Bool[Array, 'h n']
  rewards: Float[Array, ' n']
  lengths: Int[Array, ' n']
  sites: Int[Array, ' n']


class Policy(nn.Module):
  """A memory `[n, W]` that reads pages, thinks and acts."""

  def setup(self):
    """The parts."""
    self.cell = nn.GRUCell(_WIDTH)
    self.page = nn.Dense(_WIDTH)
    self.thought = nn.Embed(_THOUGHTS, _WIDTH)
    self.wonder = nn.Dense(_THOUGHTS)
    self.hidden = nn.Dense(_WIDTH)
    self.act = nn.Dense(NUM_ACTIONS)

  def __call__(self, memory, page):
    """Every part once, for the parameters' sake."""
    memory = self.read(memory, page)
    memory = self.hear(memory, jnp.argmax(self.think(memory), axis=-1))
    return memory, self.decide(memory)

  def read(self, memory, page):
    """The memory after a page `[n, 16]`."""
    tokens = jax.nn.one_hot(page.astype(jnp.int32), NUM_TOKENS)
    seen = nn.relu(self.page(tokens.reshape(len(page), -1)))
    return self.cell(memory, seen)[0]

  def think(self, memory):
    """Logits of the next thought."""
    return self.wonder(memory)

  def hear(self, memory, thought):
    """The memory after a thought `[n]`."""
    return self.cell(memory, self.thought(thought))[0]

  def decide(self, memory):
    """Logits of the action."""
    return self.act(nn.relu(self.hidden(memory)))


_NET = Policy()


def init_policy(key: PRNGKeyArray) -> Params:
  """Parameters; the key is consumed."""
  return _NET.init(key, jnp.zeros((1, _WIDTH)), jnp.zeros((1, 16)))


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


def demonstrations(
  key: PRNGKeyArray, num: int, explorers: float = 0.3, odd: float = 0.1
) -> Episodes:
  """Episodes of scripts: some look on, the rest take what the hint says.

  Args:
    key: random key, consumed.
    num: episodes; static.
    explorers: share that goes back, looks on and unlocks.
    odd: share of actions drawn at random.
  """
  kind_key, key = jax.random.split(key)
  explores = jax.random.uniform(kind_key, (num,)) < explorers
  none = jnp.zeros((num, NUM_CATEGORIES), bool)
  mind = _Script(none, none[:, 0], jnp.zeros((num,), jnp.int32))

  def act(keys, states, pages, mind):
    def one(key, state, mind, explores):
      script_key, odd_key, pick_key = jax.random.split(key, 3)
      action, mind = _scripted(script_key, state, mind, explores)
      anything = jax.random.randint(pick_key, (), 0, NUM_ACTIONS)
      is_odd = jax.random.uniform(odd_key, ()) < odd
      return jnp.where(is_odd, anything, action), mind

    action, mind = jax.vmap(one)(keys, states, mind, explores)
    return action, jnp.zeros((num, 0), jnp.int32), mind

  return _play(key, num, act, mind, jnp.int32(LONGEST))


def roll_out(
  params: Params,
  key: PRNGKeyArray,
  num: int,
  horizon: Int[Array, ''] | int,
  num_thoughts: int = 0,
) -> Episodes:
  """Episodes of a policy on fresh tasks.

  Args:
    params: of the policy.
    key: random key, consumed.
    num: tasks; static.
    horizon: most steps; may be traced.
    num_thoughts: before each action; static.
  """
  fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
  draw = lambda keys, i, logits: jax.vmap(jax.random.categorical)(
    fold(keys, i), logits
  )
  use = functools.partial(_NET.apply, params)

  def act(keys, states, pages, memory):
    def think(memory, i):
      thought = draw(keys, i, use(memory, method='think'))
      return use(memory, thought, method='hear'), thought

    memory = use(memory, pages, method='read')
    memory, thoughts = jax.lax.scan(think, memory, jnp.arange(num_thoughts))
    action = draw(keys, num_thoughts, use(memory, method='decide'))
    return action, thoughts.T, memory

  memory = jnp.zeros((num, _WIDTH), jnp.float32)
  return _play(key, num, act, memory, jnp.asarray(horizon, jnp.int32))


def _play(key, num, act, memory, horizon):
  """Episodes side by side, each with keys of its own."""
  keys = jax.random.split(key, num)
  fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
  pages, states = jax.vmap(_ENV.reset, (0, None))(fold(keys, 0), _PARAMS)
  sites = states.hint

  def step(carry, t):
    pages, states, memory, active, rewards = carry
    action, thoughts, memory = act(fold(keys, t + 1), states, pages, memory)
    out = jax.vmap(_ENV.step, (0, 0, 0, None))(
      keys, states, action[:, None], _PARAMS
    )
    rewards += jnp.where(active, out.reward[:, 0], 0.0)
    goes_on = active & ~out.terminated & (t + 1 < horizon)
    seen = (pages, thoughts, action, active)
    return (out.obs[:, 0], out.state, memory, goes_on, rewards), seen

  start = (
    pages[:, 0], states, memory, jnp.ones((num,), bool), jnp.zeros((num,)),
  )  # fmt: skip
  end, seen = jax.lax.scan(step, start, jnp.arange(LONGEST))
  lengths = jnp.sum(seen[3], axis=0).astype(jnp.int32)
  return Episodes(*seen, rewards=end[4], lengths=lengths, sites=sites)


def clone_loss(
  params: Params, episodes: Episodes, counts: Bool[Array, ' n']
) -> Float[Array, '']:
  """Cross-entropy of actions and thoughts, nats per step that counts."""
  use = functools.partial(_NET.apply, params)
  of = optax.softmax_cross_entropy_with_integer_labels

  def think(memory, thought):
    loss = of(use(memory, method='think'), thought)
    return use(memory, thought, method='hear'), loss

  def step(memory, now):
    pages, thoughts, actions, active = now
    memory = use(memory, pages, method='read')
    memory, losses = jax.lax.scan(think, memory, thoughts.T)
    loss = of(use(memory, method='decide'), actions) + jnp.sum(losses, axis=0)
    return memory, jnp.sum(jnp.where(active & counts, loss, 0.0))

  num = episodes.actions.shape[1]
  memory = jnp.zeros((num, _WIDTH), jnp.float32)
  _, losses = jax.lax.scan(step, memory, episodes[:4])
  return jnp.sum(losses) / jnp.maximum(jnp.sum(episodes.active & counts), 1)


def clone_scripts(key: PRNGKeyArray, num_steps: int = 4000) -> Params:
  """The base policy: a clone of the mixture of scripts."""
  optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, num_steps))
  train_step = finetuning.make_train_step(
    lambda params, batch: clone_loss(params, batch, jnp.ones((256,), bool)),
    optimizer,
  )
  state = finetuning.init_state(init_policy, optimizer, key)
  state, _ = jax.jit(
    lambda state: finetuning.run_steps(
      train_step, lambda key: demonstrations(key, 256), state, num_steps
    )
  )(state)
  return state.params


class Curve(NamedTuple):
  """Iteration by iteration.

  Attributes:
    success: at the longest horizon, on tasks of their own.
    successful_steps: of the successful ones among these.
    env_steps: taken in training so far.
    tokens: actions and thoughts generated in training so far.
  """

  success: Float[Array, ' I']
  successful_steps: Float[Array, ' I']
  env_steps: Int[Array, ' I']
  tokens: Int[Array, ' I']


@functools.partial(jax.jit, static_argnames=('num', 'num_thoughts'))
def tti(
  params: Params,
  key: PRNGKeyArray,
  horizons: Int[Array, ' I'],
  num: int = 256,
  num_thoughts: int = 0,
  learning_rate: float = 1e-3,
) -> tuple[Params, Curve]:
  """Filtered cloning, one horizon an iteration, from a base policy.

  Args:
    params: of the base policy.
    key: random key, consumed.
    horizons: of each iteration; traced, so all schedules are one program.
    num: tasks of an iteration, and episodes drawn from the buffer.
    num_thoughts: before each action; static.
    learning_rate: of Adam.

  Returns:
    The last parameters, and what was seen on the way.
  """
  room = horizons.size * num
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(learning_rate)
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: clone_loss(params, *batch), optimizer
  )
  buffer = _over_episodes(
    lambda axis, x: jnp.zeros(
      (*x.shape[:axis], room, *x.shape[axis + 1 :]), x.dtype
    ),
    jax.eval_shape(
      lambda key: roll_out(params, key, num, LONGEST, num_thoughts), key
    ),
  )

  def iterate(carry, now):
    state, buffer, kept = carry
    i, horizon = now
    keys = jax.random.split(jax.random.fold_in(key, i), 3)
    roll_key, draw_key, test_key = keys
    episodes = roll_out(state.params, roll_key, num, horizon, num_thoughts)
    buffer = _over_episodes(
      lambda axis, old, new: jax.lax.dynamic_update_slice_in_dim(
        old, new, i * num, axis
      ),
      buffer,
      episodes,
    )
    good = finetuning.keep_successes(
      episodes.rewards, episodes.lengths, jnp.arange(num), num
    )
    kept = jax.lax.dynamic_update_slice_in_dim(kept, good, i * num, 0)
    probs = finetuning.replay_probs(
      finetuning.Buffer(buffer.sites, kept), NUM_CATEGORIES
    )
    index, counts = finetuning.draw_without_replacement(draw_key, probs, num)
    batches = _in_batches(buffer, index, counts)
    state, _ = jax.lax.scan(train_step, state, batches)
    tested = roll_out(state.params, test_key, 512, LONGEST, num_thoughts)
    right = tested.rewards > 0
    steps = jnp.sum(episodes.lengths)
    seen = (
      jnp.mean(right, dtype=jnp.float32),
      jnp.sum(jnp.where(right, tested.lengths, 0))
      / jnp.maximum(right.sum(), 1),
      steps,
      steps * (1 + num_thoughts),
    )
    return (state, buffer, kept), seen

  start = finetuning.init_state(lambda _: params, optimizer, key)
  carry = start, buffer, jnp.zeros((room,), bool)
  (state, _, _), seen = jax.lax.scan(
    iterate, carry, (jnp.arange(horizons.size), horizons)
  )
  success, length, steps, tokens = seen
  totals = jnp.cumsum(steps), jnp.cumsum(tokens)
  return state.params, Curve(success, length, *totals)


def _over_episodes(fn, *trees: Episodes) -> Episodes:
  """`fn(axis, *leaves)` with the axis of episodes: 1 behind steps, else 0."""
  return Episodes(
    *(
      fn(int(name in Episodes._fields[:4]), *leaves)
      for name, *leaves in zip(Episodes._fields, *trees, strict=True)
    )
  )


def _in_batches(buffer, index, counts):
  """The episodes that were drawn, `_BATCH` at a time, and which count."""

  def split(axis, x):
    order = index.reshape(-1, _BATCH)
    return jnp.moveaxis(jnp.take(x, order, axis), axis, 0)

  return _over_episodes(split, buffer), counts.reshape(-1, _BATCH)
