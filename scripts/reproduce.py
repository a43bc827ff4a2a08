"""Reproduces claims of papers at small scale, each beside its control.

  python scripts/reproduce.py --claim=best_of_n
  python scripts/reproduce.py --claim=all --write  # updates docs/claims.md

A claim is one function that returns a row of the table. Each takes less than 90
seconds on two CPU cores. Intervals are 95%, over problems pooled over seeds.
"""

import functools
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags, logging

from ttc import evaluation, finetuning, models, sampling, scaling, search, tasks
from ttc.types import Prompt, Samples

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_CLAIM = flags.DEFINE_string('claim', None, "Which; 'all' for every one.")
_SEEDS = flags.DEFINE_integer('seeds', 3, 'Seeds, 0 up to this.', 1)
_WRITE = flags.DEFINE_bool('write', False, 'Update docs/claims.md.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/claims', 'Trained models.')
flags.mark_flag_as_required('claim')

LENGTH, NOISE, NUM_VALUES = 8, 0.1, 6  # of configs/pretrain_s3.py
NUM_PROBLEMS, NUM_SAMPLES = 256, 32  # of a seed


class Row(NamedTuple):
  """What the table says of a claim."""

  system: str
  claim: str
  figure: str
  control: str
  holds: bool


# ------------------------------------------------------------------- claims


def calibrated_base(num_seeds: int) -> Row:
  """Accuracy, pass@k and majority@k are those of the closed form."""
  samples, gold = base_samples(num_seeds)
  answers = samples.answers[:, :16]
  right = (answers == gold[:, None]).sum(axis=1)
  law = base_law()
  counts = (answers[..., None] == np.arange(NUM_VALUES)).sum(axis=1)
  invalid = (answers < 0).sum(axis=1)

  def majority(k):
    exact = lambda c, g, i: scaling.majority_accuracy(c, g, k, i)
    return jax.vmap(exact)(jnp.asarray(counts), gold, jnp.asarray(invalid))

  rows = {'pass@1': (right / 16, law[0])}
  for k in (4, 16):
    passed = scaling.pass_at_k(16, jnp.asarray(right), k)
    rows[f'pass@{k}'] = passed, 1 - (1 - law[0]) ** k
    expected = scaling.majority_accuracy_population(law, 0, k)
    rows[f'majority@{k}'] = majority(k), expected
  cells, scores = [], []
  for name, (values, expected) in rows.items():
    error = standard_error(values)
    # Where all items agree the error is that of the law.
    least = (expected * (1 - expected) / len(gold)) ** 0.5 / 4
    z = (np.mean(values) - expected) / max(error, least)
    scores.append(abs(float(z)))
    cells.append(f'{name} {interval(values)} for {100 * expected:.1f}')
  by_seed = right.reshape(num_seeds, -1).mean(axis=1) / 16
  spread = ', '.join(f'{100 * x:.1f}' for x in by_seed)
  return Row(
    'calibrated base (S3, L=8, e=.1)',
    'sampling follows the closed form within 3 s.e.',
    '; '.join(cells) + f'; largest |z| {max(scores):.1f}',
    f'pass@1 of each trained seed: {spread}',
    max(scores) < 3,
  )


def best_of_n(num_seeds: int) -> Row:
  """With the exact verifier best-of-4 reaches pass@4."""
  samples, gold = base_samples(num_seeds)
  right = samples.answers == gold[:, None]
  passed = scaling.pass_at_k(NUM_SAMPLES, jnp.asarray(right.sum(1)), 4)
  exact = samples._replace(scores=right.astype(np.float32))
  best = curve(search.select_best, exact, gold, [4]).accuracy[:, 0]
  noise = np.random.default_rng(0).normal(size=right.shape)
  random = samples._replace(scores=noise.astype(np.float32))
  blind = curve(search.select_best, random, gold, [4]).accuracy[:, 0]
  single = right.mean(axis=1)
  gap = difference(blind, single)
  holds = abs(np.mean(best) - np.mean(passed)) < 0.005
  holds &= abs(gap.mean) < 3 * gap.standard_error
  return Row(
    'best_of_n, exact verifier',
    'best-of-4 reaches pass@4',
    f'{interval(best)} for pass@4 {interval(passed)}, closed form '
    f'{100 * (1 - (1 - base_law()[0]) ** 4):.1f}, '
    f'pass@1 {interval(single)}',
    f'random verifier: {interval(blind)}, pass@1 {signed(gap)}',
    bool(holds),
  )


