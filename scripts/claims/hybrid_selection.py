"""Tests and a reader of programs select better together (Jain et al., 2025)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import search
from ttc.tasks import programs

NUM_SEEDS, NUM_PROBLEMS = 5, 200
NUM_CANDIDATES, NUM_MISTAKES, NUM_DRAWS = 26, 4, 50
SIZES = (1, 4, 8, 16, 26)
SELECTORS = {
  'tests': search.execution_based,
  'reader': search.execution_free,
  'hybrid': search.hybrid_selection,
}
# Tests are few, on lists of one or two digits, and may be wrong. The signal of
# the reader makes both alone about equally good, as in the paper; it was set on
# another seed, without the hybrid.
WORLD = {
  'toxic_rate': 0.3,
  'num_tests': 4,
  'max_length': 2,
  'signal': 1.75,
  'style_bias': 1.0,
  'noise': 1.0,
}
EXACT = {
  'toxic_rate': 0.0,
  'num_tests': 16,
  'max_length': 7,
  'signal': 1.0,
  'style_bias': 0.0,
  'noise': 0.0,
}


def reproduce(num_seeds: int) -> Row:
  """Best@K of three selectors among programs with common mistakes."""
  seeds = range(max(num_seeds, NUM_SEEDS))
  run = lambda world: join([best_at_sizes(s, world) for s in seeds])
  main = run(WORLD)
  blind = run({**WORLD, 'signal': 0.0})
  exact = run(EXACT)
  at = lambda results, name, size: results[name][:, SIZES.index(size)]
  gaps = {
    (size, other): difference(at(main, 'hybrid', size), at(main, other, size))
    for size in (8, 16, 26)
    for other in ('tests', 'reader')
  }
  lost = difference(at(blind, 'hybrid', 16), at(blind, 'tests', 16))
  apart = max(
    abs(at(exact, name, 16).mean() - at(exact, 'reader', 16).mean())
    for name in SELECTORS
  )
  closest = min(gaps[16, 'tests'], gaps[16, 'reader'], key=lambda g: g.mean)
  cells = [
    f'{name} ' + ', '.join(f'{100 * x:.1f}' for x in main[name].mean(axis=0))
    for name in SELECTORS
  ]
  told = ', '.join(
    f'at {size} to {other} {signed(gap)}' for (size, other), gap in gaps.items()
  )
  return Row(
    f'hybrid_selection (list programs, toxic tests {WORLD["toxic_rate"]}, '
    f'reader swayed by length, {len(seeds)} seeds)',
    'the hybrid beats each verifier alone from 8 candidates on, by 3 points at '
    '16',
    f'Best@{"/".join(map(str, SIZES))}: {"; ".join(cells)}; hybrid {told}',
    f'reader without signal: hybrid {interval(at(blind, "hybrid", 16))}, '
    f'{signed(lost)} to tests; both exact: selectors within '
    f'{100 * apart:.2f} points at 16, {interval(at(exact, "hybrid", 16))}',
    bool(
      closest.mean > 0.03
      and closest.mean > 1.96 * closest.standard_error
      and all(gap.mean > 0 for gap in gaps.values())
      and lost.mean < 2 * lost.standard_error
      and apart < 0.01
    ),
  )


def join(runs):
  """By name, `[problems, sizes]` of all seeds."""
  return jax.tree.map(lambda *x: np.concatenate(x), *jax.device_get(runs))


@functools.cache
def hidden_programs():
  """Programs of three operations that do what no shorter one does."""
  every = programs.enumerate_programs(3, 3)
  probes = programs.random_lists(jax.random.key(0), 24)
  distinct = programs.distinct_programs(every, probes)
  return jnp.asarray(distinct[distinct[:, -1] > 0])


def best_at_sizes(seed, world):
  """Best@K per problem of each selector, `[problems, sizes]`."""
  return _best_at_sizes(seed, hidden_programs(), world)


@jax.jit
def _best_at_sizes(seed, hidden, world):
  keys = jax.random.split(jax.random.key(seed), NUM_PROBLEMS)
  verdicts, correct = jax.vmap(candidates, in_axes=(0, None, None))(
    keys, hidden, world
  )

  def best(select):
    def of_problem(key, verdicts, correct):
      at = lambda k: search.best_at_k(
        key, select, verdicts, correct, k, NUM_DRAWS
      ).mean()
      return jax.lax.map(at, jnp.array(SIZES))

    draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
    return jax.vmap(of_problem)(draw_keys, verdicts, correct)

  return {name: best(select) for name, select in SELECTORS.items()}


def candidates(key, hidden, world):
  """Verdicts on 26 candidates of one problem, and which of them are right.

  A candidate is the hidden program or one of four mistakes, which the author of
  the tests makes too. It is written with up to three pairs of operations that
  undo each other: the style that sways the reader.
  """
  keys = iter(jax.random.split(key, 11))
  program = hidden[jax.random.randint(next(keys), (), 0, hidden.shape[0])]
  mistakes = jax.vmap(programs.mutate, in_axes=(0, None))(
    jax.random.split(next(keys), NUM_MISTAKES), program
  )
  kinds = jnp.concatenate([program[None], mistakes])

  # How often each kind is written; on average a third of them are right.
  right = jax.random.beta(next(keys), 1.0, 2.0)
  shares = jax.random.dirichlet(next(keys), jnp.ones(NUM_MISTAKES))
  law = jnp.log(jnp.append(right, (1 - right) * shares))
  kind = jax.random.categorical(next(keys), law, shape=(NUM_CANDIDATES,))
  pairs = jax.random.randint(next(keys), (NUM_CANDIDATES,), 0, 4)

  held_out = programs.run_each(kinds, programs.random_lists(next(keys), 32))
  truth = jax.tree.map(lambda x: x[0], held_out)
  is_right = jnp.all(programs.same(held_out, truth), axis=1)
  correct = is_right[kind]

  old = programs.random_lists(next(keys), 2, 1, 1)
  old = programs.run_each(kinds, old)
  regression = programs.same(old, jax.tree.map(lambda x: x[0], old))
  # The expected output of a test is that of the program, or of a mistake.
  test_key, author_key = jax.random.split(next(keys))
  tests = programs.random_lists(test_key, 16, 1, world['max_length'])
  outputs = programs.run_each(kinds, tests)
  author = jax.random.categorical(
    author_key,
    jnp.log(jnp.append(1 - world['toxic_rate'], world['toxic_rate'] * shares)),
    shape=(16,),
  )
  expected = jax.tree.map(lambda x: x[author, jnp.arange(16)], outputs)
  passed = programs.same(outputs, expected)
  generated = search.test_votes(passed, jnp.arange(16) < world['num_tests'])

  noise = jax.random.normal(next(keys), (NUM_CANDIDATES,))
  scores = (
    world['signal'] * correct
    + world['style_bias'] * (pairs - 1.5)
    + world['noise'] * noise
  )
  verdicts = search.Verdicts(
    search.test_votes(regression)[kind], generated[kind], scores
  )
  return verdicts, correct
