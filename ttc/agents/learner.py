"""What a learner and a policy are: records of pure functions.

A learner turns its state into the next one; everything that it needs, running
environments, memories and the key included, is in the state, so that training
is one `scan`, seeds are one `vmap`, and a checkpoint is the state:

  learner = agents.ippo(env)
  state = learner.init(key)
  state, metrics = jax.lax.scan(
    lambda state, _: learner.update(state), state, length=100
  )
  params = learner.params(state)
  play = agents.evaluate(env, learner.policy, params, key, 128, max_steps=25)

A result depends on the key and on the number of an environment in its batch,
not on how many devices hold the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Shaped

from ttc import envs
from ttc.envs.wrappers import OF_RESETS
from ttc.types import Params

LearnerState: TypeAlias = Any  # a pytree of arrays
Metrics: TypeAlias = Mapping[str, Float[Array, '']]


class Policy(NamedTuple):
  """How agents act.

  Attributes:
    act: `(params, key, obs [A, ...], legal [A, n], memory [A, H], reset [A]) ->
      (action [A], memory)`, drawn from the policy's law.
    act_greedily: the same with the likeliest or best action; no key is used.
    memory_width: `H`; 0 without memory.
  """

  act: Callable[..., tuple[Array, Array]]
  act_greedily: Callable[..., tuple[Array, Array]]
  memory_width: int


class Learner(NamedTuple):
  """An algorithm on an environment.

  Attributes:
    init: `key -> state`.
    update: `state -> (state, metrics)`: collects steps and learns from them.
    params: `state -> params` of the policy.
    policy: that acts with these.
    steps_per_update: environment steps of an update, all environments together.
  """

  init: Callable[[PRNGKeyArray], LearnerState]
  update: Callable[[LearnerState], tuple[LearnerState, Metrics]]
  params: Callable[[LearnerState], Params]
  policy: Policy
  steps_per_update: int


class EnvBatch(NamedTuple):
  """Running environments, as the next step finds them.

  Attributes:
    states: of the environments.
    obs: that agents act on next.
    reset: whether an agent's memory is forgotten before it acts: a new episode,
      or it no longer takes part.
    memories: of each network that has one, by name, `[E, A, H]`.
  """

  states: Any
  obs: Shaped[Array, 'E A *shape']
  reset: Bool[Array, 'E A']
  memories: Mapping[str, Float[Array, 'E A H']]


def env_keys(key: PRNGKeyArray, num_envs: int) -> Key[Array, ' E']:
  """A key for each environment that does not depend on how many there are."""
  fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  return fold(key, jnp.arange(num_envs))


def start_envs(
  env: envs.Environment,
  params: Any,
  key: PRNGKeyArray,
  num_envs: int,
  memories: Mapping[str, Float[Array, 'E A H']],
) -> EnvBatch:
  """Environments at the start of their first episodes.

  States have episode statistics.

  Args:
    env: without `auto_reset`.
    params: of the environments.
    key: consumed.
    num_envs: `E`.
    memories: of networks, before the first step.
  """
  env = envs.episode_statistics(env)
  reset_fn = jax.vmap(lambda key: env.reset(key, params))
  obs, states = reset_fn(env_keys(key, num_envs))
  reset = jnp.ones((num_envs, env.num_agents), bool)
  return EnvBatch(states, obs, reset, memories)


def shaped_reward(
  out: envs.Step, shaping: optax.Schedule | None, steps: Float[Array, '']
) -> Float[Array, 'E A']:
  """The reward of a step and, weighted, what its `info` adds to it."""
  if shaping is None:
    return out.reward
  return out.reward + shaping(steps) * out.info['shaped_reward']


def public_info(out: envs.Step) -> dict[str, Any]:
  """What the environment itself told, without what resets added."""
  return {name: x for name, x in out.info.items() if name not in OF_RESETS}


def episode_means(
  done: Bool[Array, 'T E'], values: Mapping[str, Shaped[Array, 'T E *A']]
) -> dict[str, Float[Array, '']]:
  """Means over the episodes that ended, and over agents; NaN if none did.

  Args:
    done: whether an episode ended with a step.
    values: of the whole episode, as they stand at its end.
  """
  count = jnp.sum(done)

  def mean(x):
    x = x.astype(jnp.float32).reshape(*done.shape, -1).mean(axis=-1)
    return jnp.where(count > 0, jnp.sum(x * done) / count, jnp.nan)

  return {name: mean(x) for name, x in values.items()}


class Play(NamedTuple):
  """What a policy did in evaluation.

  Attributes:
    returns: undiscounted, of each agent in each episode.
    lengths: steps of the episodes.
    info: what the environment's `info` was at the episode's last step.
  """

  returns: Float[Array, 'E A']
  lengths: Int[Array, ' E']
  info: Mapping[str, Shaped[Array, 'E *shape']]


def evaluate(
  env: envs.Environment,
  policy: Policy,
  params: Params,
  key: PRNGKeyArray,
  num_episodes: int,
  max_steps: int,
  *,
  env_params: Any = None,
  greedy: bool = False,
) -> Play:
  """Plays one whole episode in each of `num_episodes` environments.

  Episodes that are not over after `max_steps` are cut there. At most
  `num_episodes * max_steps` environment steps; stops when all are over.

  Args:
    env: without `auto_reset`.
    policy: of the agents.
    params: of the policy.
    key: consumed; an episode depends on it and on its number.
    num_episodes: `E`; static.
    max_steps: static.
    env_params: of the environment; None for the default.
    greedy: take the best action instead of a draw; static.

  Returns:
    The outcome of each episode.
  """
  one = lambda key: _episode(
    env, policy, params, key, max_steps, env_params, greedy
  )
  return jax.vmap(one)(env_keys(key, num_episodes))


class _Running(NamedTuple):
  """An episode that is being played."""

  time: Int[Array, '']
  done: Bool[Array, '']
  obs: Shaped[Array, 'A *shape']
  state: Any
  memory: Float[Array, 'A H']
  reset: Bool[Array, ' A']
  info: Any


def _episode(env, policy, params, key, max_steps, env_params, greedy):
  """One episode, without its states."""
  env_params = env.default_params if env_params is None else env_params
  play = envs.episode_statistics(env)
  act = policy.act_greedily if greedy else policy.act
  key, reset_key = jax.random.split(key)

  def step(now):
    act_key, step_key = jax.random.split(jax.random.fold_in(key, now.time))
    legal = legal_actions(play, now.state, env_params)
    action, memory = act(params, act_key, now.obs, legal, now.memory, now.reset)
    out = play.step(step_key, now.state, action, env_params)
    return _Running(
      now.time + 1,
      out.terminated | out.truncated,
      out.obs,
      out.state,
      memory,
      ~play.active_agents(out.state, env_params),
      dict(out.info),
    )

  obs, state = play.reset(reset_key, env_params)
  memory = jnp.zeros((env.num_agents, policy.memory_width), jnp.float32)
  never = jnp.zeros((), bool)
  time = jnp.zeros((), jnp.int32)
  start = _Running(
    time, never, obs, state, memory, jnp.ones((env.num_agents,), bool), None
  )
  shapes = jax.eval_shape(step, start).info
  blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  end = jax.lax.while_loop(
    lambda now: (now.time < max_steps) & ~now.done,
    step,
    start._replace(info=blank),
  )
  info = dict(end.info)
  returns, lengths = info.pop('episode_return'), info.pop('episode_length')
  return Play(returns, lengths, info)


def legal_actions(
  env: envs.Environment, state: Any, params: Any
) -> Bool[Array, 'A n']:
  """What `env.avail_actions` says; `[A, 0]` where actions are continuous."""
  if isinstance(env.action_spaces[0], envs.Box):
    return jnp.ones((env.num_agents, 0), bool)
  return env.avail_actions(state, params)


def trajectory(
  env: envs.Environment,
  policy: Policy,
  params: Params,
  key: PRNGKeyArray,
  max_steps: int,
  *,
  env_params: Any = None,
  greedy: bool = False,
) -> list[Any]:
  """States of one episode on the host, the first one included, to be drawn.

  Args:
    env: without `auto_reset`.
    policy: of the agents.
    params: of the policy.
    key: consumed.
    max_steps: after which an episode is cut.
    env_params: of the environment; None for the default.
    greedy: take the best action instead of a draw.
  """
  env_params = env.default_params if env_params is None else env_params
  act = jax.jit(policy.act_greedily if greedy else policy.act)
  step, legal_fn = (
    jax.jit(env.step),
    jax.jit(lambda state: legal_actions(env, state, env_params)),
  )
  active = jax.jit(lambda state: env.active_agents(state, env_params))
  key, reset_key = jax.random.split(key)
  obs, state = jax.jit(env.reset)(reset_key, env_params)
  memory = jnp.zeros((env.num_agents, policy.memory_width), jnp.float32)
  reset = jnp.ones((env.num_agents,), bool)
  states = [jax.device_get(state)]
  for t in range(max_steps):
    act_key, step_key = jax.random.split(jax.random.fold_in(key, t))
    action, memory = act(params, act_key, obs, legal_fn(state), memory, reset)
    out = step(step_key, state, action, env_params)
    obs, state, reset = out.obs, out.state, ~active(out.state)
    states.append(jax.device_get(state))
    if out.terminated | out.truncated:
      break
  return states
