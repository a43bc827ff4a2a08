"""Triggers at growing budgets against plain samples (2502.05449)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import sampling, search, tasks
from ttc.claims.claim import Claim, compares, difference, interval, signed, text
from ttc.testbeds.calibrated import TASK, base, base_law, unseen

NUM_PROBLEMS, NUM_SAMPLES, CAPACITY = 256, 16, 32
FIRST_BUDGET, GROWTH, NUM_TRIGGERS = 3, 2.0, 2
# '=' is what stands before a trace; <pad> was never seen in one.
TRIGGERS = {'=': TASK.words.index('='), '<pad>': TASK.pad_id}


def measure(seed, size, cache):
  """By trigger: what happened to each problem."""
  loaded = base(seed, size, cache)
  data_key, sample_key = jax.random.split(jax.random.key(900 + seed))
  num_problems = size.problems(NUM_PROBLEMS)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  answer_fn = tasks.answer_fn(TASK, problems)
  sample_fn = functools.partial(
    sampling.generate,
    model=loaded.model,
    capacity=CAPACITY,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
  )

  @functools.partial(jax.jit, static_argnums=(2, 3))
  def draw(params, keys, num_samples, trigger=None):
    controller = None
    if trigger is not None:
      controller = search.iterative_deepening(
        [TASK.eos_id],
        trigger=[trigger],
        first_budget=FIRST_BUDGET,
        growth=GROWTH,
        num_triggers=NUM_TRIGGERS,
      )
    y = sample_fn(params, keys, prompt, num_samples, controller=controller)
    return y, search.observe(prompt, y, answer_fn)

  vote = jax.vmap(search.majority_vote, in_axes=(0, None))
  right = lambda answers: np.asarray(answers == problems.answer, np.float32)
  one = lambda samples: np.mean(
    samples.answers == problems.answer[:, None], axis=1
  )
  keys = jax.random.split(sample_key, num_problems)
  _, plain = draw(loaded.params, keys, 4 * NUM_SAMPLES)
  budgets = search.deepening_budgets(FIRST_BUDGET, GROWTH, NUM_TRIGGERS)
  results = {}
  for name, trigger in TRIGGERS.items():
    y, samples = draw(loaded.params, keys, NUM_SAMPLES, trigger)
    forced = (y.tokens == trigger) & (y.sampling_log_probs == 0)
    forced &= jnp.arange(CAPACITY) < y.lengths[..., None]
    per_response = y.lengths.mean() / plain.lengths.mean()
    as_many = jnp.round(NUM_SAMPLES * per_response).astype(jnp.int32)
    assert as_many <= 4 * NUM_SAMPLES
    results[name] = {
      'one': one(samples),
      'plain': one(plain),
      'vote': right(vote(samples, jnp.int32(NUM_SAMPLES)).answer),
      'plain_vote': right(vote(plain, as_many).answer),
      'tokens': np.asarray(y.lengths, np.float32),
      'ended': np.asarray(samples.finished, np.float32),
      'triggers': np.asarray(forced.sum(axis=-1)),
      'law': np.asarray((budgets < y.lengths[..., None]).sum(axis=-1)),
    }
  return results


def is_exact(data):
  """Triggers stand in every response as the law says."""
  return all(np.all(data[x]['triggers'] == data[x]['law']) for x in TRIGGERS)


def figure(name):
  """Says what a trigger does to one response and to a vote."""

  def say(data):
    run = data[name]
    alone = difference(run['one'], run['plain'])
    gain = difference(run['vote'], run['plain_vote'])
    return (
      f'{name!r}: {run["tokens"].mean():.1f} tokens with '
      f'{run["triggers"].mean():.2f} triggers, '
      f'{100 * run["ended"].mean():.0f}% end, one response '
      f'{interval(run["one"])}, {signed(alone)} to a plain one; vote of '
      f'{NUM_SAMPLES} {interval(run["vote"])}, {signed(gain)} to a plain vote '
      'of as many tokens'
    )

  return say


def gains(data):
  """Beyond two standard errors, at equal tokens."""
  gain = difference(data['=']['vote'], data['=']['plain_vote'])
  return gain.mean > 2 * gain.standard_error


CLAIM = Claim(
  f'iterative_deepening (S3, L=8, e=.1; budgets {FIRST_BUDGET}, times '
  f'{GROWTH:g}, at most {NUM_TRIGGERS})',
  '2502.05449',
  'triggers stand at the budgets, and responses with them are right more often '
  'than plain ones at equal tokens',
  measure,
  checks=[
    text(
      lambda d: (
        'triggers as the law says in '
        f'{"all" if is_exact(d) else "not all"} responses'
      ),
      is_exact,
    ),
    text(figure('='), gains),
    text(
      lambda d: (
        f'plain {interval(d["="]["plain"])} for {100 * base_law()[0]:.1f}'
      )
    ),
  ],
  controls=[
    text(lambda d: f'a trigger without meaning, {figure("<pad>")(d)}'),
    compares(
      'between the two ',
      '=/vote',
      '<pad>/vote',
      lambda gap: gap.mean > 2 * gap.standard_error,
    ),
  ],
)
