"""Tasks that a policy has to find out about, and policies that do.

`SEARCH` pays near a goal on a half circle and nothing elsewhere: one has to
look for it. `GOALS` pays minus the distance. In `ARMS` two arms pay with
unknown probabilities; its exact best is in `ttc.testbeds.bernoulli_bandit`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from ttc import agents, envs, evaluation, metarl
from ttc.testbeds.played import trained


class Bed(NamedTuple):
  """Tasks, and how long one has for each.

  Attributes:
    env: of an episode.
    tasks: params of it.
    num_episodes: of a trial.
    max_steps: of an episode.
    num_updates: of RL^2.
    hyper: of PPO.
    architecture: of RL^2.
    rate: of Adam, which goes down to 0.
  """

  env: envs.Environment
  tasks: envs.TaskDistribution
  num_episodes: int
  max_steps: int
  num_updates: int
  hyper: agents.PPO
  architecture: agents.Architecture
  rate: float = 3e-3


_MEMORY = agents.Architecture((64,), memory_width=64)
SEARCH = Bed(
  envs.point_robot(),
  envs.point_robot_tasks(radius=0.7, reward_radius=0.25),
  2,
  20,
  200,
  agents.PPO(128, 40, discount=0.95, entropy_weight=0.003),
  _MEMORY,
)
GOALS = Bed(
  envs.point_robot(),
  envs.point_robot_tasks(),
  2,
  20,
  300,
  agents.PPO(64, 40, discount=0.9, entropy_weight=0.003),
  _MEMORY,
)
ARMS = Bed(
  envs.bandit(2, bernoulli=True),
  envs.bandit_tasks(2),
  10,
  1,
  600,
  agents.PPO(512, 10, discount=1.0, entropy_weight=0.0),
  agents.Architecture((), memory_width=32),
)


def rl2_returns(
  bed: Bed,
  seed: int,
  num_updates: int,
  num_tasks: int,
  *,
  greedy: bool = False,
) -> Float[np.ndarray, 'K N']:
  """Of a policy with a memory, on new tasks, by episode."""
  learner = metarl.rl2(
    bed.env,
    bed.tasks,
    bed.num_episodes,
    _hyper(bed, num_updates),
    bed.architecture,
  )
  params = trained(learner, seed, num_updates)
  return _returns(bed, learner.policy, params, seed, num_tasks, greedy)


def ppo_returns(
  bed: Bed, seed: int, num_updates: int, num_tasks: int
) -> Float[np.ndarray, 'K N']:
  """Of a policy without one, trained on as many steps of single episodes."""
  learner = agents.ippo(
    envs.sample_tasks(bed.env, bed.tasks),
    _hyper(bed, num_updates),
    bed.architecture._replace(memory_width=0),
  )
  params = trained(learner, seed, num_updates)
  policy = metarl.in_trials(learner.policy, bed.env)
  return _returns(bed, policy, params, seed, num_tasks)


def new_tasks(bed: Bed, seed: int, num_tasks: int) -> Any:
  """Tasks that no training has seen, leaves `[K, ...]`."""
  key = jax.random.fold_in(jax.random.key(seed), 2)
  return metarl.draw_tasks(bed.tasks, key, num_tasks)


def best_returns(
  bed: Bed, seed: int, num_tasks: int
) -> Float[np.ndarray, ' K']:
  """Of who knows each task, of point robots."""
  tasks = new_tasks(bed, seed, num_tasks)
  return jax.device_get(jax.vmap(envs.point_robot_optimum)(tasks))


def maml_returns(
  bed: Bed,
  seed: int,
  num_updates: int,
  num_tasks: int,
  numbers: metarl.PolicyMAML,
  adapt: metarl.PolicyMAML,
) -> Float[np.ndarray, 'K 2']:
  """Before and after an inner step, on new tasks.

  Args:
    bed: of the tasks.
    seed: of training and test.
    num_updates: of training.
    num_tasks: of the test.
    numbers: of training.
    adapt: of the test, whose rate is taken.
  """
  shape = agents.Architecture()
  learner = metarl.maml_policy(bed.env, bed.tasks, numbers, shape)
  params = trained(learner, seed, num_updates)
  rates = jax.tree.map(lambda x: np.float32(adapt.rate), params)
  meta = metarl.Meta(params, rates)

  @jax.jit
  def play(meta, tasks):
    key = jax.random.fold_in(jax.random.key(seed), 3)
    played = metarl.adapted_episodes(bed.env, meta, key, tasks, 1, adapt, shape)
    return played.returns.mean(axis=-1)

  return jax.device_get(play(meta, new_tasks(bed, seed, num_tasks)))


def share_won(
  first: Float[np.ndarray, ' K'],
  second: Float[np.ndarray, ' K'],
  best: Float[np.ndarray, ' K'],
) -> evaluation.Estimate:
  """What second returns won of what first ones had left to the best.

  Args:
    first: returns of tasks.
    second: of the same.
    best: that there are to be had.

  Returns:
    The ratio of means over tasks, with its linearised error.
  """
  left = np.mean(best - first)
  share = np.mean(second - first) / left
  error = (second - first - share * (best - first)) / left
  about = evaluation.mean_and_standard_error(jnp.asarray(error, jnp.float32))
  return about._replace(mean=jnp.asarray(share, jnp.float32))


def _hyper(bed: Bed, num_updates: int) -> agents.PPO:
  """With a rate that is 0 at the end of training."""
  steps = num_updates * bed.hyper.num_epochs * bed.hyper.num_minibatches
  rate = optax.linear_schedule(bed.rate, 0.0, steps)
  return bed.hyper._replace(learning_rate=rate)


def _returns(bed, policy, params, seed, num_tasks, greedy=False):
  """By episode, of new tasks."""
  num = bed.num_episodes

  @jax.jit
  def play(params, tasks):
    key = jax.random.fold_in(jax.random.key(seed), 3)
    trials = metarl.play_trials(
      bed.env,
      policy,
      params,
      key,
      tasks,
      num,
      num * bed.max_steps,
      greedy=greedy,
    )
    return metarl.returns_by_episode(trials, num)

  return jax.device_get(play(params, new_tasks(bed, seed, num_tasks)))
