"""Speed of RL^2: ours beside the usual parts in the usual loop.

The peer is what a researcher writes from the READMEs of gymnax, flax and optax:
a batch of environments and a recurrent policy, each compiled, called step by
step from Python; advantages and minibatches after it. Same task, numbers of
environments, steps, epochs and minibatches, same widths; ours has a network of
its own for values, the peer a second head.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from ttc import agents, envs, metarl
from ttc.drivers.timing import interleaved, spread
from ttc.evaluation.tables import markdown_table

PULLS = 100


class Sizes(NamedTuple):
  """Of training.

  Attributes:
    num_envs: side by side.
    num_epochs: passes over a rollout of `PULLS` steps.
    num_minibatches: of a pass.
    width: of dense layer and GRU.
  """

  num_envs: int = 64
  num_epochs: int = 4
  num_minibatches: int = 4
  width: int = 64


def bench_meta_rl(sizes: Sizes, repetitions: int = 5) -> str:
  """Times updates of both, in turns.

  Args:
    sizes: of both.
    repetitions: timed updates of each.

  Returns:
    A Markdown table of thousands of environment steps a second.

  Raises:
    ImportError: without gymnax, naming the extra.
    ValueError: if minibatches do not come out even.
  """
  if sizes.num_envs % sizes.num_minibatches:
    raise ValueError(
      f'--num_minibatches={sizes.num_minibatches} does not divide '
      f'--num_envs={sizes.num_envs}'
    )
  updates, compile_s = {}, {}
  for name, make in {'ttc': our_update, 'peer': peer_update}.items():
    start = time.perf_counter()
    updates[name] = make(sizes)
    updates[name]()
    compile_s[name] = time.perf_counter() - start
  seconds = interleaved(updates, repetitions)
  steps = sizes.num_envs * PULLS
  rate = {k: [steps / s / 1e3 for s in v] for k, v in seconds.items()}
  ratio = [a / b for a, b in zip(*rate.values(), strict=True)]
  row = [
    f'{sizes.num_envs} environments',
    *(spread(values, '.1f') for values in rate.values()),
    spread(ratio, '.2f'),
    *(f'{s:.1f}' for s in compile_s.values()),
  ]
  return '\n'.join(
    markdown_table(
      [
        f'RL^2 on two arms, {PULLS} pulls',
        'ttc, 1000 steps/s',
        'peer, 1000 steps/s',
        'ratio',
        'ttc, s to the first update',
        'peer',
      ],
      [row],
      num_left=1,
    )
  )


def our_update(sizes: Sizes) -> Callable[[], None]:
  """A function that does the next update."""
  env = envs.bandit(2, bernoulli=True)
  tasks = envs.bandit_tasks(2, num_pulls=PULLS)
  hyper = agents.PPO(
    sizes.num_envs,
    PULLS,
    num_epochs=sizes.num_epochs,
    num_minibatches=sizes.num_minibatches,
  )
  net = agents.Architecture((sizes.width,), memory_width=sizes.width)
  learner = metarl.rl2(env, tasks, 1, hyper, net)
  update = jax.jit(learner.update, donate_argnums=0)
  kept = [jax.jit(learner.init)(jax.random.key(0))]

  def run():
    kept[0] = jax.block_until_ready(update(kept[0])[0])

  return run


class PeerNet(nn.Module):
  """Dense, GRU, two heads."""

  num_actions: int
  width: int

  @nn.compact
  def __call__(self, carry, obs):
    x = nn.tanh(nn.Dense(self.width)(obs))
    carry, x = nn.GRUCell(self.width)(carry, x)
    return carry, nn.Dense(self.num_actions)(x), nn.Dense(1)(x)[..., 0]


def peer_update(sizes: Sizes) -> Callable[[], None]:
  """The same with gymnax, flax and optax."""
  try:
    import gymnax
  except ImportError:
    raise ImportError(
      "gymnax is not installed: pip install 'ttc-jax[oracle]'"
    ) from None
  env, env_params = gymnax.make('BernoulliBandit-misc')
  net = PeerNet(env.num_actions, sizes.width)
  optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(2.5e-4))
  key = jax.random.key(0)
  zeros = jnp.zeros((sizes.num_envs, sizes.width))
  reset = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))
  obs, state = reset(jax.random.split(key, sizes.num_envs), env_params)
  params = net.init(key, zeros, obs)
  apply: Callable[..., Any] = net.apply
  kept: list[Any] = [params, optimizer.init(params), obs, state, zeros, key]

  @jax.jit
  def act(params, carry, obs, key):
    carry, logits, value = apply(params, carry, obs)
    action = jax.random.categorical(key, logits)
    log_prob = jax.nn.log_softmax(logits)[jnp.arange(len(action)), action]
    return carry, action, log_prob, value

  @jax.jit
  def play(key, state, action, carry):
    keys = jax.random.split(key, sizes.num_envs)
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    obs, state, reward, terminated, truncated, _ = step(
      keys, state, action, env_params
    )
    done = terminated | truncated
    return obs, state, reward, done, jnp.where(done[:, None], 0.0, carry)

  loss = functools.partial(_peer_loss, net)

  @jax.jit
  def learn(params, opt_state, carry, batch):
    grads = jax.grad(loss)(params, carry, batch)
    changes, opt_state = optimizer.update(grads, opt_state)
    return optax.apply_updates(params, changes), opt_state

  def run():
    params, opt_state, obs, state, carry, key = kept
    first, steps = carry, []
    for _ in range(PULLS):
      key, act_key, step_key = jax.random.split(key, 3)
      carry, action, log_prob, value = act(params, carry, obs, act_key)
      seen = obs
      obs, state, reward, done, carry = play(step_key, state, action, carry)
      steps.append((seen, action, log_prob, value, done, reward))
    stacked = [jnp.stack(x) for x in zip(*steps, strict=True)]
    last = act(params, carry, obs, key)[3]
    advantage = _peer_advantage(stacked[5], stacked[3], stacked[4], last)
    batch = (*stacked[:5], advantage)
    for _ in range(sizes.num_epochs):
      key, order_key = jax.random.split(key)
      order = jax.random.permutation(order_key, sizes.num_envs)
      for part in order.reshape(sizes.num_minibatches, -1):
        params, opt_state = learn(
          params, opt_state, first[part], [x[:, part] for x in batch]
        )
    kept[:] = params, opt_state, obs, state, carry, key
    jax.block_until_ready(params)

  return run


@jax.jit
def _peer_advantage(reward, value, done, last):
  def back(carry, x):
    advantage, following = carry
    reward, value, done = x
    delta = reward + 0.99 * following * (1 - done) - value
    advantage = delta + 0.99 * 0.95 * (1 - done) * advantage
    return (advantage, value), advantage

  start = (jnp.zeros_like(last), last)
  return jax.lax.scan(back, start, (reward, value, done), reverse=True)[1]


def _peer_loss(net, params, carry, batch):
  def step(carry, x):
    obs, done = x
    carry, logits, value = net.apply(params, carry, obs)
    return jnp.where(done[:, None], 0.0, carry), (logits, value)

  obs, action, old, old_value, done, advantage = batch
  _, (logits, value) = jax.lax.scan(step, carry, (obs, done))
  log_probs = jax.nn.log_softmax(logits)
  own = jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]
  ratio, target = jnp.exp(own - old), old_value + advantage
  scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
  clipped = jnp.clip(ratio, 0.8, 1.2) * scaled
  entropy = -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1).mean()
  policy = -jnp.minimum(ratio * scaled, clipped).mean()
  return policy + 0.25 * jnp.mean((value - target) ** 2) - 0.01 * entropy
