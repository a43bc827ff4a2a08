"""Convolutions that are fast inside loops on CPUs too.

XLA's CPU backend compiles the gradient of a convolution inside a `scan` to a
plain loop, far slower than outside of one. There patches are laid side by side
and multiplied as a matrix; on accelerators the convolution is XLA's. Same
parameters, same results up to rounding.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class Conv(nn.Module):
  """A convolution of images `[B, H, W, C]`, padded to `ceil(H / stride)`.

  Parameters are those of `flax.linen.Conv`: `kernel` `[k, k, C, O]` and, if
  wanted, `bias`.
  """

  features: int
  size: int = 3
  stride: int = 1
  use_bias: bool = False
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

  @nn.compact
  def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B h w O']:
    shape = (self.size, self.size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    y = convolve(x, kernel.astype(x.dtype), self.stride)
    if self.use_bias:
      bias = self.param(
        'bias', nn.initializers.zeros, (self.features,), jnp.float32
      )
      y += bias.astype(x.dtype)
    return y


def convolve(
  x: Float[Array, 'B H W C'], kernel: Float[Array, 'k k C O'], stride: int = 1
) -> Float[Array, 'B h w O']:
  """Correlates with a kernel, padded with zeros so that only stride shrinks.

  Args:
    x: images or maps.
    kernel: to slide over them.
    stride: how far it goes at a time.
  """
  library = lambda x, kernel: jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), 'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )  # fmt: skip
  # Patches are made again for the gradient: they would be k^2 times the maps.
  patches = jax.checkpoint(functools.partial(convolve_patches, stride=stride))
  return jax.lax.platform_dependent(x, kernel, cpu=patches, default=library)


def convolve_patches(
  x: Float[Array, 'B H W C'], kernel: Float[Array, 'k k C O'], stride: int = 1
) -> Float[Array, 'B h w O']:
  """`convolve` as a product of matrices; patches take `k^2` times the maps."""
  side, _, channels, features = kernel.shape
  num, height, width = x.shape[:3]
  high, wide = -(-height // stride), -(-width // stride)
  pad = lambda out, given: divmod(max((out - 1) * stride + side - given, 0), 2)
  rows, columns = pad(high, height), pad(wide, width)
  x = jnp.pad(
    x, ((0, 0), (rows[0], sum(rows)), (columns[0], sum(columns)), (0, 0))
  )  # half on each side, an odd one at the end
  patches = [
    x[
      :,
      i : i + (high - 1) * stride + 1 : stride,
      j : j + (wide - 1) * stride + 1 : stride,
    ]
    for i in range(side)
    for j in range(side)
  ]
  flat = jnp.concatenate(patches, axis=-1).reshape(-1, side**2 * channels)
  y = flat @ kernel.reshape(-1, features)
  return y.reshape(num, high, wide, features)
