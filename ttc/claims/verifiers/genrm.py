"""Generative verification against votes at equal cost (Singhi et al., 2025).

One model solves and verifies; how much longer a verification is than a solution
is measured.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import sampling, scaling, tasks, verifiers
from ttc.claims.claim import Claim, difference, interval, signed, text
from ttc.testbeds.calibrated import NUM_VALUES, TASK, unseen
from ttc.testbeds.solver_verifier import (
  CHECK_LENGTH,
  QUESTION,
  solver_verifier,
)

WORLDS = {'easy': 1.0, 'hard': 1.6}  # temperature at which solutions are drawn
NUM_PROBLEMS = 32  # of a seed and world
NUM_SOLUTIONS, NUM_VERIFIED, NUM_VERDICTS = 128, 32, 8
SOLUTIONS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
VERIFICATIONS = np.array([1, 2, 3, 4, 6, 8])
BUDGETS = np.array([1, 2, 4, 8, 16, 32, 64])  # solutions
NUM_RESAMPLES = 200


def measure(seed, size, cache):
  """By world: votes, the grid, the grid of a blind verifier, and rates.

  Columns of the rates are the share of yeses to right and to wrong solutions,
  and the mean tokens of a verification and of a solution.
  """
  loaded, num = solver_verifier(seed, size, cache), size.problems(NUM_PROBLEMS)
  results = {}
  for i, (name, temperature) in enumerate(WORLDS.items()):
    key = jax.random.fold_in(jax.random.key(700 + seed), i)
    answers, gold, verdicts, tokens = jax.device_get(
      solve_and_verify(loaded.model, loaded.params, key, temperature, num)
    )
    right = answers == gold[:, None]
    counts = np.stack(
      [(answers == a).sum(axis=1) for a in range(NUM_VALUES)], axis=1
    )
    votes = np.stack(
      [vote_accuracy(counts, gold, int(k)) for k in BUDGETS], axis=1
    )
    checked = right[:, :NUM_VERIFIED]
    valid = answers[:, :NUM_VERIFIED] >= 0
    blind = np.random.default_rng(seed).integers(0, 2, verdicts.shape)
    says_yes = verdicts.mean(axis=-1)
    rate = lambda mask, y=says_yes: np.array(
      [x[m].mean() if m.any() else np.nan for x, m in zip(y, mask, strict=True)]
    )
    results[name] = {
      'votes': votes,
      'grid': grid_of(verdicts, checked, valid),
      'blind': grid_of(blind.astype(np.float32), checked, valid),
      'rates': np.stack([rate(checked), rate(~checked), *tokens], axis=1),
    }
  return results


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.vmap, in_axes=(0, 0, None))
def vote_accuracy(counts, gold, k):
  """Exact, of `k` of the solutions."""
  invalid = NUM_SOLUTIONS - jnp.sum(counts)
  return scaling.majority_accuracy(counts, gold, k, invalid)


def grid_of(verdicts, right, valid):
  """Exact accuracy of the best of `S` by `V` verdicts: `[problems, S, V]`."""
  verdicts = jnp.asarray(verdicts)
  scores = jnp.stack(
    [verifiers.mean_verdicts(verdicts[..., :v]) for v in VERIFICATIONS]
  )
  scores = jnp.where(valid, scores, -1.0)  # without an answer it never wins
  columns = [best_accuracy(scores, right, int(s)) for s in SOLUTIONS]
  return np.moveaxis(np.stack(columns), -1, 0).astype(np.float64)


@functools.partial(jax.jit, static_argnums=2)
def best_accuracy(scores, right, k):
  """`[V, problems]`."""
  best = lambda s, z: scaling.best_of_k_accuracy(s, z, k)
  return jax.vmap(jax.vmap(best), in_axes=(0, None))(
    scores, right.astype(jnp.float32)
  )


@functools.partial(jax.jit, static_argnums=(0, 4))
def solve_and_verify(model, params, key, temperature, num_problems):
  """Answers of all solutions, gold, verdicts on the first, mean tokens.

  The decode state of the solutions is asked: they are not read again.
  """
  data_key, solve_key, verify_key = jax.random.split(key, 3)
  problems = unseen(TASK, data_key, num_problems)
  prompt = tasks.to_prompt(problems)
  room = TASK.response_length + len(QUESTION.tokens) + CHECK_LENGTH
  solved = sampling.sample(
    model,
    params,
    jax.random.split(solve_key, num_problems),
    sampling.prefill(model, params, prompt, NUM_SOLUTIONS, room),
    sampling.stop_rules(model.vocab_size, [TASK.eos_id]),
    sampling=sampling.SamplingParams(temperature=temperature),
    max_new_tokens=TASK.response_length,
  )
  answers = tasks.answer_fn(TASK, problems)(prompt, solved.generation)
  first = jnp.broadcast_to(
    jnp.arange(NUM_VERIFIED), (num_problems, NUM_VERIFIED)
  )
  state = sampling.fork(model, solved.state, first)
  verdicts, spent = verifiers.sample_verdicts(
    model,
    params,
    jax.random.split(verify_key, num_problems),
    verifiers.ask(model, params, state, QUESTION),
    QUESTION,
    NUM_VERDICTS,
    max_new_tokens=CHECK_LENGTH,
  )
  tokens = (
    jnp.mean(spent, axis=(1, 2)),
    jnp.mean(solved.generation.lengths, axis=1),
  )
  return answers, problems.answer, jnp.nan_to_num(verdicts), tokens


def optimal(grid, cost_ratio, budgets=BUDGETS):
  """The best cell of the mean grid at each budget."""
  return scaling.optimal_verification(
    grid.mean(axis=0), SOLUTIONS, VERIFICATIONS, budgets, cost_ratio
  )


def at_budget(grid, budget, cost_ratio):
  """Accuracy of every problem in the cell that is best on the other half."""
  got = np.zeros(len(grid))
  for fold in (0, 1):
    known = np.arange(len(grid)) % 2 == fold
    best = optimal(grid[known], cost_ratio, np.array([budget]))
    s = SOLUTIONS.searchsorted(best.num_solutions[0])
    v = VERIFICATIONS.searchsorted(best.num_verifications[0])
    got[~known] = grid[~known][:, s, v]
  return got


def exponents(grid, cost_ratio):
  """Of the best `S` and `V` from a budget of 4 on."""
  budgets = BUDGETS[BUDGETS >= 4]
  best = optimal(grid, cost_ratio, budgets)
  return [
    scaling.scaling_exponent(budgets, amount)
    for amount in (best.num_solutions, best.num_verifications)
  ]


def derive(data):
  """Rates and exponents of all problems; leads and crossovers by world."""
  join = lambda what: np.concatenate([data[name][what] for name in WORLDS])
  grid, blind = join('grid'), join('blind')
  tpr, fpr, check_tokens, solution_tokens = np.nanmean(join('rates'), axis=0)
  cost_ratio = float(check_tokens / solution_tokens)
  resamples = np.random.default_rng(0).integers(
    0, len(grid), (NUM_RESAMPLES, len(grid))
  )
  spread = np.quantile(
    [exponents(grid[rows], cost_ratio) for rows in resamples],
    [0.025, 0.975],
    axis=0,
  )
  lead, crossover = {}, {}
  for name in WORLDS:
    votes, own = data[name]['votes'], data[name]['grid']
    lead[name] = {
      c: difference(
        at_budget(own, c, cost_ratio), votes[:, BUDGETS.searchsorted(c)]
      )
      for c in (4, 16, 64)
    }
    crossover[name] = scaling.crossover_budget(
      BUDGETS, optimal(own, cost_ratio).accuracy, votes.mean(axis=0)
    )
  return {
    'rates': (tpr, fpr),
    'exponents': exponents(grid, cost_ratio),
    'spread': spread,
    'lead': lead,
    'crossover': crossover,
    'uninformed': difference(blind.mean(axis=(1, 2)), join('votes')[:, 0]),
  }


def world(name):
  """Says what votes and verified solutions reach in a world."""

  def say(data):
    votes = data[name]['votes']
    leads = ', '.join(
      f'C={c} {signed(gap)}' for c, gap in data['lead'][name].items()
    )
    return (
      f'{name}: one sample {interval(votes[:, 0])}, vote at 64 '
      f'{interval(votes[:, -1])}; verified against votes at equal cost {leads}'
      f'; crossover at C={data["crossover"][name]:.0f}'
    )

  return say


def growth(data):
  """Rates of the verifier, and exponents."""
  (tpr, fpr), (a, b), spread = data['rates'], data['exponents'], data['spread']
  return (
    f'yes to right solutions {100 * tpr:.1f}, to wrong ones {100 * fpr:.1f}; S '
    f'grows as C^{a:.2f} [{spread[0, 0]:.2f}, {spread[1, 0]:.2f}], V as '
    f'C^{b:.2f} [{spread[0, 1]:.2f}, {spread[1, 1]:.2f}]'
  )


def verifiers_win_late(data):
  """On hard problems, and there no later than on easy ones."""
  lead, crossover = data['lead']['hard'][64], data['crossover']
  return (
    lead.mean > 2 * lead.standard_error
    and crossover['hard'] <= crossover['easy']
  )


CLAIM = Claim(
  'genrm (S3, L=8, e=.1; one model solves and verifies, lambda measured)',
  '2504.01005',
  'votes are ahead on easy problems at C=4, verification on hard ones at C=64, '
  'and overtakes there no later; solutions grow faster than verifications',
  measure,
  checks=[
    text(
      world('easy'),
      lambda d: (
        d['lead']['easy'][4].mean < -2 * d['lead']['easy'][4].standard_error
      ),
    ),
    text(world('hard'), verifiers_win_late),
    text(growth, lambda d: d['exponents'][0] > d['exponents'][1]),
  ],
  controls=[
    text(
      lambda d: (
        'verdicts at random, mean over S and V: '
        f'{signed(d["uninformed"])} to one sample'
      ),
      lambda d: abs(d['uninformed'].mean) < 3 * d['uninformed'].standard_error,
    )
  ],
  derive=derive,
)
