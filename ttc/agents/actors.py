"""Actors: the law of actions that a network's outputs say, and play by it."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ttc import envs
from ttc.agents import distributions, networks
from ttc.agents.learner import Policy


def num_logits(env: envs.Environment) -> int:
  """Outputs of an actor: one an action, or mean and log-std of coordinates."""
  if isinstance(env.action_spaces[0], envs.Box):
    return 2 * env.action_spaces[0].shape[0]
  return env.num_actions


def action_law(
  env: envs.Environment,
  outputs: Float[Array, '*B n'],
  legal: Bool[Array, '*B a'],
) -> distributions.ActionLaw:
  """What an actor's outputs say.

  Args:
    env: says whether actions are discrete.
    outputs: `num_logits(env)` of them; what is behind these says nothing here.
    legal: which actions are; means nothing where they are continuous.
  """
  outputs = outputs[..., : num_logits(env)]
  if isinstance(env.action_spaces[0], envs.Box):
    mean, log_std = jnp.split(outputs, 2, axis=-1)
    return distributions.DiagonalNormal(mean, jnp.clip(log_std, -5.0, 2.0))
  return distributions.Categorical(distributions.masked(outputs, legal))


def actor_policy(env: envs.Environment, actor: networks.AgentsNet) -> Policy:
  """Play by an actor, of one environment's agents."""

  def law(params, obs, legal, memory, reset):
    outputs, memory = actor.apply(
      params, obs[None, None], memory[None], reset[None, None]
    )
    return action_law(env, outputs[0, 0], legal), memory[0]

  def act(params, key, obs, legal, memory, reset):
    chosen, memory = law(params, obs, legal, memory, reset)
    return chosen.sample(key), memory

  def act_greedily(params, key, obs, legal, memory, reset):
    del key
    chosen, memory = law(params, obs, legal, memory, reset)
    return chosen.mode(), memory

  return Policy(act, act_greedily, actor.memory_width)
