"""Editing what the verifier names against best-of-N (2510.13804)."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, scaling, search

SIZE, NUM_COLOURS = 8, 8  # a constraint gives each row of the grid a colour
RIGHT, FIXED = 0.8, 0.9  # chances that a row is painted, and edited, as asked
NUM_CALLS = 10  # of the generator, or of the editor after it
# Chances to accept what is right and what is wrong, and to name a wrong row.
VERIFIERS = {
  'exact': (1.0, 0.0, 1.0),
  'noisy': (0.9, 0.1, 1.0),
  'blind to the whole': (0.5, 0.5, 1.0),
  'blind': (0.5, 0.5, 0.0),
}
NUM_PROBLEMS = 1024


def reproduce(num_seeds: int) -> Row:
  """Ten steps of verifying and editing beat the best of ten."""
  keys = jnp.stack([jax.random.key(700 + seed) for seed in range(num_seeds)])
  run = jax.jit(jax.vmap(run_seed, in_axes=(0, None)))
  cells, controls, holds = [], [], True
  for name, rates in VERIFIERS.items():
    out = jax.tree.map(np.ravel, jax.device_get(run(keys, jnp.array(rates))))
    refined, sampled, single, calls = out
    law = expected(*rates)
    right = float(law.accepted[0] + law.pending[0])
    error = np.sqrt(max(right * (1 - right), 1e-4) / refined.size)
    holds &= abs(refined.mean() - right) < 3 * error
    gap = difference(refined, sampled)
    text = (
      f'{name} verifier: refined {interval(refined)} for {100 * right:.1f} '
      f'after {calls.mean():.1f} verifications, best of {NUM_CALLS} '
      f'{interval(sampled)}, {signed(gap)}'
    )
    if name in ('exact', 'noisy'):
      holds &= evaluation.confidence_interval(gap)[0] > 0
      cells.append(text)
    else:
      controls.append(text)
  return Row(
    'verifier_refinement (8 x 8 grid, 8 constraints)',
    '10 steps of verifying and editing beat best-of-10 at equal calls of the '
    'generator, and follow the law of the chain',
    '; '.join(cells),
    '; '.join(controls) + f'; one sample {interval(single)}',
    bool(holds),
  )


def run_seed(key, rates):
  """Correctness refined, of the best of ten, of one; verifications."""
  task_key, refine_key, sample_key, verdict_key = jax.random.split(key, 4)
  targets = jax.random.randint(task_key, (NUM_PROBLEMS, SIZE), 0, NUM_COLOURS)
  is_right = lambda grids: jnp.all(grids == targets[..., None], axis=(-2, -1))
  refined = search.verifier_refinement(
    jax.random.split(refine_key, NUM_PROBLEMS),
    functools.partial(paint, targets, RIGHT),
    functools.partial(verify, targets, rates),
    functools.partial(repaint, targets),
    NUM_CALLS,
  )
  draw = lambda key: paint(targets, RIGHT, jax.random.split(key, NUM_PROBLEMS))
  samples = jax.vmap(draw)(jax.random.split(sample_key, NUM_CALLS))
  right = jax.vmap(is_right)(samples)
  rate = jnp.where(right, rates[0], rates[1])
  yes = jax.random.uniform(verdict_key, right.shape) < rate
  best = jnp.argmax(yes, axis=0)  # the first accepted, else the first
  chosen = jnp.take_along_axis(right, best[None], axis=0)[0]
  return is_right(refined.content), chosen, right[0], refined.num_verifications


def paint(targets, chance, keys):
  """Grids whose rows have the colour asked for with a chance, else another."""

  def one(key, colours):
    hit_key, other_key = jax.random.split(key)
    hit = jax.random.bernoulli(hit_key, chance, (SIZE,))
    other = jax.random.randint(other_key, (SIZE,), 1, NUM_COLOURS)
    return jnp.where(hit, colours, (colours + other) % NUM_COLOURS)

  rows = jax.vmap(one)(keys, targets)
  return jnp.broadcast_to(rows[..., None], (*rows.shape, SIZE))


def verify(targets, rates, keys, grids):
  """Accepts at its rates; names the first wrong row, or any row."""
  wrong = jnp.any(grids != targets[..., None], axis=-1)
  is_right = ~jnp.any(wrong, axis=1)

  def draw(key, chance):
    accept_key, name_key, row_key = jax.random.split(key, 3)
    return (
      jax.random.bernoulli(accept_key, chance),
      jax.random.bernoulli(name_key, rates[2]),
      jax.random.randint(row_key, (), 0, SIZE),
    )

  chance = jnp.where(is_right, rates[0], rates[1])
  accepted, knows, anything = jax.vmap(draw)(keys, chance)
  row = jnp.where(knows & ~is_right, jnp.argmax(wrong, axis=1), anything)
  return search.Verdict(accepted, -jnp.sum(wrong, axis=1) * 1.0, row)


def repaint(targets, keys, grids, row):
  """Paints the named row again."""
  new = paint(targets, FIXED, keys)
  named = jnp.arange(SIZE) == row[:, None]
  return jnp.where(named[..., None], new, grids)


def expected(tpr, fpr, knows):
  """The law of the number of wrong rows."""
  faults = np.arange(SIZE + 1)
  choose = np.array([math.comb(SIZE, k) for k in faults])
  initial = choose * (1 - RIGHT) ** faults * RIGHT ** (SIZE - faults)
  # The row that is named is wrong, and painted right or not.
  named = np.where(faults > 0, knows + (1 - knows) * faults / SIZE, 0.0)
  edit = (
    np.diag(named * (1 - FIXED) + (1 - named) * FIXED)
    + np.diag((named * FIXED)[1:], -1)
    + np.diag(((1 - named) * (1 - FIXED))[:-1], 1)
  )
  return scaling.refinement_law(
    jnp.asarray(initial),
    jnp.where(jnp.asarray(faults) == 0, tpr, fpr),
    jnp.asarray(edit),
    NUM_CALLS,
  )