def self_consistency(num_seeds: int) -> Row:
  """Votes help where the mode is right, and hurt where it is wrong."""
  samples, gold = base_samples(num_seeds)
  budgets = [1, 4, 16]
  votes = curve(search.majority_vote, samples, gold, budgets).accuracy
  law = base_law()
  expected = [
    float(scaling.majority_accuracy_population(law, 0, k)) for k in budgets
  ]
  cells = [
    f'majority@{k} {interval(votes[:, i])} for {100 * expected[i]:.1f}'
    for i, k in enumerate(budgets)
  ]
  errors = [standard_error(votes[:, i]) for i in range(3)]
  far = np.abs(votes.mean(axis=0) - np.array(expected)) / np.array(errors)

  wrong_mode = jnp.array([0.3, 0.4, 0.3])
  table = jnp.zeros((3, 3)) + jnp.log(wrong_mode)
  worse = np.concatenate(
    [one_token_votes(table, seed, 32) for seed in range(num_seeds)]
  )
  exact = float(scaling.majority_accuracy_population(wrong_mode, 0, 32))
  lost = abs(worse.mean() - exact) < 3 * standard_error(worse)
  return Row(
    'self_consistency',
    'voting amplifies the mode, as the multinomial law says',
    '; '.join(cells) + f'; largest |z| {far.max():.1f}',
    f'wrong mode, p=(.3, .4, .3): majority@32 {interval(worse)} for '
    f'{100 * exact:.1f}, below 30',
    bool(far.max() < 3 and lost and votes[:, 2].mean() > votes[:, 0].mean()),
  )


def adaptive_consistency(num_seeds: int) -> Row:
  """Stopping at confidence 0.95 keeps the accuracy with fewer samples."""
  samples, gold = base_samples(num_seeds)
  full = curve(search.majority_vote, samples, gold, [NUM_SAMPLES])
  stopped = curve(search.beta_stopped_vote(0.95), samples, gold, [NUM_SAMPLES])
  gap = difference(stopped.accuracy[:, 0], full.accuracy[:, 0])
  used = NUM_SAMPLES * stopped.tokens.mean() / full.tokens.mean()
  few = round(float(used))
  fixed = curve(search.majority_vote, samples, gold, [few]).accuracy[:, 0]
  error = standard_error(full.accuracy[:, 0])
  return Row(
    'adaptive_consistency, beta stop at .95',
    f'the accuracy of majority@{NUM_SAMPLES} within 1 s.e. at fewer samples',
    f'{interval(stopped.accuracy[:, 0])}, {signed(gap)} to '
    f'majority@{NUM_SAMPLES} (s.e. {100 * error:.2f}), with {used:.1f} of '
    f'{NUM_SAMPLES} samples',
    f'majority@{few}, as many for every problem: {interval(fixed)}',
    bool(abs(gap.mean) <= error and used < NUM_SAMPLES),
  )


