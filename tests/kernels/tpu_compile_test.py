"""The TPU kernels compile for real chips, fit, and copy no cache.

  pip install 'jax[tpu]'
  JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 TPU_WORKER_HOSTNAMES=localhost \
    python -m pytest -m aot tests/kernels/tpu_compile_test.py

No TPU is needed; libtpu holds the compiler.
"""

import functools
import importlib.util
import math
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from absl.testing import absltest, parameterized
from tpu_target import TOPOLOGIES, compiled, copies, vector_memory

from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.block_sparse_attention import mosaic_tpu as sparse_tpu
from ttc.kernels.block_topk import block_scores
from ttc.kernels.block_topk import mosaic_tpu as topk_tpu
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.decode_attention import mosaic_tpu as decode_tpu
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import shared_prefix_attention

pytestmark = [
  pytest.mark.aot,
  pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None, reason='libtpu not installed'
  ),
]

VECTOR_MEMORY = 16 * 2**20  # what a kernel may use unless it asks for more


def struct(*shape, dtype=jnp.int32):
  return jax.ShapeDtypeStruct(shape, dtype)


def decode(dtype, B, K, M, S, D):
  real = functools.partial(struct, dtype=dtype)
  keys = Segment(real(B, K, S, D), real(B, K, S, D))
  return decode_attention, (real(B, K, M, D), keys, struct(B))


