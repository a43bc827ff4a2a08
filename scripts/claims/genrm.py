"""Generative verification against votes at equal cost (Singhi et al., 2025).

One model solves and verifies. Asked about its own solution it works out what
each product should have been, given the one written before it, with the same
chance of error per product as when it solves. It says no at the first that
differs from what is written, and yes if none does.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from claims.calibrated_world import LENGTH, NOISE, NUM_VALUES
from claims.row import Row, difference, interval, signed
from ttc import finetuning, models, sampling, scaling, tasks, verifiers
from ttc.tasks.token_task import FIRST_ID

TASK = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
ASK, YES, NO = range(TASK.vocab_size, TASK.vocab_size + 3)
QUESTION = verifiers.Question((ASK,), YES, NO, (TASK.eos_id,))
CHECK_LENGTH = LENGTH + 1  # a product for each product, and the verdict
WORLDS = {'easy': 1.0, 'hard': 1.6}  # temperature at which solutions are drawn
NUM_PROBLEMS = 32  # of a seed and world
NUM_SOLUTIONS, NUM_VERIFIED, NUM_VERDICTS = 128, 32, 8
SOLUTIONS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
VERIFICATIONS = np.array([1, 2, 3, 4, 6, 8])
BUDGETS = np.array([1, 2, 4, 8, 16, 32, 64])  # solutions
NUM_STEPS = 2500
NUM_RESAMPLES = 200


def reproduce(num_seeds: int) -> Row:
  """Votes win where they work and compute is scarce, verifiers elsewhere."""
  runs = [run_seed(seed) for seed in range(num_seeds)]
  join = lambda *leaves: np.concatenate(leaves)
  worlds = jax.tree.map(join, *runs)
  votes, grid, blind, rates = (
    np.concatenate(x) for x in zip(*worlds.values(), strict=True)
  )
  tpr, fpr, check_tokens, solution_tokens = np.nanmean(rates, axis=0)
  cost_ratio = float(check_tokens / solution_tokens)
  a, b = exponents(grid, cost_ratio)
  resamples = np.random.default_rng(0).integers(
    0, len(grid), (NUM_RESAMPLES, len(grid))
  )
  spread = np.quantile(
    [exponents(grid[rows], cost_ratio) for rows in resamples],
    [0.025, 0.975],
    axis=0,
  )
  uninformed = difference(blind.mean(axis=(1, 2)), votes[:, 0])
  cells, lead, crossover = [], {}, {}
  for name, (votes, grid, *_) in worlds.items():
    best = optimal(grid, cost_ratio)
    lead[name] = {
      c: difference(
        at_budget(grid, c, cost_ratio), votes[:, BUDGETS.searchsorted(c)]
      )
      for c in (4, 16, 64)
    }
    crossover[name] = scaling.crossover_budget(
      BUDGETS, best.accuracy, votes.mean(axis=0)
    )
    cells.append(
      f'{name}: one sample {interval(votes[:, 0])}, vote at 64 '
      f'{interval(votes[:, -1])}; verified against votes at equal cost '
      + ', '.join(f'C={c} {signed(g)}' for c, g in lead[name].items())
      + f'; crossover at C={crossover[name]:.0f}'
    )
  return Row(
    'genrm (S3, L=8, e=.1; one model solves and verifies, lambda measured)',
    'votes are ahead on easy problems at C=4, verification on hard ones at '
    'C=64, and overtakes there no later; solutions grow faster than '
    'verifications',
    '; '.join(cells)
    + f'; yes to right solutions {100 * tpr:.1f}, to wrong ones '
    f'{100 * fpr:.1f}; S grows as C^{a:.2f} [{spread[0, 0]:.2f}, '
    f'{spread[1, 0]:.2f}], V as C^{b:.2f} [{spread[0, 1]:.2f}, '
    f'{spread[1, 1]:.2f}]',
    f'verdicts at random, mean over S and V: {signed(uninformed)} to one '
    'sample',
    bool(
      lead['easy'][4].mean < -2 * lead['easy'][4].standard_error
      and lead['hard'][64].mean > 2 * lead['hard'][64].standard_error
      and crossover['hard'] <= crossover['easy']
      and a > b
      and abs(uninformed.mean) < 3 * uninformed.standard_error
    ),
  )


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


def run_seed(seed):
  """By world: votes, the grid, the grid of a blind verifier, and a table.

  Its columns are the share of yeses to right and to wrong solutions, and the
  mean tokens of a verification and of a solution.
  """
  model, params = trained(seed)
  results = {}
  for i, (name, temperature) in enumerate(WORLDS.items()):
    key = jax.random.fold_in(jax.random.key(700 + seed), i)
    answers, gold, verdicts, tokens = jax.device_get(
      solve_and_verify(model, params, key, temperature)
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
    results[name] = (
      votes,
      grid_of(verdicts, checked, valid),
      grid_of(blind.astype(np.float32), checked, valid),
      np.stack([rate(checked), rate(~checked), *tokens], axis=1),
    )
  return results


@functools.partial(jax.jit, static_argnums=2)
@functools.partial(jax.vmap, in_axes=(0, 0, None))
def vote_accuracy(counts, gold, k):
  """Exact, of `k` of the solutions."""
  invalid = NUM_SOLUTIONS - jnp.sum(counts)
  return scaling.majority_accuracy(counts, gold, k, invalid)


def grid_of(verdicts, right, valid):
  """Exact accuracy of the best of `S` by `V` verdicts: `[problems, S, V]`."""
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


@functools.partial(jax.jit, static_argnums=0)
def solve_and_verify(model, params, key, temperature):
  """Answers of all solutions, gold, verdicts on the first, mean tokens.

  The decode state of the solutions is asked: they are not read again.
  """
  data_key, solve_key, verify_key = jax.random.split(key, 3)
  test_task = tasks.on_split(TASK, 'test')
  problems = jax.vmap(test_task.generate)(
    jax.random.split(data_key, NUM_PROBLEMS)
  )
  prompt = tasks.to_prompt(problems)
  room = TASK.response_length + len(QUESTION.tokens) + CHECK_LENGTH
  solved = sampling.sample(
    model,
    params,
    jax.random.split(solve_key, NUM_PROBLEMS),
    sampling.prefill(model, params, prompt, NUM_SOLUTIONS, room),
    sampling.stop_rules(model.vocab_size, [TASK.eos_id]),
    sampling=sampling.SamplingParams(temperature=temperature),
    max_new_tokens=TASK.response_length,
  )
  answers = tasks.answer_fn(TASK, problems)(prompt, solved.generation)
  first = jnp.broadcast_to(
    jnp.arange(NUM_VERIFIED), (NUM_PROBLEMS, NUM_VERIFIED)
  )
  state = sampling.fork(model, solved.state, first)
  verdicts, spent = verifiers.sample_verdicts(
    model,
    params,
    jax.random.split(verify_key, NUM_PROBLEMS),
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


def trained(seed):
  """The model of a seed; trains it unless that was done before."""
  directory = pathlib.Path(flags.FLAGS.workdir) / f'genrm_{seed}'
  if not (directory / 'transformer.json').exists():
    config = models.TransformerConfig(
      vocab_size=NO + 1,
      num_layers=2,
      embed_dim=64,
      mlp_dim=176,
      num_heads=4,
      num_kv_heads=4,
      head_dim=16,
      max_length=64,
    )
    params = train(models.transformer(config), jax.random.key(seed))
    models.save_checkpoint(directory, config, params)
  loaded = models.load(str(directory))
  return loaded.model, loaded.params


def train(model, key):
  """Next-token prediction of noisy solutions and of noisy verifications."""
  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, NUM_STEPS),
    weight_decay=1e-4,
  )
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )
  train_task = tasks.on_split(TASK, 'train')

  def batch_fn(key):
    draw = lambda key: verified_sequence(train_task, key)
    return jax.vmap(draw)(jax.random.split(key, 64))

  state = finetuning.init_state(model.init, optimizer, key)
  run = functools.partial(finetuning.run_steps, step, batch_fn)
  state, metrics = jax.jit(run, static_argnums=1)(state, NUM_STEPS)
  print(f'  loss {float(metrics["loss"][-50:].mean()):.3f}', flush=True)
  return state.params


def verified_sequence(task, key):
  """A problem, a noisy solution, the question, a noisy verification of it."""
  problem_key, *keys = jax.random.split(key, 3)
  problem = task.generate(problem_key)
  written = problem.trace[:LENGTH]
  check = verification(keys, problem, written, NOISE)
  sequence = tasks.training_sequence(problem)
  tokens = jnp.concatenate([sequence.tokens, jnp.array([ASK]), check])
  learned = jnp.concatenate(
    [sequence.is_trace, jnp.array([False]), check != TASK.pad_id]
  )
  return tokens, learned


def verification(keys, problem, written, noise):
  """`[LENGTH + 1]` products as they should have been, with noise.

  It ends with a no behind the first product that differs from the written one.
  With one verdict behind all products, whether they agree was not learned in as
  many steps.
  """
  where_key, what_key = keys
  written = written - FIRST_ID
  before = jnp.append(problem.data.start, written[:-1])
  due = problem.data.steps[jnp.arange(LENGTH), before]
  other = due + jax.random.randint(what_key, due.shape, 1, NUM_VALUES)
  errs = jax.random.bernoulli(where_key, noise, due.shape)
  checked = jnp.where(errs, other % NUM_VALUES, due)
  differs = checked != written
  is_right = ~jnp.any(differs)
  end = jnp.where(is_right, LENGTH, jnp.argmax(differs) + 1)
  position = jnp.arange(CHECK_LENGTH)
  check = jnp.append(checked + FIRST_ID, 0)
  check = jnp.where(position == end, jnp.where(is_right, YES, NO), check)
  return jnp.where(position <= end, check, TASK.pad_id)
