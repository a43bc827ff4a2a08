"""Steps of a batch of environments, whoever plays them.

A behaviour says how agents act and what a learner wants to keep of a step; the
rest, keys, resets, limits and statistics, is the same for all learners.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ttc import envs
from ttc.agents import learner
from ttc.agents.learner import EnvBatch
from ttc.types import Params

Memories: TypeAlias = Mapping[str, Float[Array, 'E A H']]


class Behaviour(NamedTuple):
  """How agents act, `E` environments at once.

  Attributes:
    act: `(params, keys [E], states, now: EnvBatch, legal [E, A, n], steps) ->
      (action [E, A], memories, kept)`; `kept` is a pytree, leaves `[E, ...]`.
    value: `(params, states, obs, memories, reset) -> [E, M]`, of a state that a
      limit cut off; None if a learner does not ask.
  """

  act: Callable[..., tuple[Array, Memories, Any]]
  value: Callable[..., Float[Array, 'E M']] | None = None


class Rollout(NamedTuple):
  """What agents saw, did and got in `T` steps of `E` environments.

  Attributes:
    obs: before a step.
    legal: actions.
    reset: whether memories were forgotten before the step.
    active: who took part in it.
    action: that was taken.
    reward: of the step.
    terminated: whether the rules ended the episode with it.
    truncated: whether a limit did.
    cut_value: of the state after the step where a limit ended the episode, 0
      elsewhere.
    kept: by the behaviour.
  """

  obs: Shaped[Array, 'T E A *shape']
  legal: Bool[Array, 'T E A n']
  reset: Bool[Array, 'T E A']
  active: Bool[Array, 'T E A']
  action: Shaped[Array, 'T E A *action']
  reward: Float[Array, 'T E A']
  terminated: Bool[Array, 'T E']
  truncated: Bool[Array, 'T E']
  cut_value: Float[Array, 'T E M']
  kept: Any


# `(key, params, running, steps so far) -> (running, rollout, metrics)`.
CollectFn: TypeAlias = Callable[
  [PRNGKeyArray, Params, EnvBatch, Float[Array, '']],
  tuple[EnvBatch, Rollout, dict[str, Float[Array, '']]],
]


def collector(
  env: envs.Environment,
  behaviour: Behaviour,
  num_envs: int,
  num_steps: int,
  *,
  env_params: Any,
  shaping: optax.Schedule | None = None,
) -> CollectFn:
  """Makes the function that plays.

  Args:
    env: without `auto_reset`; states are those of `learner.start_envs`.
    behaviour: of its agents.
    num_envs: `E`.
    num_steps: `T`.
    env_params: of the environment.
    shaping: weight of `info['shaped_reward']` by steps so far; None for none.

  Returns:
    A function of a key, params of the behaviour, running environments and the
    number of steps so far. Its metrics are means over the episodes that ended,
    NaN if none did, and the mean reward of a step.
  """
  env = envs.episode_statistics(env)
  batch = envs.vectorize(env)
  legal_fn = jax.vmap(lambda s: learner.legal_actions(env, s, env_params))
  active_fn = jax.vmap(lambda s: env.active_agents(s, env_params))

  def step(params, steps, now, key):
    act_key, env_key = jax.random.split(key)
    legal = legal_fn(now.states)
    action, memories, kept = behaviour.act(
      params,
      learner.env_keys(act_key, num_envs),
      now.states.env_state,
      now,
      legal,
      steps,
    )
    out = batch.step(
      learner.env_keys(env_key, num_envs), now.states, action, env_params
    )
    rollout = Rollout(
      now.obs,
      legal,
      now.reset,
      active_fn(now.states),
      action,
      learner.shaped_reward(out, shaping, steps),
      out.terminated,
      out.truncated,
      _cut_value(behaviour.value, params, out, memories),
      kept,
    )
    done = out.terminated | out.truncated
    reset = done[:, None] | ~active_fn(out.state)
    following = EnvBatch(out.state, out.obs, reset, memories)
    return following, (rollout, learner.public_info(out))

  def collect(key, params, running, steps):
    running, (rollout, info) = jax.lax.scan(
      lambda now, key: step(params, steps, now, key),
      running,
      jax.random.split(key, num_steps),
    )
    done = rollout.terminated | rollout.truncated
    metrics = learner.episode_means(done, info)
    metrics['reward'] = jnp.mean(rollout.reward)
    return running, rollout, metrics

  return collect


def _cut_value(value_fn, params, out, memories) -> Float[Array, 'E M']:
  """Limits end episodes seldom; only then values are computed."""
  num_envs = out.truncated.shape[0]
  if value_fn is None:
    return jnp.zeros((num_envs, 0), jnp.float32)
  value = lambda: value_fn(
    params,
    out.info['final_state'].env_state,
    out.info['final_obs'],
    memories,
    jnp.zeros((num_envs, out.reward.shape[1]), bool),  # they go on
  )
  zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(value))
  value = jax.lax.cond(jnp.any(out.truncated), value, lambda: zeros)
  return jnp.where(out.truncated[:, None], value, 0.0)


def active_weights(rollout: Rollout) -> Float[Array, 'T E A']:
  """Weights that sum to 1 over the steps of agents that took part in them."""
  return rollout.active / jnp.maximum(jnp.sum(rollout.active), 1)


def next_values(
  values: Float[Array, 'T E M'],
  last: Float[Array, 'E M'],
  rollout: Rollout,
) -> Float[Array, 'T E M']:
  """Values of the states after each step, in the same episode.

  Args:
    values: of the states before.
    last: of the state that the rollout ends in.
    rollout: says where a limit ended an episode, and the value there.
  """
  after = jnp.concatenate([values[1:], last[None]])
  return jnp.where(rollout.truncated[..., None], rollout.cut_value, after)
