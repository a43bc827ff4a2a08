r"""Value decomposition from replayed sequences: IQL, VDN and QMIX.

One learner; the three differ in how values of agents are mixed
(`ttc.agents.mixing`). Targets are one-step, with the online network's choice
and the target network's value (double Q, van Hasselt et al., 2015, 1509.06461):

.. math::
  y_t = r_t + \gamma (1 - \text{terminated}_t)
    \mathrm{mix}_{\theta^-}(q_{\theta^-}(\arg\max q_\theta)_{t+1})

Steps that a limit of time ended are not learned from: what follows is another
episode. An update costs `E T` environment steps and `num_epochs` batches of
`batch_size` sequences forward with both networks and backward with one.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import envs
from ttc.agents import (
  distributions,
  mixing,
  networks,
  q_behaviour,
  replay,
  rollouts,
)
from ttc.agents.learner import EnvBatch, Learner
from ttc.agents.networks import Architecture
from ttc.agents.rollouts import Rollout
from ttc.types import Params

ARCHITECTURE = Architecture(activation='relu', agent_ids=True)


class QLearning(NamedTuple):
  """Hyper-parameters; the defaults are JaxMARL's of QMIX on SMAX.

  Attributes:
    num_envs: `E`.
    num_steps: `T` of a sequence.
    capacity: sequences that are kept.
    batch_size: sequences of a gradient step.
    num_epochs: gradient steps of an update.
    warmup_updates: without learning.
    learning_rate: of Adam, a number or a schedule over gradient steps.
    target_period: updates after which the target network is the online one.
    epsilon: of exploration, by environment steps so far; a number or schedule.
    discount: gamma.
    max_grad_norm: gradients are clipped to.
    shaping: weight of `info['shaped_reward']` by environment steps so far; None
      for none.
  """

  num_envs: int = 16
  num_steps: int = 128
  capacity: int = 5000
  batch_size: int = 32
  num_epochs: int = 8
  warmup_updates: int = 1
  learning_rate: float | optax.Schedule = 5e-5
  target_period: int = 10
  epsilon: float | optax.Schedule = 0.05
  discount: float = 0.99
  max_grad_norm: float = 10.0
  shaping: optax.Schedule | None = None


class QLearningState(NamedTuple):
  """Everything that training needs to go on."""

  params: Mapping[str, Params]  # 'agents', 'mixer'
  target: Mapping[str, Params]
  opt_state: optax.OptState
  envs: EnvBatch
  replay: replay.Replay
  updates: Int[Array, '']
  key: PRNGKeyArray


class Sequence(NamedTuple):
  """A rollout of one environment, and the memory that it begins with."""

  rollout: Rollout
  memory: Float[Array, 'A H']


def q_learner(
  env: envs.Environment,
  mixer: mixing.Mixer,
  hyper: QLearning = QLearning(),  # noqa: B008
  architecture: Architecture = ARCHITECTURE,
  *,
  env_params: Any = None,
) -> Learner:
  """Q-learning of mixed values.

  Args:
    env: without `auto_reset`; discrete actions.
    mixer: of the agents' values.
    hyper: numbers.
    architecture: of the agents' network.
    env_params: of the environment; None for the default.

  Returns:
    The learner; the policy explores with the epsilon of the end of time.

  Raises:
    ValueError: on continuous actions, or more environments than are kept.
  """
  if hyper.capacity < hyper.num_envs:
    raise ValueError(
      f'capacity={hyper.capacity} sequences are fewer than '
      f'num_envs={hyper.num_envs}'
    )
  env_params = env.default_params if env_params is None else env_params
  net = networks.for_agents(
    architecture, env.num_actions, env.num_agents, env.observation_shape
  )
  epsilon = q_behaviour.as_schedule(hyper.epsilon)
  behaviour = q_behaviour.behaviour(env, net, mixer, epsilon, env_params)
  collect = rollouts.collector(
    env,
    behaviour._replace(value=None),
    hyper.num_envs,
    hyper.num_steps,
    env_params=env_params,
    shaping=hyper.shaping,
  )
  optimizer = optax.chain(
    optax.clip_by_global_norm(hyper.max_grad_norm),
    optax.adam(hyper.learning_rate),
  )
  loss = functools.partial(td_loss, net, mixer, hyper.discount)
  learn = _learner_from_replay(loss, optimizer, hyper)
  steps_per_update = hyper.num_envs * hyper.num_steps

  def init(key):
    key, start_key = jax.random.split(key)
    params, running = q_behaviour.start(
      env, net, mixer, env_params, hyper.num_envs, start_key
    )
    ring = _empty_ring(collect, key, params, running, hyper.capacity)
    opt_state, zero = optimizer.init(params), jnp.zeros((), jnp.int32)
    return QLearningState(params, params, opt_state, running, ring, zero, key)

  def update(state):
    key = jax.random.fold_in(state.key, state.updates)
    rollout_key, replay_key = jax.random.split(key)
    steps = state.updates.astype(jnp.float32) * steps_per_update
    running, rollout, metrics = collect(
      rollout_key, state.params, state.envs, steps
    )
    ring = replay.add(
      state.replay, as_sequences(rollout, state.envs.memories['agents'])
    )
    state, loss = learn(state._replace(envs=running, replay=ring), replay_key)
    return state, metrics | {'td_loss': loss}

  return Learner(
    init,
    update,
    lambda state: state.params['agents'],
    q_behaviour.q_policy(net, epsilon(jnp.iinfo(jnp.int32).max)),
    steps_per_update,
  )


def _empty_ring(collect, key, params, running, capacity):
  """Room for what a rollout gives, without playing one."""
  none = jnp.zeros((), jnp.float32)
  _, rollout, _ = jax.eval_shape(collect, key, params, running, none)
  shapes = jax.eval_shape(as_sequences, rollout, running.memories['agents'])
  one = jax.tree.map(lambda x: x.update(shape=x.shape[1:]), shapes)
  return replay.empty_replay(one, capacity)


def _learner_from_replay(loss, optimizer, hyper):
  """`(state, key) -> (state, loss)`: gradient steps, and the target network."""

  def learn(state, key):
    def train_step(carry, key):
      params, opt_state = carry
      batch = replay.sample(state.replay, key, hyper.batch_size)
      value, grads = jax.value_and_grad(loss)(params, state.target, batch)
      changes, opt_state = optimizer.update(grads, opt_state, params)
      return (optax.apply_updates(params, changes), opt_state), value

    old = (state.params, state.opt_state)
    new, losses = jax.lax.scan(
      train_step, old, jax.random.split(key, hyper.num_epochs)
    )
    choose = lambda flag, a, b: jax.tree.map(
      lambda x, y: jnp.where(flag, x, y), a, b
    )
    params, opt_state = choose(state.updates >= hyper.warmup_updates, new, old)
    updates = state.updates + 1
    due = updates % hyper.target_period == 0
    state = state._replace(
      params=params,
      target=choose(due, params, state.target),
      opt_state=opt_state,
      updates=updates,
    )
    return state, jnp.mean(losses)

  return learn


def td_loss(
  net: networks.AgentsNet,
  mixer: mixing.Mixer,
  discount: float,
  params: Mapping[str, Params],
  target: Mapping[str, Params],
  sequences: Sequence,
) -> Float[Array, '']:
  """Mean squared one-step error of sequences `[B, T, ...]`, all but the last.

  Args:
    net: of the agents.
    mixer: of their values.
    discount: gamma.
    params: 'agents' and 'mixer', that learn.
    target: the same, that judge.
    sequences: what was seen.
  """
  rollout = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), sequences.rollout)
  values = lambda own: distributions.masked(
    net.apply(own['agents'], rollout.obs, sequences.memory, rollout.reset)[0],
    rollout.legal,
  )
  take = lambda q, action: jnp.take_along_axis(q, action[..., None], -1)[..., 0]
  q = values(params)
  best = jnp.argmax(jax.lax.stop_gradient(q), axis=-1)
  world = rollout.kept.world
  mixed = mixer.apply(params['mixer'], take(q, rollout.action), world)
  following = mixer.apply(target['mixer'], take(values(target), best), world)
  goes_on = ~rollout.terminated[:-1, :, None]
  wanted = mixer.rewards(rollout.reward)[:-1] + discount * jnp.where(
    goes_on, following[1:], 0.0
  )
  error = (mixed[:-1] - jax.lax.stop_gradient(wanted)) ** 2
  weight = _weights(rollout, error.shape[-1])
  return jnp.sum(error * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def _weights(rollout: Rollout, num_values: int) -> Float[Array, 'T B M']:
  """1 where an episode goes on or ended by the rules, and somebody acts."""
  active = rollout.active[:-1]
  if num_values != active.shape[-1]:
    active = jnp.any(active, axis=-1, keepdims=True)
  return (active & ~rollout.truncated[:-1, :, None]).astype(jnp.float32)


def as_sequences(rollout: Rollout, memory: Float[Array, 'E A H']) -> Sequence:
  """A sequence of each environment."""
  return Sequence(
    jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rollout), memory
  )
