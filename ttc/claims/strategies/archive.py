"""Stepping stones in an archive (Darwin Goedel Machine, 2025)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ttc import strategies
from ttc.claims.claim import (
  Claim,
  compares,
  interval,
  text,
)
from ttc.testbeds import architectures as bed

NUM_GENES, TRAP = 8, 3
GENERATIONS, PARENTS = 80, 2  # of the paper
NUM_RUNS = 8  # of a seed
GOOD, POOR = 0.1, 0.6  # rates of mutation to begin with
RATES = {'good': (GOOD, 0.5), 'poor': (POOR, 0.5), 'fixed': (POOR, 0.0)}
LOW, HIGH = 0.1, 0.6  # scores of the first and of the best genome
LANDSCAPES = 'smooth', 'deceptive', 'architectures'
LIMIT = GENERATIONS * PARENTS + 1  # evaluations
BUDGET, NUM_DEV, NUM_TEST = 600, 160, 320  # of archon


def measure(seed, size, cache):
  """Scores of all variants, by landscape, rule and rate of mutation."""
  del cache
  table, unseen = strategy_table(
    size.problems(NUM_DEV), size.problems(NUM_TEST)
  )
  scores = {
    landscape: {
      rule: {
        name: grown(landscape, rule, seed, table, *rates)[0]
        for name, rates in RATES.items()
      }
      for rule in strategies.PARENT_RULES
    }
    for landscape in LANDSCAPES
  }
  return {
    'scores': scores,
    'most': {landscape: np.float64(HIGH) for landscape in LANDSCAPES}
    | {'architectures': table.max()},
    'unseen': {
      rule: held_out(rule, seed, table, unseen)
      for rule in strategies.PARENT_RULES
    },
  }


def smooth(genome):
  """Every bit that is set is worth the same."""
  return LOW + (HIGH - LOW) * jnp.mean(genome)


def deceptive(genome):
  """Three bits cost something, one by one, and are worth most together."""
  trap, rest = jnp.sum(genome[:TRAP]), jnp.mean(genome[TRAP:])
  worth = jnp.where(trap == TRAP, 0.6, -0.06 * trap)
  return LOW + (HIGH - LOW) * (0.4 * rest + worth)


@functools.cache
def strategy_table(num_dev, num_test):
  """Scores of architectures, in a search and on unseen problems."""
  right, tokens = jax.device_get(
    bed.outcomes(0, num_dev + num_test, bed.all_plans(), False)
  )
  values = bed.values_of(right[:, :num_dev], tokens[:, :num_dev], BUDGET)
  unseen = right[:, num_dev:].mean(axis=1)
  return np.maximum(values, 0.0).astype(np.float32), unseen


@functools.partial(jax.jit, static_argnums=(0, 1))
def grown(landscape, rule, seed, table, rate, rate_step):
  """Scores of all variants and places of the genomes, `[runs, E]`."""
  if landscape == 'architectures':
    sizes = jnp.array(bed.SIZES)
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


def held_out(rule, seed, table, unseen):
  """Accuracy on unseen problems of the best variant of each run."""
  scores, genomes = jax.device_get(
    grown('architectures', rule, seed, table, GOOD, 0.5)
  )
  best = genomes[np.arange(NUM_RUNS), scores.argmax(axis=1)]
  return unseen[np.ravel_multi_index(best.T, bed.SIZES)]


def derive(data):
  """Regret after each evaluation, evaluations, and who found the optimum."""
  regret, evaluations, found = {}, {}, {}
  for landscape, rules in data['scores'].items():
    most = data['most'][landscape].max()
    for rule, rates in rules.items():
      for rate, runs in rates.items():
        name = f'{landscape} {rule} {rate}'
        so_far = np.maximum.accumulate(runs, axis=1)
        regret[name] = most - so_far
        at = so_far >= most - 1e-4
        # Those that were not enough count as one more than there were.
        evaluations[name] = np.where(
          at.any(axis=1), at.argmax(axis=1) + 1, runs.shape[1] + 1
        )
        found[name] = (evaluations[name] <= LIMIT).astype(float)
  return {'regret': regret, 'evaluations': evaluations, 'found': found}


def optimum(data, landscape):
  """Who finds it, with the good rate."""
  return f'{landscape}: optimum found by ' + ', '.join(
    f'{rule} {interval(data["found"][f"{landscape} {rule} good"])} (mean '
    'evaluations '
    f'{data["evaluations"][f"{landscape} {rule} good"].mean():.0f})'
    for rule in strategies.PARENT_RULES
  )


def is_cheap(data):
  """Where nothing deceives."""
  mean = lambda rule: data['evaluations'][f'smooth {rule} good'].mean()
  return mean('archive') <= 1.5 * mean('best')


def steps_down(data):
  """Where a stepping stone scores lower."""
  share = lambda rule: data['found'][f'deceptive {rule} good'].mean()
  return share('archive') >= 0.8 and share('latest') <= 0.3


def found_architectures(data):
  """Regret, and accuracy on unseen problems."""
  end = lambda rule: data['regret'][f'architectures {rule} good'][:, -1]
  rules = strategies.PARENT_RULES
  return (
    'architectures of archon: regret '
    + ', '.join(f'{rule} {interval(end(rule))}' for rule in rules)
    + '; accuracy on unseen problems '
    + ', '.join(f'{rule} {interval(data["unseen"][rule])}' for rule in rules)
  )


def draw(data, path):
  """Regret with the good rate."""
  bed.save_regrets(
    path,
    {
      landscape: {
        rule: data['regret'][f'{landscape} {rule} good']
        for rule in strategies.PARENT_RULES
      }
      for landscape in LANDSCAPES
    },
  )


CLAIM = Claim(
  f'archive ({2**NUM_GENES} genomes of {NUM_GENES} bits; architectures of '
  f'archon; {LIMIT} evaluations, {NUM_RUNS} runs of a seed)',
  '2505.22954',
  'where a stepping stone scores lower, the archive finds the optimum in 80% '
  'of the runs and changing the latest in at most 30%; where none does, it '
  'needs at most 1.5 times the evaluations of changing the best; from a poor '
  'rate of mutation, an operator that evolves finds more',
  measure,
  checks=[
    text(lambda d: optimum(d, 'smooth'), is_cheap),
    text(lambda d: optimum(d, 'deceptive'), steps_down),
    text(found_architectures),
  ],
  controls=[
    compares(
      f'operator that evolves against a fixed one, rate {POOR}, {landscape}: ',
      f'found/{landscape} archive poor',
      f'found/{landscape} archive fixed',
      lambda gap: gap.mean > 0,
    )
    for landscape in ('smooth', 'deceptive')
  ],
  derive=derive,
  draw=draw,
)
