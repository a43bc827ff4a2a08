"""The TPU kernels lower for a TPU, and by default they are what runs there."""

import functools

import jax
import jax.numpy as jnp
import kernel_matrix
from absl.testing import absltest, parameterized

from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.block_topk import block_scores, block_topk
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import shared_prefix_attention

OPERATIONS = {
  'decode_attention': decode_attention,
  'block_sparse_attention': block_sparse_attention,
  'block_scores': block_scores,
  'shared_prefix_attention': shared_prefix_attention,
}
TWO_KERNELS = ('few', 'decoding', 'decoding_long')  # prompt and responses
NAMED = [(f'{x.operation}_{x.name}', x) for x in kernel_matrix.CASES]


def lowered(operation, *arguments, platform='tpu', **keywords):
  jitted = jax.jit(functools.partial(operation, **keywords))
  return (
    jitted.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
  )


def num_kernels(text):
  return text.count('@tpu_custom_call')


class LoweringTest(parameterized.TestCase):
  @parameterized.named_parameters(NAMED)
  def test_lowers(self, case):
    operation = OPERATIONS[case.operation]
    for dtype in kernel_matrix.DTYPES:
      arguments = case.cast(dtype)
      text = lowered(
        operation, *arguments, **case.keywords, implementation='mosaic_tpu'
      )
      self.assertEqual(num_kernels(text), 1 + (case.name in TWO_KERNELS))

  @parameterized.parameters(*OPERATIONS)
  def test_by_default_there_is_a_kernel_on_tpu_and_none_on_cpu(self, name):
    _, case = kernel_matrix.cases_of(name)[0]
    lower = functools.partial(
      lowered, OPERATIONS[name], *case.cast(jnp.float32), **case.keywords
    )
    self.assertEqual(num_kernels(lower()), 1)
    self.assertNotIn('custom_call', lower(platform='cpu'))

  def test_shared_prefix_is_two_kernels(self):
    B, N, K, G, D, P, S = 2, 64, 8, 4, 128, 16384, 1024
    real = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.bfloat16)
    lengths = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.int32)
    text = lowered(
      shared_prefix_attention,
      real(B, N, 1, K, G, D),
      Segment(real(B, K, P, D), real(B, K, P, D)),
      lengths(B),
      Segment(real(B, N, K, S, D), real(B, N, K, S, D)),
      lengths(B, N),
    )
    self.assertEqual(num_kernels(text), 2)
    self.assertNotIn('stablehlo.while', text)

  def test_block_topk_scores_in_the_kernel(self):
    text = lowered(
      block_topk,
      jax.ShapeDtypeStruct((2, 4, 8, 4, 128), jnp.bfloat16),
      jax.ShapeDtypeStruct((2, 8, 1024, 128), jnp.bfloat16),
      jax.ShapeDtypeStruct((2, 4), jnp.int32),
      block_size=16,
      num_blocks=64,
    )
    self.assertEqual(num_kernels(text), 1)

  def test_what_a_kernel_cannot_do_the_reference_does(self):
    case = kernel_matrix.RAGGED
    lower = functools.partial(
      lowered, block_sparse_attention, *case.cast(jnp.float32), **case.keywords
    )
    self.assertEqual(num_kernels(lower()), 0)
    with self.assertRaises(NotImplementedError):
      lower(implementation='mosaic_tpu')

  def test_pages_have_no_layers(self):
    case = kernel_matrix.in_stack(kernel_matrix.RAGGED)
    pages = jnp.zeros((2, 7), jnp.int32)
    with self.assertRaisesRegex(ValueError, 'layer is not None'):
      block_sparse_attention(
        *case.cast(jnp.float32), pages, block_size=16, layer=jnp.int32(1)
      )

  def test_half_precision_is_not_for_a_tpu(self):
    _, case = kernel_matrix.cases_of('decode_attention')[0]
    self.assertEqual(
      num_kernels(lowered(decode_attention, *case.cast(jnp.float16))), 0
    )

  def test_a_layer_more_is_not_traced_again(self):
    _, case = kernel_matrix.cases_of('decode_attention')[0]
    query, keys, lengths = case.cast(jnp.float32)

    def layers(query):
      for _ in range(30):
        query, _ = decode_attention(
          query, keys, lengths, implementation='mosaic_tpu'
        )
      return query

    text = lowered(layers, query)
    self.assertEqual(num_kernels(text), 1)  # one function, called 30 times

  @parameterized.parameters((8, 8), (8, 3), (3, 8))
  def test_each_device_has_its_sequences_and_heads(self, B, K):
    """Over 2 x 4 devices; what these do not divide is whole on each."""
    M, S, D = 4, 2048, 128
    mesh = jax.sharding.AbstractMesh(
      (2, 4), ('data', 'model'), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    struct = lambda shape, dtype: jax.ShapeDtypeStruct(
      shape, dtype, sharding=whole
    )
    keys = struct((B, K, S, D), jnp.bfloat16)
    text = lowered(
      decode_attention,
      struct((B, K, M, D), jnp.bfloat16),
      Segment(keys, keys),
      struct((B,), jnp.int32),
    )
    heads = K // 4 if K % 4 == 0 else K
    sequences = B // 2 if B % 2 == 0 else B
    (call,) = [x for x in text.splitlines() if '@tpu_custom_call' in x]
    self.assertIn(f'tensor<{sequences}x{heads}x{S}x{D}xbf16>', call)


if __name__ == '__main__':
  absltest.main()