def first_finish_search(num_seeds: int) -> Row:
  """Where wrong responses are longer the first to finish is better."""
  right_short = first_finish_world(0.10, 0.05, num_seeds)
  reversed_world = first_finish_world(0.05, 0.10, num_seeds)
  single, first, last = right_short
  gap = difference(first.right, single.right)
  depth = first.depth.mean() / single.depth.mean()
  lost = difference(reversed_world[1].right, reversed_world[0].right)
  other = difference(last.right, single.right)
  return Row(
    'first_finish_search (table, lengths Geom(.10) right, Geom(.05) wrong)',
    'FFS@8 at least 5 points above one sample, below 60% of its depth',
    f'{interval(first.right)} for 65.2, {signed(gap)} to one sample '
    f'{interval(single.right)}, at {100 * depth:.0f}% of its sequential tokens '
    f'and {first.tokens.mean() / single.tokens.mean():.2f} times its total',
    f'reversed world {interval(reversed_world[1].right)} for 34.8, '
    f'{signed(lost)}; last to finish {signed(other)}',
    bool(gap.mean > 0.05 and depth < 0.6 and lost.mean < 0 and other.mean < 0),
  )


def budget_forcing(num_seeds: int) -> Row:
  """Accuracy rises with the budget to the trained length, then is flat."""
  model, task, params = thinking_models(num_seeds)
  budgets = np.array([0, 2, 4, 6, 8, 16])
  right, thinking = think(model, task, params, budgets, 0)
  waits, longer = think(model, task, params, np.array([16]), 1)
  accuracy = right.mean(axis=1)
  ceiling = np.mean(
    [
      tasks.noisy_chain_accuracy(0.05, length, NUM_VALUES)
      for length in range(1, LENGTH + 1)
    ]
  )
  points = ', '.join(
    f'{b}: {100 * a:.1f}' for b, a in zip(budgets, accuracy, strict=True)
  )
  control = evaluation.budget_control(
    jnp.asarray(thinking), 0, jnp.asarray(budgets)[:, None]
  )
  slope = evaluation.budget_scaling(
    jnp.asarray(budgets[:5]), jnp.asarray(accuracy[:5])
  )
  best = evaluation.budget_performance(jnp.asarray(accuracy))
  gain = difference(waits[0], right[-1])
  flat = difference(right[-1], right[4])
  rises = difference(right[4], right[0])
  # Between two budgets it may fall by noise, not by more.
  steps = [difference(right[i + 1], right[i]) for i in range(4)]
  monotone = all(s.mean > -2 * s.standard_error for s in steps)
  return Row(
    'budget_forcing (S3, words of 1 to 8 factors, e=.05)',
    'accuracy rises with the budget to the trained length, then flattens; '
    '"Wait" gains at most 1 point',
    f'accuracy at budget {points}; 8 against 0 {signed(rises)}; 16 against 8 '
    f'{signed(flat)}; Control {float(control):.2f}, Scaling '
    f'{100 * float(slope):.2f} points per token up to 8, Performance '
    f'{100 * float(best):.1f} (fully trained it would be '
    f'{100 * ceiling:.1f})',
    f'one "Wait" at budget 16: {interval(waits[0])}, {signed(gain)}, thinking '
    f'{longer.mean():.1f} tokens instead of {thinking[-1].mean():.1f}',
    bool(
      rises.mean > 0.05
      and monotone
      and abs(flat.mean) < 0.01
      and gain.mean <= 0.01
    ),
  )


CLAIMS = {
  f.__name__: f
  for f in (
    calibrated_base,
    best_of_n,
    self_consistency,
    adaptive_consistency,
    first_finish_search,
    budget_forcing,
  )
}

# ------------------------------------------------------- the calibrated base


def base_law():
  """Law of the answers of the base: the right one, then the wrong ones."""
  right = tasks.noisy_chain_accuracy(NOISE, LENGTH, NUM_VALUES)
  wrong = (1 - right) / (NUM_VALUES - 1)
  return jnp.array([right] + [wrong] * (NUM_VALUES - 1))


def train_base(num_seeds):
  """Directories of the trained models; trains those that are missing."""
  directories = [
    pathlib.Path(_WORKDIR.value) / f'base_{seed}' for seed in range(num_seeds)
  ]
  runs = []
  for seed, directory in enumerate(directories):
    if not (directory / 'model' / 'transformer.json').exists():
      command = [sys.executable, str(_ROOT / 'scripts' / 'pretrain.py')]
      command += [f'--config={_ROOT / "configs" / "pretrain_s3.py"}']
      command += [f'--workdir={directory}', f'--config.seed={seed}']
      runs.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
  if any([run.wait() for run in runs]):  # a list: wait for all
    sys.exit('reproduce: training the base failed')
  return [directory / 'model' for directory in directories]


