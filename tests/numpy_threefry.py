"""Threefry 2x32 in NumPy: what `jax.random` draws and splits, bit for bit.

Keys are whole numbers of 64 bits.
"""

import numpy as np
from jax import config


class Decline(Exception):
  """XLA's, after all."""


def rotate(x, r):
  return (x << np.uint32(r)) | (x >> np.uint32(32 - r))


def rounds(k1, k2, x1, x2):
  """Twenty rounds (Salmon et al., 2011)."""
  keys = [k1, k2, k1 ^ k2 ^ np.uint32(0x1BD11BDA)]
  x1, x2 = x1 + k1, x2 + k2
  for i in range(5):
    for r in ((13, 15, 26, 6), (17, 29, 16, 24))[i % 2]:
      x1 = x1 + x2
      x2 = rotate(x2, r) ^ x1
    x1 = x1 + keys[(i + 1) % 3]
    x2 = x2 + keys[(i + 2) % 3] + np.uint32(i + 1)
  return [x1, x2]


def counts(shape):
  if not shape:
    raise Decline
  n = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
  return [(n >> np.uint64(32)).astype(np.uint32), n.astype(np.uint32)]


def random_bits(eqn, key):
  shape = eqn.params['shape']
  if key.ndim or eqn.params['bit_width'] != 32:
    raise Decline
  if not config.jax_threefry_partitionable:
    raise Decline
  k1, k2 = key[None].view(np.uint32)
  a, b = rounds(k1, k2, *counts(shape or (1,)))
  return (a ^ b).reshape(shape)


def random_split(eqn, key):
  if key.ndim or not config.jax_threefry_partitionable:
    raise Decline
  k1, k2 = key[None].view(np.uint32)
  pairs = np.stack(rounds(k1, k2, *counts(eqn.params['shape'])), axis=-1)
  return pairs.view(np.uint64)[..., 0]
