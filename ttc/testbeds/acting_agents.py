"""Agents that see, think and act: scripts, clones of them, and TTI.

A policy is a GRU over what is seen, which thinks before each action for as many
steps as it is told: a thought is a token that it draws and reads again, and
part of what cloning repeats. The world is a `Site`: a bed says what is seen,
what may be done and what scripts do.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import finetuning
from ttc.types import Params

_WIDTH, _THOUGHTS = 96, 8  # of the memory; different thoughts
_BATCH = 32  # episodes of a step of training


class Site(NamedTuple):
  """A world and its scripts, for one agent; static.

  Attributes:
    reset: `key -> (seen, state)`.
    step: `(key, state, action) -> (seen, state, reward, has_ended)`.
    encode: what is seen, `[n, ...]`, as features `[n, F]`.
    start: `state -> mind` of a script.
    script: `(key, state, mind, explores, odd, num_thoughts) -> (action,
      thoughts, mind)`; `odd` is the share of actions at random.
    part_of: `state -> part` of the world that it begins in.
    num_actions: there are.
    num_parts: of the world.
    longest: `h_max`.
    script_thoughts: most of a script before an action.
  """

  reset: Callable[[PRNGKeyArray], tuple[Any, Any]]
  step: Callable[..., tuple[Any, Any, Array, Array]]
  encode: Callable[[Array], Array]
  start: Callable[[Any], Any]
  script: Callable[..., tuple[Array, Array, Any]]
  part_of: Callable[[Any], Array]
  num_actions: int
  num_parts: int
  longest: int
  script_thoughts: int = 0


class Episodes(NamedTuple):
  """What agents saw and did, steps in front; nothing counts after the end.

  Attributes:
    seen: before each step.
    thoughts: drawn before each action; -1 for none. `[h, n, m]`.
    actions: taken.
    active: whether the step was taken.
    rewards: of the episode.
    lengths: steps taken.
    sites: part of the world each begins in.
  """

  seen: Float[Array, 'h n F']
  thoughts: Int[Array, 'h n m']
  actions: Int[Array, 'h n']
  active: Bool[Array, 'h n']
  rewards: Float[Array, ' n']
  lengths: Int[Array, ' n']
  sites: Int[Array, ' n']


class Policy(nn.Module):
  """A memory `[n, W]` that sees, thinks and acts."""

  num_actions: int

  def setup(self):
    """The parts."""
    self.cell = nn.GRUCell(_WIDTH)
    self.page = nn.Dense(_WIDTH)
    self.thought = nn.Embed(_THOUGHTS, _WIDTH)
    self.wonder = nn.Dense(_THOUGHTS)
    self.hidden = nn.Dense(_WIDTH)
    self.act = nn.Dense(self.num_actions)

  def __call__(self, memory, features):
    """Every part once, for the parameters' sake."""
    memory = self.read(memory, features)
    memory = self.hear(memory, jnp.argmax(self.think(memory), axis=-1))
    return memory, self.decide(memory)

  def read(self, memory, features):
    """The memory after what is seen, `[n, F]`."""
    return self.cell(memory, nn.relu(self.page(features)))[0]

  def think(self, memory):
    """Logits of the next thought."""
    return self.wonder(memory)

  def hear(self, memory, thought):
    """The memory after a thought `[n]`; as it was after none."""
    heard = self.cell(memory, self.thought(jnp.maximum(thought, 0)))[0]
    return jnp.where(thought[:, None] < 0, memory, heard)

  def decide(self, memory):
    """Logits of the action."""
    return self.act(nn.relu(self.hidden(memory)))


def init_policy(site: Site, key: PRNGKeyArray) -> Params:
  """Parameters; the key is consumed."""
  seen, _ = jax.eval_shape(site.reset, key)
  features = site.encode(jnp.zeros((1, *seen.shape), jnp.float32))
  return Policy(site.num_actions).init(key, jnp.zeros((1, _WIDTH)), features)