@functools.cache
def base_samples(num_seeds):
  """Samples on unseen problems, seeds one after another, and the gold."""
  task = tasks.permutation_word_problem('s3', LENGTH, noise=NOISE)
  test_task = tasks.on_split(task, 'test')

  @functools.partial(jax.jit, static_argnums=0)
  def draw(model, params, key):
    data_key, sample_key = jax.random.split(key)
    keys = jax.random.split(data_key, NUM_PROBLEMS)
    problems = jax.vmap(test_task.generate)(keys)
    prompt = tasks.to_prompt(problems)
    generation = sampling.generate(
      params,
      jax.random.split(sample_key, NUM_PROBLEMS),
      prompt,
      NUM_SAMPLES,
      model=model,
      capacity=task.response_length,
      stop=sampling.stop_rules(task.vocab_size, [task.eos_id]),
    )
    answer_fn = tasks.answer_fn(task, problems)
    return search.observe(prompt, generation, answer_fn), problems.answer

  drawn = []
  for seed, directory in enumerate(train_base(num_seeds)):
    loaded = models.load(str(directory))
    drawn.append(draw(loaded.model, loaded.params, jax.random.key(100 + seed)))
  join = lambda *leaves: np.concatenate(leaves)
  return jax.tree.map(join, *jax.device_get(drawn))


# ---------------------------------------------------------- tables as worlds


def one_token_votes(table, seed, n, num_problems=4096):
  """Whether votes of `n` answers of one token choose the answer 0."""
  prompt = Prompt(
    jnp.zeros((num_problems, 1), jnp.int32),
    jnp.ones((num_problems,), jnp.int32),
  )

  @jax.jit
  def vote(key):
    output = search.self_consistency(
      table,
      jax.random.split(key, num_problems),
      prompt,
      functools.partial(
        sampling.generate,
        model=models.table_model(len(table)),
        capacity=1,
        stop=sampling.stop_rules(len(table)),
      ),
      lambda prompt, samples: samples.tokens[..., 0],
      n,
    )
    return output.answers == 0

  return np.asarray(vote(jax.random.key(seed)), np.float32)


class Outcome(NamedTuple):
  """Of one method, an entry per problem."""

  right: np.ndarray
  tokens: np.ndarray
  depth: np.ndarray


def first_finish_world(right_rate, wrong_rate, num_seeds, num_problems=1024):
  """One sample, FFS@8 and last-finish@8 where lengths are geometric.

  A table decides at its first token whether it will be right, and then ends at
  each token with the rate of that kind.
  """
  start, end_right, end_wrong, on_right, on_wrong = range(5)
  probs = np.full((5, 5), 1e-30)
  probs[on_right, [end_right, on_right]] = right_rate, 1 - right_rate
  probs[on_wrong, [end_wrong, on_wrong]] = wrong_rate, 1 - wrong_rate
  probs[start] = (probs[on_right] + probs[on_wrong]) / 2
  table = jnp.log(jnp.asarray(probs, jnp.float32))
  sample_fn = functools.partial(
    sampling.generate,
    model=models.table_model(5),
    capacity=200,
    stop=sampling.stop_rules(5, [end_right, end_wrong]),
  )
  prompt = Prompt(
    jnp.full((num_problems, 1), start), jnp.ones((num_problems,), jnp.int32)
  )

  def answer_fn(prompt, samples):
    last = jnp.maximum(samples.lengths - 1, 0)[..., None]
    end = jnp.take_along_axis(samples.tokens, last, axis=2)[..., 0]
    ended = (end == end_right) | (end == end_wrong)
    return jnp.where(ended, end - end_right, -1)  # 0 is right

  @jax.jit
  def run(key):
    keys = jax.random.split(key, num_problems)
    first = search.first_finish_search(
      table, keys, prompt, sample_fn, answer_fn, 8
    )
    everything = search.observe(
      prompt, sample_fn(table, keys, prompt, 8), answer_fn
    )
    alone = jax.vmap(search.majority_vote, in_axes=(0, None))
    single = alone(everything, jnp.int32(1))
    last = search.select_each(search.longest_vote(), everything)
    return single, first, last

  runs = [jax.device_get(run(jax.random.key(s))) for s in range(num_seeds)]
  joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *runs)
  return [
    Outcome((s.answer == 0).astype(np.float32), s.tokens, s.depth)
    for s in joined
  ]


