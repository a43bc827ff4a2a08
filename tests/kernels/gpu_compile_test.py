"""The GPU kernels compile for an H200 at the sizes that they are meant for."""

import functools
import math
import re
from unittest import mock

import gpu_target
import jax
import jax.numpy as jnp
import pytest
from absl.testing import absltest, parameterized

from ttc.kernels import block_topk, shared_prefix_attention
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.decode_attention import mosaic_gpu as decode_mosaic
from ttc.kernels.decode_attention import triton as decode_triton
from ttc.kernels.partial_attention import Segment

pytestmark = [
  pytest.mark.aot,
  pytest.mark.filterwarnings('ignore:The Pallas Triton backend'),
]

# Head size, key/value heads, and query heads of each, as in Qwen3-8B.
D, K, G = 128, 8, 4


def shape(*sizes, dtype=jnp.bfloat16):
  return jax.ShapeDtypeStruct(sizes, dtype)


def integers(*sizes):
  return shape(*sizes, dtype=jnp.int32)


def segment(*sizes):
  return Segment(shape(*sizes), shape(*sizes))


def dense(B, S):
  """D1 and D4 of the benchmark: decoding over a long cache."""
  return decode_attention, shape(B, K, G, D), segment(B, K, S, D), integers(B)


def sparse(block_size, num_blocks, paged=False, B=64, S=16384):
  """D2: decoding over the best blocks, their choice included."""

  def decode(query, keys, pooled, lengths, *pages, implementation):
    ids = block_topk.block_topk(
      query,
      pooled,
      lengths,
      block_size=block_size,
      num_blocks=num_blocks,
      implementation='triton',
    )
    return block_sparse_attention(
      query,
      keys,
      lengths,
      ids,
      *pages,
      block_size=block_size,
      implementation=implementation,
    )

  M = S // block_size
  keys = segment(B * M, K, block_size, D) if paged else segment(B, K, S, D)
  pages = (integers(B, M),) if paged else ()
  query, pooled = shape(B, 1, K, G, D), shape(B, K, M, D)
  return decode, query, keys, pooled, integers(B, 1), *pages


def shared(N=64, P=16384, S=1024):
  """D3: many samples of one long prompt."""
  return (
    shared_prefix_attention.shared_prefix_attention,
    shape(1, N, 1, K, G, D),
    segment(1, K, P, D),
    integers(1),
    segment(1, N, K, S, D),
    integers(1, N),
  )


CASES = {
  'D1': dense(64, 16384),
  'D2': sparse(64, 16),
  'D2_small_blocks': sparse(16, 64),
  'D2_paged': sparse(64, 16, paged=True),
  'D3': shared(),
  'D4': dense(1, 131072),
}


def compile_(case, implementation):
  fn, *args = case
  return gpu_target.compile_(
    functools.partial(fn, implementation=implementation), *args
  )


def made(hlo, at_least):
  """Operations that write results of at least so many elements."""
  results = re.findall(r'= \w+\[([\d,]+)\]\S* ([\w-]+)\(', hlo)
  size = lambda dims: math.prod(map(int, dims.split(',')))
  there_already = {'parameter', 'bitcast', 'get-tuple-element'}
  return {op for dims, op in results if size(dims) >= at_least} - there_already


class CompileTest(parameterized.TestCase):
  @parameterized.product(
    name=list(CASES), implementation=['triton', 'mosaic_gpu']
  )
  def test_compiles(self, name, implementation):
    program = compile_(CASES[name], implementation)
    caches = jax.tree.leaves(CASES[name][1:])
    self.assertEmpty(made(program.hlo, max(x.size for x in caches) // 8))
    # What Mosaic's kernels need is checked when they are lowered.
    sizes = program.shared_memory
    if implementation == 'triton':
      self.assertGreater(max(sizes.values()), 16 * 1024)
    self.assertLessEqual(max(sizes.values()), gpu_target.SHARED_MEMORY)
    sizes = ', '.join(f'{k} {v}' for k, v in sizes.items() if v)
    print(
      f'\n{name}, {implementation}, jax {jax.__version__}: '
      f'{program.seconds:.1f} s; bytes of shared memory: {sizes or "-"}'
    )

  @parameterized.product(
    dtype=['float32', 'bfloat16'], size=[64, 96, 256], rows=[1, 64, 200]
  )
  def test_all_tiles_fit(self, dtype, size, rows):
    keys = jax.tree.map(
      lambda x: x.update(dtype=jnp.dtype(dtype)), segment(2, 2, 4096, size)
    )
    query = shape(2, 2, rows, size, dtype=jnp.dtype(dtype))
    program = compile_((decode_attention, query, keys, integers(2)), 'triton')
    self.assertLessEqual(
      program.shared_memory['decode_attention'], gpu_target.SHARED_MEMORY
    )

  @parameterized.product(
    dtype=['float32', 'bfloat16'], size=[96, 256], queries=[1, 5, 64]
  )
  def test_all_tiles_of_prompts_and_responses_fit(self, dtype, size, queries):
    """Of both kinds of programs in one launch."""
    real = functools.partial(shape, dtype=jnp.dtype(dtype))
    keys = lambda *sizes: Segment(real(*sizes), real(*sizes))
    case = (
      shared_prefix_attention.shared_prefix_attention,
      real(1, 16, queries, K, G, size),
      keys(1, K, 4096, size),
      integers(1),
      keys(1, 16, K, 1024, size),
      integers(1, 16),
    )
    program = compile_(case, 'triton')
    self.assertLessEqual(
      program.shared_memory['shared_prefix_attention'], gpu_target.SHARED_MEMORY
    )

  def test_catches_tiles_that_do_not_fit(self):
    _, *args = CASES['D1']
    with mock.patch.object(decode_triton, '_TILE_BYTES', 128 * 1024):
      gpu_target.lower(decode_triton.decode_attention, *args)  # says nothing
      with self.assertRaisesRegex(jax.errors.JaxRuntimeError, 'Shared memory'):
        gpu_target.compile_(decode_triton.decode_attention, *args)
    with mock.patch.object(decode_mosaic, '_RING_BYTES', 256 * 1024):
      with self.assertRaisesRegex(ValueError, 'shared memory'):
        gpu_target.compile_(decode_mosaic.decode_attention, *args)

  def test_catches_a_copy_of_the_cache(self):
    def token_major(query, keys, lengths):
      keys = jax.tree.map(lambda x: x.swapaxes(1, 2), keys)
      return decode_attention(query, keys, lengths, implementation='triton')

    args = shape(8, K, G, D), segment(8, 4096, K, D), integers(8)
    program = gpu_target.compile_(token_major, *args)
    self.assertNotEmpty(made(program.hlo, 8 * 4096 * K * D))


if __name__ == '__main__':
  absltest.main()
