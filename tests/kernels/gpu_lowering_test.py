"""The GPU kernels lower for CUDA on any machine."""

import functools

import gpu_target
import jax
import jax.numpy as jnp
import kernel_matrix
import pytest
from absl.testing import absltest, parameterized

from ttc.kernels import block_topk
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.shared_prefix_attention import shared_prefix_attention

pytestmark = pytest.mark.filterwarnings('ignore:The Pallas Triton backend')

OPERATIONS = {
  'decode_attention': decode_attention,
  'block_sparse_attention': block_sparse_attention,
  'block_scores': block_topk.block_scores,
  'shared_prefix_attention': shared_prefix_attention,
}
CASES = [*kernel_matrix.CASES, kernel_matrix.RAGGED]
ATTENTION = [
  case
  for case in CASES
  if case.operation in ('decode_attention', 'block_sparse_attention')
]
TRITON, MOSAIC = '__gpu$xla.gpu.triton', 'mosaic_gpu_v2'


def lower(case, dtype, implementation):
  operation = functools.partial(
    OPERATIONS[case.operation], implementation=implementation, **case.keywords
  )
  shapes = jax.eval_shape(lambda: case.cast(dtype))
  return gpu_target.lower(operation, *shapes).as_text()


class LoweringTest(parameterized.TestCase):
  @parameterized.product(case=CASES)
  def test_triton(self, case):
    for dtype in kernel_matrix.DTYPES:
      self.assertIn(TRITON, lower(case, dtype, 'triton'))

  @parameterized.product(case=ATTENTION)
  def test_mosaic_gpu(self, case):
    with self.assertRaises(NotImplementedError):
      lower(case, jnp.float32, 'mosaic_gpu')
    *_, tokens, size = case.arguments[1].k.shape
    least = case.keywords.get('block_size', 64)
    if size % 64 or tokens % 8 or tokens < min(least, 64):
      with self.assertRaises(NotImplementedError):
        lower(case, jnp.bfloat16, 'mosaic_gpu')
    else:
      self.assertIn(MOSAIC, lower(case, jnp.bfloat16, 'mosaic_gpu'))

  def test_one_layer_of_a_stack(self):
    for case in kernel_matrix.ONE_OF_EACH:
      operation = functools.partial(OPERATIONS[case.operation], **case.keywords)
      shapes = jax.eval_shape(
        lambda case=case: kernel_matrix.in_stack(case).cast(jnp.bfloat16)
      )
      layer = jnp.int32(1)
      fn = lambda *args, f=operation: f(*args[:-1], layer=args[-1])
      text = gpu_target.lower(fn, *shapes, layer).as_text()
      self.assertIn(TRITON, text)
      self.assertNotIn('dynamic_slice', text)

  @parameterized.parameters(*OPERATIONS)
  def test_triton_is_the_default(self, operation):
    _, case = kernel_matrix.cases_of(operation)[0]
    self.assertIn(TRITON, lower(case, jnp.bfloat16, None))


if __name__ == '__main__':
  absltest.main()