# ------------------------------------------- a model that thinks, then answers


def thinking_models(num_seeds, num_steps=900):
  """Trains models of `v_1 ... v_m END answer EOS` from words of S3.

  Words have 1 to 8 factors. Half of the traces think all products; the others
  are cut after a random number of them and answer there, with END given and not
  learned: the model ends its thinking by itself at the last product, and can
  answer wherever it is cut. The answer is the last product of the whole, noisy
  trace.
  """
  task = tasks.permutation_word_problem('s3', LENGTH, noise=0.05, min_length=1)
  end_id = task.vocab_size
  model = models.transformer(
    models.TransformerConfig(
      vocab_size=task.vocab_size + 1,
      num_layers=2,
      embed_dim=64,
      mlp_dim=176,
      num_heads=4,
      num_kv_heads=4,
      head_dim=16,
      max_length=64,
    )
  )

  def sequence(key):
    task_key, half_key, cut_key = jax.random.split(key, 3)
    problem = task.generate(task_key)
    needed = problem.trace_length - 1
    cut = jax.random.randint(cut_key, (), 0, needed + 1)
    m = jnp.where(jax.random.bernoulli(half_key), needed, cut)
    t = jnp.arange(LENGTH + 3)
    thoughts = problem.trace[jnp.minimum(t, LENGTH - 1)]
    last = jnp.where(t == m, end_id, problem.trace[needed - 1])
    last = jnp.where(t == m + 2, task.eos_id, last)
    trace = jnp.where(t < m, thoughts, last)
    joined = tasks.training_sequence(
      problem._replace(trace=trace, trace_length=m + 3)
    )
    at_end = jnp.arange(joined.tokens.size) == problem.prompt_length + m
    given = at_end & (m < needed)
    return joined.tokens, joined.is_trace & ~given

  batch_fn = lambda key: jax.vmap(sequence)(jax.random.split(key, 64))
  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, num_steps)
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )

  @jax.jit
  def train(key):
    state = finetuning.init_state(model.init, optimizer, key)
    return finetuning.run_steps(train_step, batch_fn, state, num_steps)[0]

  states = [train(jax.random.key(seed)) for seed in range(num_seeds)]
  return model, task, [state.params for state in states]


def think(model, task, params, budgets, num_waits, num_problems=1024):
  """Correctness and thinking tokens, `[budgets, seeds * problems]`."""
  end_id = task.vocab_size
  capacity = int(max(budgets)) + 4

  @jax.jit
  def run(params, key, budget):
    data_key, sample_key = jax.random.split(key)
    keys = jax.random.split(data_key, num_problems)
    problems = jax.vmap(task.generate)(keys)
    controller = search.budget_forcing(
      end_id,
      end=[end_id],
      cut=[end_id],
      wait=[task.words.index('=')],
      budget=budget,
      num_waits=num_waits,
    )
    prompt = tasks.to_prompt(problems)
    responses = sampling.generate(
      params,
      jax.random.split(sample_key, num_problems),
      prompt,
      1,
      model=model,
      capacity=capacity,
      stop=sampling.stop_rules(model.vocab_size, [task.eos_id]),
      controller=controller,
    )
    right = tasks.score_fn(task, problems)(prompt, responses)[:, 0]
    return right, jnp.argmax(responses.tokens[:, 0] == end_id, axis=1)

  columns = [
    [
      run(p, jax.random.key(200 + seed), jnp.int32(budget))
      for seed, p in enumerate(params)
    ]
    for budget in budgets
  ]
  join = lambda i: np.array(
    [np.concatenate([pair[i] for pair in column]) for column in columns]
  )
  return join(0), join(1)


