"""Grids to be painted as asked, row by row, whose errors follow a known law."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from ttc import scaling, search

SIZE, NUM_COLOURS = 8, 8  # a constraint gives each row of the grid a colour
RIGHT, FIXED = 0.8, 0.9  # chances that a row is painted, and edited, as asked


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


def expected(tpr, fpr, knows, num_calls):
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
    num_calls,
  )
