"""Episodes of many tasks, of mixed quality, as arrays.

Offline meta-RL learns from episodes that others have played. `record` plays one
of anybody's, `collect` as many as there are noise levels in every task, and
`seek_goal` is who plays them here: from random to nearly expert.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc import envs
from ttc.agents.learner import env_keys
from ttc.envs.point_robot import PointRobotParams, goal_of


class Trajectories(NamedTuple):
  """Episodes; steps behind the end of one are not real, and zero.

  Attributes:
    state: before each step.
    action: of the step.
    reward: of the step.
    next_state: after the step.
    mask: whether the step is real.
  """

  state: Float[Array, '*B T S']
  action: Float[Array, '*B T A']
  reward: Float[Array, '*B T']
  next_state: Float[Array, '*B T S']
  mask: Bool[Array, '*B T']


class StateScale(NamedTuple):
  """What states are measured by, the same for world model and policy."""

  mean: Float[Array, ' S']
  std: Float[Array, ' S']


# `(key, past [T], t) -> action [A]`: `past.state[t]` is where one is, and what
# is behind it is zero.
ActFn: TypeAlias = Callable[
  [PRNGKeyArray, Trajectories, Int[Array, '']], Float[Array, ' A']
]


def record(
  env: envs.Environment,
  act: ActFn,
  key: PRNGKeyArray,
  task: Any,
  num_steps: int,
  scale: StateScale | None = None,
) -> Trajectories:
  """Plays an episode.

  Args:
    env: of one agent, with flat observations and continuous actions.
    act: who plays.
    key: consumed.
    task: params of `env`.
    num_steps: `T`, after which the episode is cut; static.
    scale: that states are measured by; None for as they are.

  Returns:
    Leaves `[T, ...]`.

  Raises:
    ValueError: on more agents than one.
  """
  if env.num_agents != 1:
    raise ValueError(f'record: num_agents={env.num_agents}, expected 1')
  measure = lambda obs: _measured(obs[0].astype(jnp.float32), scale)
  S, A = env.observation_shape[0], env.action_spaces[0].shape[0]
  zeros = lambda *shape: jnp.zeros((num_steps, *shape), jnp.float32)
  past = Trajectories(
    zeros(S), zeros(A), zeros(), zeros(S), jnp.zeros((num_steps,), bool)
  )
  key, reset_key = jax.random.split(key)
  obs, env_state = env.reset(reset_key, task)

  def step(now, t):
    past, obs, env_state, done = now
    act_key, step_key = jax.random.split(jax.random.fold_in(key, t))
    real = lambda x: jnp.where(done, jnp.zeros_like(x), x)
    put = lambda old, new: old.at[t].set(real(new))
    past = past._replace(state=put(past.state, measure(obs)))
    action = act(act_key, past, t)
    out = env.step(step_key, env_state, action[None], task)
    past = past._replace(
      action=put(past.action, action),
      reward=put(past.reward, out.reward[0]),
      next_state=put(past.next_state, measure(out.obs)),
      mask=past.mask.at[t].set(~done),
    )
    done = done | out.terminated | out.truncated
    return (past, out.obs, out.state, done), None

  begin = (past, obs, env_state, jnp.zeros((), bool))
  return jax.lax.scan(step, begin, jnp.arange(num_steps))[0][0]


def collect(
  env: envs.Environment,
  behave: Callable[..., Float[Array, ' A']],
  key: PRNGKeyArray,
  tasks: Any,
  levels: Float[Array, ' E'],
  num_steps: int,
) -> Trajectories:
  """Plays episodes of each task, one at each level of noise.

  Args:
    env: that is played.
    behave: `(key, state [S], t, task, level) -> action [A]`, as `seek_goal`;
      the key is the episode's.
    key: consumed; an episode depends on it, on its task and on its number.
    tasks: params of `env`, leaves `[K, ...]`.
    levels: of noise, one an episode.
    num_steps: `T` of an episode; static.

  Returns:
    Leaves `[K, E, T, ...]`.
  """

  def play(key, task, level):
    act_key, key = jax.random.split(key)
    act = lambda _, past, t: behave(act_key, past.state[t], t, task, level)
    return record(env, act, key, task, num_steps)

  episodes = jax.vmap(play, in_axes=(0, None, 0))
  of_task = lambda key, task: episodes(
    env_keys(key, levels.shape[0]), task, levels
  )
  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  return jax.vmap(of_task)(env_keys(key, num_tasks), tasks)


def seek_goal(
  key: PRNGKeyArray,
  state: Float[Array, '2'],
  t: Int[Array, ''],
  task: PointRobotParams,
  level: Float[Array, ''],
) -> Float[Array, '2']:
  """Goes where a point robot is wanted, more or less.

  Each step has noise of its own, so that what was done says little of what to
  do: from episodes that give the goal away a policy learns to go on as it
  began, and never hears the code. However much noise there is, the mean goes
  the right way, which is what squared errors learn.

  Args:
    key: of the episode.
    state: the robot's position.
    t: of the step.
    task: params of the robot, all that is asked for included.
    level: of noise, its standard deviation in units of the longest action: 0
      does what is best.

  Returns:
    The action, at most of length 1.
  """
  noise = jax.random.normal(jax.random.fold_in(key, t), (2,), jnp.float32)
  asked = jnp.where(task.by_velocity, task.velocity, goal_of(task) - state)
  x, y = asked / (task.gain * task.step_length)
  cos, sin = jnp.cos(task.rotation), jnp.sin(task.rotation)
  toward = _at_most_one(jnp.stack([cos * x + sin * y, cos * y - sin * x]))
  return _at_most_one(toward + level * noise).astype(jnp.float32)


def state_scale(trajectories: Trajectories) -> StateScale:
  """Mean and standard deviation of all real states."""
  state = trajectories.state.reshape(-1, trajectories.state.shape[-1])
  weight = trajectories.mask.reshape(-1, 1) / jnp.sum(trajectories.mask)
  mean = jnp.sum(weight * state, axis=0)
  variance = jnp.sum(weight * jnp.square(state - mean), axis=0)
  return StateScale(mean, jnp.sqrt(variance) + 1e-6)


def rescale(trajectories: Trajectories, scale: StateScale) -> Trajectories:
  """The same episodes with states, next ones too, in units of a scale."""
  real = trajectories.mask[..., None]
  measure = lambda x: jnp.where(real, _measured(x, scale), 0.0)
  return trajectories._replace(
    state=measure(trajectories.state),
    next_state=measure(trajectories.next_state),
  )


def returns_to_go(trajectories: Trajectories) -> Float[Array, '*B T']:
  r"""What is still to come, :math:`\hat R_t = \sum_{t' \ge t} r_{t'}`."""
  return jax.lax.cumsum(
    trajectories.reward, axis=trajectories.reward.ndim - 1, reverse=True
  )


def best_trajectories(trajectories: Trajectories, count: int) -> Trajectories:
  """Those with the highest returns, leaves `[E, ...]` to `[count, ...]`.

  Episodes without a step come last.
  """
  total = jnp.sum(trajectories.reward, axis=-1)
  total = jnp.where(jnp.any(trajectories.mask, axis=-1), total, -jnp.inf)
  _, best = jax.lax.top_k(total, count)
  return jax.tree.map(lambda leaf: leaf[best], trajectories)


def _measured(state, scale):
  """In units of the scale, if there is one."""
  return state if scale is None else (state - scale.mean) / scale.std


def _at_most_one(vector):
  """No longer than 1."""
  return vector / jnp.maximum(1.0, jnp.linalg.norm(vector))
