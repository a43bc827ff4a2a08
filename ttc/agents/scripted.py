"""Policies without parameters, to compare with and to play against."""

import jax
import jax.numpy as jnp

from ttc import envs
from ttc.agents import distributions
from ttc.agents.learner import Policy


def random_policy() -> Policy:
  """A uniformly random legal action of each agent; its params are `()`."""

  def act(params, key, obs, legal, memory, reset):
    del params, obs, reset
    logits = distributions.masked(jnp.zeros(legal.shape), legal)
    return jax.random.categorical(key, logits).astype(jnp.int32), memory

  return Policy(act, act, 0)


def constant_policy(env: envs.Environment, action: int = 0) -> Policy:
  """The same action at every step; the first legal one where it is not.

  Args:
    env: says what actions there are; its params are `()`.
    action: of every agent.

  Raises:
    ValueError: if there is no such action.
  """
  if not 0 <= action < env.num_actions:
    raise ValueError(
      f'action={action}; {env.name} has 0 to {env.num_actions - 1}'
    )

  def act(params, key, obs, legal, memory, reset):
    del params, key, obs, reset
    chosen = jnp.where(legal[:, action], action, jnp.argmax(legal, axis=-1))
    return chosen.astype(jnp.int32), memory

  return Policy(act, act, 0)
