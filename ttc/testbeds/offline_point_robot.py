"""Episodes of point robots that others have played, and who learns from them.

Goals are on a half circle, 45 of them with episodes of all qualities, 15 others
for the test. Nobody says where a goal is; rewards, minus the distance, do.

The robot starts beside the centre of the circle, not in it. A policy that knows
nothing yet goes where goals are on the average. From the centre that is along
the axis of the half circle, where every two goals that mirror each other pay
the same: no reward tells left from right, the code cannot either, though it
tells goals well in episodes of others, and returns stay at those of a plain
decision transformer.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ttc import envs, models
from ttc.agents.learner import env_keys
from ttc.envs.point_robot import PointRobotParams
from ttc.metarl import meta_dt
from ttc.testbeds.train import Recipe, train
from ttc.types import Params

ENV, TASKS = envs.point_robot(), envs.point_robot_tasks()
NUM_TRAIN, NUM_TEST, STEPS = 45, 15, 20
CENTRE = np.array([0.2, 0.0], np.float32)  # of the circle, from the start
# Noise of the behaviour, from next to random to clearly on its way.
LEVELS = np.linspace(2.0, 0.4, 100, dtype=np.float32)
LOST = 0.25  # of the episodes, that seek the goal of some other task
RANDOM = 1e3  # noise that leaves nothing of the way


class Bed(NamedTuple):
  """Who learns, and for how long; smaller than the paper's for two cores.

  Attributes:
    agent: a policy of two layers of width 48 that reads four steps,
      not three of 128 and twenty.
    world: recipe of the world model.
    policy: recipe of the policy, without and with prompts.
    batch_size: pieces of episodes; the world model reads whole ones.
    num_episodes: played in a test task, the first without a prompt.
  """

  agent: meta_dt.MetaDT
  world: Recipe = Recipe((700,), 2e-3)
  policy: Recipe = Recipe((600, 1000), 5e-3, clip=0.25)
  batch_size: int = 64
  num_episodes: int = 4


BED = Bed(
  meta_dt.meta_dt(
    2,
    2,
    horizon=4,
    world_width=64,
    transformer=models.TransformerConfig(
      vocab_size=1,
      num_layers=2,
      embed_dim=48,
      mlp_dim=128,
      num_heads=1,
      num_kv_heads=1,
      head_dim=48,
      max_length=128,
    ),
  )
)


class Offline(NamedTuple):
  """What a seed has: tasks, leaves `[K, ...]`, and what was played in training.

  Attributes:
    test: tasks that nobody has played.
    data: of the training tasks, states measured by their scale.
    scale: of states.
    target: the best return in the data of a task, on the average of training
      tasks, which is what policies are asked for.
  """

  test: PointRobotParams
  data: meta_dt.Trajectories
  scale: meta_dt.StateScale
  target: Float[Array, '']


@functools.partial(jax.jit, static_argnums=(1, 2))
def offline(seed: int, num_train: int, num_test: int) -> Offline:
  """Tasks of a seed and the episodes of its training tasks."""
  task_key, play_key = jax.random.split(jax.random.key(seed))
  keys = env_keys(task_key, num_train + num_test)
  tasks = jax.vmap(lambda key: TASKS.sample(key)._replace(centre=CENTRE))(keys)
  train_tasks = jax.tree.map(lambda x: x[:num_train], tasks)
  test_tasks = jax.tree.map(lambda x: x[num_train:], tasks)
  data = meta_dt.collect(
    ENV, _seek_some_goal, play_key, train_tasks, jnp.asarray(LEVELS), STEPS
  )
  scale = meta_dt.state_scale(data)
  target = jnp.mean(jnp.max(jnp.sum(data.reward, axis=-1), axis=1))
  return Offline(test_tasks, meta_dt.rescale(data, scale), scale, target)


def _seek_some_goal(key, state, t, task, level):
  """Mostly its own; else as an agent does that has another task in mind.

  So there are prompts and codes of who goes astray, as in tests.
  """
  lost_key, angle_key, key = jax.random.split(key, 3)
  lost = jax.random.uniform(lost_key) < LOST
  other = jax.random.uniform(angle_key, (), jnp.float32, 0.0, np.pi)
  angle = jnp.where(lost, other, task.angle)
  return meta_dt.seek_goal(key, state, t, task._replace(angle=angle), level)


def learn_world(bed: Bed, data: meta_dt.Trajectories, key: jax.Array) -> Params:
  """The world model, from whole episodes."""
  num_tasks, num_episodes = data.reward.shape[:2]
  flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)

  def batch(key):
    index = jax.random.randint(
      key, (bed.batch_size,), 0, num_tasks * num_episodes
    )
    return jax.tree.map(lambda x: x[index], flat)

  loss = lambda params, batch: meta_dt.world_loss(
    bed.agent.world, params, batch
  )
  return train(loss, bed.agent.world.init, bed.world, [batch], key)


def learn_policy(
  bed: Bed, bank: meta_dt.Bank, key: jax.Array, *, prompted: bool
) -> Params:
  """A policy, with prompts in its second stage, or without any."""
  draw = lambda prompted: (
    lambda key: meta_dt.draw_batch(
      bed.agent, bank, key, bed.batch_size, prompted=prompted
    )
  )
  recipe, stages = bed.policy, [draw(False), draw(True)]
  if not prompted:
    recipe, stages = recipe._replace(steps=(sum(recipe.steps),)), stages[:1]
  loss = lambda params, batch: meta_dt.policy_loss(bed.agent, params, batch)
  return train(loss, bed.agent.policy.init, recipe, stages, key)


def compare(
  bed: Bed, seed: int, num_train: int = NUM_TRAIN, num_test: int = NUM_TEST
) -> dict[str, np.ndarray]:
  """Scores of test tasks, 0 as anything does and 1 as the best.

  Args:
    bed: who learns.
    seed: of everything.
    num_train: tasks with data.
    num_test: tasks without.

  Returns:
    By name, `[num_test]`: 'few_shot', with a prompt from episodes of its own,
    and 'first', its episode before; 'zero_shot', a policy that has never seen a
    prompt; 'plain', the same without a code; 'misled', 'zero_shot' told the
    codes of another task; and 'returns', a dict of their undiscounted returns
    and of 'best' and 'random'.
  """
  now = offline(seed, num_train, num_test)
  world_key, policy_key, play_key = jax.random.split(jax.random.key(seed), 3)
  world = learn_world(bed, now.data, world_key)
  bank = jax.jit(lambda *x: meta_dt.make_bank(bed.agent, *x))(world, now.data)
  with_prompts = learn_policy(bed, bank, policy_key, prompted=True)
  without = jax.lax.map(  # with codes, and with nothing instead
    lambda contexts: learn_policy(
      bed, bank._replace(contexts=contexts), policy_key, prompted=False
    ),
    jnp.stack([bank.contexts, jnp.zeros_like(bank.contexts)]),
  )
  coded = jax.tree.map(lambda x: x[0], without)
  plain = jax.tree.map(lambda x: x[1], without)

  @functools.partial(jax.jit, static_argnums=1)
  def play(policy, num_episodes=1, contexts=None):
    params = meta_dt.MetaDTParams(world, policy, now.scale)
    return meta_dt.play_tasks(
      bed.agent, ENV, params, play_key, now.test, now.target, num_episodes,
      contexts,
    )  # fmt: skip

  few_shot = play(with_prompts, bed.num_episodes)
  zero_shot = play(coded)
  codes = zero_shot.contexts[:, 0]
  anything = meta_dt.collect(
    ENV, meta_dt.seek_goal, play_key, now.test, jnp.full((64,), RANDOM), STEPS
  )
  returns = {
    'few_shot': few_shot.returns[:, -1],
    'first': few_shot.returns[:, 0],
    'zero_shot': zero_shot.returns[:, 0],
    'plain': play(plain, 1, jnp.zeros_like(codes)).returns[:, 0],
    'misled': play(coded, 1, jnp.roll(codes, 1, axis=0)).returns[:, 0],
    'random': jnp.sum(anything.reward, axis=-1).mean(axis=1),
    'best': jax.vmap(envs.point_robot_optimum)(now.test),
  }
  low, high = returns['random'], returns['best']
  scores = {
    name: (returns[name] - low) / (high - low)
    for name in ('few_shot', 'first', 'zero_shot', 'plain', 'misled')
  }
  return jax.device_get({**scores, 'returns': returns})
