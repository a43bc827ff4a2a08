"""Fine-tuning on progress: MRT from the base of `verbose`, and its controls.

An episode is two written products, repetitions included. `ANSWER` may be forced
behind each, and the answer is one token, so that all values are exact.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ttc import finetuning, models, tasks
from ttc.finetuning import Rollout
from ttc.testbeds import verbose
from ttc.testbeds.calibrated import unseen
from ttc.testbeds.policy_training import Course, roll_out
from ttc.types import Params

STEPS = 2  # of an episode
MOST_EPISODES = verbose.LENGTH * verbose.MOST_WRITTEN // STEPS
ALPHA = 1.0
_FIRST, _ANSWER_TOKENS = 3, 2  # token of value 0; the cue and the answer


class Values(NamedTuple):
  """What streams are worth, prefix by prefix."""

  kept: jax.Array  # [P, G, K] tokens of each prefix
  J: jax.Array  # [P, G, K]


def values_of(
  model: models.LanguageModel,
  params: Params,
  problems: tasks.Problem,
  rollout: Rollout,
  num_prefixes: int = MOST_EPISODES + 1,
) -> Values:
  """The exact value behind each of the first episodes of every response."""
  tokens = rollout.responses.tokens
  value = jnp.arange(model.vocab_size) - _FIRST
  is_value = (value >= 0) & (value < verbose.NUM_VALUES)
  kept = finetuning.prefix_lengths(
    tokens, thought_of(rollout), is_value, num_prefixes, STEPS
  )
  return Values(kept, values_behind(model, params, problems, rollout, kept))


def thought_of(rollout: Rollout) -> jax.Array:
  """Tokens of each response before it answers."""
  answers = rollout.responses.tokens == verbose.ANSWER
  return jnp.where(
    jnp.any(answers, axis=-1),
    jnp.argmax(answers, axis=-1),
    rollout.responses.lengths,
  )


def values_behind(model, params, problems, rollout, kept) -> jax.Array:
  """The chance of the right answer behind prefixes of these lengths."""
  return finetuning.exact_values(
    model,
    params,
    rollout.prompt,
    rollout.responses.tokens,
    kept,
    jnp.array([verbose.ANSWER]),
    _FIRST + problems.answer,
  )


def end_scalar(model, alpha, params, problems, rollout) -> jax.Array:
  """Advantages of responses to whose reward all progress is added at once."""
  whole = thought_of(rollout)
  ends = jnp.stack([jnp.zeros_like(whole), whole], axis=-1)  # it telescopes
  J = values_behind(model, params, problems, rollout, ends)
  bonus = alpha * (J[..., 1] - J[..., 0])
  return finetuning.advantages(rollout.rewards + bonus, finetuning.DR_GRPO)


@functools.lru_cache
def prefix_learner(
  course: Course, alpha: float = ALPHA
) -> Callable[[Params, jax.Array], Any]:
  """Compiled MRT-RL: groups of continuations of prefixes of stale streams.

  The outcome of a continuation is compared with its group's; the tokens of its
  first episode earn that episode's progress beside it. Tokens of the streams
  count as sampled.
  """
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(course.learning_rate)
  )
  update = finetuning.make_policy_update(
    course.model, optimizer, course.options
  )
  train = tasks.on_split(course.task, 'train')
  of_stream = course._replace(group_size=1)

  def step(state, key):
    data_key, stream_key, prefix_key, key = jax.random.split(key, 4)
    split = lambda key: jax.random.split(key, course.num_prompts)
    problems = jax.vmap(train.generate)(split(data_key))
    stale = roll_out(of_stream, state.params, split(stream_key), problems)
    kept, _ = values_of(course.model, state.params, problems, stale)
    prompt, _ = finetuning.random_prefix(
      prefix_key,
      tasks.to_prompt(problems),
      stale.responses.tokens[:, 0],
      kept[:, 0],
    )
    rollout = roll_out(course, state.params, split(key), problems, prompt)
    near = values_of(course.model, state.params, problems, rollout, 2)
    given = finetuning.episode_advantages(
      finetuning.advantages(rollout.rewards, course.options),
      near.J,
      near.kept,
      course.capacity,
      alpha,
    )
    state, metrics = update(state, None, rollout, given=given)
    metrics['sampled'] += jnp.sum(stale.responses.lengths)
    return state, metrics

  @jax.jit
  def learn(params, key):
    state = finetuning.init_state(lambda _: params, optimizer, key)
    keys = jax.random.split(state.key, course.num_updates)
    state, metrics = jax.lax.scan(step, state, keys)
    return state.params, metrics

  return learn


@functools.lru_cache
def value_curve(course: Course, num_problems: int) -> Callable[..., Any]:
  """Compiled: what thinking is worth by its tokens, on unseen problems.

  `(params, key) -> {'right' [B], 'value' [B, capacity + 1], ...}`, means over a
  problem's responses; `value[t]` is the chance of a right answer within `t`
  tokens, the answer's own included. Also mean lengths of right and of wrong
  responses.
  """
  grid = jnp.arange(course.capacity + 1, dtype=jnp.float32)

  def along(kept, J):
    t = jnp.append(0.0, kept + _ANSWER_TOKENS)
    return jnp.interp(grid, t, jnp.append(0.0, J))

  @jax.jit
  def measure(params, key):
    data_key, key = jax.random.split(key)
    problems = unseen(course.task, data_key, num_problems)
    keys = jax.random.split(key, num_problems)
    rollout = roll_out(course, params, keys, problems)
    kept, J = values_of(course.model, params, problems, rollout)
    right, lengths = rollout.rewards, rollout.responses.lengths
    mean_length = lambda which: jnp.sum(lengths * which) / jnp.sum(which)
    return {
      'right': right.mean(axis=1),
      'value': jax.vmap(jax.vmap(along))(kept, J).mean(axis=1),
      'length_right': mean_length(right),
      'length_wrong': mean_length(1 - right),
    }

  return measure
