"""Seeds: the randomness of a sample depends on its problem and its index."""

import zlib

import jax
import numpy as np
from jaxtyping import PRNGKeyArray


def problem_key(base_seed: int, item_id: str) -> PRNGKeyArray:
  """Random key of a problem: `fold_in(key(base_seed), crc32(item_id))`.

  It does not depend on order, batch or which problems were done before. Fold
  the sample index into it for the key of one sample.
  """
  item = np.uint32(zlib.crc32(item_id.encode()))
  return jax.random.fold_in(jax.random.key(base_seed), item)


def sample_seed(base_seed: int, item_id: str, sample_idx: int) -> int:
  """The key of one sample as an integer, for `SampleRecord.seed`."""
  key = jax.random.fold_in(problem_key(base_seed, item_id), sample_idx)
  return int.from_bytes(np.asarray(jax.random.key_data(key), '>u4').tobytes())
