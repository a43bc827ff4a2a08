"""What is written into a layer's cache, and what becomes of its summaries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttc import models
from ttc.kernels.partial_attention import Segment
from ttc.models import layer_cache

B, N, K, S, D = 2, 2, 3, 24, 5
SPARSE = models.SparseAttention(
  block_size=4, budget=32, sink=1, local=1, dense_layers=()
)
# Tokens of each row that a call brings; rows are at different places.
COUNTS = np.array(
  [[[3, 1], [0, 4]], [[1, 2], [4, 0]], [[4, 4], [1, 3]], [[2, 4], [4, 2]]]
)


def numbers(shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('attention', [None, SPARSE])
def test_one_layer_of_a_stack_is_written_and_no_other(attention):
  generator = np.random.default_rng(0)
  stack = jax.tree.map(
    lambda x: generator.normal(size=x.shape).astype(np.float32),
    layer_cache.empty((3, B, N, K, S, D), jnp.float32, attention),
  )
  new = Segment(
    jnp.asarray(numbers((B, N, K, 4, D), 1)),
    jnp.asarray(numbers((B, N, K, 4, D), 2)),
  )
  steps = np.arange(4)
  counts, starts = COUNTS[0][..., None], np.array([[[3], [0]], [[20], [7]]])
  index = jnp.asarray(np.where(steps < counts, starts + steps, -1), jnp.int32)
  write = jax.jit(layer_cache.write, static_argnums=3)
  stack = jax.tree.map(jnp.asarray, stack)
  at = lambda x, i: jax.tree.map(lambda leaf: leaf[i], x)
  got = write(stack, new, index, attention, jnp.int32(1))
  want = write(at(stack, 1), new, index, attention)
  jax.tree.map(np.testing.assert_array_equal, at(got, 1), want)
  for i in (0, 2):
    jax.tree.map(np.testing.assert_array_equal, at(got, i), at(stack, i))


@pytest.mark.parametrize('attention', [None, SPARSE])
def test_piece_by_piece_is_all_at_once(attention):
  keys = numbers((B, N, K, S, D), 0)
  values = numbers((B, N, K, S, D), 1)
  write = jax.jit(layer_cache.write, static_argnums=3)
  cache = layer_cache.empty((B, N, K, S, D), jnp.float32, attention)
  lengths = np.zeros((B, N), int)
  for counts in COUNTS:
    steps = np.arange(4)
    index = np.where(steps < counts[..., None], lengths[..., None] + steps, -1)
    at = index[:, :, None, :, None]
    take = lambda x, at=at: jnp.asarray(
      # What is not written is 99, and must be nowhere.
      np.where(at < 0, 99, np.take_along_axis(x, np.maximum(at, 0), axis=3)),
      jnp.float32,
    )
    new = Segment(take(keys), take(values))
    cache = write(cache, new, jnp.asarray(index, jnp.int32), attention)
    lengths += counts
  real = (np.arange(S) < lengths[..., None])[:, :, None, :, None]
  np.testing.assert_array_equal(cache.k, np.where(real, keys, 0))
  np.testing.assert_array_equal(cache.v, np.where(real, values, 0))
  if attention is None:
    return
  index = np.where(np.arange(S) < lengths[..., None], np.arange(S), -1)
  whole = write(
    None,
    Segment(jnp.asarray(cache.k), jnp.asarray(cache.v)),
    jnp.asarray(index, jnp.int32),
    attention,
  )
  blocks = -(-lengths // SPARSE.block_size)
  for b, n in np.ndindex(B, N):
    of_row = lambda x, b=b, n=n: np.asarray(x[b, n, :, : blocks[b, n]])
    jax.tree.map(
      lambda got, want, of_row=of_row: np.testing.assert_allclose(
        of_row(got), of_row(want), atol=1e-6
      ),
      cache.summary,
      whole.summary,
    )