# ----------------------------------------------------------------- arithmetic


def curve(select, samples: Samples, gold, budgets):
  """The scaling curve of a method; 50 orders of the samples."""
  return jax.device_get(
    evaluation.scaling_curve(
      jax.random.key(0),
      select,
      jax.tree.map(jnp.asarray, samples),
      jnp.asarray(gold),
      jnp.asarray(budgets),
      50,
    )
  )


def estimate(values):
  """Mean and standard error over problems."""
  return evaluation.mean_and_standard_error(jnp.asarray(values, jnp.float32))


def standard_error(values):
  """Of the mean, over problems."""
  return float(estimate(values).standard_error)


def difference(a, b):
  """Paired, over problems."""
  return evaluation.paired_difference(
    jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
  ).difference


def interval(values):
  """Mean in percent and its 95% interval."""
  mean = estimate(values)
  low, high = evaluation.confidence_interval(mean)
  return f'{100 * mean.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def signed(gap):
  """A difference in points and its 95% interval."""
  low, high = evaluation.confidence_interval(gap)
  return f'{100 * gap.mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]'


# ----------------------------------------------------------------------- main

_HEADER = """# Claims

Every figure is made by its command, on two CPU cores; accuracies in percent
with 95% intervals over problems, three seeds. A claim that does not hold here
says so.

| system | claim | our figure | control | command | seconds |
|---|---|---|---|---|---|
"""


def write_row(path, command, row, seconds):
  """Replaces the row of a command in the table, or appends it."""
  text = path.read_text() if path.exists() else _HEADER
  verdict = '' if row.holds else '**does not hold**: '
  cells = [row.system, row.claim, verdict + row.figure, row.control]
  cells = [cell.replace('|z|', 'z') for cell in cells]
  line = f'| {" | ".join(cells)} | `{command}` | {seconds:.0f} |'
  lines = text.splitlines()
  places = [i for i, old in enumerate(lines) if f'| `{command}` |' in old]
  if places:
    lines[places[0]] = line
  else:
    lines.append(line)
  path.parent.mkdir(exist_ok=True)
  path.write_text('\n'.join(lines) + '\n')


def main(argv):
  """Runs one claim, or all."""
  logging.set_verbosity(logging.WARNING)  # Orbax tells of every file
  if len(argv) > 1:
    sys.exit(f'reproduce: unexpected argument {argv[1]!r}')
  names = list(CLAIMS) if _CLAIM.value == 'all' else [_CLAIM.value]
  if unknown := set(names) - set(CLAIMS):
    sys.exit(f'reproduce: no claim {unknown.pop()!r}; there are {list(CLAIMS)}')
  os.makedirs(_WORKDIR.value, exist_ok=True)
  failed = []
  for name in names:
    start = time.perf_counter()
    row = CLAIMS[name](_SEEDS.value)
    seconds = time.perf_counter() - start
    verdict = 'holds' if row.holds else 'DOES NOT HOLD'
    print(
      f'{name} {verdict} ({seconds:.0f} s): {row.figure}\n'
      f'  control: {row.control}',
      flush=True,
    )
    if not row.holds:
      failed.append(name)
    if _WRITE.value:
      command = f'python scripts/reproduce.py --claim={name}'
      write_row(_ROOT / 'docs' / 'claims.md', command, row, seconds)
  if failed:
    sys.exit(f'reproduce: {", ".join(failed)} did not hold')


if __name__ == '__main__':
  app.run(main)
