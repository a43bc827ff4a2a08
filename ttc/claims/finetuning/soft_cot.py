"""Soft thoughts of a small assistant, and what keeps them apart (2505.11484).

Lambda is 1 in the released code, where the contrastive term of a thought weighs
1 / K^2 of its likelihood; with lambda K^2 it weighs as much.
"""

import functools

import jax
import jax.numpy as jnp

from ttc import finetuning, models, sampling, tasks
from ttc.claims.claim import (
  Claim,
  above,
  by_seed,
  compares,
  difference,
  high,
  interval,
  signed,
  standard_error,
  text,
)
from ttc.testbeds.soft_thoughts import (
  CAREFUL,
  NUM_POSITIONS,
  NUM_THOUGHTS,
  PAIR,
  TASK,
  WIDTHS,
  model_of_pair,
  trained_thoughts,
  with_fillers,
)

NUM_ROUNDS = 4  # samples of each thought
NUM_PROBLEMS = 512  # of a seed
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


def measure(seed, size, cache):
  """Correctness of all samples, and cosines of thoughts, by problem."""
  frozen = tuple(
    model_of_pair(name, seed, size, cache).params for name in WIDTHS
  )
  untrained = PAIR.assistant.init(jax.random.key(seed)), frozen[1]
  soft = {
    name: trained_thoughts(
      frozen if is_trained else untrained,
      num_thoughts,
      weight,
      spread,
      seed,
      size,
      cache,
      'trained' if is_trained else 'untrained',
    )
    for name, (num_thoughts, weight, spread, is_trained) in RUNS.items()
  }
  num = size.problems(NUM_PROBLEMS)
  return draw_all(frozen, soft, jax.random.key(100 + seed), num)


@functools.partial(jax.jit, static_argnums=3)
def draw_all(frozen, soft, key, num_problems):
  """Draws samples of unseen problems in every way.

  Args:
    frozen: parameters of the assistant and the target.
    soft: all parameters, by run.
    key: random key, consumed.
    num_problems: how many.

  Returns:
    By name, which samples are right, `[B, rounds, K]`, the thoughts of a round
    being different; and the mean cosine of the thoughts, `[B]`.
  """
  data_key, sample_key, random_key = jax.random.split(key, 3)
  test_task = tasks.on_split(TASK, 'test')
  keys = jax.random.split(data_key, num_problems)
  problems = jax.vmap(test_task.generate)(keys)
  prompt = tasks.to_prompt(problems)
  keys = jax.random.split(sample_key, num_problems)
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
    shape = (num_problems, NUM_THOUGHTS, NUM_POSITIONS, table.shape[-1])
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
      jnp.full((num_problems, N), NUM_POSITIONS),
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
  return {'samples': right, 'cosine': cosine}


def of_one_thought(right):
  """Whether the `NUM_ROUNDS` samples of a thought hold a right one."""
  return right.any(axis=1)


def of_several_thoughts(right):
  """Whether as many samples, each of another thought, hold a right one."""
  groups = right.reshape(*right.shape[:2], -1, NUM_ROUNDS)
  return groups.any(axis=-1).reshape(len(right), -1)


def derive(data):
  """By run: pass@1, pass@K, and pass of samples of one or several thoughts."""
  samples = data['samples']
  return {
    'right': {name: x.mean(axis=(1, 2)) for name, x in samples.items()},
    'passed': {
      name: x.any(axis=-1).mean(axis=-1) for name, x in samples.items()
    },
    'several': {
      name: of_several_thoughts(x).mean(axis=1) for name, x in samples.items()
    },
    'one': {
      name: of_one_thought(x).mean(axis=1) for name, x in samples.items()
    },
  }


def figures(names):
  """Says what runs reach, and how alike their thoughts are."""

  def say(data):
    cosine = data['cosine']
    return '; '.join(
      f'{name} {interval(data["right"][name])} and '
      f'{interval(data["passed"][name])}'
      + (f', cosine {cosine[name].mean():.2f}' if name in cosine else '')
      for name in names
    )

  return say


def equal_at_one(data):
  """pass@1 with and without the contrastive term."""
  right = data['right']
  gap = difference(right['lambda 1'], right['lambda 0'])
  return gap, standard_error(right['lambda 0'])


def same(data):
  """Says it, with the standard error of one."""
  gap, error = equal_at_one(data)
  gains = by_seed(
    data['passed']['lambda 1'] - data['passed']['lambda 0'], data['num_seeds']
  )
  return (
    f'lambda 1 to 0: pass@1 {signed(gap)} (s.e. {100 * error:.1f}), '
    f'pass@{NUM_THOUGHTS} by seed {", ".join(f"{100 * x:+.1f}" for x in gains)}'
  )


def apart(data):
  """The contrastive term brings the cosine down; pass@1 stays."""
  gap, error = equal_at_one(data)
  cosine = data['cosine']
  return (
    abs(gap.mean) <= error
    and high(difference(cosine['lambda 1'], cosine['lambda 0'])) < 0
  )


CLAIM = Claim(
  'soft_cot (recall of 8 facts, 4 hops, half of the traces learned careless; '
  f'widths {WIDTHS["target"]} and {WIDTHS["assistant"]} of the assistant; '
  f'{NUM_THOUGHTS} thoughts of {NUM_POSITIONS} positions)',
  '2505.11484',
  'SoftCoT is right more often than no thoughts; the contrastive term brings '
  f'the cosine of thoughts down and pass@{NUM_THOUGHTS} up at equal pass@1 '
  '(within 1 s.e.)',
  measure,
  checks=[
    text(
      lambda d: (
        f'pass@1 and pass@{NUM_THOUGHTS}: '
        + figures(['none', 'SoftCoT', 'lambda 0', 'lambda 1', 'lambda K^2'])(d)
      )
    ),
    above('SoftCoT to none ', 'right/SoftCoT', 'right/none'),
    text(same, apart),
    above(f'pass@{NUM_THOUGHTS} ', 'passed/lambda 1', 'passed/lambda 0'),
  ],
  controls=[
    text(figures(CONTROLS)),
    above(
      f'lambda 1 to random thoughts: pass@{NUM_THOUGHTS} ',
      'passed/lambda 1',
      'passed/random thoughts',
    ),
    compares(
      f'pass@{NUM_ROUNDS} of samples of different thoughts to samples of one: '
      'lambda 0 ',
      'several/lambda 0',
      'one/lambda 0',
    ),
    compares('lambda 1 ', 'several/lambda 1', 'one/lambda 1'),
  ],
  derive=derive,
)
