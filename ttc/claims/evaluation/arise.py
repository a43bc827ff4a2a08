"""ARISE tells losses from gains that do not pay (Yin et al., 2025)."""

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.claims.claim import Claim, compares, difference, interval, signed, text

TOKENS = np.float32([64, 128, 256, 512])
NUM_ITEMS = 400  # of a seed


def measure(seed, size, cache):
  """Two methods of equal mean curves, one of which loses what it had."""
  del cache
  gaining, churning = truths(jax.random.key(seed), size.problems(NUM_ITEMS))
  tokens = jnp.broadcast_to(TOKENS, gaining.shape)
  truth = evaluation.arise(gaining, tokens)
  adaptive, num_runs, fixed = run_cells(jax.random.key(1000 + seed), gaining)
  used = float(num_runs.mean())
  measured = {
    '3 runs': fixed[2],
    'adaptive': adaptive,
    'equal cost': fixed[round(used) - 1],
    '10 runs': fixed[9],
  }
  return {
    'gaining': truth,
    'churning': evaluation.arise(churning, tokens),
    'apart': jnp.abs(gaining.mean(axis=0) - churning.mean(axis=0)).max(),
    'used': used,
    'error': {
      name: evaluation.arise(accuracies, tokens) - truth
      for name, accuracies in measured.items()
    },
  }


def truths(key, num_items):
  """Chances of being right, `[items, levels]`, of the two methods.

  With the first every item gains a tenth at each level. With the second half of
  the items have .15 more at the second level and .15 less at the third, and the
  other half the reverse: the mean curves are equal, but items come and go.
  """
  start = jax.random.uniform(key, (num_items, 1), minval=0.1, maxval=0.6)
  gaining = start + 0.1 * jnp.arange(4)
  sign = jnp.where(jnp.arange(num_items)[:, None] % 2 == 0, 1.0, -1.0)
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
      tokens = jnp.asarray(TOKENS)[level] * noise
      return jax.random.bernoulli(right_key, chance), tokens

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


def errors(data):
  """Of ARISE from runs: the mean, and the mean size."""
  error = data['error']
  return (
    f'error of ARISE from runs (adaptive draws {np.mean(data["used"]):.1f}): '
    + ', '.join(
      f'{name} {signed(difference(error[name], 0 * error[name]))}, mean size '
      f'{100 * np.abs(error[name]).mean():.1f}'
      for name in ('3 runs', 'adaptive', 'equal cost', '10 runs')
    )
  )


CLAIM = Claim(
  'arise (simulated items, tokens double at each of 3 levels)',
  '2510.06014',
  'ARISE is lower where items are lost, at equal mean curves; the adaptive '
  'sampler errs less than as many runs spread evenly',
  measure,
  checks=[
    text(
      lambda d: (
        f'gaining {interval(d["gaining"])}, churning {interval(d["churning"])}'
      )
    ),
    compares(
      'churning to gaining ',
      'churning',
      'gaining',
      lambda gap: gap.mean < -2 * gap.standard_error,
    ),
    text(
      lambda d: f'mean curves within {100 * max(d["apart"]):.2f} points',
      lambda d: max(d['apart']) < 1e-5,
    ),
    text(errors),
    compares(
      'adaptive against equal cost, size ',
      lambda d: np.abs(d['error']['adaptive']),
      lambda d: np.abs(d['error']['equal cost']),
      lambda gained: gained.mean < -2 * gained.standard_error,
    ),
  ],
  controls=[
    text(
      lambda _: (
        f'items that never change, one run of each: {interval(noise_only())}, '
        '-112.5 by enumeration'
      )
    )
  ],
)
