"""The layers that a transformer is made of: linear maps and norms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.models import int8
from ttc.models.low_rank import Kernel, LowRankSum


class RMSNorm(nn.Module):
  """`x / rms(x) * scale` (Zhang and Sennrich, 1910.07467), in float32."""

  eps: float
  plus_one: bool = False  # the scale is stored less one

  @nn.compact
  def __call__(self, x: Float[Array, '*A D']) -> Float[Array, '*A D']:
    init = nn.initializers.zeros if self.plus_one else nn.initializers.ones
    scale = self.param('scale', init, (x.shape[-1],), x.dtype)
    return rms_norm(x, scale, self.eps, self.plus_one)


class Linear(nn.Module):
  """`W x (+ b)` with the kernel `W` stored `[out, in]`."""

  features: int
  use_bias: bool = False
  many_rows: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, '*A I']) -> Float[Array, '*A O']:
    init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', 1, 0)
    shape = (self.features, x.shape[-1])
    kernel = self.param('kernel', init, shape, x.dtype)
    y = matmul(kernel, x, many_rows=self.many_rows)
    if self.use_bias:
      y += self.param('bias', nn.initializers.zeros, shape[:1], x.dtype)
    return y


ACTIVATIONS = {
  'silu': nn.silu,
  'gelu_tanh': functools.partial(nn.gelu, approximate=True),
}


def gated_mlp(
  x: Float[Array, '*A D'],
  mlp_dim: int,
  many_rows: bool,
  activation: str = 'silu',
) -> Float[Array, '*A D']:
  """`down(act(gate(x)) * up(x))` (Shazeer, 2002.05202), in module scope."""
  gate = Linear(mlp_dim, many_rows=many_rows, name='gate')(x)
  up = Linear(mlp_dim, many_rows=many_rows, name='up')(x)
  down = Linear(x.shape[-1], many_rows=many_rows, name='down')
  return down(ACTIVATIONS[activation](gate) * up)


def matmul(
  kernel: Kernel,
  x: Float[Array, '*A I'],
  dtype=None,
  *,
  many_rows: bool = False,
) -> Float[Array, '*A O']:
  """`x W^T`, accumulated in float32; of a kernel in int8 see `int8.py`.

  With the kernel on the left XLA's CPU product runs up to 1.7 times faster for
  the few rows of a decoding step than with it on the right, and for many rows
  up to 1.6 times slower, since what it gives is turned around.
  """
  if isinstance(kernel, LowRankSum):
    y = matmul(kernel.kernel, x, dtype, many_rows=many_rows)
    return y + (kernel.scale * (x @ kernel.down @ kernel.up)).astype(y.dtype)
  dtype = dtype or x.dtype
  if isinstance(kernel, int8.Int8Kernel):
    return int8.matmul(kernel, x, dtype)
  if kernel.dtype == jnp.bfloat16:
    return jax.lax.platform_dependent(
      kernel,
      x,
      cpu=functools.partial(_matmul_bfloat16_cpu, dtype=dtype),
      default=functools.partial(_matmul, dtype=dtype, many_rows=many_rows),
    )
  return _matmul(kernel, x, dtype, many_rows)


def _matmul(kernel, x, dtype, many_rows):
  axis = x.ndim - 1
  if many_rows:
    return jax.lax.dot_general(
      x, kernel, (((axis,), (1,)), ((), ())), preferred_element_type=dtype
    )
  y = jax.lax.dot_general(
    kernel, x, (((1,), (axis,)), ((), ())), preferred_element_type=dtype
  )
  return jnp.moveaxis(y, 0, -1)


def _matmul_bfloat16_cpu(kernel, x, dtype):
  """The form of which XLA's CPU product takes bfloat16 as it is.

  Of one vector, or for bfloat16 that comes out, it makes the kernel float32
  first: all kernels once before a loop that decodes, which then reads twice the
  bytes.
  """
  if x.size > x.shape[-1]:
    return int8.rows_times(x, kernel, jnp.float32).astype(dtype)
  rows = jnp.stack([x, jnp.zeros_like(x)])
  return int8.rows_times(rows, kernel, jnp.float32)[0].astype(dtype)


def rms_norm(
  x: Float[Array, '*A D'],
  scale: Float[Array, ' D'],
  eps: float,
  plus_one: bool = False,
) -> Float[Array, '*A D']:
  """See `RMSNorm`."""
  wide = x.astype(jnp.float32)
  variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
  normed = wide * jax.lax.rsqrt(variance + eps)
  scale = scale.astype(jnp.float32)
  return (normed * (1.0 + scale if plus_one else scale)).astype(x.dtype)
