"""Meta-DT in tasks that are new: no shots, and a few.

An episode without a prompt is a shot at nothing known; the world model's code
is all that tells the task, as the episode goes. With a few shots the policy
then takes a prompt from the best of its own episodes, and plays again. Nothing
is trained. All tasks are one `vmap`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import envs
from ttc.agents.learner import env_keys
from ttc.metarl.meta_dt.agent import (
  MetaDT,
  MetaDTParams,
  as_steps,
  piece,
  prompt_from,
)
from ttc.metarl.meta_dt.data import Trajectories, best_trajectories, record
from ttc.metarl.meta_dt.decision_transformer import Steps
from ttc.metarl.meta_dt.world_model import prediction_error


class Played(NamedTuple):
  """Episodes of tasks, in the order in which they were played.

  Attributes:
    trajectories: leaves `[K, N, T, ...]`, states measured by their scale.
    contexts: codes of the tasks that the policy was told.
  """

  trajectories: Trajectories
  contexts: Float[Array, 'K N T Z']

  @property
  def returns(self) -> Float[Array, 'K N']:
    """Undiscounted: the first without a prompt, the others with one."""
    return jnp.sum(self.trajectories.reward, axis=-1)


def play(
  agent: MetaDT,
  env: envs.Environment,
  params: MetaDTParams,
  key: PRNGKeyArray,
  task: Any,
  target_return: Float[Array, ''] | float,
  prompt: Steps | None = None,
  contexts: Float[Array, 'T Z'] | None = None,
) -> Trajectories:
  """Plays an episode.

  Args:
    agent: that plays.
    env: that is played; one agent.
    params: of the agent.
    key: consumed.
    task: params of `env`.
    target_return: that is asked for.
    prompt: `[P]`, or None.
    contexts: told in place of the codes of the world model; zeros are plain
      decision transformers.
  """
  T = agent.policy.max_steps
  K = min(agent.policy.horizon, T)
  batch = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)

  def act(key, past, t):
    del key
    z = agent.world.encode(params.world, past) if contexts is None else contexts
    to_go = target_return - (jnp.cumsum(past.reward) - past.reward)
    start = jnp.maximum(t - K + 1, 0)
    steps = piece(as_steps(agent, past, z, to_go), start, K)
    front = None if prompt is None else batch(prompt)
    actions = agent.policy.apply(params.policy, batch(steps), front)
    return actions[0, t - start]

  return record(env, act, key, task, T, params.scale)


def play_tasks(
  agent: MetaDT,
  env: envs.Environment,
  params: MetaDTParams,
  key: PRNGKeyArray,
  tasks: Any,
  target_return: Float[Array, ''] | float,
  num_episodes: int = 1,
  contexts: Float[Array, 'K T Z'] | None = None,
) -> Played:
  """Plays several episodes of each task.

  The first goes without a prompt. Each later one has a prompt from the best
  episodes before it.

  Args:
    agent: that plays.
    env: that is played.
    params: of the agent.
    key: consumed; an episode depends on it, on its task and on its number.
    tasks: params of `env`, leaves `[K, ...]`.
    target_return: that is asked for.
    num_episodes: `N`; static.
    contexts: told in place of the codes of the world model.

  Raises:
    ValueError: on no episodes.
  """
  if num_episodes < 1:
    raise ValueError(f'play_tasks: num_episodes={num_episodes}, expected >= 1')
  encode = lambda x: agent.world.encode(params.world, x)

  def one(key, task, contexts):
    play_one = lambda key, prompt: play(
      agent, env, params, key, task, target_return, prompt, contexts
    )
    first = play_one(jax.random.fold_in(key, 0), None)
    empty = lambda x: jnp.zeros((agent.history, *x.shape), x.dtype)
    history = jax.tree.map(lambda x: empty(x).at[0].set(x), first)

    def again(history, i):
      prompt_key, key_i = jax.random.split(jax.random.fold_in(key, i))
      errors = prediction_error(agent.world, params.world, history)
      prompt = prompt_from(agent, prompt_key, history, errors)
      played = play_one(key_i, prompt)
      grown = jax.tree.map(
        lambda old, new: jnp.concatenate([old, new[None]]), history, played
      )
      return best_trajectories(grown, agent.history), played

    _, later = jax.lax.scan(again, history, jnp.arange(1, num_episodes))
    all_of_them = jax.tree.map(
      lambda x, more: jnp.concatenate([x[None], more]), first, later
    )
    told = encode(all_of_them)
    if contexts is not None:
      told = jnp.broadcast_to(contexts, told.shape)
    return Played(all_of_them, told)

  num_tasks = jax.tree.leaves(tasks)[0].shape[0]
  in_axes = (0, 0, None if contexts is None else 0)
  return jax.vmap(one, in_axes)(env_keys(key, num_tasks), tasks, contexts)
