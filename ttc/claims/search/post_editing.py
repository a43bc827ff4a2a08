"""Forced extrapolation against post-editing, at equal tokens (2510.06471)."""

import functools

import jax
import jax.numpy as jnp

from ttc import sampling, search, tasks, verifiers
from ttc.claims.claim import (
  Claim,
  above,
  compares,
  difference,
  interval,
  low,
  shows,
  text,
)
from ttc.testbeds.calibrated import unseen
from ttc.testbeds.revision import (
  AGAIN,
  BAD,
  CAPACITY,
  GOOD,
  KEEP,
  TASK,
  accuracies,
  reviser,
)

NUM_PROBLEMS = 1024  # of a seed
ERROR_RATE = 0.2  # of the quality estimator
WAIT = TASK.words.index('=')


def measure(seed, size, cache):
  """Correctness of every way to spend about two responses."""
  loaded, num = reviser(seed, size, cache), size.problems(NUM_PROBLEMS)
  return run(loaded.model, loaded.params, jax.random.key(840 + seed), num)


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(model, params, key, num_problems):
  """Correctness of every way to spend about two responses."""
  data_key, sample_key, noise_key, coin_key = jax.random.split(key, 4)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, num_problems)
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


def beside_law(name, place):
  """Says how often an edited draft is right, and how often it should be."""
  return lambda data: (
    f'{interval(data[name])} (law {100 * expected()[place]:.1f})'
  )


CLAIM = Claim(
  'post_editing (S3, three difficulties)',
  '2510.06471',
  'forced extrapolation gains at most 1 point; post-editing gains at equal '
  'tokens, more when told the quality of the draft',
  measure,
  checks=[
    text(lambda d: f'direct {beside_law("direct", 0)(d)}'),
    shows('at twice the tokens by a vote of two ', 'two votes'),
    compares(
      'forced extrapolation by one "Wait" ',
      'wait',
      'direct',
      lambda gap: gap.mean <= 0.01,
    ),
    compares('post-editing ', 'edited', 'direct'),
    text(
      beside_law('edited', 1),
      lambda d: low(difference(d['edited'], d['two votes'])) > 0,
    ),
    compares('told its quality, wrong for 20%, ', 'told its quality', 'direct'),
    text(
      beside_law('told its quality', 2),
      lambda d: low(difference(d['told its quality'], d['edited'])) > 0,
    ),
  ],
  controls=[
    compares('told a quality at random ', 'told at random', 'direct'),
    above('the true one against it ', 'told its quality', 'told at random'),
  ],
)
