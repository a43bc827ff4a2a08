"""Triggers at growing budgets against plain samples (2502.05449)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import LENGTH, NOISE, base_law, train_base
from claims.row import Row, difference, interval, signed
from ttc import models, sampling, search, tasks

NUM_PROBLEMS, NUM_SAMPLES, CAPACITY = 256, 16, 32
FIRST_BUDGET, GROWTH, NUM_TRIGGERS = 3, 2.0, 2
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
# '=' is what stands before a trace; <pad> was never seen in one.
TRIGGERS = {'=': TASK.words.index('='), '<pad>': TASK.pad_id}


def reproduce(num_seeds: int) -> Row:
  """Triggers stand where they should; what they are worth is another matter."""
  by_seed = [
    run_seed(seed, str(d)) for seed, d in enumerate(train_base(num_seeds))
  ]
  runs = {
    name: jax.tree.map(
      lambda *x: np.concatenate(x), *(r[name] for r in by_seed)
    )
    for name in TRIGGERS
  }
  exact = all(np.all(run['triggers'] == run['law']) for run in runs.values())
  cells, gains = [], {}
  for name, run in runs.items():
    gains[name] = difference(run['vote'], run['plain_vote'])
    alone = difference(run['one'], run['plain'])
    cells.append(
      f'{name!r}: {run["tokens"].mean():.1f} tokens with '
      f'{run["triggers"].mean():.2f} triggers, '
      f'{100 * run["ended"].mean():.0f}% end, one response '
      f'{interval(run["one"])}, {signed(alone)} to a plain one; vote of '
      f'{NUM_SAMPLES} {interval(run["vote"])}, {signed(gains[name])} to a '
      'plain vote of as many tokens'
    )
  gap = difference(runs['=']['vote'], runs['<pad>']['vote'])
  gain = gains['=']
  return Row(
    f'iterative_deepening (S3, L=8, e=.1; budgets {FIRST_BUDGET}, times '
    f'{GROWTH:g}, at most {NUM_TRIGGERS})',
    'triggers stand at the budgets, and responses with them are right more '
    'often than plain ones at equal tokens',
    f'triggers as the law says in {"all" if exact else "not all"} responses; '
    f'{cells[0]}; plain {interval(runs["="]["plain"])} for '
    f'{100 * base_law()[0]:.1f}',
    f'a trigger without meaning, {cells[1]}; {signed(gap)} between the two',
    bool(
      exact
      and gain.mean > 2 * gain.standard_error
      and gap.mean > 2 * gap.standard_error
    ),
  )


def run_seed(seed, directory):
  """By trigger: what happened to each problem."""
  loaded = models.load(directory)
  data_key, sample_key = jax.random.split(jax.random.key(900 + seed))
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(
    jax.random.split(data_key, NUM_PROBLEMS)
  )
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
  keys = jax.random.split(sample_key, NUM_PROBLEMS)
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
