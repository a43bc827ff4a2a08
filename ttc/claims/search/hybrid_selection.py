"""Tests and a reader of programs select better together (Jain et al., 2025)."""

import functools

import jax
import jax.numpy as jnp

from ttc import search
from ttc.claims.claim import Claim, difference, interval, signed, text
from ttc.testbeds.program_candidates import (
  EXACT,
  WORLD,
  candidates,
  hidden_programs,
)

NUM_SEEDS, NUM_PROBLEMS, NUM_DRAWS = 5, 200, 50
SIZES = (1, 4, 8, 16, 26)
SELECTORS = {
  'tests': search.execution_based,
  'reader': search.execution_free,
  'hybrid': search.hybrid_selection,
}
WORLDS = {'main': WORLD, 'blind': {**WORLD, 'signal': 0.0}, 'exact': EXACT}


def measure(seed, size, cache):
  """Best@K of three selectors among programs with common mistakes."""
  del cache
  num = size.problems(NUM_PROBLEMS)
  return {
    name: best_at_sizes(
      seed, hidden_programs(), world, world['max_length'], num
    )
    for name, world in WORLDS.items()
  }


@functools.partial(jax.jit, static_argnums=(3, 4))
def best_at_sizes(seed, hidden, world, max_length, num_problems):
  """Best@K per problem of each selector, `[problems, sizes]`."""
  keys = jax.random.split(jax.random.key(seed), num_problems)
  of_key = lambda key: candidates(key, hidden, world, max_length)
  verdicts, correct = jax.vmap(of_key)(keys)

  def best(select):
    def of_problem(key, verdicts, correct):
      at = lambda k: search.best_at_k(
        key, select, verdicts, correct, k, NUM_DRAWS
      ).mean()
      return jax.lax.map(at, jnp.array(SIZES))

    draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
    return jax.vmap(of_problem)(draw_keys, verdicts, correct)

  return {name: best(select) for name, select in SELECTORS.items()}


def derive(data):
  """The hybrid to each verifier alone, and what is left of it in controls."""
  at = lambda world, name, size: data[world][name][:, SIZES.index(size)]
  exact = [at('exact', name, 16).mean() for name in SELECTORS]
  reader = at('exact', 'reader', 16).mean()
  return {
    'gaps': {
      (size, other): difference(
        at('main', 'hybrid', size), at('main', other, size)
      )
      for size in (8, 16, 26)
      for other in ('tests', 'reader')
    },
    'lost': difference(at('blind', 'hybrid', 16), at('blind', 'tests', 16)),
    'apart': max(abs(x - reader) for x in exact),
    'blind 16': at('blind', 'hybrid', 16),
    'exact 16': at('exact', 'hybrid', 16),
  }


def figure(data):
  """Best@K of the selectors, and the hybrid to the others."""
  cells = [
    f'{name} '
    + ', '.join(f'{100 * x:.1f}' for x in data['main'][name].mean(axis=0))
    for name in SELECTORS
  ]
  told = ', '.join(
    f'at {size} to {other} {signed(gap)}'
    for (size, other), gap in data['gaps'].items()
  )
  return f'Best@{"/".join(map(str, SIZES))}: {"; ".join(cells)}; hybrid {told}'


def wins(data):
  """By three points at 16, and at all sizes from 8 on."""
  gaps = data['gaps']
  closest = min(gaps[16, 'tests'], gaps[16, 'reader'], key=lambda g: g.mean)
  return (
    closest.mean > 0.03
    and closest.mean > 1.96 * closest.standard_error
    and all(gap.mean > 0 for gap in gaps.values())
  )


CLAIM = Claim(
  f'hybrid_selection (list programs, toxic tests {WORLD["toxic_rate"]}, reader '
  f'swayed by length, {NUM_SEEDS} seeds)',
  '2504.07164',
  'the hybrid beats each verifier alone from 8 candidates on, by 3 points at '
  '16',
  measure,
  checks=[text(figure, wins)],
  controls=[
    text(
      lambda d: (
        f'reader without signal: hybrid {interval(d["blind 16"])}, '
        f'{signed(d["lost"])} to tests'
      ),
      lambda d: d['lost'].mean < 2 * d['lost'].standard_error,
    ),
    text(
      lambda d: (
        f'both exact: selectors within {100 * d["apart"]:.2f} points at 16, '
        f'{interval(d["exact 16"])}'
      ),
      lambda d: d['apart'] < 0.01,
    ),
  ],
  derive=derive,
  seeds=range(NUM_SEEDS),
)
