"""RL^2: learning to learn is what a policy with a memory does (1611.02779).

A trial is several episodes of one task. The policy sees, beside observations,
its last action, reward and whether that ended an episode, and keeps its memory
from one episode of a trial to the next: what it does about the task is in the
memory, and PPO on whole trials makes it explore first. At test time nothing is
trained; a trial is a scan. Costs: those of `ttc.agents.ppo` with a memory.

  learner = metarl.rl2(envs.point_robot(), envs.point_robot_tasks(), 2)
  ...  # agents.train
  test = metarl.draw_tasks(tasks, key, 100)
  played = metarl.play_trials(env, learner.policy, params, key, test, 2, 40)
  returns = metarl.returns_by_episode(played, 2)  # [100, 2]
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc import agents, envs
from ttc.agents.learner import env_keys, legal_actions
from ttc.types import Params

# These learn PointRobot in a minute: rollouts hold two episodes of it.
HYPER = agents.PPO(
  num_envs=64,
  num_steps=40,
  learning_rate=3e-3,
  discount=0.9,
  entropy_weight=0.003,
)
MEMORY = agents.Architecture((64,), memory_width=64)


def rl2(
  env: envs.Environment,
  tasks: envs.TaskDistribution,
  num_episodes: int,
  hyper: agents.PPO = HYPER,
  architecture: agents.Architecture = MEMORY,
) -> agents.Learner:
  """PPO with a memory on trials of tasks.

  Args:
    env: with flat observations, without `auto_reset`.
    tasks: params of it, one a trial.
    num_episodes: of a trial; static.
    hyper: numbers. Rollouts should hold whole trials: gradients do not go back
      further than a rollout.
    architecture: with a memory.

  Returns:
    The learner; its policy acts in `envs.meta_episodes(env, num_episodes)`.

  Raises:
    ValueError: without a memory, and for numbers that do not go together.
  """
  if not architecture.memory_width:
    raise ValueError('rl2: memory_width=0, expected a memory')
  return agents.ippo(trials(env, tasks, num_episodes), hyper, architecture)


def trials(
  env: envs.Environment, tasks: envs.TaskDistribution, num_episodes: int
) -> envs.Environment:
  """Every reset draws a task, of which `num_episodes` episodes follow."""
  return envs.sample_tasks(envs.meta_episodes(env, num_episodes), tasks)


def draw_tasks(
  tasks: envs.TaskDistribution, key: PRNGKeyArray, num_tasks: int
) -> Any:
  """Params of tasks, leaves `[K, ...]`; more of them keep the first ones."""
  return jax.vmap(tasks.sample)(env_keys(key, num_tasks))


class Trial(NamedTuple):
  """What happened in the steps of a trial, leaves `[K, ...]` of several.

  Attributes:
    obs: before each step, without what a trial adds to it.
    reward: of the step.
    episode: that it is a part of; `N` behind the last one.
  """

  obs: Float[Array, '*K T A D']
  reward: Float[Array, '*K T A']
  episode: Int[Array, '*K T']


def play_trials(
  env: envs.Environment,
  policy: agents.Policy,
  params: Params,
  key: PRNGKeyArray,
  tasks: Any,
  num_episodes: int,
  max_steps: int,
  *,
  greedy: bool = False,
) -> Trial:
  """Plays one trial of each task.

  Args:
    env: of an episode.
    policy: of `rl2`, or any that acts in `envs.meta_episodes`.
    params: of the policy.
    key: consumed; a trial depends on it and on its number.
    tasks: params of `env`, leaves `[K, ...]`.
    num_episodes: `N` of a trial; may be more than in training; static.
    max_steps: `T`, after which a trial is cut; static.
    greedy: take the best action instead of a draw; static.
  """
  trial = envs.meta_episodes(env, num_episodes)
  act = policy.act_greedily if greedy else policy.act
  width = env.observation_shape[0]

  def one(key, task):
    key, reset_key = jax.random.split(key)

    def step(now, t):
      obs, state, memory, reset = now
      act_key, step_key = jax.random.split(jax.random.fold_in(key, t))
      legal = legal_actions(trial, state, task)
      action, memory = act(params, act_key, obs, legal, memory, reset)
      out = trial.step(step_key, state, action, task)
      happened = Trial(obs[:, :width], out.reward, state.episode)
      idle = ~trial.active_agents(out.state, task)
      return (out.obs, out.state, memory, idle), happened

    obs, state = trial.reset(reset_key, task)
    memory = jnp.zeros((env.num_agents, policy.memory_width), jnp.float32)
    begin = (obs, state, memory, jnp.ones((env.num_agents,), bool))
    return jax.lax.scan(step, begin, jnp.arange(max_steps))[1]

  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  return jax.vmap(one)(env_keys(key, num_tasks), tasks)


def in_trials(policy: agents.Policy, env: envs.Environment) -> agents.Policy:
  """A policy of single episodes, that plays trials and sees nothing of them.

  Args:
    policy: of `env`, without a memory.
    env: of an episode.

  Raises:
    ValueError: on a memory, which trials do not clear.
  """
  if policy.memory_width:
    raise ValueError(
      f'in_trials: memory_width={policy.memory_width}, expected 0'
    )
  width = env.observation_shape[0]
  own = lambda act: (
    lambda params, key, obs, legal, memory, reset: act(
      params, key, obs[:, :width], legal, memory, reset
    )
  )
  return agents.Policy(own(policy.act), own(policy.act_greedily), 0)


def returns_by_episode(trials: Trial, num_episodes: int) -> Float[Array, 'K N']:
  """Undiscounted returns of the episodes of trials, means over agents.

  Episodes that a trial did not come to return 0.
  """
  count = lambda reward, episode: jax.ops.segment_sum(
    jnp.mean(reward, axis=-1), episode, num_episodes + 1
  )
  return jax.vmap(count)(trials.reward, trials.episode)[:, :num_episodes]
