"""The strategy chosen by difficulty and budget (Snell et al., 2024)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.calibrated_world import LENGTH, NOISE, train_base
from claims.row import Row, difference, interval, signed
from ttc import models, sampling, scaling, search, tasks

# The base errs with .1 at each step at temperature 1; other temperatures make
# easier and harder problems of words of one length.
TEMPERATURES = (0.6, 1.0, 1.3, 1.6, 2.0)
BUDGETS = (4, 16, 64)
# Search and width; what looks one step ahead has half as many beams.
SEARCHES = {
  'beam M=2': (search.beam_search, 2),
  'beam M=4': (search.beam_search, 4),
  'DVTS M=4': (search.dvts, 4),
  'lookahead M=2': (
    functools.partial(search.lookahead_search, num_lookahead=1),
    2,
  ),
}
STRATEGIES = ('majority', 'best-of-N weighted', *SEARCHES)
NUM_BINS = 5
NUM_PROBLEMS, NUM_ALIKE = 125, 50  # of a seed; alike: all at temperature 1
NUM_DIFFICULTY = 64  # samples that difficulty is taken from
NUM_SPLITS = 5
# Of the noise of the reward model, on rewards of 0 and 1. With .3 one strategy
# is best for all: beams of width 2 are right everywhere from N = 16 on.
SIGMA = 1.0
TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)


def reproduce(num_seeds: int) -> Row:
  """The policy beats every strategy that does not know the difficulty."""
  runs = [run_seed(s, str(d)) for s, d in enumerate(train_base(num_seeds))]
  tables, eased = jax.tree.map(
    lambda *leaves: np.concatenate(leaves, axis=-1), *runs
  )
  mixed = np.arange(tables['noisy'].shape[-1]) % (NUM_PROBLEMS + NUM_ALIKE)
  mixed = mixed < NUM_PROBLEMS
  noisy = tables['noisy'][..., mixed]
  bins = {
    name: scaling.quantile_bins(easiness[mixed], NUM_BINS)
    for name, easiness in eased.items()
  }
  policy = {
    name: policy_accuracy(noisy, bins[name]) for name in ('oracle', 'predicted')
  }
  holds, cells = True, []
  for k, budget in enumerate(BUDGETS):
    best = int(np.argmax(noisy[:, k].mean(axis=1)))
    gap = difference(policy['oracle'][k], noisy[best, k])
    holds &= bool(gap.mean > -gap.standard_error)
    cells.append(
      f'N={budget}: best single {STRATEGIES[best]} '
      f'{interval(noisy[best, k])}, policy {signed(gap)}'
    )
  overall = policy['oracle'].mean(axis=0)
  gaps = [difference(overall, single.mean(axis=0)) for single in noisy]
  holds &= all(g.mean > 2 * g.standard_error for g in gaps)
  predicted = difference(policy['predicted'].mean(axis=0), overall)
  blind = policy_accuracy(
    noisy, bins['oracle'], chosen_on=tables['exact'][..., mixed]
  )
  reward = difference(blind.mean(axis=0), overall)
  choice = scaling.choose_strategies(noisy, bins['oracle'], NUM_BINS)
  chosen = '; '.join(
    f'N={budget}: ' + ', '.join(STRATEGIES[s] for s in choice[:, k])
    for k, budget in enumerate(BUDGETS)
  )
  alike = tables['noisy'][..., ~mixed]
  alike_bins = scaling.quantile_bins(eased['oracle'][~mixed], NUM_BINS)
  alike_policy = policy_accuracy(alike, alike_bins).mean(axis=0)
  single = alike.mean(axis=(1, 2)).argmax()
  alike_gap = difference(alike_policy, alike[single].mean(axis=0))
  in_sample = scaling.apply_choice(
    alike, alike_bins, scaling.choose_strategies(alike, alike_bins, NUM_BINS)
  )
  optimistic = difference(in_sample.mean(axis=0), alike[single].mean(axis=0))
  holds &= bool(alike_gap.mean < 2 * alike_gap.standard_error)
  return Row(
    f'compute_optimal (S3, L=8, 5 temperatures; PRM exact + noise of {SIGMA})',
    'chosen by difficulty and budget on other problems, the strategy is as '
    'good as the best single one at each budget, and better than each overall',
    f'pass@1 by bin {by_bin(eased["oracle"][mixed], bins["oracle"])}; '
    + '; '.join(cells)
    + '; overall against '
    + ', '.join(
      f'{name} {signed(gap)}'
      for name, gap in zip(STRATEGIES, gaps, strict=True)
    )
    + f'; predicted against oracle bins {signed(predicted)}; chosen for the '
    f'exact PRM {signed(reward)}; best from the easiest bin on: {chosen}',
    f'problems alike: policy against {STRATEGIES[single]} {signed(alike_gap)}; '
    f'chosen and reported on the same problems {signed(optimistic)}',
    bool(holds),
  )


def policy_accuracy(table, bins, chosen_on=None):
  """Two-fold, mean over random halves, `[budgets, problems]`."""
  splits = [
    scaling.two_fold_policy(
      table, bins, NUM_BINS, scaling.halves(split, bins), chosen_on
    ).accuracy
    for split in range(NUM_SPLITS)
  ]
  return np.mean(splits, axis=0)


def by_bin(easiness, bins):
  """Mean of each bin in percent."""
  means = [easiness[bins == q].mean() for q in range(NUM_BINS)]
  return ', '.join(f'{100 * mean:.0f}' for mean in means)


def run_seed(seed, directory):
  """Tables `[strategies, budgets, problems]` by verifier, and easiness."""
  loaded = models.load(directory)
  model, params = loaded.model, loaded.params
  data_key, noise_key, sample_key, other_key = jax.random.split(
    jax.random.key(600 + seed), 4
  )
  count = NUM_PROBLEMS + NUM_ALIKE
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(jax.random.split(data_key, count))
  temperatures = np.ones(count, np.float32)
  temperatures[:NUM_PROBLEMS] = np.resize(TEMPERATURES, NUM_PROBLEMS)
  # A reward model is a function: a step has one score, however often drawn.
  shape = (count, TASK.response_length, TASK.vocab_size)
  noise = jax.random.normal(noise_key, shape)
  given = (params, problems, jnp.asarray(temperatures))
  keys = jax.random.split(sample_key, count)
  tables = {}
  for name, sigma in (('noisy', SIGMA), ('exact', 0.0)):
    rows = {strategy: [] for strategy in STRATEGIES}
    for n in BUDGETS:
      sampled = search_steps(model, *given, sigma * noise, keys, n, 1)
      rows['majority'].append(sampled['majority'])
      rows['best-of-N weighted'].append(sampled['prm_vote'])
      for strategy, (search_fn, width) in SEARCHES.items():
        beams = n // 2 if strategy.startswith('lookahead') else n
        leaves = search_steps(
          model, *given, sigma * noise, keys, beams, width, search_fn
        )
        rows[strategy].append(leaves['prm_vote'])
    tables[name] = np.stack([np.stack(row) for row in rows.values()])
  others = search_steps(
    model,
    *given,
    SIGMA * noise,
    jax.random.split(other_key, count),
    NUM_DIFFICULTY,
    1,
  )
  return tables, {'oracle': others['right'], 'predicted': others['score']}


@functools.partial(jax.jit, static_argnums=(0, 6, 7, 8))
def search_steps(
  model,
  params,
  problems,
  temperatures,
  noise,
  keys,
  num_beams,
  width,
  search_fn=search.beam_search,
):
  """Whether the leaves' votes are right, and what the samples say.

  With a width of 1 the leaves are independent samples.
  """
  prompt = tasks.to_prompt(problems)
  answer_fn = tasks.answer_fn(TASK, problems)
  steps = search.StepSampler(
    model=model,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
    eos_ids=(TASK.eos_id,),
    capacity=TASK.response_length,
    max_steps=TASK.response_length,
    max_step_tokens=1,
    sampling=sampling.SamplingParams(temperature=temperatures[:, None]),
  )

  reward_fn = tasks.step_score_fn(TASK, problems)

  def score_fn(prompt, responses):
    reward = reward_fn(prompt, responses)
    last = jnp.maximum(responses.lengths - 1, 0)[..., None]
    token = jnp.take_along_axis(responses.tokens, last, axis=-1)[..., 0]
    rows = jnp.arange(token.shape[0])[:, None]
    error = noise[rows, last[..., 0], token]
    return jax.nn.sigmoid((reward - 0.5 + error) / SIGMA)

  output = search_fn(params, keys, prompt, steps, score_fn, num_beams, width)
  result = {
    name: search.select_leaf(output, prompt, answer_fn, vote).answer
    == problems.answer
    for name, vote in search.VOTE_RULES.items()
  }
  right = answer_fn(prompt, output.leaves) == problems.answer[:, None]
  result['right'] = jnp.mean(right, axis=1)
  result['score'] = jnp.mean(score_fn(prompt, output.leaves), axis=1)
  return jax.tree.map(lambda x: x.astype(jnp.float32), result)
