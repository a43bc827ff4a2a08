"""What rules are learned on, and how good the agents are that they make."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import agents, envs
from ttc.metarl.evolution import FitnessFn
from ttc.metarl.inner_loop import Agent, learner
from ttc.metarl.lifetimes import live, random_horizon
from ttc.metarl.rules.interface import UpdateRule
from ttc.types import Params


class MetaTask(NamedTuple):
  """A distribution of lives.

  Attributes:
    env: where they are lived, without `auto_reset`.
    levels: `params` of it, one a life; None for the default ones.
    low: shortest life, in updates.
    high: longest one; lengths are log-uniform between them.
    agent: that lives.
    eval_episodes: at the end of a life; their mean return is its fitness.
    max_episode_steps: after which these are cut.
  """

  env: envs.Environment
  levels: envs.TaskDistribution | None = None
  low: int = 10
  high: int = 100
  agent: Agent = Agent()
  eval_episodes: int = 64
  max_episode_steps: int = 100


class Life(NamedTuple):
  """Which life it is; the key is of the agent and of what happens to it."""

  env_params: Any
  horizon: Int[Array, '']
  key: PRNGKeyArray


def draw_life(task: MetaTask, key: PRNGKeyArray) -> Life:
  """A level, a horizon, and a key for all the rest."""
  level_key, horizon_key, key = jax.random.split(key, 3)
  env_params = (
    task.env.default_params
    if task.levels is None
    else task.levels.sample(level_key)
  )
  return Life(env_params, random_horizon(horizon_key, task.low, task.high), key)


class Outcome(NamedTuple):
  """What became of an agent.

  Attributes:
    fitness: mean return of its evaluation, over episodes and agents.
    metrics: of its updates `[high]`, NaN after the end of its life.
  """

  fitness: Float[Array, '']
  metrics: Mapping[str, Float[Array, ' N']]


def outcome(
  task: MetaTask, rule: UpdateRule, meta: Params, life: Life
) -> Outcome:
  """Lives a life by a rule, then plays.

  Cost: `high` updates, and `eval_episodes` whole episodes.

  Args:
    task: that the life is of; its horizons may be exceeded up to `high`.
    rule: of the agent's learning.
    meta: parameters of the rule.
    life: to be lived.
  """
  agent = learner(
    task.env,
    rule,
    meta,
    life.horizon,
    task.agent,
    env_params=life.env_params,
  )
  life_key, eval_key = jax.random.split(life.key)
  state, metrics = live(agent, life_key, life.horizon, task.high)
  play = agents.evaluate(
    task.env,
    agent.policy,
    agent.params(state),
    eval_key,
    task.eval_episodes,
    task.max_episode_steps,
    env_params=life.env_params,
  )
  return Outcome(jnp.mean(play.returns), metrics)


def final_return(task: MetaTask, rule: UpdateRule) -> FitnessFn:
  """The fitness of meta-parameters for `evolution`: that of one drawn life.

  Both of an antithetic pair get the same key, so the same level, horizon, first
  parameters of the agent and random numbers.
  """
  return lambda meta, key: (
    outcome(task, rule, meta, draw_life(task, key)).fitness
  )
