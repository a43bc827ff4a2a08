"""Which domain and which images make each batch of a stream.

A protocol is a sequence of visits to domains and an order of the images in
each visit (`orders`). Corrupt once and gather by these numbers: all methods
then see the same images. Batches never mix domains, except in `mixed`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from ttc.adaptation.adapter import Batch
from ttc.adaptation.protocols.orders import Order, shuffled

# `key -> numbers of images`; the key is consumed.
OrderFn = Callable[[PRNGKeyArray], Order]
_GRADUAL = (1, 2, 3, 4, 5, 4, 3, 2, 1)


class Schedule(NamedTuple):
  """Numbers of what arrives in `T` batches of `B`.

  Attributes:
    items: image of each row.
    domains: its domain.
    mask: False where a row only fills the last batch of a visit up.
    visits: which visit a batch belongs to, from 0 on.
    restarts: whether a method starts anew before a batch.
  """

  items: Int[np.ndarray, 'T B']
  domains: Int[np.ndarray, 'T B']
  mask: Bool[np.ndarray, 'T B']
  visits: Int[np.ndarray, ' T']
  restarts: Bool[np.ndarray, ' T']


def reset_each_shift(
  key: PRNGKeyArray, order_fn: OrderFn, num_domains: int, batch_size: int
) -> Schedule:
  """One pass over each domain; methods start anew at each.

  Args:
    key: random key, consumed.
    order_fn: order of a visit.
    num_domains: in their order.
    batch_size: `B`; a sweep of it is several schedules of one key, which show
      the same images in the same order.
  """
  found = visit(key, order_fn, range(num_domains), batch_size)
  starts = np.diff(found.visits, prepend=-1) > 0
  return found._replace(restarts=starts)


def continual(
  key: PRNGKeyArray,
  order_fn: OrderFn,
  num_domains: int,
  batch_size: int,
  num_rounds: int = 1,
) -> Schedule:
  """Domain after domain without an end, round after round, fresh orders."""
  return visit(key, order_fn, [*range(num_domains)] * num_rounds, batch_size)


def gradual(
  key: PRNGKeyArray, order_fn: OrderFn, num_corruptions: int, batch_size: int
) -> Schedule:
  """Severities 1 to 5 and back to 1 of each corruption.

  Domain `5 c + s - 1` is corruption `c` at severity `s`.
  """
  sequence = [
    5 * corruption + severity - 1
    for corruption in range(num_corruptions)
    for severity in _GRADUAL
  ]
  return visit(key, order_fn, sequence, batch_size)


def recurring(
  key: PRNGKeyArray,
  order_fn: OrderFn,
  num_domains: int,
  batch_size: int,
  num_rounds: int = 20,
) -> Schedule:
  """The same stream again and again, each domain in one order of its own.

  With `orders.dirichlet` the recurring protocol of PeTTA (2311.18193).
  """
  once = visit(key, order_fn, range(num_domains), batch_size)
  tiled = [np.concatenate([x] * num_rounds) for x in once]
  again = Schedule(*tiled)
  offsets = np.repeat(np.arange(num_rounds), len(once.visits))
  return again._replace(
    visits=(again.visits + num_domains * offsets).astype(np.int32)
  )


def with_clean_visits(
  key: PRNGKeyArray,
  order_fn: OrderFn,
  num_domains: int,
  batch_size: int,
  num_rounds: int = 1,
) -> Schedule:
  """Continual, with a visit to domain `num_domains`, clean, after each."""
  sequence = [x for d in range(num_domains) for x in (d, num_domains)]
  return visit(key, order_fn, sequence * num_rounds, batch_size)


def mixed(
  key: PRNGKeyArray, order_fn: OrderFn, num_domains: int, batch_size: int
) -> Schedule:
  """All images of all domains, shuffled into one stream."""
  visit_key, order_key = jax.random.split(key)
  orders = [
    order_fn(jax.random.fold_in(visit_key, i)) for i in range(num_domains)
  ]
  items = np.concatenate(orders)
  domains = np.repeat(np.arange(num_domains), [len(x) for x in orders])
  turn = shuffled(order_key, len(items))
  return _batches(items[turn], domains[turn].astype(np.int32), 0, batch_size)


def visit(
  key: PRNGKeyArray,
  order_fn: OrderFn,
  sequence: Sequence[int],
  batch_size: int,
) -> Schedule:
  """Visits domains in a sequence, each in an order drawn for the visit.

  Args:
    key: random key, consumed.
    order_fn: order of a visit.
    sequence: domains.
    batch_size: `B`.
  """
  if not len(sequence):
    raise ValueError('a schedule of no visits: expected at least one')
  pieces = []
  for i, domain in enumerate(sequence):
    order = order_fn(jax.random.fold_in(key, i))
    domains = np.full(len(order), domain, np.int32)
    pieces.append(_batches(order, domains, i, batch_size))
  return Schedule(*map(np.concatenate, zip(*pieces, strict=True)))


def gather(
  images: UInt8[np.ndarray, 'D n H W C'],
  labels: Int[np.ndarray, ' n'],
  schedule: Schedule,
) -> tuple[Batch, Int[np.ndarray, 'T B']]:
  """The stream of a schedule, and apart from it what it should be called.

  Args:
    images: of all domains, as bytes.
    labels: of the images, the same in every domain.
    schedule: of `T` batches.

  Returns:
    Batches `[T, B, ...]` of images in [0, 1], and labels.
  """
  found = images[schedule.domains, schedule.items]
  stream = Batch(to_unit(found), jnp.asarray(schedule.mask))
  return stream, labels[schedule.items]


def to_unit(
  images: UInt8[np.ndarray, '*B H W C'],
) -> Float[Array, '*B H W C']:
  """Bytes to numbers in [0, 1]."""
  return jnp.asarray(images).astype(jnp.float32) / 255


def _batches(items, domains, number, batch_size):
  """Cuts one visit into batches; the last one is filled up with its first."""
  if batch_size < 1 or not len(items):
    raise ValueError(
      f'batch_size={batch_size} of {len(items)} images, expected at least 1 of '
      'each'
    )
  num_batches = -(-len(items) // batch_size)
  where = np.arange(num_batches * batch_size).reshape(num_batches, batch_size)
  mask = where < len(items)
  where = np.where(mask, where, 0)
  return Schedule(
    items[where],
    domains[where],
    mask,
    np.full(num_batches, number, np.int32),
    np.zeros(num_batches, bool),
  )
