"""Meta-training as a loop of evosax, gymnax, flax and optax: a peer to time.

The same computation as `metarl.evolution` of `metarl.final_return` with the
rule `lpg`, put together as the READMEs of these libraries do: `vmap` over lives
and environments, `scan` over steps, ask and tell. Imports the extra `oracle`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax
from evosax.algorithms import Open_ES


class ScannedGRU(nn.Module):
  """A GRU over time whose memory is forgotten before some steps."""

  @functools.partial(
    nn.scan, variable_broadcast='params', split_rngs={'params': False}
  )
  @nn.compact
  def __call__(self, carry, inputs):
    """One step; `nn.scan` makes it one of sequences."""
    x, reset = inputs
    carry = jnp.where(reset[:, None], jnp.zeros_like(carry), carry)
    return nn.GRUCell(carry.shape[-1])(carry, x)


class LPGNet(nn.Module):
  """The rule: reads `[T, E, ...]` backwards.

  Attributes:
    num_predictions: `m`.
    width: of the GRU.
  """

  num_predictions: int
  width: int

  @nn.compact
  def __call__(self, steps, y, next_y, done):
    """`pi_hat` and logits of `y_hat`."""
    embed = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(1)])
    inputs = jnp.concatenate(
      [steps, embed(y), embed(next_y) * (1 - done)[..., None]], axis=-1
    )
    memory = jnp.zeros((inputs.shape[1], self.width))
    flip = lambda x: jnp.flip(x, axis=0)
    _, states = ScannedGRU()(memory, (flip(inputs), flip(done) > 0))
    said = nn.Dense(1 + self.num_predictions)(nn.relu(flip(states)))
    return said[..., 0], said[..., 1:]


class AgentNet(nn.Module):
  """The agent: logits of its policy, and of its prediction.

  Attributes:
    num_actions: of the game.
    num_predictions: `m`.
    widths: of hidden layers; without any the net is linear, without biases.
  """

  num_actions: int
  num_predictions: int
  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, obs):
    """Of one observation."""
    x = obs.reshape(-1)
    for width in self.widths:
      x = nn.relu(nn.Dense(width)(x))
    num_outputs = self.num_actions + self.num_predictions
    x = nn.Dense(num_outputs, use_bias=bool(self.widths))(x)
    return x[: self.num_actions], x[self.num_actions :]


class Transition(NamedTuple):
  """What a step leaves behind, `[T, E, ...]`."""

  obs: Any
  action: Any
  reward: Any
  done: Any
  prob: Any
  y: Any


class Peer(NamedTuple):
  """What is trained and on what.

  Attributes:
    game: gymnax's name.
    widths: of the agent's hidden layers.
    optimizer: of the agent.
    rule_width: of the rule.
    num_predictions: of the rule.
    num_pairs: half of the population.
    horizon: updates of a life.
    num_envs: of an agent.
    num_steps: of an update.
    eval_episodes: at the end of a life.
    max_episode_steps: of these.
    discount: an input of the rule.
    prediction_weight: alpha_y of LPG.
    sigma: of evolution.
    meta_rate: Adam's, of evolution.
  """

  game: str
  widths: tuple[int, ...]
  optimizer: optax.GradientTransformation
  rule_width: int
  num_predictions: int
  num_pairs: int
  horizon: int
  num_envs: int
  num_steps: int
  eval_episodes: int
  max_episode_steps: int
  discount: float
  prediction_weight: float
  sigma: float
  meta_rate: float


def rule_net(peer: Peer) -> LPGNet:
  """The rule's network."""
  return LPGNet(peer.num_predictions, peer.rule_width)


def agent_net(peer: Peer) -> AgentNet:
  """The agent's network."""
  env, _ = gymnax.make(peer.game)
  return AgentNet(env.num_actions, peer.num_predictions, peer.widths)


def rule_targets(
  peer: Peer, meta: Any, played: Transition, last_y: Any
) -> tuple[jax.Array, jax.Array]:
  """What the rule says of the steps of a rollout.

  Args:
    peer: says the discount.
    meta: parameters of the rule.
    played: the rollout.
    last_y: prediction after it, probabilities.
  """
  done = played.done.astype(jnp.float32)
  steps = jnp.stack(
    [played.reward, done, jnp.full_like(done, peer.discount), played.prob],
    axis=-1,
  )
  next_y = jnp.concatenate([played.y[1:], last_y[None]])
  apply: Callable[..., Any] = rule_net(peer).apply
  return apply(meta, steps, played.y, next_y, done)


