"""Environments of gymnax as ours (Lange, 2022; version 1.0).

  env = envs.from_gymnax(*gymnax.make('Pendulum-v1'))
  batch = envs.vectorize(env)

Its params are ours, so a batch of tasks is a batch of its params.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc.envs.environment import Environment
from ttc.envs.foreign import draw_observations, our_space
from ttc.envs.single_agent import single_agent
from ttc.envs.spaces import Box

_EXTRA = "pip install 'ttc-jax[oracle]'"


class GymnaxState(NamedTuple):
  """Its state, and what it showed of it, which may need a key."""

  env_state: Any
  obs: Float[Array, '*shape']


def from_gymnax(env: Any, env_params: Any = None) -> Environment:
  """An environment of gymnax as one of ours, with one agent.

  Nothing resets by itself; what its `step` would lose at the end of an episode
  is there. A step that the rules end is `terminated` only.

  Args:
    env: the first one that `gymnax.make` returns.
    env_params: the second one; `env.default_params` if None.

  Returns:
    An environment whose params are `env_params`.

  Raises:
    ValueError: if its steps do not give six values, as those of the version
      that the extra `oracle` installs do, or if it shows more than one array.
  """
  params = env.default_params if env_params is None else env_params
  space = env.action_space(params)
  action_space = our_space(space)
  if action_space.shape == () and isinstance(action_space, Box):
    action_space = Box((1,), action_space.low, action_space.high)
  obs, types = _check(env, params, space)

  def kept(state, obs):
    shown = jnp.atleast_1d(jnp.asarray(obs, jnp.float32))
    return GymnaxState(jax.tree.map(_as_type, state, types), shown)

  def reset(key, params):
    obs, state = env.reset_env(key, params)
    return kept(state, obs)

  def step(key, state, action, params):
    obs, after, reward, terminated, info = env.step_env(
      key, state.env_state, action.reshape(space.shape), params
    )
    truncated = jnp.asarray(env.is_truncated(after, params), bool)
    terminated = jnp.asarray(terminated, bool)
    reward = jnp.reshape(reward, ())
    return kept(after, obs), reward, terminated, truncated, info

  def draw(state, params):
    del params
    return draw_observations(np.asarray(state.obs)[None])

  return single_agent(
    f'gymnax {env.name}',
    params,
    reset,
    step,
    lambda state, params: state.obs,
    Box(obs.shape or (1,)),
    action_space,
    draw,
  )


def _as_type(x, dtype):
  """Keys stay what they are."""
  if jnp.issubdtype(dtype, jax.dtypes.extended):
    return x
  return jnp.asarray(x, dtype)


def _check(env, params, space):
  """What it shows and types of its state; refuses steps of not six values."""
  key = jax.random.key(0)
  obs, state = jax.eval_shape(env.reset_env, key, params)
  if not isinstance(obs, jax.ShapeDtypeStruct):
    raise ValueError(
      f'from_gymnax: {env.name} shows a {type(obs).__name__}, expected an array'
    )
  kind = jnp.int32 if hasattr(space, 'n') else jnp.float32
  action = jax.ShapeDtypeStruct(space.shape, kind)
  result = jax.eval_shape(env.step, key, state, action, params)
  count = len(result) if isinstance(result, tuple) else 1
  if count != 6:
    raise ValueError(
      f'from_gymnax: a step of {env.name} gives {count} values, expected 6 as '
      f'in the version of {_EXTRA}'
    )
  # Starts have Python numbers where later states have arrays.
  after = jax.eval_shape(env.step_env, key, state, action, params)[1]
  return obs, jax.tree.map(_shared_type, state, after)


def _shared_type(a, b):
  return a.dtype if a.dtype == b.dtype else jnp.promote_types(a.dtype, b.dtype)
