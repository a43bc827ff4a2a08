"""The Triton kernels agree with the references, without a GPU."""

import functools
import inspect
import types

import jax
import jax.numpy as jnp
import kernel_matrix
import numpy as np
from absl.testing import absltest, parameterized

from ttc.kernels.block_sparse_attention import triton as sparse_triton
from ttc.kernels.block_topk import triton as topk_triton
from ttc.kernels.decode_attention import splits
from ttc.kernels.decode_attention import triton as decode_triton
from ttc.kernels.partial_attention import merge_partials
from ttc.kernels.shared_prefix_attention import triton as shared_triton

KERNELS = {
  'decode_attention': decode_triton.decode_attention,
  'block_sparse_attention': sparse_triton.block_sparse_attention,
  'block_scores': topk_triton.block_scores,
  'shared_prefix_attention': shared_triton.shared_prefix_attention,
}
CASES = {
  f'{case.operation}_{case.name}': case
  for case in [*kernel_matrix.CASES, kernel_matrix.RAGGED]
}
DECODE = CASES['decode_attention_dim_96']
SPARSE = CASES['block_sparse_attention_ragged']
READING = CASES['shared_prefix_attention_reading']
FEW = CASES['shared_prefix_attention_few']
HALF = [DECODE, SPARSE, FEW, CASES['block_scores_samples']]


@functools.cache
def jit_kernel(operation, keywords):
  kernel = functools.partial(KERNELS[operation], **dict(keywords))
  return jax.jit(functools.partial(kernel, interpret=True))


def check(case, dtype):
  kernel = jit_kernel(case.operation, tuple(case.keywords.items()))
  kernel_matrix.check(case, kernel(*case.cast(dtype)), dtype)


def mutant(module, old, new):
  """The module with one line of its source changed."""
  source = inspect.getsource(module)
  assert source.count(old) == 1, old
  changed = types.ModuleType(module.__name__)
  exec(
    compile(source.replace(old, new), module.__file__, 'exec'), vars(changed)
  )
  return changed


class TritonTest(parameterized.TestCase):
  @parameterized.named_parameters(CASES.items())
  def test_agrees(self, case):
    check(case, jnp.float32)

  def test_one_layer_of_a_stack(self):
    for case in kernel_matrix.ONE_OF_EACH:
      kernel = jit_kernel(case.operation, tuple(case.keywords.items()))
      arguments = kernel_matrix.in_stack(case).cast(jnp.float32)
      got = kernel(*arguments, layer=jnp.int32(1))
      kernel_matrix.check(case, got, jnp.float32)

  def test_agrees_in_half_precision(self):
    for case in HALF:
      check(case, jnp.bfloat16)
    for case in (DECODE, SPARSE):
      check(case.with_large_logits(), jnp.bfloat16)

  def test_what_lies_beyond_the_length_is_not_read(self):
    # NaN times weight 0 is NaN: values that are not seen have to be zeros.
    query, keys, lengths = DECODE.cast(jnp.float32)
    beyond = jnp.arange(keys.k.shape[2]) >= lengths[:, None]
    beyond = beyond[:, None, :, None]
    keys = jax.tree.map(lambda x: jnp.where(beyond, jnp.nan, x), keys)
    got = jit_kernel('decode_attention', ())(query, keys, lengths)
    kernel_matrix.check(DECODE, got, jnp.float32)

  @parameterized.named_parameters(
    ('mask', DECODE, 'tokens < end', 'tokens < keys_ref.shape[1]'),
    ('length', SPARSE, '+ within < length', '+ within < capacity'),
    ('block', SPARSE, 'block * block_size + within\n', 'chosen\n'),
    ('order', READING, '<= last[', '<= 1 + last['),
    ('end', READING, 'div(last_row, G) + 1', 'div(last_row, G)'),
    ('own', READING, 'found = over_prompt(query, found, 0, 1)', 'pass'),
    ('sample', FEW, 'b * N + n\n', 'b * N\n'),
    ('shares', FEW, 'store(prompt.splits + split', 'store(split'),
  )
  def test_catches(self, case, old, new):
    """One wrong line in a kernel is seen."""
    module = {
      'decode_attention': decode_triton,
      'block_sparse_attention': sparse_triton,
      'shared_prefix_attention': shared_triton,
    }[case.operation]
    kernel = getattr(mutant(module, old, new), case.operation)
    kernel = functools.partial(kernel, **case.keywords, interpret=True)
    got = jax.jit(kernel)(*case.cast(jnp.float32))
    with self.assertRaises(AssertionError):
      kernel_matrix.check(case, got, jnp.float32)

  def test_unsupported(self):
    query, keys, lengths = jax.eval_shape(lambda: DECODE.cast(jnp.float32))
    kernel = decode_triton.decode_attention
    quarter = jax.tree.map(lambda x: x.update(dtype=jnp.float8_e4m3fn), keys)
    empty = jax.tree.map(lambda x: x.update(shape=(6, 2, 0, 96)), keys)
    for keys in (quarter, empty):
      with self.assertRaises(NotImplementedError):
        jax.eval_shape(kernel, query, keys, lengths)


class SplitsTest(absltest.TestCase):
  def test_merge_is_that_of_partials(self):
    rng = np.random.default_rng(0)
    output, lse = rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 3))
    lse[2], lse[:, 1] = -np.inf, -np.inf
    output, lse = jnp.asarray(output), jnp.asarray(lse)
    got = splits.merge_splits(output, lse)
    expected = merge_partials(list(zip(output, lse, strict=True)))
    np.testing.assert_allclose(got[0], expected[0], atol=1e-6)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-6)

  def test_number(self):
    number = functools.partial(splits.num_splits, target=528)
    self.assertEqual(number(512, 16384, 4), 2)
    self.assertEqual(number(8, 131072, 4), 66)
    self.assertEqual(number(8, 1000, 4), 3)  # of 256 tokens at least
    self.assertEqual(number(16, 32768, 256), 16)  # of 2048, for so many rows
    self.assertEqual(number(16, 4096, 256), 9)  # that all processors work
    self.assertEqual(number(4096, 16384, 4), 1)

  def test_a_short_prompt_of_many_samples_fills_the_processor(self):
    heads, rows = 8, 256  # as 64 samples of 4 query heads
    for tokens in (512, 1024, 2048, 4096, 16384):
      tile = decode_triton.rows_of_tile(rows, heads, tokens)
      programs = heads * -(-rows // tile)
      shares = splits.num_splits(programs, tokens, rows, decode_triton.PROGRAMS)
      self.assertGreaterEqual(programs * shares, splits.PROCESSORS)
      self.assertGreaterEqual(tokens / shares, splits.MIN_TOKENS)


if __name__ == '__main__':
  absltest.main()