def agent_loss(
  peer: Peer, net: AgentNet, params: Any, played: Transition, target: Any
) -> jax.Array:
  """What the agent descends."""
  pi_hat, y_hat = target
  one: Callable[..., Any] = net.apply
  apply = jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(None, 0))
  logits, y_logits = apply(params, played.obs)
  log_probs = jax.nn.log_softmax(logits)
  log_prob = jnp.take_along_axis(log_probs, played.action[..., None], -1)
  log_y, log_y_hat = jax.nn.log_softmax(y_logits), jax.nn.log_softmax(y_hat)
  divergence = jnp.sum(jnp.exp(log_y) * (log_y - log_y_hat), axis=-1)
  return peer.prediction_weight * jnp.mean(divergence) - jnp.mean(
    log_prob[..., 0] * pi_hat
  )


def fitness(peer: Peer) -> Callable[[Any, jax.Array], jax.Array]:
  """`(meta, key) -> mean return` after a life."""
  env, env_params = gymnax.make(peer.game)
  net = agent_net(peer)
  apply: Callable[..., Any] = net.apply
  think = jax.vmap(apply, in_axes=(None, 0))
  step_fn = jax.vmap(env.step, in_axes=(0, 0, 0, None))
  reset_fn = jax.vmap(env.reset, in_axes=(0, None))

  def env_step(params, carry, key):
    obs, state = carry
    act_key, step_key = jax.random.split(key)
    logits, y_logits = think(params, obs)
    action = jax.random.categorical(act_key, logits)
    probs = jax.nn.softmax(logits)
    prob = jnp.take_along_axis(probs, action[:, None], axis=-1)[:, 0]
    next_obs, state, reward, terminated, truncated, _ = step_fn(
      jax.random.split(step_key, obs.shape[0]), state, action, env_params
    )
    done = terminated | truncated
    y = jax.nn.softmax(y_logits)
    played = Transition(obs, action, reward, done, prob, y)
    return (next_obs, state), played

  def update(meta, carry, key):
    params, opt_state, running = carry
    running, played = jax.lax.scan(
      functools.partial(env_step, params),
      running,
      jax.random.split(key, peer.num_steps),
    )
    last_y = jax.nn.softmax(think(params, running[0])[1])
    target = rule_targets(peer, meta, played, last_y)
    grads = jax.grad(lambda p: agent_loss(peer, net, p, played, target))(params)
    changes, opt_state = peer.optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, changes), opt_state, running), None

  def episode(params, carry, key):
    obs, state, total, alive = carry
    (obs, state), played = env_step(params, (obs, state), key)
    total = total + alive * played.reward
    return (obs, state, total, alive * (1 - played.done)), None

  def evaluate(params, key):
    reset_key, key = jax.random.split(key)
    obs, state = reset_fn(
      jax.random.split(reset_key, peer.eval_episodes), env_params
    )
    start = (obs, state, jnp.zeros(obs.shape[0]), jnp.ones(obs.shape[0]))
    (_, _, total, _), _ = jax.lax.scan(
      functools.partial(episode, params),
      start,
      jax.random.split(key, peer.max_episode_steps),
    )
    return jnp.mean(total)

  def life(meta, key):
    init_key, reset_key, key, eval_key = jax.random.split(key, 4)
    running = reset_fn(jax.random.split(reset_key, peer.num_envs), env_params)
    params = net.init(init_key, running[0][0])
    start = (params, peer.optimizer.init(params), running)
    (params, _, _), _ = jax.lax.scan(
      functools.partial(update, meta),
      start,
      jax.random.split(key, peer.horizon),
    )
    return evaluate(params, eval_key)

  return life


def evolution(peer: Peer) -> tuple[Callable, Callable]:
  """Init `key -> state`, and update `state -> (state, fitness [2 P])`."""
  net = rule_net(peer)

  def init_meta(key):
    y = jnp.zeros((1, 1, peer.num_predictions))
    return net.init(key, jnp.zeros((1, 1, 4)), y, y, jnp.zeros((1, 1)))

  meta = init_meta(jax.random.key(0))
  strategy = Open_ES(
    population_size=2 * peer.num_pairs,
    solution=meta,
    optimizer=optax.adam(peer.meta_rate),
    std_schedule=optax.constant_schedule(peer.sigma),
  )
  es_params = strategy.default_params
  live = jax.vmap(fitness(peer))

  def init(key):
    key, init_key = jax.random.split(key)
    return strategy.init(init_key, init_meta(init_key), es_params), key

  def update(carry):
    state, key = carry
    key, ask_key, life_key, tell_key = jax.random.split(key, 4)
    population, state = strategy.ask(ask_key, state, es_params)
    # The second half is the first one mirrored; pairs share their keys.
    keys = jax.random.split(life_key, peer.num_pairs)
    returns = live(population, jnp.concatenate([keys, keys]))
    # evosax minimises.
    state, _ = strategy.tell(tell_key, population, -returns, state, es_params)
    return (state, key), returns

  return init, update
