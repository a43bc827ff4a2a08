"""Convolutions: patches and XLA agree, forward and backward."""

import jax
import numpy as np
from absl.testing import absltest, parameterized

from ttc.models.vision import convolution


class ConvolutionTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, 1, (7, 8)), (3, 1, (7, 8)), (3, 2, (7, 8)), (3, 2, (6, 5)),
    (2, 2, (3, 3)), (5, 3, (6, 5)), (5, 1, (3, 3)),
  )  # fmt: skip
  def test_patches_are_xlas_convolution(self, size, stride, shape):
    keys = jax.random.split(jax.random.key(size), 3)
    x = jax.random.normal(keys[0], (2, *shape, 3))
    kernel = jax.random.normal(keys[1], (size, size, 3, 4))

    def xlas(x, kernel):
      return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )  # fmt: skip

    ours = lambda x, kernel: convolution.convolve_patches(x, kernel, stride)
    wanted = jax.eval_shape(xlas, x, kernel)
    cotangent = jax.random.normal(keys[2], wanted.shape)

    def outcome(convolve, x, kernel, cotangent):
      out, back = jax.vjp(convolve, x, kernel)
      return out, back(cotangent)

    run = jax.jit(outcome, static_argnums=0)
    got, our_back = run(ours, x, kernel, cotangent)
    wanted, back = run(xlas, x, kernel, cotangent)
    self.assertEqual(got.shape, wanted.shape)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    for a, b in zip(our_back, back, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-3)

  def test_a_program_takes_the_way_of_its_platform(self):
    """Not of the one that traces it, forward and backward."""
    struct = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)
    loss = lambda x, kernel: convolution.convolve(x, kernel, 2).sum()
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(
      struct(2, 7, 8, 3), struct(3, 3, 3, 4)
    )
    for platform in ('cpu', 'tpu'):
      text = traced.lower(lowering_platforms=(platform,)).as_text()
      self.assertEqual('stablehlo.convolution' in text, platform == 'tpu')


if __name__ == '__main__':
  absltest.main()
