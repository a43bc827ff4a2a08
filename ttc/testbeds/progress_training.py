"""Fine-tuning on progress: MRT from the base of `retries`, and its controls.

An episode is an attempt. `ANSWER` may be forced behind each, and the answer is
one token, so that all values are exact.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ttc import finetuning, models, tasks
from ttc.finetuning import Rollout
from ttc.testbeds import retries
from ttc.testbeds.calibrated import unseen
from ttc.testbeds.policy_training import Course, roll_out
from ttc.types import Params

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
  num_prefixes: int = retries.MOST + 1,
) -> Values:
  """The exact value behind each of the first episodes of every response."""
  kept = finetuning.prefix_lengths(
    rollout.responses.tokens,
    thought_of(rollout),
    jnp.arange(model.vocab_size) == retries.NEXT,
    num_prefixes,
  )
  return Values(kept, values_behind(model, params, problems, rollout, kept))


def thought_of(rollout: Rollout) -> jax.Array:
  """Tokens of each response before it answers."""
  answers = rollout.responses.tokens == retries.ANSWER
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
    jnp.array([retries.ANSWER]),
    _FIRST + problems.answer,
  )


def end_scalar(model, alpha, params, problems, rollout) -> jax.Array:
  """Advantages of responses to whose reward all progress is added at once."""
  whole = thought_of(rollout)
  ends = jnp.stack([jnp.zeros_like(whole), whole], axis=-1)  # it telescopes
  J = values_behind(model, params, problems, rollout, ends)
  bonus = alpha * (J[..., 1] - J[..., 0])
  return finetuning.advantages(rollout.rewards + bonus, finetuning.DR_GRPO)


def online(model, alpha, params, problems, rollout) -> jax.Array:
  """Advantages of tokens: the outcome, and the progress of their episode."""
  kept, J = values_of(model, params, problems, rollout)
  return finetuning.episode_advantages(
    finetuning.advantages(rollout.rewards, finetuning.DR_GRPO),
    J,
    kept,
    rollout.responses.tokens.shape[-1],
    alpha,
  )


@functools.lru_cache
def prefix_learner(
  course: Course, alpha: float | None = ALPHA
) -> Callable[[Params, jax.Array], Any]:
  """Compiled MRT-RL: groups of continuations of prefixes of stale streams.

  The outcome of a continuation is compared with its group's; the tokens of its
  first episode earn that episode's progress beside it. Tokens of the streams
  count as sampled.

  Args:
    course: the training.
    alpha: weight of the progress; None for the released form, in which the
      value of the prefix takes the place of the group's mean.
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
    if alpha is None:
      given = rollout.rewards - near.J[..., 0]
    else:
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
def star_learner(
  course: Course, num_steps: int = 200, batch_size: int = 64
) -> Callable[[Params, jax.Array], Any]:
  """Compiled MRT-STaR: streams that make progress, cut at their best, cloned.

  As many streams as the course samples are drawn from the base at once. Of
  those kept, what stands behind a random earlier prefix is learned, the right
  answer included.

  Args:
    course: the training whose sampling is spent.
    num_steps: of the cloning.
    batch_size: streams of each.
  """
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0), optax.adam(course.learning_rate)
  )
  train = tasks.on_split(course.task, 'train')
  train_step = finetuning.make_train_step(
    lambda params, rows: finetuning.next_token_loss(
      course.model, params, *rows
    ),
    optimizer,
  )

  @jax.jit
  def learn(params, key):
    data_key, stream_key, cut_key, key = jax.random.split(key, 4)
    num = course.num_prompts * course.num_updates
    problems = jax.vmap(train.generate)(jax.random.split(data_key, num))
    keys = jax.random.split(stream_key, num)
    rollout = roll_out(course, params, keys, problems)
    kept, J = values_of(course.model, params, problems, rollout)
    choice = finetuning.star_choice(J, rollout.rewards > 0)
    from_ = jax.random.randint(
      cut_key, choice.prefix.shape, 0, jnp.maximum(choice.prefix, 1)
    )
    at = lambda index: jnp.take_along_axis(kept, index[..., None], -1)[..., 0]
    tokens, learned = jax.vmap(jax.vmap(_closed, (None, 0, 0, 0)))(
      problems, rollout.responses.tokens, at(from_), at(choice.prefix)
    )
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    tokens, learned = flat(tokens), flat(learned)
    chance = choice.is_kept.reshape(-1).astype(jnp.float32)
    chance = (chance + 1e-9) / jnp.sum(chance + 1e-9)

    def batch_fn(key):
      rows = jax.random.choice(key, chance.size, (batch_size,), p=chance)
      return tokens[rows], learned[rows]

    state = finetuning.init_state(lambda _: params, optimizer, key)
    state, _ = finetuning.run_steps(train_step, batch_fn, state, num_steps)
    return state.params, {
      'sampled': jnp.sum(rollout.responses.lengths)[None],
      'kept': choice.is_kept.mean()[None],
    }

  return learn


def _closed(problem, stream, begin, end):
  """The prompt, the stream up to `end` and the right answer, as a row.

  It is to be learned from `begin` on. Prompts of this bed are all as long.
  """
  ending = jnp.stack(
    [retries.ANSWER, _FIRST + problem.answer, retries.TASK.eos_id]
  )
  place = jnp.arange(stream.size)
  behind = place - end
  tokens = jnp.where(behind < 0, stream, ending[jnp.clip(behind, 0, 2)])
  tokens = jnp.where(behind < 3, tokens, 0)
  learned = (place >= begin) & (behind < 3)
  return (
    jnp.concatenate([problem.prompt, tokens]).astype(jnp.int32),
    jnp.append(jnp.zeros(problem.prompt.size, bool), learned),
  )


@functools.lru_cache
def value_curve(course: Course, num_problems: int) -> Callable[..., Any]:
  """Compiled: what thinking is worth by its tokens, on unseen problems.

  `(params, key) -> {'right' [B], 'value' [B, capacity + 1], ...}`, means over a
  problem's responses; `value[t]` is the chance of a right answer within `t`
  tokens, the answer's own included, and `J [B, K]` that behind each episode.
  Also mean tokens of a response, and the share of attempts that are copies.
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
    of = lambda token: jnp.sum(rollout.responses.tokens == token)
    return {
      'right': rollout.rewards.mean(axis=1),
      'value': jax.vmap(jax.vmap(along))(kept, J).mean(axis=1),
      'J': J.mean(axis=1),
      'length': rollout.responses.lengths.mean(),
      'copies': of(retries.COPY) / of(retries.NEXT),
    }

  return measure
