"""Meta-DT: a world model, a policy that hears its code, and how both learn.

  agent = meta_dt.meta_dt(2, 2)
  data = meta_dt.collect(env, meta_dt.seek_goal, key, tasks, levels, 20)
  scale = meta_dt.state_scale(data)
  data = meta_dt.rescale(data, scale)
  ...  # follow gradients of `world_loss`, on `data`, to `world`
  bank = meta_dt.make_bank(agent, world, data)
  ...  # and of `policy_loss`, on `draw_batch`, to `policy`

In the paper the first 20000 of 100000 steps of the policy go without prompts
(`prompted=False`), the others with them; a policy for no shots has none at all.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc import models
from ttc.agents.learner import env_keys
from ttc.metarl.meta_dt.data import (
  StateScale,
  Trajectories,
  returns_to_go,
)
from ttc.metarl.meta_dt.decision_transformer import (
  TRANSFORMER,
  DecisionTransformer,
  Steps,
  action_loss,
  decision_transformer,
)
from ttc.metarl.meta_dt.prompts import PROMPT_KINDS, make_prompt
from ttc.metarl.meta_dt.world_model import (
  WorldModel,
  prediction_error,
  world_model,
)
from ttc.types import Params


class MetaDT(NamedTuple):
  """What is fixed before anything is learned; hashable.

  Attributes:
    world: the world model.
    policy: the decision transformer.
    prompt: how a prompt is chosen.
    history: how many episodes it is chosen from, in tests the best.
    return_scale: that returns are divided by.
  """

  world: WorldModel
  policy: DecisionTransformer
  prompt: str
  history: int
  return_scale: float


class MetaDTParams(NamedTuple):
  """What is learned."""

  world: Params
  policy: Params
  scale: StateScale


class Bank(NamedTuple):
  """Offline data of `K` tasks, as the policy learns from it.

  Attributes:
    trajectories: leaves `[K, E, T, ...]`, states measured by their scale.
    contexts: the world model's codes.
    errors: of the world model.
  """

  trajectories: Trajectories
  contexts: Float[Array, 'K E T Z']
  errors: Float[Array, 'K E T']


class PolicyBatch(NamedTuple):
  """Pieces of episodes, `[B, K]`, and prompts of their tasks, or None."""

  steps: Steps
  prompt: Steps | None


def meta_dt(
  state_dim: int,
  action_dim: int,
  *,
  predicts: str = 'reward',
  prompt: str = 'argmax',
  horizon: int = 20,
  prompt_length: int = 5,
  max_steps: int = 20,
  context_length: int = 4,
  context_dim: int = 16,
  world_width: int = 128,
  transformer: models.TransformerConfig = TRANSFORMER,
  history: int = 3,
  return_scale: float = 10.0,
) -> MetaDT:
  """Meta-DT; defaults are the paper's for PointRobot.

  Args:
    state_dim: `S`.
    action_dim: `A`.
    predicts: what tasks differ in, rewards, dynamics, or both.
    prompt: the segment with the largest error of the world model, as in the
      paper, or drawn in proportion to it, as in its program.
    horizon: steps that the policy reads.
    prompt_length: steps of a prompt.
    max_steps: of an episode.
    context_length: steps that the world model reads.
    context_dim: of its code.
    world_width: of the world model.
    transformer: of the policy.
    history: episodes that a prompt is taken from, in tests those with the best
      returns.
    return_scale: that returns are divided by.

  Raises:
    ValueError: on an unknown kind of prompt, and on numbers that do not fit,
      such as prompts that episodes have no room for behind the first context.
  """
  room = max_steps - context_length
  for name, value, fine, expected in (
    ('prompt', prompt, prompt in PROMPT_KINDS, 'one of argmax, sample'),
    (
      'prompt_length',
      prompt_length,
      1 <= prompt_length <= room,
      f'1 to {room}: episodes have max_steps={max_steps}, and the world model '
      f'reads context_length={context_length} of them first',
    ),
    ('history', history, history >= 1, '>= 1'),
    ('return_scale', return_scale, return_scale > 0, 'above 0'),
  ):
    if not fine:
      raise ValueError(f'meta_dt: {name}={value!r}, expected {expected}')
  world = world_model(
    state_dim,
    action_dim,
    predicts=predicts,
    context_length=context_length,
    context_dim=context_dim,
    width=world_width,
  )
  policy = decision_transformer(
    state_dim,
    action_dim,
    context_dim,
    horizon=horizon,
    prompt_length=prompt_length,
    max_steps=max_steps,
    config=transformer,
  )
  return MetaDT(world, policy, prompt, history, return_scale)


def make_bank(
  agent: MetaDT, world_params: Params, trajectories: Trajectories
) -> Bank:
  """What a world model that is trained, and stays so, says of offline data.

  Args:
    agent: whose data it is.
    world_params: of the world model.
    trajectories: leaves `[K, E, T, ...]`, states measured by their scale.
  """
  return Bank(
    trajectories,
    agent.world.encode(world_params, trajectories),
    prediction_error(agent.world, world_params, trajectories),
  )


def draw_batch(
  agent: MetaDT,
  bank: Bank,
  key: PRNGKeyArray,
  batch_size: int,
  *,
  prompted: bool,
) -> PolicyBatch:
  """Pieces of episodes of tasks, all uniform.

  A piece has as many steps as the policy reads, or is all of a shorter episode.
  Its prompt is from a history of its own, some episodes of the task. The paper
  takes the best of all; those are the same for all pieces, so a policy may know
  tasks by one prompt each, and they never look like the first episodes that it
  plays itself.

  Args:
    agent: that learns.
    bank: that it learns from.
    key: consumed; a piece depends on it and on its number.
    batch_size: `B`; static.
    prompted: whether with prompts; static.
  """
  num_tasks, num_episodes, T = bank.trajectories.reward.shape
  K = min(agent.policy.horizon, T)

  def draw(key):
    keys = jax.random.split(key, 4)
    task = jax.random.randint(keys[0], (), 0, num_tasks)
    episode = jax.random.randint(keys[1], (), 0, num_episodes)
    start = jax.random.randint(keys[2], (), 0, T - K + 1)
    take = lambda leaf: leaf[task, episode]
    steps = as_steps(
      agent, jax.tree.map(take, bank.trajectories), take(bank.contexts)
    )
    steps = piece(steps, start, K)
    if not prompted:
      return PolicyBatch(steps, None)
    history_key, prompt_key = jax.random.split(keys[3])
    some = jax.random.randint(history_key, (agent.history,), 0, num_episodes)
    history = jax.tree.map(lambda leaf: leaf[task, some], bank.trajectories)
    prompt = prompt_from(agent, prompt_key, history, bank.errors[task, some])
    return PolicyBatch(steps, prompt)

  return jax.vmap(draw)(env_keys(key, batch_size))


def policy_loss(
  agent: MetaDT, params: Params, batch: PolicyBatch
) -> Float[Array, '']:
  """Squared error of actions, of the policy's params."""
  return action_loss(agent.policy, params, batch.steps, batch.prompt)


