"""Environments of one agent, written without the axis `A`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, Shaped

from ttc.envs.environment import Environment, EnvParams, EnvState, Step
from ttc.envs.rendering import Picture
from ttc.envs.spaces import Box, Space


def single_agent(
  name: str,
  default_params: EnvParams,
  reset: Callable[[PRNGKeyArray, EnvParams], EnvState],
  step: Callable[[PRNGKeyArray, EnvState, Any, EnvParams], tuple[Any, ...]],
  observe: Callable[[EnvState, EnvParams], Shaped[Array, ' *shape']],
  observation_space: Box,
  action_space: Space,
  draw: Callable[[EnvState, EnvParams], Picture],
) -> Environment:
  """An `Environment` whose axis `A` has length one.

  Args:
    name: for tables and files.
    default_params: of `reset` and `step`.
    reset: `(key, params) -> state`.
    step: `(key, state, action, params) -> (state, reward, terminated,
      truncated, info)`, action and reward without the axis. Where both the
      rules and the limit of time end an episode, the rules do.
    observe: `(state, params) -> obs`, without the axis.
    observation_space: of `obs`.
    action_space: of `action`.
    draw: `(state, params) -> Picture`.
  """

  def observe_all(state, params) -> Shaped[Array, 'A *shape']:
    return observe(state, params)[None]

  def reset_all(key, params):
    state = reset(key, params)
    return observe_all(state, params), state

  def step_all(key, state, action, params):
    out = step(key, state, action[0], params)
    state, reward, terminated, truncated, info = out
    return Step(
      observe_all(state, params),
      state,
      jnp.asarray(reward, jnp.float32)[None],
      terminated,
      truncated & ~terminated,
      info,
    )

  return Environment(
    name=name,
    agents=('agent',),
    default_params=default_params,
    reset=reset_all,
    step=step_all,
    observe=observe_all,
    observation_spaces=(observation_space,),
    action_spaces=(action_space,),
    draw=draw,
  )
