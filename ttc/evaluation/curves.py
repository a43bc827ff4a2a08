r"""Accuracy against the number of samples, for any selection method.

Each item has `N` responses, drawn once. A method sees the first `n` of a random
permutation of them; averaging over permutations removes the luck of the order.
The permutations depend on the key alone, so every method sees the same ones,
and a larger budget sees what a smaller one saw and more. Points of a curve and
curves of two methods are therefore paired: use `bootstrap` over items with the
curve as data, and `paired_difference` between methods.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ttc.types import Samples, SelectFn


class Curve(NamedTuple):
  """Means over permutations, one row per item, one column per budget."""

  accuracy: Float[Array, 'items budgets']
  tokens: Float[Array, 'items budgets']  # generated in total
  depth: Float[Array, 'items budgets']  # generated one after another


def scaling_curve(
  key: PRNGKeyArray,
  select: SelectFn,
  samples: Samples,
  gold: Int[Array, ' items'] | Bool[Array, 'items A'],
  budgets: Int[Array, ' budgets'],
  num_permutations: int = 1000,
  *,
  batch_size: int | None = None,
) -> Curve:
  """What a selection method achieves with `n` samples, for each `n`.

  Args:
    key: random key, consumed; the same key gives every method the same orders.
    select: `(samples, n) -> Selection`, for one item; looks at the first `n`.
    samples: responses of every item; each field is `[items, N]`.
    gold: id of the right answer of each item, or which of the ids 0..A-1 are
      right. An answer of -1 is never right.
    budgets: numbers of samples, each in 1..N.
    num_permutations: orders to average over; static.
    batch_size: items held in memory at a time; static. By default as many as
      keep items, permutations, budgets and samples below 10 million numbers.

  Returns:
    A `Curve`; the standard error of one entry is at most
    `0.5 / sqrt(num_permutations)` for the accuracy.

  Raises:
    ValueError: if a concrete budget lies outside 1..N.
  """
  num_items, num_samples = samples.answers.shape
  if not isinstance(budgets, Tracer):
    asked = np.asarray(budgets)
    if asked.min() < 1 or asked.max() > num_samples:
      raise ValueError(f'budgets must lie in 1..{num_samples}, got {budgets}')
  held = num_permutations * budgets.size * num_samples
  batch_size = min(batch_size or max(1, 10**7 // held), num_items)

  def outcome(samples, answer, order, n):
    shuffled = jax.tree.map(lambda x: x[order], samples)
    selection = select(shuffled, n)
    said = selection.answer
    is_right = answer[said] if answer.ndim else said == answer
    right = is_right & (said >= 0)
    return Curve(right, selection.tokens, selection.depth)

  def item_curve(item):
    key, samples, answer = item
    shuffle = lambda key: jax.random.permutation(key, num_samples)
    orders = jax.vmap(shuffle)(jax.random.split(key, num_permutations))
    over_budgets = jax.vmap(outcome, in_axes=(None, None, None, 0))
    over_orders = jax.vmap(over_budgets, in_axes=(None, None, 0, None))
    outcomes = over_orders(samples, answer, orders, budgets)
    return jax.tree.map(
      lambda x: jnp.mean(x.astype(jnp.float32), axis=0), outcomes
    )

  keys = jax.random.split(key, num_items)
  return jax.lax.map(item_curve, (keys, samples, gold), batch_size=batch_size)
