"""Stepping stones in an archive (Darwin Goedel Machine, 2025)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims import archon
from claims import strategy_world as world
from claims.row import Row, difference, interval, signed
from ttc import strategies

NUM_GENES, TRAP = 8, 3
GENERATIONS, PARENTS = 80, 2  # of the paper
NUM_RUNS = 8  # of a seed
GOOD, POOR = 0.1, 0.6  # rates of mutation to begin with
LOW, HIGH = 0.1, 0.6  # scores of the first and of the best genome


def reproduce(num_seeds: int) -> Row:
  """An archive against always changing the best, or the latest, variant."""
  table = strategy_table()
  scores = {'smooth': smooth, 'deceptive': deceptive, 'architectures': None}
  regret, evaluations = {}, {}
  for landscape in scores:
    for rule in strategies.PARENT_RULES:
      for rate, step in ((GOOD, 0.5), (POOR, 0.5), (POOR, 0.0)):
        name = landscape, rule, rate, step
        best = HIGH if scores[landscape] else table[0].max()
        runs = np.concatenate(
          [
            grown(landscape, rule, seed, table[0], rate, step)[0]
            for seed in range(num_seeds)
          ]
        )
        so_far = np.maximum.accumulate(runs, axis=1)
        regret[name] = best - so_far
        found = so_far >= best - 1e-4
        # Evaluations that were not enough count as one more than there were.
        evaluations[name] = np.where(
          found.any(axis=1), found.argmax(axis=1) + 1, runs.shape[1] + 1
        )
  usual = {
    landscape: {
      rule: (landscape, rule, GOOD, 0.5) for rule in strategies.PARENT_RULES
    }
    for landscape in scores
  }
  world.save_regrets(
    'archive',
    {
      landscape: {rule: regret[name] for rule, name in names.items()}
      for landscape, names in usual.items()
    },
  )
  limit = GENERATIONS * PARENTS + 1
  share = lambda name: (evaluations[name] <= limit).astype(float)
  cells = []
  for landscape in ('smooth', 'deceptive'):
    cells.append(
      f'{landscape}: optimum found by '
      + ', '.join(
        f'{rule} {interval(share(name))} (mean evaluations '
        f'{evaluations[name].mean():.0f})'
        for rule, name in usual[landscape].items()
      )
    )
  end = {
    rule: regret[name][:, -1] for rule, name in usual['architectures'].items()
  }
  unseen = {
    rule: np.concatenate(
      [held_out(rule, seed, table) for seed in range(num_seeds)]
    )
    for rule in strategies.PARENT_RULES
  }
  cells.append(
    'architectures of archon: regret '
    + ', '.join(f'{rule} {interval(x)}' for rule, x in end.items())
    + '; accuracy on unseen problems '
    + ', '.join(f'{rule} {interval(x)}' for rule, x in unseen.items())
  )
  modifier = {
    landscape: difference(
      share((landscape, 'archive', POOR, 0.5)),
      share((landscape, 'archive', POOR, 0.0)),
    )
    for landscape in ('smooth', 'deceptive')
  }
  mean = lambda landscape, rule: evaluations[usual[landscape][rule]].mean()
  return Row(
    f'archive ({2**NUM_GENES} genomes of {NUM_GENES} bits; architectures of '
    f'archon; {limit} evaluations, {num_seeds * NUM_RUNS} runs)',
    'where a stepping stone scores lower, the archive finds the optimum in 80% '
    'of the runs and changing the latest in at most 30%; where none does, it '
    'needs at most 1.5 times the evaluations of changing the best; from a poor '
    'rate of mutation, an operator that evolves finds more',
    '; '.join(cells),
    f'mutation operator that evolves against a fixed one, rate {POOR}: '
    + ', '.join(f'{name} {signed(gap)}' for name, gap in modifier.items()),
    bool(
      share(usual['deceptive']['archive']).mean() >= 0.8
      and share(usual['deceptive']['latest']).mean() <= 0.3
      and mean('smooth', 'archive') <= 1.5 * mean('smooth', 'best')
      and all(gap.mean > 0 for gap in modifier.values())
    ),
  )


def smooth(genome):
  """Every bit that is set is worth the same."""
  return LOW + (HIGH - LOW) * jnp.mean(genome)


def deceptive(genome):
  """Three bits cost something, one by one, and are worth most together."""
  trap, rest = jnp.sum(genome[:TRAP]), jnp.mean(genome[TRAP:])
  worth = jnp.where(trap == TRAP, 0.6, -0.06 * trap)
  return LOW + (HIGH - LOW) * (0.4 * rest + worth)


def strategy_table():
  """Scores of the architectures of `archon` in the search, and unseen."""
  right, tokens = archon.evaluate(0, world.all_plans(), False)
  dev, test = np.split(right, [archon.NUM_DEV], axis=1)
  values = archon.values_of(dev, tokens[:, : archon.NUM_DEV])
  return np.maximum(values, 0.0).astype(np.float32), test.mean(axis=1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def grown(landscape, rule, seed, table, rate, rate_step):
  """Scores of all variants and places of the genomes, `[runs, E]`."""
  if landscape == 'architectures':
    sizes = jnp.array(world.SIZES)
    score = lambda genome: table[tuple(genome)]
    first = jnp.array([1, 0, 0, 0, 0, 0])  # two drafts of the small model
  else:
    sizes = jnp.full(NUM_GENES, 2)
    score = {'smooth': smooth, 'deceptive': deceptive}[landscape]
    first = jnp.zeros(NUM_GENES, jnp.int32)
  run = lambda key: strategies.evolve(
    key,
    first,
    sizes,
    score,
    GENERATIONS,
    PARENTS,
    parents=rule,
    rate=rate,
    rate_step=rate_step,
  )
  key = jax.random.fold_in(jax.random.key(3000), seed)
  archives = jax.vmap(run)(jax.random.split(key, NUM_RUNS))
  return archives.scores, archives.genomes


def held_out(rule, seed, table):
  """Accuracy on unseen problems of the best variant of each run."""
  scores, genomes = jax.device_get(
    grown('architectures', rule, seed, table[0], GOOD, 0.5)
  )
  best = genomes[np.arange(NUM_RUNS), scores.argmax(axis=1)]
  return table[1][np.ravel_multi_index(best.T, world.SIZES)]
