"""Soft thoughts of a small assistant, and what keeps them apart (2505.11484).

Eight facts, to be followed for four hops. Half of the traces that both models
learned from are careless: a node in them is another one with chance .2. Up to
`NUM_POSITIONS` fillers stand before a trace, and in half of the sequences they
say of which kind it is; so there is something that thoughts in their place may
bring about. Training was cut short: the target is right or wrong by problem
more than by sample, and what its samples have in common other thoughts may
change.

Lambda is 1 in the released code, where the contrastive term of a thought weighs
1 / K^2 of its likelihood; with lambda K^2 it weighs as much.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from claims.row import Row, difference, interval, signed, standard_error
from ttc import evaluation, finetuning, models, sampling, tasks

TASK = tasks.associative_recall(8, 4)
CARELESS_TASK = tasks.associative_recall(8, 4, noise=0.2)
CAREFUL, CARELESS = TASK.vocab_size, TASK.vocab_size + 1  # fillers
NUM_THOUGHTS, NUM_POSITIONS = 8, 4  # K and L
NUM_ROUNDS = 4  # samples of each thought
NUM_PROBLEMS = 512  # of a seed
WIDTHS = {'assistant': 24, 'target': 32}  # of one layer
BASE_STEPS, SOFT_STEPS = 1600, 800
# Thoughts, lambda, spread of the initial tokens, whether the assistant learned.
RUNS = {
  'SoftCoT': (1, 0.0, 0.1, True),
  'SoftCoT with an untrained assistant': (1, 0.0, 0.1, False),
  'lambda 0': (NUM_THOUGHTS, 0.0, 0.1, True),
  'lambda 1': (NUM_THOUGHTS, 1.0, 0.1, True),
  'lambda K^2': (NUM_THOUGHTS, 1.0 * NUM_THOUGHTS**2, 0.1, True),
  'lambda 0 from spread tokens': (NUM_THOUGHTS, 0.0, 1.0, True),
}
CONTROLS = (
  'fillers',
  'fillers that ask for care',
  'random thoughts',
  'SoftCoT with an untrained assistant',
  'lambda 0 from spread tokens',
)


def reproduce(num_seeds: int) -> Row:
  """The contrastive term spreads the thoughts, and more problems are solved."""
  runs = [jax.device_get(run_seed(seed)) for seed in range(num_seeds)]
  join = lambda *leaves: np.concatenate(leaves)
  samples, cosine = jax.tree.map(join, *runs)
  right = {name: x.mean(axis=(1, 2)) for name, x in samples.items()}
  passed = {name: x.any(axis=-1).mean(axis=-1) for name, x in samples.items()}
  gain = difference(right['SoftCoT'], right['none'])
  same = difference(right['lambda 1'], right['lambda 0'])
  more = difference(passed['lambda 1'], passed['lambda 0'])
  apart = difference(cosine['lambda 1'], cosine['lambda 0'])
  beyond = difference(passed['lambda 1'], passed['random thoughts'])
  error = standard_error(right['lambda 0'])
  by_seed = np.reshape(
    passed['lambda 1'] - passed['lambda 0'], (num_seeds, -1)
  ).mean(axis=1)
  seeds = ', '.join(f'{100 * x:+.1f}' for x in by_seed)
  several, one = (
    {name: pass_at(x).mean(axis=1) for name, x in samples.items()}
    for pass_at in (of_several_thoughts, of_one_thought)
  )
  mixed = lambda name: signed(difference(several[name], one[name]))
  low = lambda gap: evaluation.confidence_interval(gap)[0]
  high = lambda gap: evaluation.confidence_interval(gap)[1]
  figures = lambda names: '; '.join(
    f'{name} {interval(right[name])} and {interval(passed[name])}'
    + (f', cosine {cosine[name].mean():.2f}' if name in cosine else '')
    for name in names
  )
  return Row(
    'soft_cot (recall of 8 facts, 4 hops, half of the traces learned careless; '
    f'widths {WIDTHS["target"]} and {WIDTHS["assistant"]} of the assistant; '
    f'{NUM_THOUGHTS} thoughts of {NUM_POSITIONS} positions)',
    'SoftCoT is right more often than no thoughts; the contrastive term brings '
    f'the cosine of thoughts down and pass@{NUM_THOUGHTS} up at equal pass@1 '
    '(within 1 s.e.)',
    f'pass@1 and pass@{NUM_THOUGHTS}: '
    f'{figures(["none", "SoftCoT", "lambda 0", "lambda 1", "lambda K^2"])}; '
    f'SoftCoT to none {signed(gain)}; lambda 1 to 0: pass@1 {signed(same)} '
    f'(s.e. {100 * error:.1f}), pass@{NUM_THOUGHTS} {signed(more)}, by seed '
    f'{seeds}',
    figures(CONTROLS)
    + f'; lambda 1 to random thoughts: pass@{NUM_THOUGHTS} {signed(beyond)}; '
    f'pass@{NUM_ROUNDS} of samples of different thoughts to samples of one: '
    f'lambda 0 {mixed("lambda 0")}, lambda 1 {mixed("lambda 1")}',
    bool(
      low(gain) > 0
      and high(apart) < 0
      and low(more) > 0
      and abs(same.mean) <= error
      and low(beyond) > 0
    ),
  )


def of_one_thought(right):
  """Whether the `NUM_ROUNDS` samples of a thought hold a right one."""
  return right.any(axis=1)


def of_several_thoughts(right):
  """Whether as many samples, each of another thought, hold a right one."""
  groups = right.reshape(*right.shape[:2], -1, NUM_ROUNDS)
  return groups.any(axis=-1).reshape(len(right), -1)


def config_of(name):
  """Shape of a model of the pair."""
  width = WIDTHS[name]
  return models.TransformerConfig(
    vocab_size=TASK.vocab_size + 2,
    num_layers=1,
    embed_dim=width,
    mlp_dim=2 * width,
    num_heads=4,
    num_kv_heads=4,
    head_dim=width // 4,
    max_length=TASK.prompt_length + NUM_POSITIONS + TASK.response_length,
  )


PAIR = finetuning.SoftPair(
  models.transformer(config_of('assistant')),
  models.transformer(config_of('target')),
)


def trained_model(name, seed):
  """Parameters of a model of the pair; trains it unless that was done."""
  path = pathlib.Path(flags.FLAGS.workdir) / f'soft_cot_{name}_{seed}'
  if not (path / 'transformer.json').exists():
    params = train_model(name, jax.random.key(seed))
    models.save_checkpoint(path, config_of(name), params)
  return models.load(str(path)).params


@functools.partial(jax.jit, static_argnums=0)
def train_model(name, key):
  """Learns traces of both kinds, behind 0 to `NUM_POSITIONS` fillers."""
  model = models.transformer(config_of(name))
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, BASE_STEPS)
  )
  train_step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )

  def sequence(key):
    problem_key, gap_key, kind_key, told_key = jax.random.split(key, 4)
    is_careful = jax.random.bernoulli(kind_key)
    problem = jax.tree.map(
      lambda *leaves: jnp.where(is_careful, *leaves),
      *(
        tasks.on_split(task, 'train').generate(problem_key)
        for task in (TASK, CARELESS_TASK)
      ),
    )
    kind = jnp.where(is_careful, CAREFUL, CARELESS)
    word = jnp.where(jax.random.bernoulli(told_key), kind, TASK.pad_id)
    num_fillers = jax.random.randint(gap_key, (), 0, NUM_POSITIONS + 1)
    joined = tasks.training_sequence(with_fillers(problem, num_fillers, word))
    return joined.tokens, joined.is_trace

  batch_fn = lambda key: jax.vmap(sequence)(jax.random.split(key, 64))
  state = finetuning.init_state(model.init, optimizer, key)
  return finetuning.run_steps(train_step, batch_fn, state, BASE_STEPS)[0].params


def with_fillers(problem, num_fillers, word=TASK.pad_id):
  """The problem with a word, `num_fillers` times over, behind its prompt.

  All prompts of the task are of one length.
  """
  fillers = jnp.where(jnp.arange(NUM_POSITIONS) < num_fillers, word, 0)
  return problem._replace(
    prompt=jnp.append(problem.prompt, fillers),
    prompt_length=problem.prompt_length + num_fillers,
  )


def trained_thoughts(name, seed, frozen):
  """All parameters of a run; trains unless that was done."""
  num_thoughts, weight, spread, is_trained = RUNS[name]
  if not is_trained:
    frozen = (PAIR.assistant.init(jax.random.key(seed)), frozen[1])
  file = f'soft_cot_{name.replace(" ", "_")}_{seed}.npz'
  path = pathlib.Path(flags.FLAGS.workdir) / file
  if not path.exists():
    soft = train_thoughts(num_thoughts, seed, frozen, weight, spread)
    np.savez(path, **jax.device_get(soft)._asdict())
  with np.load(path) as saved:
    soft = finetuning.SoftThoughts(*map(jnp.asarray, saved.values()))
  return finetuning.SoftCoTParams(*frozen, soft)


@functools.partial(jax.jit, static_argnums=0)
def train_thoughts(num_thoughts, seed, frozen, weight, spread):
  """Learns the initial tokens and the projection."""
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(0.0, 3e-3, 50, SOFT_STEPS)
  )

  def loss_fn(soft, batch):
    params = finetuning.SoftCoTParams(*frozen, soft)
    return finetuning.soft_cot_loss(
      PAIR, params, batch, NUM_POSITIONS, contrastive_weight=weight
    )

  def batch_fn(key):
    data_key, dropout_key = jax.random.split(key)
    train_task = tasks.on_split(TASK, 'train')
    problems = jax.vmap(train_task.generate)(jax.random.split(data_key, 16))
    return finetuning.SoftCoTBatch(
      tasks.to_prompt(problems),
      problems.trace,
      problems.trace_length,
      jax.random.split(dropout_key, 16),
    )

  init = lambda key: finetuning.init_soft_thoughts(
    key, PAIR, frozen, num_thoughts, spread=spread
  )
  train_step = finetuning.make_train_step(loss_fn, optimizer)
  state = finetuning.init_state(init, optimizer, jax.random.key(seed))
  return finetuning.run_steps(train_step, batch_fn, state, SOFT_STEPS)[0].params


def run_seed(seed):
  """Correctness of all samples, and cosines of thoughts, by problem."""
  frozen = tuple(trained_model(name, seed) for name in WIDTHS)
  soft = {name: trained_thoughts(name, seed, frozen) for name in RUNS}
  return measure(frozen, soft, jax.random.key(100 + seed))


@jax.jit
def measure(frozen, soft, key):
  """Draws samples of unseen problems in every way.

  Args:
    frozen: parameters of the assistant and the target.
    soft: all parameters, by run.
    key: random key, consumed.

  Returns:
    By name, which samples are right, `[B, rounds, K]`, the thoughts of a round
    being different; and the mean cosine of the thoughts, `[B]`.
  """
  data_key, sample_key, random_key = jax.random.split(key, 3)
  test_task = tasks.on_split(TASK, 'test')
  keys = jax.random.split(data_key, NUM_PROBLEMS)
  problems = jax.vmap(test_task.generate)(keys)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, NUM_PROBLEMS)
  N = NUM_ROUNDS * NUM_THOUGHTS
  stop = sampling.stop_rules(PAIR.target.vocab_size, [TASK.eos_id])
  options = {'capacity': TASK.response_length, 'stop': stop}

  def is_right(responses):
    right = tasks.score_fn(TASK, problems)(prompt, responses)
    return right.reshape(-1, NUM_ROUNDS, NUM_THOUGHTS)

  def draw(prompt):
    return sampling.generate(
      frozen[1], keys, prompt, N, model=PAIR.target, **options
    )

  def draw_at_random():
    table = models.embed(
      PAIR.target, frozen[1], jnp.arange(PAIR.target.vocab_size)
    )
    shape = (NUM_PROBLEMS, NUM_THOUGHTS, NUM_POSITIONS, table.shape[-1])
    noise = jax.random.normal(random_key, shape) * jnp.std(table)
    state = sampling.prefill(
      PAIR.target,
      frozen[1],
      prompt,
      N,
      NUM_POSITIONS + TASK.response_length,
    )
    state = sampling.extend(
      PAIR.target,
      frozen[1],
      state,
      jnp.tile(noise, (1, NUM_ROUNDS, 1, 1)),
      jnp.full((NUM_PROBLEMS, N), NUM_POSITIONS),
    )
    return sampling.sample(PAIR.target, frozen[1], keys, state, stop).generation

  def draw_behind(word):
    fill = lambda problem: with_fillers(problem, NUM_POSITIONS, word)
    return draw(tasks.to_prompt(jax.vmap(fill)(problems)))

  right = {
    'none': is_right(draw(prompt)),
    'fillers': is_right(draw_behind(TASK.pad_id)),
    'fillers that ask for care': is_right(draw_behind(CAREFUL)),
    'random thoughts': is_right(draw_at_random()),
  }
  cosine = {}
  for name, params in soft.items():
    responses = finetuning.generate_with_thoughts(
      params,
      keys,
      prompt,
      N,
      pair=PAIR,
      num_positions=NUM_POSITIONS,
      **options,
    )
    right[name] = is_right(responses)
    if RUNS[name][0] > 1:
      thoughts = finetuning.think(PAIR, params, prompt, NUM_POSITIONS)
      cosine[name] = jax.vmap(finetuning.mean_cosine)(thoughts)
  return right, cosine
