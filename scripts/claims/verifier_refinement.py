"""Editing what the verifier names against best-of-N (2510.13804)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from claims.row import Row, difference, interval, signed
from ttc import evaluation, scaling, search

SIZE, NUM_COLOURS = 8, 8  # a constraint gives each row of the grid a colour
RIGHT, FIXED = 0.8, 0.9  # chances that a row is painted, and edited, as asked
NUM_CALLS = 10  # of the generator, or of the editor after it
VERIFIERS = {'exact': (1.0, 0.0), 'noisy': (0.9, 0.1), 'blind': (0.5, 0.5)}
NUM_PROBLEMS = 1024


def reproduce(num_seeds: int) -> Row:
  """Ten steps of verifying and editing beat the best of ten."""
  keys = jnp.stack([jax.random.key(700 + seed) for seed in range(num_seeds)])
  run = jax.jit(jax.vmap(run_seed, in_axes=(0, None, None)))
  cells, controls, holds = [], [], True
  for name, (tpr, fpr) in VERIFIERS.items():
    out = jax.tree.map(np.ravel, jax.device_get(run(keys, tpr, fpr)))
    refined, sampled, single, calls = out
    law = expected(tpr, fpr)
    right = float(law.accepted[0] + law.pending[0])
    error = np.sqrt(max(right * (1 - right), 1e-4) / refined.size)
    gap = difference(refined, sampled)
    holds &= abs(refined.mean() - right) < 3 * error
    text = (
      f'{name} verifier: refined {interval(refined)} for {100 * right:.1f} '
      f'after {calls.mean():.1f} verifications, best of {NUM_CALLS} '
      f'{interval(sampled)}, {signed(gap)}'
    )
    if name == 'blind':
      # No better than edits at random: it cannot tell when to stop.
      low, _ = evaluation.confidence_interval(gap)
      controls.append(f'{text}, one sample {interval(single)}')
    else:
      low, _ = evaluation.confidence_interval(gap)
      holds &= low > 0
      cells.append(text)
  lumped = scaling.two_state_refinement(
    RIGHT**SIZE, FIXED, 0.0, 1.0, 0.0, NUM_CALLS
  )
  exact = expected(1.0, 0.0)
  tied = [float(law.accepted[0] + law.pending[0]) for law in (lumped, exact)]
  return Row(
    'verifier_refinement (8 x 8 grid, 8 constraints)',
    '10 steps of verifying and editing beat best-of-10 at equal calls of the '
    'generator, and follow the law of the chain',
    '; '.join(cells)
    + '; two states (right or wrong) for the nine of the chain would give '
    f'{100 * tied[0]:.1f} for {100 * tied[1]:.1f}',
    '; '.join(controls),
    bool(holds),
  )


def run_seed(key, tpr, fpr):
  """Correctness refined, of the best of ten, of one; verifications."""
  task_key, refine_key, sample_key, verdict_key = jax.random.split(key, 4)
  targets = jax.random.randint(task_key, (NUM_PROBLEMS, SIZE), 0, NUM_COLOURS)
  is_right = lambda grids: jnp.all(grids == targets[..., None], axis=(-2, -1))
  refined = search.verifier_refinement(
    jax.random.split(refine_key, NUM_PROBLEMS),
    functools.partial(paint, targets, RIGHT),
    functools.partial(verify, targets, tpr, fpr),
    functools.partial(repaint, targets),
    NUM_CALLS,
  )
  draw = lambda key: paint(targets, RIGHT, jax.random.split(key, NUM_PROBLEMS))
  samples = jax.vmap(draw)(jax.random.split(sample_key, NUM_CALLS))
  right = jax.vmap(is_right)(samples)
  rate = jnp.where(right, tpr, fpr)
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


def verify(targets, tpr, fpr, keys, grids):
  """Names the first wrong row, and any row of a grid without one."""
  wrong = jnp.any(grids != targets[..., None], axis=-1)
  is_right = ~jnp.any(wrong, axis=1)
  yes = jax.vmap(jax.random.bernoulli)(keys, jnp.where(is_right, tpr, fpr))
  anything = jax.vmap(lambda key: jax.random.randint(key, (), 0, SIZE))(
    jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
  )
  row = jnp.where(is_right, anything, jnp.argmax(wrong, axis=1))
  return search.Verdict(yes, -jnp.sum(wrong, axis=1) * 1.0, row)


def repaint(targets, keys, grids, row):
  """Paints the named row again."""
  new = paint(targets, FIXED, keys)
  named = jnp.arange(SIZE) == row[:, None]
  return jnp.where(named[..., None], new, grids)


def expected(tpr, fpr):
  """The law of the number of wrong rows."""
  faults = np.arange(SIZE + 1)
  choose = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1])
  initial = choose * (1 - RIGHT) ** faults * RIGHT ** (SIZE - faults)
  edit = np.zeros((SIZE + 1, SIZE + 1))
  edit[0, 0], edit[0, 1] = FIXED, 1 - FIXED
  for k in faults[1:]:
    edit[k, k - 1], edit[k, k] = FIXED, 1 - FIXED
  accept = np.where(faults == 0, tpr, fpr)
  return scaling.refinement_law(
    jnp.asarray(initial),
    jnp.asarray(accept, jnp.float32),
    jnp.asarray(edit),
    NUM_CALLS,
  )