def as_steps(
  agent: MetaDT,
  trajectory: Trajectories,
  contexts: Float[Array, 'T Z'],
  return_to_go: Float[Array, ' T'] | None = None,
) -> Steps:
  """An episode as the policy reads it.

  Args:
    agent: that reads.
    trajectory: leaves `[T, ...]`.
    contexts: the task's codes.
    return_to_go: that is asked for; None for what there was.
  """
  T = trajectory.reward.shape[0]
  to_go = returns_to_go(trajectory) if return_to_go is None else return_to_go
  return Steps(
    to_go / agent.return_scale,
    trajectory.state,
    contexts,
    trajectory.action,
    jnp.arange(T, dtype=jnp.int32),
    trajectory.mask,
  )


def piece(steps: Steps, start: Array | int, length: int) -> Steps:
  """`length` steps of `[T]`, from `start` on."""
  part = lambda x: jax.lax.dynamic_slice_in_dim(x, start, length)
  return jax.tree.map(part, steps)


def prompt_from(
  agent: MetaDT,
  key: PRNGKeyArray,
  history: Trajectories,
  errors: Float[Array, 'H T'],
) -> Steps:
  """A prompt, in training as in tests."""
  return make_prompt(
    agent.prompt,
    key,
    history,
    errors,
    agent.policy.prompt_length,
    agent.world.context_length,
    agent.return_scale,
  )
