"""Both meta-optimisers on levels that are replayed by regret.

See `ttc.metarl.level_replay`. State is the optimiser's own and the buffer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from ttc import agents
from ttc.agents.learner import env_keys
from ttc.metarl.evolution import Evolution, FitnessFn, task_keys
from ttc.metarl.inner_loop import learner
from ttc.metarl.level_replay import (
  LevelBuffer,
  Replay,
  antagonist_returns,
  empty_buffer,
  remember,
  replayed,
)
from ttc.metarl.meta_gradients import MetaGradient
from ttc.metarl.meta_task import MetaTask, draw_life, final_return
from ttc.metarl.rules.interface import UpdateRule
from ttc.types import Params


class WithBuffer(NamedTuple):
  """A meta-optimiser's state, and levels that are known."""

  inner: Any
  buffer: LevelBuffer

  @property
  def params(self) -> Params:
    """Meta-parameters."""
    return self.inner.params


class ReplayTraining(NamedTuple):
  """A pair of pure functions.

  Attributes:
    init: `(meta, key) -> WithBuffer`.
    update: `state -> (state, what the inner one tells)`.
  """

  init: Callable[[Params, PRNGKeyArray], WithBuffer]
  update: Callable[[WithBuffer], tuple[WithBuffer, Any]]


def evolution_with_replay(
  task: MetaTask,
  rule: UpdateRule,
  evolve: Callable[[FitnessFn], Evolution],
  num_pairs: int,
  replay: Replay = Replay(),  # noqa: B008
) -> ReplayTraining:
  """Evolution whose pairs live on replayed levels.

  A pair's regret is that of the mean of both.

  Args:
    task: with levels.
    rule: that evolves.
    evolve: makes the strategy for a fitness.
    num_pairs: of it.
    replay: how often, and which.
  """
  levels = _levels(task)

  def init(meta, key):
    inner = evolve(final_return(task, rule)).init(meta, key)
    return WithBuffer(inner, empty_buffer(levels, replay.capacity))

  def update(state):
    buffer = state.buffer
    now = task._replace(levels=replayed(buffer, levels, replay))
    keys = task_keys(state.inner, num_pairs)
    lives = jax.vmap(lambda key: draw_life(now, key))(keys)
    inner, fitness = evolve(final_return(now, rule)).update(state.inner)
    every = jnp.ones((num_pairs,), bool)
    best = antagonist_returns(buffer, task, lives, every)
    buffer = remember(
      buffer, lives.env_params, jnp.mean(fitness, axis=1), best, every
    )
    return WithBuffer(inner, buffer), fitness

  return ReplayTraining(init, update)


def meta_gradients_with_replay(
  task: MetaTask,
  rule: UpdateRule,
  improve: Callable[[MetaTask], MetaGradient],
  replay: Replay = Replay(),  # noqa: B008
) -> ReplayTraining:
  """Meta-gradients whose agents are born on replayed levels.

  Args:
    task: with levels.
    rule: that is improved.
    improve: makes the optimiser for a task.
    replay: how often, and which.
  """
  levels = _levels(task)

  def init(meta, key):
    inner = improve(task).init(meta, key)
    return WithBuffer(inner, empty_buffer(levels, replay.capacity))

  def play(life, agent, key):
    """Return of an agent at the end of its life."""
    own = learner(
      task.env,
      rule,
      {},
      life.horizon,
      task.agent,
      env_params=life.env_params,
    )
    return agents.evaluate(
      task.env,
      own.policy,
      own.params(agent),
      key,
      task.eval_episodes,
      task.max_episode_steps,
      env_params=life.env_params,
    ).returns.mean()

  def update(state):
    inner, buffer = state.inner, state.buffer
    lives, agent = inner.lives.life, inner.lives.agent
    finished: Array = agent.updates >= lives.horizon
    key = jax.random.fold_in(inner.key, -1 - inner.updates)
    returns = jax.lax.cond(
      jnp.any(finished),
      lambda: jax.vmap(play)(lives, agent, env_keys(key, finished.shape[0])),
      lambda: jnp.zeros(finished.shape, jnp.float32),
    )
    best = antagonist_returns(buffer, task, lives, finished)
    buffer = remember(buffer, lives.env_params, returns, best, finished)
    now = task._replace(levels=replayed(buffer, levels, replay))
    inner, metrics = improve(now).update(inner)
    return WithBuffer(inner, buffer), metrics

  return ReplayTraining(init, update)


def _levels(task):
  if task.levels is None:
    raise ValueError('level replay: the task has no levels, expected a law')
  return task.levels
