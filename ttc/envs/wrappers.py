"""Environments of environments.

Each takes an environment and returns one. Wrappers that keep something of
an episode go inside of `auto_reset`, which starts them anew with it:

  env = envs.auto_reset(envs.episode_statistics(envs.stack_frames(env, 4)))
  batch = envs.vectorize(env)   # keys, states, actions with a leading axis E
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from ttc.envs.environment import Environment, Step
from ttc.envs.spaces import Box
from ttc.envs.task_distribution import TaskDistribution


def inside(env: Environment, **changes: Any) -> Environment:
  """A wrapper whose states have the field `env_state`."""
  through = lambda fn: fn and (lambda s, params: fn(s.env_state, params))
  fields = {
    name: through(getattr(env, name))
    for name in ('observe', 'draw', 'legal', 'active', 'world')
  }
  return dataclasses.replace(env, **{**fields, **changes})


# What resets add to `info`: of the state before them.
OF_RESETS = ('final_obs', 'final_state')


def _step_key(key):
  """The key of a step; `key` itself is that of the reset that may follow.

  It is another key without a hash, which would take time in every step: a
  constant is added to all words. Streams of different keys are independent,
  however close the keys are (Salmon et al., 2011), and sums, unlike exclusive
  ors, do not come back to `key` where wrappers are nested.
  """
  words = jax.random.key_data(key) + jnp.uint32(0x9E3779B9)
  return jax.random.wrap_key_data(words, impl=jax.random.key_impl(key))


def auto_reset(env: Environment) -> Environment:
  """Starts a new episode in the step that ends one.

  Observation and state are those of the new episode; `reward`, `terminated` and
  `truncated` still speak of the old one, whose last observation, from which a
  truncated value is bootstrapped, is `info['final_obs']`, and whose last state
  is `info['final_state']`: those of every step, before the reset.

  Costs a reset a step: under `vmap` both branches run. `vectorize` resets only
  when some environment of the batch is done.
  """

  def step(key, state, action, params):
    out = env.step(_step_key(key), state, action, params)
    done = out.terminated | out.truncated
    fresh = env.reset(key, params)
    obs, state = jax.tree.map(
      lambda new, old: jnp.where(done, new, old), fresh, (out.obs, out.state)
    )
    final = {'final_obs': out.obs, 'final_state': out.state}
    return out._replace(obs=obs, state=state, info={**out.info, **final})

  return dataclasses.replace(env, step=step)


def vectorize(env: Environment, *, batched_params: bool = False) -> Environment:
  """Many copies side by side, each with an episode of its own.

  All arrays get a leading axis `E`: `reset(keys [E], params)`, `step(keys [E],
  states, actions [E, A], params)`. Resets by itself, as `auto_reset` does, and
  with equal results; a reset is computed only in steps in which some episode
  ends, so where episodes have one length it is almost free.

  Args:
    env: without `auto_reset`.
    batched_params: whether `params` has the axis `E` too, a task for each.
  """
  axis = 0 if batched_params else None
  reset = jax.vmap(env.reset, in_axes=(0, axis))
  over_states = lambda fn: jax.vmap(fn, in_axes=(0, axis))

  def step(keys, states, actions, params):
    out = jax.vmap(env.step, in_axes=(0, 0, 0, axis))(
      jax.vmap(_step_key)(keys), states, actions, params
    )
    done = out.terminated | out.truncated

    def start_anew(old):
      choose = lambda a, b: jnp.where(
        done.reshape(done.shape + (1,) * (b.ndim - 1)), a, b
      )
      return jax.tree.map(choose, reset(keys, params), old)

    obs, states = jax.lax.cond(
      jnp.any(done), start_anew, lambda old: old, (out.obs, out.state)
    )
    final = {'final_obs': out.obs, 'final_state': out.state}
    return out._replace(obs=obs, state=states, info={**out.info, **final})

  return dataclasses.replace(
    env,
    reset=reset,
    step=step,
    observe=over_states(env.observe),
    legal=over_states(env.avail_actions),
    active=over_states(env.active_agents),
    world=over_states(env.world_state),
  )


class EpisodeStatistics(NamedTuple):
  """Of the episode so far."""

  env_state: Any
  returns: Float[Array, ' A']
  length: Int[Array, '']


def episode_statistics(env: Environment) -> Environment:
  """Adds `episode_return [A]`, undiscounted, and `episode_length` to `info`.

  They are of the episode so far, this step included; whoever wants whole
  episodes takes those of steps that end one.
  """

  def reset(key, params):
    obs, state = env.reset(key, params)
    zeros = jnp.zeros((env.num_agents,), jnp.float32)
    return obs, EpisodeStatistics(state, zeros, jnp.zeros((), jnp.int32))

  def step(key, state, action, params):
    out = env.step(key, state.env_state, action, params)
    returns, length = state.returns + out.reward, state.length + 1
    info = {**out.info, 'episode_return': returns, 'episode_length': length}
    state = EpisodeStatistics(out.state, returns, length)
    return out._replace(state=state, info=info)

  return inside(env, reset=reset, step=step)


class FrameStack(NamedTuple):
  """The last observations, the latest one last."""

  env_state: Any
  frames: Shaped[Array, 'k A *shape']


def stack_frames(env: Environment, num_frames: int) -> Environment:
  """Observations are the last `num_frames` ones, joined along the last axis.

  Before there are so many, the first one is repeated (as in Mnih et al., 2015).

  Raises:
    ValueError: on no frames.
  """
  if num_frames < 1:
    raise ValueError(f'stack_frames: num_frames={num_frames}, expected >= 1')

  def observe(state, params):
    del params
    return jnp.concatenate(list(state.frames), axis=-1)

  def reset(key, params):
    obs, state = env.reset(key, params)
    state = FrameStack(state, jnp.stack([obs] * num_frames))
    return observe(state, params), state

  def step(key, state, action, params):
    out = env.step(key, state.env_state, action, params)
    frames = jnp.concatenate([state.frames[1:], out.obs[None]])
    state = FrameStack(out.state, frames)
    return out._replace(obs=observe(state, params), state=state)

  *sizes, width = env.observation_shape  # with the padding of each frame
  shape = (*sizes, width * num_frames)
  spaces = tuple(
    dataclasses.replace(space, shape=shape) for space in env.observation_spaces
  )
  return inside(
    env, reset=reset, step=step, observe=observe, observation_spaces=spaces
  )


class MetaEpisode(NamedTuple):
  """One of several episodes of a task, and what came before."""

  env_state: Any
  obs: Shaped[Array, 'A D']
  action: Float[Array, 'A n']  # the last one, one-hot; zeros at first
  reward: Float[Array, ' A']
  done: Bool[Array, '']  # whether it ended an episode
  episode: Int[Array, '']


def meta_episodes(env: Environment, num_episodes: int) -> Environment:
  """Several episodes of one task are one episode, as in RL^2 (1611.02779).

  Observations `[A, D]` get the last action (one-hot; as it is where
  continuous), the last reward and whether it ended an episode: `[A, D + n +
  2]`. Inner episodes start anew by themselves with the same `params`; the outer
  one ends, by truncation, with the last of them. `info['episode']` counts those
  that ended.

  Args:
    env: with flat observations, without `auto_reset`.
    num_episodes: of a task.

  Raises:
    ValueError: on no episodes, or observations with more than one axis.
  """
  if num_episodes < 1:
    raise ValueError(
      f'meta_episodes: num_episodes={num_episodes}, expected >= 1'
    )
  if len(env.observation_shape) != 1:
    raise ValueError(
      f'meta_episodes: observations of {env.name} have the shape '
      f'{env.observation_shape}, expected one axis'
    )
  continuous = isinstance(env.action_spaces[0], Box)
  width = (
    max(space.shape[0] for space in env.action_spaces)
    if continuous
    else env.num_actions
  )

  def observe(state, params):
    del params
    done = jnp.full_like(state.reward, state.done, dtype=jnp.float32)
    last = jnp.stack([state.reward, done], axis=-1)
    return jnp.concatenate([state.obs, state.action, last], axis=-1)

  def reset(key, params):
    obs, env_state = env.reset(key, params)
    state = MetaEpisode(
      env_state,
      obs,
      action=jnp.zeros((env.num_agents, width), jnp.float32),
      reward=jnp.zeros((env.num_agents,), jnp.float32),
      done=jnp.zeros((), bool),
      episode=jnp.zeros((), jnp.int32),
    )
    return observe(state, params), state

  inner = auto_reset(env)

  def step(key, state, action, params):
    out = inner.step(key, state.env_state, action, params)
    done = out.terminated | out.truncated
    seen = action if continuous else jax.nn.one_hot(action, width)
    episode = state.episode + done
    over = episode >= num_episodes
    state = MetaEpisode(
      out.state,
      jnp.where(over, out.info['final_obs'], out.obs),
      seen.astype(jnp.float32),
      out.reward,
      done,
      episode.astype(jnp.int32),
    )
    never = jnp.zeros((), bool)
    info = {**out.info, 'episode': state.episode}
    obs = observe(state, params)
    return Step(obs, state, out.reward, never, over, info)

  spaces = tuple(
    Box((env.observation_shape[0] + width + 2,)) for _ in env.agents
  )
  return inside(
    env, reset=reset, step=step, observe=observe, observation_spaces=spaces
  )


class TaskState(NamedTuple):
  """A state and the task it belongs to."""

  env_state: Any
  params: Any


def sample_tasks(env: Environment, tasks: TaskDistribution) -> Environment:
  """Every reset draws a task; the `params` that are passed mean nothing.

  Args:
    env: without `auto_reset`.
    tasks: whose tasks are params of the environment.
  """
  own = lambda fn: fn and (lambda s, params: fn(s.env_state, s.params))

  def reset(key, params):
    del params
    key, task_key = jax.random.split(key)
    task = tasks.sample(task_key)
    obs, state = env.reset(key, task)
    return obs, TaskState(state, task)

  def step(key, state, action, params):
    del params
    out = env.step(key, state.env_state, action, state.params)
    return out._replace(state=TaskState(out.state, state.params))

  fields = ('observe', 'draw', 'legal', 'active', 'world')
  changes = {name: own(getattr(env, name)) for name in fields}
  return dataclasses.replace(env, reset=reset, step=step, **changes)
