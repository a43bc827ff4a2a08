r"""Levels worth another life: GROOVE's replay by regret (2310.02782).

A buffer keeps levels on which agents of the rule did worse than an antagonist,
A2C for a whole life, and lives begin on these as often as on new ones:

.. math::
  \text{regret} = R(\text{A2C}) - R(\text{rule}), \qquad
  P(\text{level}) \propto (1 / \text{rank})^{1 / \beta}
  \text{ or } \text{regret}^{1 / \beta}

(Jiang et al., 2021, 2010.03934, section 3). A buffer is a value and what it
replays is a distribution of levels like any other, so both meta-optimisers use
it as they are. A level's antagonist lives once: what it reached is kept. Cost:
one life of A2C for each new level.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttc import envs
from ttc.metarl.lifetimes import where
from ttc.metarl.meta_task import Life, MetaTask, outcome
from ttc.metarl.rules.policy_gradients import a2c


class Replay(NamedTuple):
  """Numbers; the defaults are GROOVE's.

  Attributes:
    capacity: levels that are kept.
    probability: of a life on one of them.
    prioritization: by 'rank' of regrets, or 'proportional' to them.
    temperature: beta.
  """

  capacity: int = 4000
  probability: float = 0.5
  prioritization: Literal['rank', 'proportional'] = 'rank'
  temperature: float = 1.0


class LevelBuffer(NamedTuple):
  """Levels, leaves `[C, ...]`.

  Attributes:
    levels: params of the environment.
    regrets: of the last life on each; `-inf` where there is no level.
    antagonists: what A2C reached.
  """

  levels: Any
  regrets: Float[Array, ' C']
  antagonists: Float[Array, ' C']


def empty_buffer(levels: envs.TaskDistribution, capacity: int) -> LevelBuffer:
  """Room for levels of a distribution.

  Raises:
    ValueError: on no room.
  """
  if capacity < 1:
    raise ValueError(f'level replay: capacity={capacity}, expected >= 1')
  one = jax.eval_shape(levels.sample, jax.random.key(0))
  room = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), one)
  zeros = jnp.zeros((capacity,), jnp.float32)
  return LevelBuffer(room, zeros - jnp.inf, zeros)


def replay_law(buffer: LevelBuffer, replay: Replay) -> Float[Array, ' C']:
  """How probable each level is when one is replayed; 0 where there is none."""
  known = jnp.isfinite(buffer.regrets)
  if replay.prioritization == 'rank':
    rank = jnp.argsort(jnp.argsort(-buffer.regrets)) + 1
    weight = 1 / rank
  else:
    weight = jnp.maximum(jnp.where(known, buffer.regrets, 0.0), 1e-6)
  weight = jnp.where(known, weight ** (1 / replay.temperature), 0.0)
  return weight / jnp.maximum(jnp.sum(weight), 1e-30)


def replayed(
  buffer: LevelBuffer, levels: envs.TaskDistribution, replay: Replay
) -> envs.TaskDistribution:
  """New levels and, once there are any, old ones.

  Args:
    buffer: old ones; may be traced.
    levels: new ones.
    replay: how often, and which.
  """
  law = replay_law(buffer, replay)

  def sample(key):
    new_key, old_key, key = jax.random.split(key, 3)
    index = jax.random.categorical(old_key, jnp.log(law))
    old = jax.tree.map(lambda x: x[index], buffer.levels)
    again = jax.random.bernoulli(key, replay.probability) & (jnp.sum(law) > 0)
    return where(again, old, levels.sample(new_key))

  return envs.TaskDistribution(sample)


def find(
  buffer: LevelBuffer, level: Any
) -> tuple[Bool[Array, ''], Int[Array, '']]:
  """Whether a level is in the buffer, and where."""

  def equal(kept, own):
    return jnp.all(
      kept.reshape(kept.shape[0], -1) == jnp.asarray(own).reshape(1, -1), axis=1
    )

  same = jax.tree.map(equal, buffer.levels, level)
  found = jnp.isfinite(buffer.regrets)
  for leaf in jax.tree.leaves(same):
    found &= leaf
  return jnp.any(found), jnp.argmax(found)


def remember(
  buffer: LevelBuffer,
  levels: Any,
  returns: Float[Array, ' P'],
  antagonists: Float[Array, ' P'],
  finished: Bool[Array, ' P'],
) -> LevelBuffer:
  """Takes in lives that are over.

  A level that is there gets its new regret; another takes the place of the
  least regret if its own is larger.

  Args:
    buffer: to be changed.
    levels: of the lives, leaves `[P, ...]`.
    returns: of agents at their ends.
    antagonists: returns of A2C on the levels.
    finished: which lives are over; the others say nothing.
  """

  def add(buffer, life):
    level, regret, antagonist, finished = life
    known, index = find(buffer, level)
    index = jnp.where(known, index, jnp.argmin(buffer.regrets))
    taken = finished & (known | (regret > buffer.regrets[index]))
    changed = LevelBuffer(
      jax.tree.map(lambda x, y: x.at[index].set(y), buffer.levels, level),
      buffer.regrets.at[index].set(regret),
      buffer.antagonists.at[index].set(antagonist),
    )
    return where(taken, changed, buffer), None

  lives = (levels, antagonists - returns, antagonists, finished)
  return jax.lax.scan(add, buffer, lives)[0]


def antagonist_returns(
  buffer: LevelBuffer, task: MetaTask, lives: Life, finished: Bool[Array, ' P']
) -> Float[Array, ' P']:
  """What A2C reaches in a whole life on each level, from the buffer if known.

  Args:
    buffer: of known levels.
    task: that lives are of; the antagonist lives for `task.high` updates.
    lives: whose levels they are, leaves `[P, ...]`.
    finished: of which it is asked; 0 elsewhere.
  """
  known, index = jax.vmap(lambda level: find(buffer, level))(lives.env_params)

  def live(life):
    whole = life._replace(horizon=jnp.full((), task.high, jnp.int32))
    return outcome(task, a2c(), {}, whole).fitness

  asked = finished & ~known
  lived = jax.lax.cond(
    jnp.any(asked),
    lambda: jax.vmap(live)(lives),
    lambda: jnp.zeros(finished.shape, jnp.float32),
  )
  return jnp.where(known, buffer.antagonists[index], lived)
