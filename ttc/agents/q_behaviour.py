"""Epsilon-greedy play by values of actions, and what mixers need of it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import envs
from ttc.agents import distributions, learner, networks
from ttc.agents.learner import EnvBatch, Policy
from ttc.agents.mixing import Mixer
from ttc.agents.rollouts import Behaviour
from ttc.types import Params


class Kept(NamedTuple):
  """What is kept of a step."""

  world: Float[Array, 'E D']  # no columns if the mixer does not look
  best: Float[Array, 'E M']  # the mixed values of every agent's best action


def behaviour(
  env: envs.Environment,
  net: networks.AgentsNet,
  mixer: Mixer,
  epsilon: optax.Schedule,
  env_params: Any,
) -> Behaviour:
  """Takes the best action, or with probability epsilon any legal one.

  Args:
    env: whose agents act.
    net: outputs `num_actions`; params `params['agents']`.
    mixer: of their values; params `params['mixer']`.
    epsilon: by environment steps so far.
    env_params: of the environment.
  """

  def see(states):
    if not mixer.sees_world:
      return jnp.zeros((jax.tree.leaves(states)[0].shape[0], 0), jnp.float32)
    return jax.vmap(lambda s: env.world_state(s, env_params))(states)

  def judge(params, states, obs, legal, memories, reset):
    q, memory = net.apply(
      params['agents'], obs[None], memories['agents'], reset[None]
    )
    q, world = distributions.masked(q[0], legal), see(states)
    best = mixer.apply(params['mixer'], jnp.max(q, axis=-1), world)
    return q, {'agents': memory}, Kept(world, best)

  def act(params, keys, states, now, legal, steps):
    q, memories, kept = judge(
      params, states, now.obs, legal, now.memories, now.reset
    )
    draw = lambda key, q, legal: explore(key, q, legal, epsilon(steps))
    return jax.vmap(draw)(keys, q, legal), memories, kept

  def value(params, states, obs, memories, reset):
    legal = jax.vmap(lambda s: env.avail_actions(s, env_params))(states)
    return judge(params, states, obs, legal, memories, reset)[2].best

  return Behaviour(act, value)


def start(
  env: envs.Environment,
  net: networks.AgentsNet,
  mixer: Mixer,
  env_params: Any,
  num_envs: int,
  key: PRNGKeyArray,
) -> tuple[dict[str, Params], EnvBatch]:
  """New params, and environments at the start of their first episodes."""
  agent_key, mixer_key, env_key = jax.random.split(key, 3)
  width = env.world_shape(env_params)[0] if mixer.sees_world else 0
  params = {
    'agents': net.init(agent_key),
    'mixer': mixer.init(mixer_key, env.num_agents, width),
  }
  memories = {'agents': net.initial_memory(num_envs, env.num_agents)}
  return params, learner.start_envs(
    env, env_params, env_key, num_envs, memories
  )


def explore(
  key: PRNGKeyArray,
  q: Float[Array, 'A n'],
  legal: Array,
  epsilon: Float[ArrayLike, ''],
) -> Int[Array, ' A']:
  """Every agent's best action, or any legal one, each agent by itself."""
  coin_key, action_key = jax.random.split(key)
  logits = distributions.masked(jnp.zeros_like(q), legal)
  any_legal = jax.random.categorical(action_key, logits)
  lost = jax.random.uniform(coin_key, q.shape[:1]) < epsilon
  return jnp.where(lost, any_legal, jnp.argmax(q, axis=-1)).astype(jnp.int32)


def q_policy(net: networks.AgentsNet, epsilon: Float[ArrayLike, '']) -> Policy:
  """Play by values, of one environment's agents.

  Args:
    net: outputs values of actions.
    epsilon: of `act`; `act_greedily` has none.
  """

  def values(params, obs, legal, memory, reset):
    q, memory = net.apply(
      params, obs[None, None], memory[None], reset[None, None]
    )
    return distributions.masked(q[0, 0], legal), memory[0]

  def act(params, key, obs, legal, memory, reset):
    q, memory = values(params, obs, legal, memory, reset)
    return explore(key, q, legal, epsilon), memory

  def act_greedily(params, key, obs, legal, memory, reset):
    del key
    q, memory = values(params, obs, legal, memory, reset)
    return jnp.argmax(q, axis=-1).astype(jnp.int32), memory

  return Policy(act, act_greedily, net.memory_width)


def as_schedule(value: float | optax.Schedule) -> optax.Schedule:
  """A number as a schedule that never changes."""
  return value if callable(value) else optax.constant_schedule(value)
