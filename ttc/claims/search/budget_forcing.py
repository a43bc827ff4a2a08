"""Cutting and lengthening thoughts (s1, arXiv 2501.19393).

"Wait" lengthens a thought of any model, and helps one that has learned to think
again at it. The model of `thinker` has never seen one; that of `reasoner` has,
AGAIN, behind an attempt that has not ended: it copies it with probability .6
and else makes one that errs half as often. Its law is 50.5% for one attempt and
57.3% behind one "Wait"; it falls short of it, and where two were forced at
budgets it gained 4.2 of 11 points, so one should gain 2 to 7. Beside it a token
that was never learned there. Power: of 2304 words with 8 samples each the gain
has an error of 0.5 points, and must have its interval above 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, sampling, search, tasks
from ttc.claims.claim import (
  Claim,
  above,
  compares,
  difference,
  interval,
  signed,
  text,
)
from ttc.testbeds.calibrated import LENGTH, NUM_VALUES, unseen
from ttc.testbeds.reasoner import AGAIN, CONFIG, reasoner
from ttc.testbeds.revision import TASK as REVISED
from ttc.testbeds.thinker import END_ID, NOISE, TASK, thinker

BUDGETS = (0, 2, 4, 6, 8, 16)
NUM_PROBLEMS = 1024  # of a seed
NUM_WORDS, NUM_SAMPLES = 768, 8  # of the model that thinks again


def measure(seed, size, cache):
  """Correctness and thinking tokens at each budget, and behind a "Wait"."""
  loaded, key = thinker(seed, size, cache), jax.random.key(200 + seed)
  num = size.problems(NUM_PROBLEMS)
  run = lambda budget, most, num_waits: think(
    loaded.model, loaded.params, key, jnp.int32(budget), most, num_waits, num
  )
  most = max(BUDGETS)
  right, thinking = zip(*(run(b, most, 0) for b in BUDGETS), strict=True)
  waits, longer = run(most, most, 1)
  return {
    'right': jnp.stack(right),
    'thinking': jnp.stack(thinking),
    'waits': waits[None],
    'longer': longer[None],
    **think_again(seed, size, cache),
  }


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def think(model, params, key, budget, most, num_waits, num_problems):
  """Correctness and thinking tokens of each problem."""
  data_key, sample_key = jax.random.split(key)
  problems = jax.vmap(TASK.generate)(jax.random.split(data_key, num_problems))
  prompt = tasks.to_prompt(problems)
  responses = sampling.generate(
    params,
    jax.random.split(sample_key, num_problems),
    prompt,
    1,
    model=model,
    capacity=most + 4,
    stop=sampling.stop_rules(model.vocab_size, [TASK.eos_id]),
    controller=search.budget_forcing(
      END_ID,
      end=[END_ID],
      cut=[END_ID],
      wait=[TASK.words.index('=')],
      budget=budget,
      num_waits=num_waits,
    ),
  )
  right = tasks.score_fn(TASK, problems)(prompt, responses)[:, 0]
  return right, jnp.argmax(responses.tokens[:, 0] == END_ID, axis=1)


def think_again(seed, size, cache):
  """Shares of right samples `[1, words]` of a model that knows its "Wait"."""
  params = reasoner(seed, size, cache).params['policy']
  key, num = jax.random.key(1200 + seed), size.problems(NUM_WORDS)
  run = lambda num_waits, wait: np.asarray(
    one_wait(params, key, jnp.int32(num_waits), wait, num)
  )[None]
  meaningless = REVISED.pad_id
  return {
    'attempt': run(0, AGAIN),
    'again': run(1, AGAIN),
    'meaningless': run(1, meaningless),
  }


@functools.partial(jax.jit, static_argnums=(3, 4))
def one_wait(params, key, num_waits, wait, num_words):
  """An attempt, and behind it so many "Wait"s with an attempt each."""
  data_key, sample_key = jax.random.split(key)
  problems = unseen(REVISED, data_key, num_words)
  model = models.transformer(CONFIG)
  capacity = 2 * REVISED.response_length
  responses = sampling.generate(
    params,
    jax.random.split(sample_key, num_words),
    tasks.to_prompt(problems),
    NUM_SAMPLES,
    model=model,
    capacity=capacity,
    stop=sampling.stop_rules(model.vocab_size, [REVISED.eos_id]),
    controller=search.budget_forcing(
      REVISED.eos_id,
      end=[REVISED.eos_id],
      cut=[REVISED.eos_id],
      wait=[wait],
      budget=capacity,
      num_waits=num_waits,
    ),
  )
  right = tasks.score_fn(REVISED, problems)(
    tasks.to_prompt(problems), responses
  )
  return right.mean(axis=1)


def curve(data):
  """Accuracy at each budget."""
  points = zip(BUDGETS, data['right'].mean(axis=1), strict=True)
  return 'accuracy at budget ' + ', '.join(
    f'{b}: {100 * a:.1f}' for b, a in points
  )


def is_monotone(data):
  """Between two budgets it may fall by noise, not by more."""
  right = data['right']
  steps = [difference(right[i + 1], right[i]) for i in range(4)]
  return all(s.mean > -2 * s.standard_error for s in steps)


def metrics(data):
  """Control, Scaling and Performance of the paper."""
  accuracy = jnp.asarray(data['right'].mean(axis=1))
  budgets = jnp.asarray(BUDGETS)
  control = evaluation.budget_control(
    jnp.asarray(data['thinking']), 0, budgets[:, None]
  )
  slope = evaluation.budget_scaling(budgets[:5], accuracy[:5])
  best = evaluation.budget_performance(accuracy)
  lengths = range(1, LENGTH + 1)
  ceiling = np.mean(
    [tasks.noisy_chain_accuracy(NOISE, n, NUM_VALUES) for n in lengths]
  )
  return (
    f'Control {float(control):.2f}, Scaling {100 * float(slope):.2f} points '
    f'per token up to 8, Performance {100 * float(best):.1f} (fully trained it '
    f'would be {100 * ceiling:.1f})'
  )


def control(data):
  """One "Wait" at the largest budget."""
  gain = difference(data['waits'][0], data['right'][-1])
  return (
    f'one "Wait" at budget {BUDGETS[-1]}: {interval(data["waits"][0])}, '
    f'{signed(gain)}, thinking {data["longer"].mean():.1f} tokens instead of '
    f'{data["thinking"][-1].mean():.1f}'
  )


CLAIM = Claim(
  f'budget_forcing (S3, words of 1 to 8 factors, e={NOISE:g})',
  '2501.19393',
  'accuracy rises with the budget to the trained length, then flattens; "Wait" '
  'gains more than 1 point where a model has learned to think again at it, and '
  'at most 1 where not',
  measure,
  checks=[
    text(curve, is_monotone),
    compares(
      '8 against 0 ',
      lambda d: d['right'][4],
      lambda d: d['right'][0],
      lambda rises: rises.mean > 0.05,
    ),
    compares(
      '16 against 8 ',
      lambda d: d['right'][5],
      lambda d: d['right'][4],
      lambda flat: abs(flat.mean) < 0.01,
    ),
    text(metrics),
    above(
      '"Wait" that was learned, to one attempt ',
      lambda d: d['again'][0],
      lambda d: d['attempt'][0],
      0.01,
    ),
  ],
  controls=[
    text(
      control,
      lambda d: difference(d['waits'][0], d['right'][-1]).mean <= 0.01,
    ),
    compares(
      'a token without meaning in the place of the learned one ',
      lambda d: d['meaningless'][0],
      lambda d: d['attempt'][0],
      lambda gap: gap.mean <= 0.01,
    ),
  ],
  history='only the model that had never seen a "Wait" was asked, and the row '
  'could not tell a useless trigger from one that was not learned: -25.3 '
  '[-27.3, -23.3]',
  axis=1,
)
