"""In which order the images of one domain arrive.

An order is the numbers of images, one after the other; images may be left out.
All run on the host, once, before a stream.
"""

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

Order = Int[np.ndarray, ' m']
Labels = Int[np.ndarray, ' n']
_LEAST = 10  # images of a chunk
_DRAWS = 1000  # before giving up


def shuffled(key: PRNGKeyArray, num_items: int) -> Order:
  """Independent and identically distributed: a permutation.

  Args:
    key: random key, consumed.
    num_items: `n`; all of them.
  """
  return np.asarray(jax.random.permutation(key, num_items), np.int32)


def sorted_by_class(key: PRNGKeyArray, labels: Labels) -> Order:
  """One class after the other, shuffled within."""
  order = shuffled(key, len(labels))
  return order[np.argsort(labels[order], kind='stable')]


def blocks(key: PRNGKeyArray, labels: Labels, length: int) -> Order:
  """Blocks of one class each, shuffled; the last one of a class is shorter.

  Args:
    key: random key, consumed.
    labels: of the images.
    length: of a block; 1 for a shuffled stream.
  """
  if length < 1:
    raise ValueError(f'length={length}, expected at least 1')
  class_key, block_key = jax.random.split(key)
  order = sorted_by_class(class_key, labels)
  found = []
  for value in np.unique(labels):
    of_class = order[labels[order] == value]
    found += np.split(of_class, range(length, len(of_class), length))
  return np.concatenate([found[i] for i in shuffled(block_key, len(found))])


def dirichlet(key: PRNGKeyArray, labels: Labels, delta: float) -> Order:
  r"""Temporally correlated chunks (NOTE, arXiv 2208.05117; RoTTA, 2303.13899).

  There are as many chunks as classes. Each class is split over them with
  shares :math:`p \sim \mathrm{Dir}(\delta 1)`, of which those of chunks with
  their fair number of images are set to 0. Chunks follow each other; in a chunk
  the classes come in random order, each as one run. All is drawn again until
  every chunk has ten images.

  Args:
    key: random key, consumed.
    labels: of the images.
    delta: concentration, 0.1 for CIFAR and DomainNet, 0.01 for ImageNet; large
      for a nearly shuffled choice of chunks.

  Raises:
    ValueError: if a thousand draws leave a chunk too small.
  """
  if not delta > 0:
    raise ValueError(f'delta={delta}, expected a number above 0')
  order_key, share_key, turn_key = jax.random.split(key, 3)
  order = sorted_by_class(order_key, labels)
  classes = np.unique(labels)
  by_class = [order[labels[order] == value] for value in classes]
  for attempt in range(_DRAWS):
    draw = jax.random.fold_in(share_key, attempt)
    concentration = np.full(len(classes), delta, np.float32)
    shares = jax.random.dirichlet(draw, concentration, (len(classes),))
    chunks = _split(by_class, np.asarray(shares, np.float64))
    if min(sum(map(len, chunk)) for chunk in chunks) >= _LEAST:
      break
  else:
    raise ValueError(
      f'delta={delta} with {len(labels)} images of {len(classes)} classes '
      f'leaves a chunk with fewer than {_LEAST} in each of {_DRAWS} draws; '
      'expected a larger delta or more images'
    )
  runs = []
  for i, chunk in enumerate(chunks):
    turns = shuffled(jax.random.fold_in(turn_key, i), len(chunk))
    runs += [chunk[turn] for turn in turns]
  return np.concatenate(runs)


def exponential_prior(
  num_classes: int, ratio: float, *, backward: bool = False
) -> Float[np.ndarray, ' K']:
  r"""Shares of classes :math:`\propto \rho^{-k / (K - 1)}`.

  Args:
    num_classes: `K`.
    ratio: :math:`\rho`, of the most to the least frequent class.
    backward: whether the last class is the most frequent.
  """
  if num_classes < 2 or ratio < 1:
    raise ValueError(
      f'num_classes={num_classes}, ratio={ratio}, expected at least 2 and 1'
    )
  shares = ratio ** (-np.arange(num_classes) / (num_classes - 1))
  shares = shares[::-1] if backward else shares
  return (shares / shares.sum()).astype(np.float32)


