"""Samples of a small model for the training of a large one (2408.03314)."""

import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from claims.row import Row, difference, interval, signed
from ttc import (
  finetuning,
  models,
  sampling,
  scaling,
  search,
  tasks,
  verifiers,
)

SIZES = {'small': (1, 16), 'medium': (2, 32), 'large': (2, 64)}  # layers, width
TASK = tasks.permutation_word_problem('s4', 12, num_generators=3, min_length=1)
RATIOS = (0.16, 0.79, 22.0)  # R = D_inf / D_pre
LENGTHS = {'easy': (5, 6), 'hard': (11, 12)}  # factors of a word
NUM_PROBLEMS = 64  # of a seed and difficulty
MAX_SAMPLES = 640
RATES = (0.8, 0.2)  # yes of the verifier to right and to wrong samples
NUM_STEPS = 1200


def reproduce(num_seeds: int) -> Row:
  """Small models win where they can and where little is asked of them."""
  runs = [run_seed(seed) for seed in range(num_seeds)]
  join = lambda *leaves: np.concatenate(leaves)
  right = jax.tree.map(join, *runs)
  gaps, blind, cells = {}, {}, []
  for small, large in itertools.combinations(SIZES, 2):
    size_ratio = num_params(large) / num_params(small)
    numbers = equal_samples(small, large)
    for difficulty in LENGTHS:
      greedy = right[large]['greedy'][difficulty]
      parts = []
      for ratio, n in zip(RATIOS, numbers, strict=True):
        key = small, large, difficulty, ratio
        gaps[key] = difference(
          right[small][f'verified {n}'][difficulty], greedy
        )
        blind[key] = difference(right[small][f'blind {n}'][difficulty], greedy)
        parts.append(f'R={ratio:g} (N={n}) {signed(gaps[key])}')
      cells.append(
        f'{small} for {large} (M={size_ratio:.1f}), {difficulty}: one greedy '
        f'sample of the large {interval(greedy)}, small {", ".join(parts)}'
      )
  first, *_, last = SIZES
  wins = gaps[first, last, 'easy', RATIOS[0]]
  loses = gaps[first, last, 'hard', RATIOS[-1]]
  falls = all(
    gaps[s, b, d, RATIOS[0]].mean >= gaps[s, b, d, RATIOS[-1]].mean - 0.01
    for s, b in itertools.combinations(SIZES, 2)
    for d in LENGTHS
  )
  control = blind[first, last, 'easy', RATIOS[0]]
  singles = ', '.join(
    f'{size} ({num_params(size)}) '
    + ' / '.join(
      f'{100 * x.mean():.0f}' for x in right[size]['single'].values()
    )
    for size in SIZES
  )
  return Row(
    'flops_exchange (S4, words of 1 to 12; verifier right in 80%)',
    'at equal FLOPs the smallest model is no worse than the largest on easy '
    'words at R=.16, worse on hard ones at R=22, and the less so the smaller R',
    f'pass@1 on easy / hard words by parameters: {singles}; '
    + '; '.join(cells),
    f'votes without the verifier, {first} for {last}, easy, R={RATIOS[0]}: '
    f'{signed(control)}',
    bool(
      wins.mean > -wins.standard_error
      and loses.mean < -2 * loses.standard_error
      and falls
    ),
  )


def equal_samples(small, large):
  """Samples of a small model for one of a larger, for each `R`."""
  size_ratio = num_params(large) / num_params(small)
  return [
    min(int(n), MAX_SAMPLES)
    for n in scaling.equal_flops_samples(size_ratio, np.array(RATIOS))
  ]


def run_seed(seed):
  """By size and way of answering: correctness by difficulty."""
  data_key, sample_key = jax.random.split(jax.random.key(800 + seed))
  problems = draw_problems(data_key)
  by_difficulty = lambda x: dict(
    zip(LENGTHS, np.split(np.float32(x), len(LENGTHS)), strict=True)
  )
  results = {}
  for size in SIZES:
    model, params = trained(size, seed)
    numbers = {
      n
      for small, large in itertools.combinations(SIZES, 2)
      if small == size
      for n in equal_samples(small, large)
    }
    greedy, samples = jax.device_get(
      respond(model, params, problems, sample_key, max(numbers, default=16))
    )
    right = {
      'greedy': greedy == problems.answer,
      'single': (samples.answers == problems.answer[:, None]).mean(axis=1),
    }
    for n in numbers:
      for name, select in (
        ('verified', search.weighted_best_of_n),
        ('blind', search.majority_vote),
      ):
        chosen = selected(select, samples, n)
        right[f'{name} {n}'] = chosen == problems.answer
    results[size] = {name: by_difficulty(x) for name, x in right.items()}
  return results


