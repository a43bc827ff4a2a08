"""How the benchmarks are scored: the protocols of Meta-World.

An episode is a success if any of its steps is; the score is the mean over
families of the rate of successful episodes (Yu et al., 2019, 1910.10897). The
numbers are those of its public code (3.1): 50 episodes a family of a multi-task
policy; for what learns from episodes of a task, 10 tasks a family, on each of
which it adapts once on 10 episodes and is scored on 3.

The public code takes the first episodes that finish in a batch, and stops them
at success, so that a batch with two copies of a family counts quick successes
more often than slow ones. Here every copy has its own episodes, decided
beforehand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from ttc.envs.environment import Environment
from ttc.envs.minimanip.benchmarks import TaskSet
from ttc.envs.minimanip.families import MAX_STEPS

Memory: TypeAlias = Any  # what an agent keeps: weights, a recurrent state, ...


class Episodes(NamedTuple):
  """Episodes of one task, one after another.

  Attributes:
    obs: before each step.
    action: that was taken.
    reward: for it.
    success: 0 or 1, of the state after the step.
    done: whether the episode was over with the step.
    valid: whether the step belongs to the episode; what comes after an end is
      there for the shape only.
  """

  obs: Shaped[Array, 'N T A D']
  action: Shaped[Array, 'N T A n']
  reward: Float[Array, 'N T A']
  success: Float[Array, 'N T']
  done: Bool[Array, 'N T']
  valid: Bool[Array, 'N T']


class MetaAgent(NamedTuple):
  """What meets a task and may learn from episodes of it; all functions pure.

  Attributes:
    init: `key -> memory`, before a task.
    act: `(memory, key, obs [A, D]) -> (action, memory)`.
    observe: `(memory, reward [A], done) -> memory`, after each step; who wants
      to forget at the end of an episode does it here.
    adapt: `(memory, episodes) -> memory`, after the episodes of an adaptation
      step, `N` of them.
  """

  init: Callable[[PRNGKeyArray], Memory]
  act: Callable[[Memory, PRNGKeyArray, Any], tuple[Any, Memory]]
  observe: Callable[[Memory, Any, Any], Memory]
  adapt: Callable[[Memory, Episodes], Memory]


class Score(NamedTuple):
  """Of a benchmark.

  Attributes:
    success_rate: mean over families.
    family_success_rates: in the order of the families.
    family_returns: mean return of each, up to the first success.
  """

  success_rate: Float[Array, '']
  family_success_rates: Float[Array, ' F']
  family_returns: Float[Array, ' F']


def score(
  success: Float[Array, 'F N T'], reward: Float[Array, 'F N T']
) -> Score:
  """The score of the same number of episodes of each family.

  Steps after the end of an episode have success and reward 0. For intervals,
  `evaluation.stratified_bootstrap` takes `family_success_rates` of several
  seeds as `[runs, tasks]`.
  """
  rates = jnp.mean(jnp.max(success, axis=-1), axis=-1)
  before = jnp.cumsum(success, axis=-1) - success
  returns = jnp.sum(jnp.where(before > 0, 0.0, reward), axis=-1)
  return Score(jnp.mean(rates), rates, jnp.mean(returns, axis=-1))


def multitask_score(
  env: Environment,
  agent: MetaAgent,
  tasks: TaskSet,
  key: PRNGKeyArray,
  *,
  num_episodes: int = 50,
  num_steps: int = MAX_STEPS,
) -> Score:
  """The score without adaptation, of an agent that is new in each episode.

  Args:
    env: without `auto_reset`; `info` has `success`.
    agent: `adapt` is not used.
    tasks: episode `i` of a family is on its variation `i`, from the first one
      again where there are fewer.
    key: consumed.
    num_episodes: of a family.
    num_steps: of an episode, at most.

  Raises:
    ValueError: on no episodes.
  """
  if num_episodes < 1:
    raise ValueError(
      f'multitask_score: num_episodes={num_episodes}, expected >= 1'
    )

  def one(family, index):
    task_key = jax.random.fold_in(jax.random.fold_in(key, family), index)
    params = tasks.task(family, index % tasks.num_variations)
    memory = agent.init(jax.random.fold_in(task_key, 0))
    episode_key = jax.random.fold_in(task_key, 1)
    return _play(env, agent, num_steps, episode_key, params, memory)[1]

  families, index = _grid(tasks, num_episodes)
  episodes = jax.vmap(jax.vmap(one))(families, index)
  return _score_episodes(episodes)


def meta_score(
  env: Environment,
  agent: MetaAgent,
  tasks: TaskSet,
  key: PRNGKeyArray,
  *,
  num_evals: int = 10,
  adaptation_steps: int = 1,
  adaptation_episodes: int = 10,
  evaluation_episodes: int = 3,
  num_steps: int = MAX_STEPS,
) -> Score:
  """The score after adaptation to each task.

  The memory goes through the episodes of adaptation, one after another; each
  episode of the evaluation starts with what it was after the last `adapt`.

  Args:
    env: without `auto_reset`; `info` has `success`.
    agent: what adapts.
    tasks: such as `ml10().test`.
    key: consumed.
    num_evals: different variations of each family, drawn at random.
    adaptation_steps: calls of `adapt` on a task.
    adaptation_episodes: before each of them.
    evaluation_episodes: on a task.
    num_steps: of an episode, at most.

  Raises:
    ValueError: on more variations than a family has, or none of something.
  """
  if not 1 <= num_evals <= tasks.num_variations:
    raise ValueError(
      f'meta_score: num_evals={num_evals}, expected 1 to '
      f'{tasks.num_variations}, the variations of a family'
    )
  if min(adaptation_steps, adaptation_episodes, evaluation_episodes) < 1:
    raise ValueError(
      f'meta_score: {adaptation_steps} adaptation steps, '
      f'{adaptation_episodes} adaptation episodes and {evaluation_episodes} '
      'evaluation episodes, expected at least 1 of each'
    )

  def one(family, index):
    family_key = jax.random.fold_in(key, family)
    order_key = jax.random.fold_in(family_key, 0)
    order = jax.random.permutation(order_key, tasks.num_variations)
    params = tasks.task(family, order[index])
    task_key = jax.random.fold_in(family_key, 1 + index)
    keys = lambda stream, num: jax.random.split(
      jax.random.fold_in(task_key, stream), num
    )

    def episode(memory, key):
      return _play(env, agent, num_steps, key, params, memory)

    def adaptation(memory, key):
      episode_keys = jax.random.split(key, adaptation_episodes)
      memory, episodes = jax.lax.scan(episode, memory, episode_keys)
      return agent.adapt(memory, episodes), None

    memory = agent.init(jax.random.fold_in(task_key, 0))
    memory, _ = jax.lax.scan(adaptation, memory, keys(1, adaptation_steps))
    scored = jax.vmap(lambda key: episode(memory, key)[1])
    return scored(keys(2, evaluation_episodes))

  families, index = _grid(tasks, num_evals)
  episodes = jax.vmap(jax.vmap(one))(families, index)
  flat = lambda x: x.reshape(x.shape[0], -1, *x.shape[3:])
  return _score_episodes(jax.tree.map(flat, episodes))


def _grid(tasks, columns):
  """Families down, what is done in each across."""
  families = jnp.arange(len(tasks.families), dtype=jnp.int32)
  return jnp.meshgrid(
    families, jnp.arange(columns, dtype=jnp.int32), indexing='ij'
  )


def _score_episodes(episodes):
  success = jnp.where(episodes.valid, episodes.success, 0.0)
  reward = jnp.sum(episodes.reward, axis=-1)
  return score(success, jnp.where(episodes.valid, reward, 0.0))


def _play(env, agent, num_steps, key, params, memory):
  """`(memory, one episode)`."""
  obs, state = env.reset(jax.random.fold_in(key, 0), params)

  def step(carry, t):
    memory, obs, state, over = carry
    step_key = jax.random.fold_in(key, 1 + t)
    act_key, env_key = jax.random.split(step_key)
    action, after = agent.act(memory, act_key, obs)
    out = env.step(env_key, state, action, params)
    done = out.terminated | out.truncated | (t == num_steps - 1)
    after = agent.observe(after, out.reward, done)
    # Nothing is seen any more once the episode is over.
    memory = jax.tree.map(lambda a, b: jnp.where(over, a, b), memory, after)
    success = out.info['success']
    seen = Episodes(obs, action, out.reward, success, done, ~over)
    return (memory, out.obs, out.state, over | done), seen

  start = (memory, obs, state, jnp.zeros((), bool))
  (memory, *_), episode = jax.lax.scan(
    step, start, jnp.arange(num_steps, dtype=jnp.int32)
  )
  return memory, episode
