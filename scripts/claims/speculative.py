"""Speculative sampling with a trained pair of models (2211.17192)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import (
  LENGTH,
  NOISE,
  NUM_VALUES,
  base_law,
  train_pair,
)
from claims.row import Row, difference, interval, signed
from ttc import models, sampling, tasks

NUM_PROBLEMS, NUM_DRAFTED = 1024, 3
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)


class Run(NamedTuple):
  """By response."""

  right: np.ndarray
  alone: np.ndarray  # whether the target without a draft is right
  answers: np.ndarray  # counted from the right one
  alone_answers: np.ndarray
  tokens: np.ndarray
  accepted: np.ndarray
  overlap: np.ndarray  # sum over tokens of 1 - TV, exact
  calls: np.ndarray  # of the target
  expected_calls: np.ndarray  # given the response, exact


def reproduce(num_seeds: int) -> Row:
  """Fewer calls of the target, as the formula says, and its law unchanged."""
  pairs = train_pair(num_seeds)
  trained = join([run_seed(s, *map(str, p)) for s, p in enumerate(pairs)])
  blind = join(
    [run_seed(s, *map(str, p), blind=True) for s, p in enumerate(pairs)]
  )
  cells, holds = [], True
  for run in (trained, blind):
    rate = run.accepted.sum() / run.tokens.sum()
    want = run.overlap.sum() / run.tokens.sum()
    off = difference(run.accepted, run.overlap)
    calls = difference(run.calls, run.expected_calls)
    gap = difference(run.right, run.alone)
    law = largest_z(run)
    holds &= law < 4  # of twelve
    formula = (1 - rate ** (NUM_DRAFTED + 1)) / (1 - rate)
    per_call = run.tokens.mean() / run.calls.mean()
    exact = run.tokens.mean() / run.expected_calls.mean()
    holds &= abs(off.mean) < 3 * off.standard_error
    holds &= abs(calls.mean) < 3 * calls.standard_error
    holds &= abs(gap.mean) < 3 * gap.standard_error
    cells.append(
      f'acceptance {100 * rate:.2f} for 1 - TV {100 * want:.2f}; tokens per '
      f'call of the target {per_call:.3f} for {exact:.3f} given the responses '
      f'(with one rate everywhere and no end {formula:.2f}); accuracy '
      f'{interval(run.right)}, {signed(gap)} to the target alone, largest z of '
      f"the answers' law {law:.1f}"
    )
  faster = difference(blind.calls, trained.calls)
  holds &= faster.mean > 3 * faster.standard_error
  return Row(
    f'speculative sampling (S3, L=8, e=.1; 2 layers of 64 by 1 of 32, '
    f'{NUM_DRAFTED} drafted and one)',
    'drafts are accepted as often as the laws overlap, the target is called as '
    'seldom as that implies, and answers keep their law',
    f'{cells[0]}; closed form of the accuracy {100 * base_law()[0]:.1f}',
    f'an untrained draft: {cells[1]}',
    bool(holds),
  )


def join(runs):
  """Of all seeds, one after another."""
  return jax.tree.map(lambda *x: np.concatenate(x), *jax.device_get(runs))


def largest_z(run):
  """Of how often each answer is given, the right one and five others."""
  count = lambda x: np.bincount(x, minlength=NUM_VALUES) / x.size
  ours, theirs = count(run.answers), count(run.alone_answers)
  error = np.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / run.right.size)
  return float((np.abs(ours - theirs) / error).max())


def run_seed(seed, target_directory, draft_directory, blind=False):
  """One response to each of many problems by a pair, and by the target."""
  target, draft = map(models.load, (target_directory, draft_directory))
  draft_params = draft.params
  if blind:
    draft_params = draft.model.init(jax.random.key(700 + seed))
  data_key, pair_key, alone_key = jax.random.split(
    jax.random.key(600 + seed), 3
  )
  keys = lambda key: jax.random.split(key, NUM_PROBLEMS)
  test_task = tasks.on_split(TASK, 'test')

  @jax.jit
  def run(params, draft_params):
    problems = jax.vmap(test_task.generate)(keys(data_key))
    prompt = tasks.to_prompt(problems)
    prefill = functools.partial(
      sampling.prefill,
      prompt=prompt,
      num_rows=1,
      capacity=TASK.response_length,
    )
    stop = sampling.stop_rules(TASK.vocab_size, [TASK.eos_id])
    states = (
      prefill(target.model, params),
      prefill(draft.model, draft_params),
    )
    out = sampling.speculative_sample(
      target.model,
      draft.model,
      params,
      draft_params,
      keys(pair_key),
      *states,
      stop,
      NUM_DRAFTED,
    )
    alone = sampling.sample(
      target.model, params, keys(alone_key), states[0], stop
    ).generation
    responses = out.generation
    p = laws(target.model, params, prompt, responses)
    q = laws(draft.model, draft_params, prompt, responses)
    at = lambda law: jnp.take_along_axis(
      law, responses.tokens[:, 0, :, None], axis=-1
    )[..., 0]
    written = jnp.arange(TASK.response_length) < responses.lengths
    right = functools.partial(tasks.score_fn(TASK, problems), prompt)
    answer_fn = tasks.answer_fn(TASK, problems)
    answers = lambda y: (
      (answer_fn(prompt, y)[:, 0] - problems.answer) % NUM_VALUES
    )
    # Of a token that is in the response the draft was accepted by this chance.
    chance = jnp.minimum(1, at(q) / at(p))
    overlap = jnp.sum(jnp.minimum(p, q), axis=-1)
    return Run(
      right=right(responses)[:, 0],
      alone=right(alone)[:, 0],
      answers=answers(responses),
      alone_answers=answers(alone),
      tokens=responses.lengths[:, 0],
      accepted=out.counters.accepted[:, 0],
      overlap=jnp.sum(jnp.where(written, overlap, 0), axis=-1),
      calls=out.counters.target_calls[:, 0],
      expected_calls=jax.vmap(expected_calls)(chance, responses.lengths[:, 0]),
    )

  return run(target.params, draft_params)


def laws(model, params, prompt, responses):
  """Law of every token of the first response, `[B, T, V]`, in one pass."""
  tokens = jnp.concatenate([prompt.tokens, responses.tokens[:, 0]], axis=1)
  logits = models.forward(model, params, tokens)  # all prompts are full
  return jax.nn.softmax(logits[:, prompt.tokens.shape[1] - 1 : -1])


def expected_calls(chance, length):
  """Rounds of one response, given the chance that each draft was accepted.

  A round that begins at `t` ends behind the first refusal, or at its end.
  """
  size = chance.size

  def from_start(t, calls):
    t = size - 1 - t
    ends = jnp.zeros(())
    reach = jnp.ones(())
    for i in range(NUM_DRAFTED + 1):
      at = jnp.minimum(t + i, size)
      last = i == NUM_DRAFTED
      stay = 0.0 if last else chance[jnp.minimum(at, size - 1)]
      ends += reach * (1 - stay) * calls[jnp.minimum(at + 1, size)]
      reach *= stay
    return calls.at[t].set(jnp.where(t < length, 1 + ends, 0.0))

  return jax.lax.fori_loop(0, size, from_start, jnp.zeros(size + 1))[0]