def draw_problems(key):
  """Unseen words, as many of each difficulty, the easy ones first."""
  generate = jax.jit(jax.vmap(tasks.on_split(TASK, 'test').generate))
  problems = jax.device_get(generate(jax.random.split(key, 8 * NUM_PROBLEMS)))
  lengths = problems.data.num_steps
  rows = [
    np.flatnonzero((lengths >= low) & (lengths <= high))[:NUM_PROBLEMS]
    for low, high in LENGTHS.values()
  ]
  return jax.tree.map(lambda x: x[np.concatenate(rows)], problems)


@functools.partial(jax.jit, static_argnums=0)
def selected(select, samples, n):
  """The answers to all problems from the first `n` samples of each."""
  of_problem = lambda samples: select(samples, n).answer
  return jax.lax.map(of_problem, samples, batch_size=8)


@functools.partial(jax.jit, static_argnums=(0, 4))
def respond(model, params, problems, key, num_samples):
  """Greedy answers, and verified samples."""
  sample_key, verdict_key = jax.random.split(key)
  prompt = tasks.to_prompt(problems)
  answer_fn = tasks.answer_fn(TASK, problems)
  draw = lambda n, temperature: sampling.generate(
    params,
    jax.random.split(sample_key, problems.answer.size),
    prompt,
    n,
    model=model,
    capacity=TASK.response_length,
    stop=sampling.stop_rules(TASK.vocab_size, [TASK.eos_id]),
    sampling=sampling.SamplingParams(temperature=temperature),
  )
  greedy = answer_fn(prompt, draw(1, 0.0))[:, 0]

  def score_fn(prompt, samples):
    right = answer_fn(prompt, samples) == problems.answer[:, None]
    verdicts = verifiers.flip_verdicts(verdict_key, right, *RATES)
    return verdicts[..., 0].astype(jnp.float32)

  samples = search.observe(prompt, draw(num_samples, 1.0), answer_fn, score_fn)
  return greedy, samples


def num_params(size):
  """Parameters besides the embeddings, as Kaplan et al. count them."""
  layers, width = SIZES[size]
  return layers * (4 * width**2 + 3 * width * 3 * width)


def config_of(size):
  """Shape of the model of a size."""
  layers, width = SIZES[size]
  return models.TransformerConfig(
    vocab_size=TASK.vocab_size,
    num_layers=layers,
    embed_dim=width,
    mlp_dim=3 * width,
    num_heads=4,
    num_kv_heads=4,
    head_dim=width // 4,
    max_length=TASK.prompt_length + TASK.response_length,
  )


def trained(size, seed):
  """A trained model; trains it unless that was done before."""
  directory = pathlib.Path(flags.FLAGS.workdir) / f'exchange_{size}_{seed}'
  if not (directory / 'transformer.json').exists():
    config = config_of(size)
    params = train(models.transformer(config), jax.random.key(seed))
    models.save_checkpoint(directory, config, params)
  loaded = models.load(str(directory))
  return loaded.model, loaded.params


@functools.partial(jax.jit, static_argnums=0)
def train(model, key):
  """Next-token prediction of traces: as many tokens for each size."""
  optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(0.0, 5e-3, 100, NUM_STEPS),
    weight_decay=1e-4,
  )
  step = finetuning.make_train_step(
    lambda params, batch: finetuning.next_token_loss(model, params, *batch),
    optimizer,
  )
  train_task = tasks.on_split(TASK, 'train')

  def batch_fn(key):
    draw = lambda key: tasks.training_sequence(train_task.generate(key))
    sequence = jax.vmap(draw)(jax.random.split(key, 64))
    return sequence.tokens, sequence.is_trace

  state = finetuning.init_state(model.init, optimizer, key)
  return finetuning.run_steps(step, batch_fn, state, NUM_STEPS)[0].params
