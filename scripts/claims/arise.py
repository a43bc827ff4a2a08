"""ARISE tells losses from gains that do not pay (Yin et al., 2025)."""

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation

TOKENS = jnp.array([64.0, 128.0, 256.0, 512.0])
NUM_ITEMS = 400  # of a seed


def reproduce(num_seeds: int) -> Row:
  """Two methods of equal mean curves, one of which loses what it had."""
  natural, churned, apart = [], [], []
  biases = {'3 runs': [], 'adaptive': [], 'equal cost': [], '10 runs': []}
  used = []
  for seed in range(num_seeds):
    gaining, churning = truths(jax.random.key(seed))
    tokens = jnp.broadcast_to(TOKENS, gaining.shape)
    natural.append(evaluation.arise(gaining, tokens))
    churned.append(evaluation.arise(churning, tokens))
    apart.append(jnp.abs(gaining.mean(axis=0) - churning.mean(axis=0)).max())
    runs = run_cells(jax.random.key(1000 + seed), gaining)
    adaptive, num_runs, fixed = runs
    used.append(float(num_runs.mean()))
    truth = natural[-1]
    measured = {
      '3 runs': fixed[2],
      'adaptive': adaptive,
      'equal cost': fixed[round(used[-1]) - 1],
      '10 runs': fixed[9],
    }
    for name, accuracies in measured.items():
      biases[name].append(evaluation.arise(accuracies, tokens) - truth)
  natural, churned = np.concatenate(natural), np.concatenate(churned)
  gap = difference(churned, natural)
  biases = {name: np.concatenate(b) for name, b in biases.items()}
  gained = difference(np.abs(biases['adaptive']), np.abs(biases['equal cost']))
  errors = ', '.join(
    f'{name} {signed(difference(b, 0 * b))}, mean size '
    f'{100 * np.abs(b).mean():.1f}'
    for name, b in biases.items()
  )
  return Row(
    'arise (simulated items, tokens double at each of 3 levels)',
    'ARISE is lower where items are lost, at equal mean curves; the adaptive '
    'sampler errs less than as many runs spread evenly',
    f'gaining {interval(natural)}, churning {interval(churned)}, '
    f'{signed(gap)}, mean curves within {100 * max(apart):.2f} points. Error '
    f'of ARISE from runs (adaptive draws {np.mean(used):.1f}): {errors}; '
    f'adaptive against equal cost, size {signed(gained)}',
    f'items that never change, one run of each: {interval(noise_only())}, '
    '-112.5 by enumeration',
    bool(
      gap.mean < -2 * gap.standard_error
      and max(apart) < 1e-5
      and gained.mean < -2 * gained.standard_error
    ),
  )


def truths(key):
  """Chances of being right, `[items, levels]`, of the two methods.

  With the first every item gains a tenth at each level. With the second half of
  the items have .15 more at the second level and .15 less at the third, and the
  other half the reverse: the mean curves are equal, but items come and go.
  """
  start = jax.random.uniform(key, (NUM_ITEMS, 1), minval=0.1, maxval=0.6)
  gaining = start + 0.1 * jnp.arange(4)
  sign = jnp.where(jnp.arange(NUM_ITEMS)[:, None] % 2 == 0, 1.0, -1.0)
  turn = jnp.array([0.0, 1.0, -1.0, 0.0])
  return gaining, gaining + 0.15 * sign * turn


@jax.jit
def run_cells(key, chances):
  """Accuracies from runs: adaptive, how many, and from the first 1..10."""
  shape = chances.shape
  keys = jax.random.split(key, chances.size)

  def cell(key, chance, level):
    def run(key):
      right_key, token_key = jax.random.split(key)
      noise = 1 + 0.1 * jax.random.normal(token_key)
      return jax.random.bernoulli(right_key, chance), TOKENS[level] * noise

    adaptive = evaluation.adaptive_runs(key, run)
    every = jax.vmap(lambda k: run(jax.random.fold_in(key, k))[0])
    right = every(jnp.arange(10)).astype(jnp.float32)
    means = jnp.cumsum(right) / jnp.arange(1, 11)
    return adaptive.accuracy, adaptive.num_runs, means

  levels = jnp.broadcast_to(jnp.arange(shape[1]), shape)
  accuracy, num_runs, means = jax.vmap(cell)(
    keys, chances.ravel(), levels.ravel()
  )
  fixed = means.T.reshape(10, *shape)
  return accuracy.reshape(shape), num_runs.reshape(shape), fixed


def noise_only(num_items=20_000):
  """ARISE of fair coins; a step gains .25 * .5 and loses .25 * 2, on average.

  Of three steps with doubling tokens: `3 (.125 - .5)`, or -112.5 points.
  """
  coins = jax.random.bernoulli(jax.random.key(7), 0.5, (num_items, 4))
  tokens = jnp.broadcast_to(TOKENS, coins.shape)
  return evaluation.arise(coins.astype(jnp.float32), tokens)
