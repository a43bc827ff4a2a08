"""Forced extrapolation against post-editing, at equal tokens (2510.06471)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.revision_world import (
  AGAIN,
  BAD,
  CAPACITY,
  GOOD,
  KEEP,
  TASK,
  accuracies,
  reviser,
  test_problems,
)
from claims.row import Row, difference, interval, signed
from ttc import evaluation, sampling, search, tasks, verifiers

NUM_PROBLEMS = 1024  # of a seed
ERROR_RATE = 0.2  # of the quality estimator
WAIT = TASK.words.index('=')


def reproduce(num_seeds: int) -> Row:
  """Thinking on by force gains nothing, editing a draft does."""
  model, params = reviser(num_seeds)
  by_seed = [
    jax.device_get(run(model, p, jax.random.key(840 + seed)))
    for seed, p in enumerate(params)
  ]
  runs = jax.tree.map(lambda *leaves: np.concatenate(leaves), *by_seed)
  direct = runs['direct']
  gap = {name: difference(right, direct) for name, right in runs.items()}
  told = difference(runs['told its quality'], runs['told at random'])
  low = lambda d: evaluation.confidence_interval(d)[0]
  laws = [f'{100 * law:.1f}' for law in expected()]
  return Row(
    'post_editing (S3, three difficulties)',
    'forced extrapolation gains at most 1 point; post-editing gains at equal '
    'tokens, more when told the quality of the draft',
    f'direct {interval(direct)} (law {laws[0]}), at twice the tokens by a vote '
    f'of two {interval(runs["two votes"])}; forced extrapolation by one "Wait" '
    f'{signed(gap["wait"])}; post-editing {signed(gap["edited"])}, '
    f'{interval(runs["edited"])} (law {laws[1]}); told its quality, wrong for '
    f'20%, {signed(gap["told its quality"])}, '
    f'{interval(runs["told its quality"])} (law {laws[2]})',
    f'told a quality at random {signed(gap["told at random"])}, the true one '
    f'against it {signed(told)}',
    bool(
      gap['wait'].mean <= 0.01
      and low(difference(runs['edited'], runs['two votes'])) > 0
      and low(difference(runs['told its quality'], runs['edited'])) > 0
      and low(told) > 0
    ),
  )


def expected():
  """The laws of a draft, its edit, and its edit when told its quality."""
  draft, fresh = accuracies()
  edit = lambda right, keep: keep * right + (1 - keep) * fresh
  told = 0.0
  for right, share in ((1.0, draft), (0.0, 1 - draft)):
    good = 1 - ERROR_RATE if right else ERROR_RATE
    told += share * (
      good * edit(right, KEEP[GOOD]) + (1 - good) * edit(right, KEEP[BAD])
    )
  return draft.mean(), edit(draft, KEEP[AGAIN]).mean(), told.mean()


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, key):
  """Correctness of every way to spend about two responses."""
  data_key, sample_key, noise_key, coin_key = jax.random.split(key, 4)
  problems = test_problems(data_key, NUM_PROBLEMS)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, NUM_PROBLEMS)
  stop = sampling.stop_rules(model.vocab_size, [TASK.eos_id])
  is_right = tasks.score_fn(TASK, problems)

  def quality(prompt, drafts):
    uniform = verifiers.response_uniform(
      noise_key, drafts.tokens, drafts.lengths
    )
    return jnp.abs(is_right(prompt, drafts) - (uniform < ERROR_RATE))

  def coin(prompt, drafts):
    return verifiers.response_uniform(coin_key, drafts.tokens, drafts.lengths)

  def edit(feedback_fn):
    chain = search.revisions(
      params,
      keys,
      prompt,
      1,
      2,
      feedback_fn,
      model=model,
      capacity=CAPACITY,
      stop=stop,
    )
    return is_right(prompt, chain)[:, 1]

  draw = functools.partial(
    sampling.generate, params, keys, prompt, model=model, stop=stop
  )
  drafts = draw(2, capacity=CAPACITY)
  vote = search.select_each(
    search.majority_vote,
    search.observe(prompt, drafts, tasks.answer_fn(TASK, problems)),
  )
  prolonged = draw(
    1,
    capacity=2 * CAPACITY,
    controller=search.budget_forcing(
      TASK.eos_id,
      end=[TASK.eos_id],
      cut=[TASK.eos_id],
      wait=[WAIT],
      budget=2 * CAPACITY,
      num_waits=1,
    ),
  )
  texts = [[BAD], [GOOD]]
  return {
    'direct': is_right(prompt, drafts)[:, 0],
    'two votes': vote.answer == problems.answer,
    'wait': is_right(prompt, prolonged)[:, 0],
    'edited': edit(search.fixed_feedback([AGAIN])),
    'told its quality': edit(search.quality_feedback(quality, texts, [0.5])),
    'told at random': edit(search.quality_feedback(coin, texts, [0.5])),
  }
