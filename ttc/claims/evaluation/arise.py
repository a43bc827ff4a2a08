"""ARISE tells losses from gains that do not pay (Yin et al., 2025).

Runs that go where runs disagree can help only where some cells vary more than
others, and three runs can tell which. Right-or-wrong runs cannot: of a fair
coin every fourth triple agrees, so there the sampler stops by chance. Graded
runs, such as the share of an item's tests that pass, can: of three quarters of
the items they differ by a few points, of one quarter by thirty. Power: on a
seed that is not reported, runs allotted by the variation of the first three
erred 0.8 [0.4, 1.3] less than as many spread evenly, of 12.5 with 1200 items;
3600 leave a standard error of 0.13. One more run at a time, until runs agree,
is reported only: it stops where a mean is high by chance.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.claims.claim import (
  Claim,
  below,
  compares,
  difference,
  high,
  interval,
  signed,
  text,
)

TOKENS = np.array([64, 128, 256, 512], np.float32)
NUM_ITEMS = 1200  # of a seed
NUM_RUNS = 5  # of a cell, on average
# Of the Beta law of graded runs: of three quarters of the items, of the others.
STEADY, SHAKY = 200.0, 1.0


def measure(seed, size, cache):
  """Two methods of equal mean curves, one of which loses what it had."""
  del cache
  gaining, churning = truths(jax.random.key(seed), size.problems(NUM_ITEMS))
  tokens = jnp.broadcast_to(TOKENS, gaining.shape)
  truth = evaluation.arise(gaining, tokens)
  key = jax.random.key(1000 + seed)
  return {
    'gaining': truth,
    'churning': evaluation.arise(churning, tokens),
    'apart': jnp.abs(gaining.mean(axis=0) - churning.mean(axis=0)).max(),
    **{
      name: jax.tree.map(
        lambda x: evaluation.arise(x, tokens) - truth,
        run_cells(key, gaining, name == 'graded'),
      )
      for name in ('graded', 'right or wrong')
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


@functools.partial(jax.jit, static_argnums=2)
def run_cells(key, chances, graded):
  """Accuracies of cells from runs: one by one, allotted, spread evenly."""
  keys = jax.random.split(key, chances.size)
  steady = jnp.arange(len(chances))[:, None] % 4 > 0
  spread = jnp.where(steady, STEADY, SHAKY) + 0 * chances

  def cell(key, chance, spread, level):
    def run(key):
      right_key, token_key = jax.random.split(key)
      noise = 1 + 0.1 * jax.random.normal(token_key)
      if graded:
        right = jax.random.beta(
          right_key, chance * spread, (1 - chance) * spread
        )
      else:
        right = jax.random.bernoulli(right_key, chance).astype(jnp.float32)
      return right, jnp.asarray(TOKENS)[level] * noise

    one_by_one = evaluation.adaptive_runs(key, run).accuracy
    runs = jax.vmap(lambda k: run(jax.random.fold_in(key, k)))(jnp.arange(10))
    unsure = functools.reduce(
      jnp.add, (evaluation.variation(x[:3], 3) for x in runs)
    )
    return one_by_one, unsure, runs[0]

  levels = jnp.broadcast_to(jnp.arange(chances.shape[1]), chances.shape)
  flat = (keys, chances.ravel(), spread.ravel(), levels.ravel())
  one_by_one, unsure, right = jax.vmap(cell)(*flat)
  allotted = evaluation.allocate_runs(unsure, NUM_RUNS * unsure.size)
  used = jnp.arange(10) < allotted[:, None]
  means = {
    'one by one': one_by_one,
    'allotted': jnp.sum(jnp.where(used, right, 0), axis=1) / allotted,
    'evenly': right[:, :NUM_RUNS].mean(axis=1),
  }
  return jax.tree.map(lambda x: x.reshape(chances.shape), means)


def noise_only(num_items=20_000):
  """ARISE of fair coins; a step gains .25 * .5 and loses .25 * 2, on average.

  Of three steps with doubling tokens: `3 (.125 - .5)`, or -112.5 points.
  """
  coins = jax.random.bernoulli(jax.random.key(7), 0.5, (num_items, 4))
  tokens = jnp.broadcast_to(TOKENS, coins.shape)
  return evaluation.arise(coins.astype(jnp.float32), tokens)


def size(world, name):
  """Of the errors of a sampler."""
  return lambda data: np.abs(data[world][name])


def errors(world):
  """Of ARISE from runs: the mean, and the mean size."""
  return text(
    lambda data: (
      f'error of ARISE from {world} runs: '
      + ', '.join(
        f'{name} {signed(difference(error, 0 * error))}, mean size '
        f'{100 * np.abs(error).mean():.1f}'
        for name, error in data[world].items()
      )
    )
  )


CLAIM = Claim(
  'arise (simulated items, tokens double at each of 3 levels)',
  '2510.06014',
  'ARISE is lower where items are lost, at equal mean curves; runs allotted by '
  'the variation of the first three err less than as many spread evenly, where '
  'runs are graded and a quarter of the items varies, not where they are right '
  'or wrong',
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
    errors('graded'),
    below(
      'allotted to evenly, size ',
      size('graded', 'allotted'),
      size('graded', 'evenly'),
    ),
  ],
  controls=[
    errors('right or wrong'),
    compares(
      'allotted to evenly, size ',
      size('right or wrong', 'allotted'),
      size('right or wrong', 'evenly'),
      lambda lost: high(lost) > 0,
    ),
    text(
      lambda _: (
        f'items that never change, one run of each: {interval(noise_only())}, '
        '-112.5 by enumeration'
      )
    ),
  ],
  history='runs were right or wrong, so that three agree by chance, and of '
  'every cell equally noisy: size of the error, adaptive to equal cost, +10.5 '
  '[+8.6, +12.3]',
)
