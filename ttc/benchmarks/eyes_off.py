"""Medprompt's discipline of evaluation: a part that nobody looks at.

Nori et al., "Can Generalist Foundation Models Outcompete Special-Purpose
Tuning?", 2023, arXiv 2311.16452. A fifth of each data set is put aside before
anything is tried, and scored once at the end; both accuracies are reported with
the interval of their difference. Choices are asked in several orders, and the
votes are counted for the options, wherever they stood. The prompting itself is
`ttc.search.medprompt`.

Cost: as many calls an item as there are orders.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ttc import evaluation
from ttc.evaluation import Interval
from ttc.tasks import Item

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
EYES_OFF = 0.2
NUM_ORDERS = 5


class Split(NamedTuple):
  """Items to work on, and those for the end."""

  eyes_on: list[Item]
  eyes_off: list[Item]


class Shown(NamedTuple):
  """A question with its options in some order."""

  options: tuple[str, ...]  # as they stand, A first
  order: tuple[int, ...]  # the place of each in the question itself


class TwoSided(NamedTuple):
  """Accuracies on both parts, and what lies between them."""

  eyes_on: float
  eyes_off: float
  difference: float  # eyes on less eyes off: above 0 where it was overfit
  interval: Interval  # 95%, of the difference
  calls: int  # of the model, in all


def split(items: Sequence[Item], share: float = EYES_OFF) -> Split:
  """Puts a share aside, by a hash of each item's id: for good, in any order.

  Args:
    items: of one data set.
    share: of those that are put aside; their number is exact up to rounding.

  Raises:
    ValueError: if the share is not between 0 and 1.
  """
  if not 0 < share < 1:
    raise ValueError(f'share={share} is not between 0 and 1')
  ranked = sorted(items, key=lambda x: random.Random(f'eyes/{x.id}').random())
  hidden = {x.id for x in ranked[: round(share * len(items))]}
  return Split(
    [x for x in items if x.id not in hidden],
    [x for x in items if x.id in hidden],
  )


def shuffle_choices(
  item_id: str, options: Sequence[str], num_orders: int = NUM_ORDERS
) -> list[Shown]:
  """A question's options in several orders, the first its own.

  Args:
    item_id: determines the orders.
    options: in their own order.
    num_orders: that differ, as long as there are so many.
  """
  rng, own = random.Random(f'orders/{item_id}'), tuple(range(len(options)))
  orders = [own]
  for _ in range(20 * num_orders):
    if len(orders) >= num_orders:
      break
    order = tuple(rng.sample(own, len(own)))
    if order not in orders:
      orders.append(order)
  return [Shown(tuple(options[i] for i in order), order) for order in orders]


def vote(shown: Sequence[Shown], letters: Sequence[str | None]) -> int | None:
  """The option, by its own place, that most answers chose; first of equals.

  Args:
    shown: the orders that were asked.
    letters: what was answered to each; None or another letter for nothing.
  """
  votes: Counter[int] = Counter()
  for one, letter in zip(shown, letters, strict=True):
    place = LETTERS.find(letter) if letter else -1
    if 0 <= place < len(one.order):
      votes[one.order[place]] += 1
  return max(votes, key=lambda x: votes[x]) if votes else None


def two_sided(
  eyes_on: Sequence[float], eyes_off: Sequence[float], calls_per_item: int
) -> TwoSided:
  """Both accuracies and the interval of their difference, by Welch's t.

  Args:
    eyes_on: scores of items that were worked on; two at least.
    eyes_off: scores of the others; two at least.
    calls_per_item: of the model.
  """
  if min(len(eyes_on), len(eyes_off)) < 2:
    raise ValueError(
      f'{len(eyes_on)} and {len(eyes_off)} scores; expected at least two each'
    )
  on, off = float(np.mean(eyes_on)), float(np.mean(eyes_off))
  parts = [np.var(x, ddof=1) / len(x) for x in (eyes_on, eyes_off)]
  freedom = [
    part**2 / (len(x) - 1)
    for part, x in zip(parts, (eyes_on, eyes_off), strict=True)
  ]
  total = sum(parts)
  gap = evaluation.Estimate(
    jnp.float32(on - off),
    jnp.float32(total**0.5),
    jnp.int32(total**2 / sum(freedom) if total else 1),  # rounded down
  )
  return TwoSided(
    on,
    off,
    on - off,
    evaluation.confidence_interval(gap),
    calls_per_item * (len(eyes_on) + len(eyes_off)),
  )
