"""Fine-tuning by policy gradients as claims repeat it: one program a recipe."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ttc import finetuning, models, sampling, tasks
from ttc.finetuning import PolicyGradient, Rollout
from ttc.testbeds.calibrated import unseen
from ttc.types import Params, Prompt


class Course(NamedTuple):
  """A training; static.

  Attributes:
    model: what is trained.
    task: whose training problems it sees, and whose verifier rewards it.
    capacity: most tokens of a response.
    options: of the loss.
    num_updates: of the training.
    judge: `(params, problems, rollout) -> advantages` of responses or of
      tokens; None for what `options` makes of the verifier's rewards.
  """

  model: models.LanguageModel
  task: tasks.TokenTask
  capacity: int
  options: PolicyGradient
  num_updates: int
  num_prompts: int = 16
  group_size: int = 8
  learning_rate: float = 3e-4
  judge: Callable[[Params, tasks.Problem, Rollout], jax.Array] | None = None


@functools.lru_cache
def learner(course: Course) -> Callable[[Params, jax.Array], Any]:
  """Compiled `(params, key) -> (params, metrics [num_updates])`."""
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(course.learning_rate)
  )
  update = finetuning.make_policy_update(
    course.model, optimizer, course.options
  )
  train = tasks.on_split(course.task, 'train')

  def step(state, key):
    keys = jax.random.split(key, course.num_prompts)
    problems = jax.vmap(train.generate)(keys)
    rollout = roll_out(course, state.params, keys, problems)
    metrics = {'wrong_length': wrong_length(rollout)}
    given = None
    if course.judge is not None:
      given = course.judge(state.params, problems, rollout)
    state, more = update(state, None, rollout, given=given)
    return state, metrics | more

  @jax.jit
  def learn(params, key):
    state = finetuning.init_state(lambda _: params, optimizer, key)
    keys = jax.random.split(state.key, course.num_updates)
    state, metrics = jax.lax.scan(step, state, keys)
    return state.params, metrics

  return learn


def roll_out(
  course: Course,
  params: Params,
  keys: jax.Array,
  problems: tasks.Problem,
  prompt: Prompt | None = None,
) -> Rollout:
  """A group of responses to each problem, rewarded by the task's verifier."""
  return finetuning.roll_out(
    params,
    keys,
    tasks.to_prompt(problems) if prompt is None else prompt,
    tasks.score_fn(course.task, problems),
    course.group_size,
    model=course.model,
    capacity=course.capacity,
    stop=sampling.stop_rules(course.model.vocab_size, [course.task.eos_id]),
  )


@functools.lru_cache
def examiner(course: Course, num_problems: int) -> Callable[..., Any]:
  """Compiled `(params, key) -> (right, lengths)`, `[B, G]`, unseen problems."""

  @jax.jit
  def examine(params, key):
    data_key, key = jax.random.split(key)
    problems = unseen(course.task, data_key, num_problems)
    keys = jax.random.split(key, num_problems)
    rollout = roll_out(course, params, keys, problems)
    return rollout.rewards, rollout.responses.lengths

  return examine


def wrong_length(rollout: Rollout) -> jax.Array:
  """Mean tokens of wrong responses; NaN without one."""
  wrong = rollout.rewards == 0
  lengths = jnp.where(wrong, rollout.responses.lengths, 0)
  return jnp.sum(lengths) / jnp.sum(wrong)
