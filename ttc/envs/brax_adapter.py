"""Environments of brax as ours (Freeman et al., 2021, 2106.13281; 0.14).

  env = envs.from_brax(brax.envs.get_environment('ant'))
  batch = envs.vectorize(env)

Actions are continuous, from -1 to 1. A robot of brax has no limit of time by
itself; here it is in the params.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from ttc.envs.environment import Environment
from ttc.envs.foreign import draw_observations
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box


class BraxParams(NamedTuple):
  """What a task may set.

  Attributes:
    max_steps: before truncation; 1000 is what brax trains with.
  """

  max_steps: Int[Array, ''] | int = 1000


class BraxState(NamedTuple):
  """Its state, and the steps so far."""

  env_state: Any
  time: Int[Array, '']


def from_brax(env: Any) -> Environment:
  """An environment of brax as one of ours, with one agent.

  `info` has its metrics. Its `done` is `terminated`, but where an
  `EpisodeWrapper` says that it is the end of time.

  Args:
    env: from `brax.envs.get_environment`, or `create` with `auto_reset=False`
      and no batch.

  Returns:
    An environment whose params are `BraxParams`.

  Raises:
    ValueError: if it resets by itself, is a batch, or shows more than one
      array.
  """
  name = getattr(env, 'unwrapped', env).__class__.__name__.lower()
  width, size = _check(env, name)

  def reset(key, params):
    del params
    return BraxState(env.reset(key), jnp.zeros((), jnp.int32))

  def step(key, state, action, params):
    del key
    after = env.step(state.env_state, action)
    time = state.time + 1
    limit = jnp.asarray(after.info.get('truncation', 0.0)) > 0
    terminated = (jnp.asarray(after.done) > 0) & ~limit
    truncated = limit | (time >= params.max_steps)
    info = dict(after.metrics)
    return BraxState(after, time), after.reward, terminated, truncated, info

  def draw(state, params):
    del params
    return draw_observations(np.asarray(state.env_state.obs)[None])

  return single_agent(
    f'brax {name}',
    BraxParams(),
    reset,
    step,
    lambda state, params: jnp.asarray(state.env_state.obs, jnp.float32),
    Box((width,)),
    Box((size,), -1.0, 1.0),
    draw,
  )


def _check(env, name):
  """Lengths of observations and actions."""
  state = jax.eval_shape(env.reset, jax.random.key(0))
  if not isinstance(state.obs, jax.ShapeDtypeStruct):
    raise ValueError(
      f'from_brax: {name} shows a {type(state.obs).__name__}, expected an array'
    )
  if state.obs.ndim != 1:
    raise ValueError(
      f'from_brax: observations of {name} have the shape {state.obs.shape}, '
      'expected one axis: a batch is made by envs.vectorize'
    )
  if 'first_obs' in state.info:
    raise ValueError(
      f'from_brax: {name} resets by itself, expected auto_reset=False: '
      'envs.vectorize and envs.auto_reset do that'
    )
  return state.obs.shape[0], int(env.action_size)
