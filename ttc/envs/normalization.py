"""Observations and rewards on a common scale, from what a batch has seen.

Moments run over all environments of a batch, so these wrappers go around
`vectorize`: `normalize_observations(vectorize(env))`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.envs.environment import Environment
from ttc.envs.spaces import Box
from ttc.envs.wrappers import inside

LIMIT = 10.0  # of a standardised observation


class Moments(NamedTuple):
  """Mean and variance so far, by the parallel rule (Chan et al., 1979)."""

  mean: Float[Array, ' *shape']
  var: Float[Array, ' *shape']
  weight: Float[Array, '']  # number of values, and the first's share


def initial_moments(shape: tuple[int, ...]) -> Moments:
  """As if a thousandth of a standard normal value had been seen."""
  count = jnp.full((), 1e-3, jnp.float32)
  zeros = jnp.zeros(shape, jnp.float32)
  return Moments(zeros, zeros + 1, count)


def update_moments(
  moments: Moments, values: Float[Array, 'B *shape']
) -> Moments:
  """Takes in a batch of values."""
  mean, var = jnp.mean(values, axis=0), jnp.var(values, axis=0)
  count = moments.weight + values.shape[0]
  delta, share = mean - moments.mean, values.shape[0] / count
  spread = moments.var * (1 - share) + var * share
  return Moments(
    moments.mean + delta * share,
    spread + delta**2 * share * (1 - share),
    count,
  )


def standardize(
  moments: Moments, values: Float[Array, ' *B'], limit: float = LIMIT
) -> Float[Array, ' *B']:
  """`(value - mean) / std`, clipped to `[-limit, limit]`."""
  mean = jnp.broadcast_to(moments.mean, values.shape)
  scale = jnp.broadcast_to(jax.lax.rsqrt(moments.var + 1e-8), values.shape)
  scaled = (values - mean) * scale
  return jnp.clip(scaled, -limit, limit)


class Normalized(NamedTuple):
  """State of a batch of environments and what was seen of all of them."""

  env_state: Any
  moments: Moments


def normalize_observations(env: Environment) -> Environment:
  """Standardises observations by running moments of the whole batch.

  Args:
    env: from `vectorize`. Moments are over environments, one for each agent
      and feature; `info['final_obs']` is standardised by the same ones.
  """

  def observe(state, params):
    return standardize(state.moments, env.observe(state.env_state, params))

  def reset(keys, params):
    obs, state = env.reset(keys, params)
    moments = update_moments(initial_moments(obs.shape[1:]), obs)
    return standardize(moments, obs), Normalized(state, moments)

  def step(keys, state, actions, params):
    out = env.step(keys, state.env_state, actions, params)
    moments = update_moments(state.moments, out.obs)
    final = {
      'final_obs': standardize(moments, out.info['final_obs']),
      'final_state': Normalized(out.info['final_state'], moments),
    }
    return out._replace(
      obs=standardize(moments, out.obs),
      state=Normalized(out.state, moments),
      info={**out.info, **final},
    )

  spaces = tuple(
    Box(space.shape, -LIMIT, LIMIT) for space in env.observation_spaces
  )
  return inside(
    env, reset=reset, step=step, observe=observe, observation_spaces=spaces
  )


class NormalizedRewards(NamedTuple):
  """State of a batch of environments and its discounted returns so far."""

  env_state: Any
  returns: Float[Array, 'E A']
  moments: Moments


def normalize_rewards(env: Environment, discount: float = 0.99) -> Environment:
  """Divides rewards by the standard deviation of discounted returns.

  The rule of OpenAI's baselines: the mean is kept, so that signs are.

  Args:
    env: from `vectorize`.
    discount: of the returns.
  """

  def reset(keys, params):
    obs, state = env.reset(keys, params)
    returns = jnp.zeros((obs.shape[0], env.num_agents), jnp.float32)
    moments = initial_moments((env.num_agents,))
    return obs, NormalizedRewards(state, returns, moments)

  def step(keys, state, actions, params):
    out = env.step(keys, state.env_state, actions, params)
    returns = state.returns * discount + out.reward
    moments = update_moments(state.moments, returns)
    done = (out.terminated | out.truncated)[:, None]
    state = NormalizedRewards(out.state, jnp.where(done, 0.0, returns), moments)
    reward = out.reward * jax.lax.rsqrt(moments.var + 1e-8)[None]
    return out._replace(state=state, reward=reward)

  return inside(env, reset=reset, step=step)