def sparse(dtype, B, N, K, G, S, D, block_size, J, paged=False):
  real = functools.partial(struct, dtype=dtype)
  pages = (struct(B, S // block_size),) if paged else ()
  shape = (2 * B * S // block_size, K, block_size, D) if paged else (B, K, S, D)
  return (
    functools.partial(block_sparse_attention, block_size=block_size),
    (
      real(B, N, K, G, D),
      Segment(real(*shape), real(*shape)),
      struct(B, N),
      struct(B, N, K, J),
      *pages,
    ),
  )


def scores(dtype, B, N, K, G, M, D):
  real = functools.partial(struct, dtype=dtype)
  return block_scores, (real(B, N, K, G, D), real(B, K, M, D))


# The shapes of kernels.md, and those at which something is odd or full.
PROGRAMS = {
  'decode': functools.partial(decode, B=64, K=8, M=4, S=16384, D=128),
  'decode_prefix': functools.partial(decode, B=2, K=8, M=300, S=16384, D=128),
  'decode_many_rows': functools.partial(
    decode, B=8, K=8, M=2048, S=16384, D=256
  ),
  'decode_odd': functools.partial(decode, B=64, K=8, M=5, S=5000, D=384),
  'sparse_16': functools.partial(
    sparse, B=64, N=1, K=8, G=4, S=16384, D=128, block_size=16, J=64
  ),
  'sparse_64': functools.partial(
    sparse, B=64, N=1, K=8, G=4, S=16384, D=128, block_size=64, J=16
  ),
  'sparse_samples': functools.partial(
    sparse, B=1, N=64, K=8, G=5, S=131072, D=256, block_size=128, J=7
  ),
  'sparse_8_paged': functools.partial(
    sparse, B=64, N=1, K=8, G=4, S=8192, D=128, block_size=8, J=63, paged=True
  ),
  'sparse_long': functools.partial(
    sparse, B=4, N=1, K=8, G=4, S=32768, D=128, block_size=128, J=128
  ),
  'sparse_many': functools.partial(
    sparse, B=256, N=1, K=8, G=4, S=2048, D=128, block_size=16, J=64
  ),
  'scores': functools.partial(scores, B=64, N=1, K=8, G=4, M=1024, D=128),
  'sparse_largest': functools.partial(
    sparse, B=8, N=1, K=8, G=4, S=16384, D=256, block_size=2048, J=3
  ),
  'scores_samples': functools.partial(
    scores, B=1, N=64, K=8, G=4, M=8192, D=256
  ),
  'scores_most_samples': functools.partial(
    scores, B=1, N=256, K=8, G=1, M=8192, D=256
  ),
}


def cache_size(arguments):
  return max(math.prod(x.shape) for x in jax.tree.leaves(arguments))


def with_kernel(function):
  return functools.partial(function, implementation='mosaic_tpu')


class CompileTest(parameterized.TestCase):
  @parameterized.product(
    name=tuple(PROGRAMS),
    chip=tuple(TOPOLOGIES),
    dtype=(jnp.bfloat16, jnp.float32),
  )
  def test_fits_and_copies_no_cache(self, name, chip, dtype):
    function, arguments = PROGRAMS[name](dtype)
    text = compiled(chip, with_kernel(function), arguments)
    used = vector_memory(text)
    self.assertNotEmpty(used)
    self.assertLessEqual(max(used), VECTOR_MEMORY)
    self.assertEmpty(copies(text, cache_size(arguments)))

  @parameterized.product(chip=tuple(TOPOLOGIES), D=(64, 96, 128))
  def test_a_decode_loop_copies_no_cache(self, chip, D):
    """Caches of odd rows are laid out anew once, not in every step."""
    _, (query, keys, lengths) = decode(jnp.bfloat16, 8, 8, 4, 16384, D)
    ids = struct(8, 1, 8, 64)

    def generate(query, keys, lengths, ids):
      def step(t, carry):
        query, keys = carry
        new = jnp.mean(query, axis=2, keepdims=True)
        write = lambda x: jax.lax.dynamic_update_slice(x, new, (0, 0, t, 0))
        keys = jax.tree.map(write, keys)
        query, _ = with_kernel(decode_attention)(query, keys, lengths + t)
        query, _ = with_kernel(block_sparse_attention)(
          query[:, None].astype(keys.k.dtype),
          keys,
          lengths[:, None] + t,
          ids,
          block_size=16,
        )
        return query[:, 0].astype(keys.k.dtype), keys

      return jax.lax.fori_loop(0, 100, step, (query, keys))[0]

    text = compiled(chip, generate, (query, keys, lengths, ids))
    steps, _, entry = text.partition('\nENTRY ')
    self.assertLen(vector_memory(steps), 2)
    self.assertEmpty(copies(steps, cache_size(keys)))
    self.assertLen(copies(entry, cache_size(keys)), 2)

  @parameterized.parameters(*TOPOLOGIES)
  def test_shared_prefix_decoding(self, chip):
    B, N, K, G, D, P, S = 1, 64, 8, 4, 128, 16384, 1024
    real = functools.partial(struct, dtype=jnp.bfloat16)
    arguments = (
      real(B, N, 1, K, G, D),
      Segment(real(B, K, P, D), real(B, K, P, D)),
      struct(B),
      Segment(real(B, N, K, S, D), real(B, N, K, S, D)),
      struct(B, N),
    )
    text = compiled(chip, shared_prefix_attention, arguments)  # by default
    self.assertLen(vector_memory(text), 2)
    self.assertEmpty(copies(text, B * K * P * D))

  @parameterized.parameters(
    ('decode', decode_tpu, '_TILE_BYTES', 2**24),
    ('sparse_long', sparse_tpu, '_TOKENS_PER_STEP', 2**16),
    ('sparse_many', sparse_tpu, '_MAX_BLOCKS', 2**20),
    ('scores_samples', topk_tpu, '_TILE_BYTES', 2**26),
  )
  def test_too_much_is_refused(self, name, module, constant, value):
    function, arguments = PROGRAMS[name](jnp.bfloat16)
    jax.clear_caches()
    self.addCleanup(jax.clear_caches)
    with (
      mock.patch.object(module, constant, value),
      self.assertRaisesRegex(jax.errors.JaxRuntimeError, 'RESOURCE_EXHAUSTED'),
    ):
      compiled('v5e', with_kernel(function), arguments)


if __name__ == '__main__':
  absltest.main()