def _policy(site: Site, params: Params) -> Callable[..., Any]:
  """The policy with its parameters: `(..., method=)`."""
  return functools.partial(Policy(site.num_actions).apply, params)


def demonstrations(
  site: Site,
  key: PRNGKeyArray,
  num: int,
  explorers: float = 0.3,
  odd: float = 0.1,
) -> Episodes:
  """Episodes of scripts: some look on, the rest take what lies in front.

  Args:
    site: the world; static.
    key: random key, consumed.
    num: episodes; static.
    explorers: share that goes back and looks on.
    odd: share of actions drawn at random.
  """
  kind_key, key = jax.random.split(key)
  explores = jax.random.uniform(kind_key, (num,)) < explorers
  most = site.script_thoughts
  think_key = jax.random.fold_in(kind_key, 1)
  num_thoughts = jax.random.randint(think_key, (num,), 0, most + 1)

  def act(keys, states, seen, mind):
    del seen
    return jax.vmap(site.script, (0, 0, 0, 0, None, 0))(
      keys, states, mind, explores, odd, num_thoughts
    )

  start = jax.vmap(site.start)
  return _play(site, key, num, act, start, jnp.int32(site.longest))


def roll_out(
  site: Site,
  params: Params,
  key: PRNGKeyArray,
  num: int,
  horizon: Int[Array, ''] | int,
  num_thoughts: int = 0,
) -> Episodes:
  """Episodes of a policy on fresh tasks.

  Args:
    site: the world; static.
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
  use = _policy(site, params)

  def act(keys, states, seen, memory):
    def think(memory, i):
      thought = draw(keys, i, use(memory, method='think'))
      return use(memory, thought, method='hear'), thought

    memory = use(memory, site.encode(seen), method='read')
    memory, thoughts = jax.lax.scan(think, memory, jnp.arange(num_thoughts))
    action = draw(keys, num_thoughts, use(memory, method='decide'))
    return action, thoughts.T, memory

  start = lambda _: jnp.zeros((num, _WIDTH), jnp.float32)
  return _play(site, key, num, act, start, jnp.asarray(horizon, jnp.int32))


def _play(site, key, num, act, start, horizon):
  """Episodes side by side, each with keys of its own."""
  keys = jax.random.split(key, num)
  fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
  seen, states = jax.vmap(site.reset)(fold(keys, 0))
  sites = jax.vmap(site.part_of)(states)

  def step(carry, t):
    seen, states, memory, active, rewards = carry
    action, thoughts, memory = act(fold(keys, t + 1), states, seen, memory)
    after, states, reward, ended = jax.vmap(site.step)(keys, states, action)
    rewards += jnp.where(active, reward, 0.0)
    goes_on = active & ~ended & (t + 1 < horizon)
    return (after, states, memory, goes_on, rewards), (
      seen, thoughts, action, active,
    )  # fmt: skip

  begin = (
    seen, states, start(states), jnp.ones((num,), bool), jnp.zeros((num,)),
  )  # fmt: skip
  end, taken = jax.lax.scan(step, begin, jnp.arange(site.longest))
  lengths = jnp.sum(taken[3], axis=0).astype(jnp.int32)
  return Episodes(*taken, rewards=end[4], lengths=lengths, sites=sites)


def clone_loss(
  site: Site, params: Params, episodes: Episodes, counts: Bool[Array, ' n']
) -> Float[Array, '']:
  """Cross-entropy of actions and thoughts, nats per step that counts."""
  use = _policy(site, params)
  of = optax.softmax_cross_entropy_with_integer_labels

  def think(memory, thought):
    loss = of(use(memory, method='think'), jnp.maximum(thought, 0))
    loss = jnp.where(thought < 0, 0.0, loss)
    return use(memory, thought, method='hear'), loss

  def step(memory, now):
    seen, thoughts, actions, active = now
    memory = use(memory, site.encode(seen), method='read')
    memory, losses = jax.lax.scan(think, memory, thoughts.T)
    loss = of(use(memory, method='decide'), actions) + jnp.sum(losses, axis=0)
    return memory, jnp.sum(jnp.where(active & counts, loss, 0.0))

  num = episodes.actions.shape[1]
  memory = jnp.zeros((num, _WIDTH), jnp.float32)
  _, losses = jax.lax.scan(step, memory, episodes[:4])
  return jnp.sum(losses) / jnp.maximum(jnp.sum(episodes.active & counts), 1)


def clone_scripts(
  site: Site, key: PRNGKeyArray, num_steps: int, num: int = 256
) -> Params:
  """The base policy: a clone of the mixture of scripts.

  Args:
    site: the world; static.
    key: random key, consumed.
    num_steps: of training; static.
    num: episodes of each; static.
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(4e-3, num_steps))
  train_step = finetuning.make_train_step(
    lambda params, batch: clone_loss(
      site, params, batch, jnp.ones((num,), bool)
    ),
    optimizer,
  )
  init = functools.partial(init_policy, site)
  state = finetuning.init_state(init, optimizer, key)
  state, _ = jax.jit(
    lambda state: finetuning.run_steps(
      train_step, lambda key: demonstrations(site, key, num), state, num_steps
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


@functools.partial(jax.jit, static_argnames=('site', 'num', 'num_thoughts'))
def tti(
  site: Site,
  params: Params,
  key: PRNGKeyArray,
  horizons: Int[Array, ' I'],
  num: int = 256,
  num_thoughts: int = 0,
  learning_rate: float = 1e-3,
) -> tuple[Params, Curve]:
  """Filtered cloning, one horizon an iteration, from a base policy.

  Args:
    site: the world; static.
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
    lambda params, batch: clone_loss(site, params, *batch), optimizer
  )
  buffer = _over_episodes(
    lambda axis, x: jnp.zeros(
      (*x.shape[:axis], room, *x.shape[axis + 1 :]), x.dtype
    ),
    jax.eval_shape(
      lambda key: roll_out(site, params, key, num, 1, num_thoughts), key
    ),
  )

  def iterate(carry, now):
    state, buffer, kept = carry
    i, horizon = now
    keys = jax.random.split(jax.random.fold_in(key, i), 3)
    roll_key, draw_key, test_key = keys
    play = functools.partial(roll_out, site, state.params)
    episodes = play(roll_key, num, horizon, num_thoughts)
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
      finetuning.Buffer(buffer.sites, kept), site.num_parts
    )
    index, counts = finetuning.draw_without_replacement(draw_key, probs, num)
    batches = _in_batches(buffer, index, counts)
    state, _ = jax.lax.scan(train_step, state, batches)
    tested = tried(site, state.params, test_key, num_thoughts)
    steps = jnp.sum(episodes.lengths)
    return (state, buffer, kept), (*tested, steps, steps * (1 + num_thoughts))

  start = finetuning.init_state(lambda _: params, optimizer, key)
  carry = start, buffer, jnp.zeros((room,), bool)
  (state, _, _), seen = jax.lax.scan(
    iterate, carry, (jnp.arange(horizons.size), horizons)
  )
  success, length, steps, tokens = seen
  totals = jnp.cumsum(steps), jnp.cumsum(tokens)
  return state.params, Curve(success, length, *totals)


def tried(
  site: Site, params: Params, key: PRNGKeyArray, num_thoughts: int
) -> tuple[Float[Array, ''], Float[Array, '']]:
  """Success in 512 tasks at the longest horizon, and the steps of those."""
  tested = roll_out(site, params, key, 512, site.longest, num_thoughts)
  right = tested.rewards > 0
  steps = jnp.sum(jnp.where(right, tested.lengths, 0))
  return (
    jnp.mean(right, dtype=jnp.float32),
    steps / jnp.maximum(right.sum(), 1),
  )


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