def zipf_prior(
  num_classes: int, exponent: float = 2.0
) -> Float[np.ndarray, ' K']:
  r"""Shares of classes :math:`\propto k^{-a}`, as in LAME (2201.05718)."""
  shares = np.arange(1.0, num_classes + 1) ** -exponent
  return (shares / shares.sum()).astype(np.float32)


def label_shift(
  key: PRNGKeyArray, labels: Labels, prior: Float[np.ndarray, ' K']
) -> Order:
  """As many images as a prior over classes allows, none twice, shuffled.

  Args:
    key: random key, consumed.
    labels: of the images, classes 0 to `K - 1`.
    prior: shares of the classes.
  """
  item_key, order_key = jax.random.split(key)
  counts = _counts(labels, prior)
  order = shuffled(item_key, len(labels))
  chosen = [
    order[labels[order] == value][:count] for value, count in enumerate(counts)
  ]
  chosen = np.concatenate(chosen)
  return chosen[shuffled(order_key, len(chosen))]


def moving_label_shift(
  key: PRNGKeyArray,
  labels: Labels,
  first: Float[np.ndarray, ' K'],
  second: Float[np.ndarray, ' K'],
  length: int,
) -> Order:
  r"""A prior that swings between two, none of the images twice.

  Segment `j` is drawn from :math:`(1 - w) \pi_1 + w \pi_2` with
  :math:`w = (1 - \cos(\pi j / 2)) / 2`: the first, the middle, the second, the
  middle, and so on, until a class has run out.

  Args:
    key: random key, consumed.
    labels: of the images, classes 0 to `K - 1`.
    first: shares of the classes at the start.
    second: at the other end of the swing.
    length: images of a segment: ten batches of them in the protocol.

  Raises:
    ValueError: if there are too few images for one segment.
  """
  if length < 1:
    raise ValueError(f'length={length}, expected at least 1')
  item_key, order_key = jax.random.split(key)
  order = shuffled(item_key, len(labels))
  left = [list(order[labels[order] == k]) for k in range(len(first))]
  found, segment = [], 0
  while True:
    weight = (1 - np.cos(np.pi * segment / 2)) / 2
    prior = (1 - weight) * first + weight * second
    counts = _rounded_counts(prior, length)
    if any(count > len(rest) for count, rest in zip(counts, left, strict=True)):
      break
    chosen = np.array(
      [
        rest.pop()
        for count, rest in zip(counts, left, strict=True)
        for _ in range(count)
      ],
      np.int32,
    )
    turn = shuffled(jax.random.fold_in(order_key, segment), length)
    found.append(chosen[turn])
    segment += 1
  if not found:
    raise ValueError(
      f'{len(labels)} images are too few for a segment of length={length}'
    )
  return np.concatenate(found)


def _split(by_class, shares):
  """Runs of each chunk; a chunk with its fair number gets no more."""
  num_chunks = len(by_class)
  fair = sum(map(len, by_class)) / num_chunks
  chunks = [[] for _ in range(num_chunks)]
  for items, share in zip(by_class, shares, strict=True):
    sizes = np.array([sum(map(len, chunk)) for chunk in chunks])
    share = share * (sizes < fair)
    if not share.sum() > 0:  # underflow: all to the smallest
      share = (sizes == sizes.min()).astype(float)
    cuts = np.cumsum(share / share.sum())[:-1] * len(items)
    for chunk, run in zip(
      chunks, np.split(items, cuts.astype(int)), strict=True
    ):
      chunk.append(run)
  return [[run for run in chunk if len(run)] for chunk in chunks]


def _counts(labels, prior):
  """Images of each class in the largest set with these shares."""
  there = np.bincount(labels, minlength=len(prior))
  if len(there) > len(prior):
    raise ValueError(
      f'label {len(there) - 1}, expected 0 to {len(prior) - 1}, as the prior '
      f'has {len(prior)} classes'
    )
  used = prior > 0
  total = np.min(there[used] / prior[used])
  # A slip of a rounding must not cost an image of the scarcest class.
  return np.floor(total * prior * (1 + 1e-6) + 1e-6).astype(int)


def _rounded_counts(prior, total):
  """Whole numbers nearest to shares of a total, with that sum."""
  exact = prior.astype(np.float64) / prior.sum() * total
  counts = np.floor(exact).astype(int)
  most = np.argsort(counts - exact, kind='stable')[: total - counts.sum()]
  counts[most] += 1
  return counts
