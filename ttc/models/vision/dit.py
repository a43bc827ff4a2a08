r"""A diffusion transformer: patches that attend, told of noise by norms.

Peebles and Xie, 2212.09748, with adaLN-zero: time and class scale and shift
what each block reads and gate what it adds, and all gates begin at 0. With the
defaults and one channel of 28 x 28 it has 247 000 parameters.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from ttc.models.vision.unet import Condition, fold, unfold


class DiT(nn.Module):
  """A denoiser `(images, time, labels) -> images`.

  Attributes:
    channels: of what it returns; it may read more, such as frames before.
    num_classes: of labels; the label `num_classes` means none.
    patch: side of a patch, in pixels.
    width: of a token.
    depth: blocks.
    num_heads: of each.
  """

  channels: int = 1
  num_classes: int = 10
  patch: int = 4
  width: int = 64
  depth: int = 3
  num_heads: int = 4

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'B H W C'],
    time: Float[Array, ' B'],
    labels: Int[Array, ' B'],
  ) -> Float[Array, 'B H W O']:
    """Sides must be multiples of the patch."""
    condition = Condition(self.num_classes, self.width)(time, labels)[:, None]
    patches = fold(images, self.patch)
    B, h, w, _ = patches.shape
    x = nn.Dense(self.width)(patches).reshape(B, h * w, self.width)
    x = x + self.param(
      'place', nn.initializers.normal(0.02), (h * w, self.width)
    )
    for _ in range(self.depth):
      shift, scale, gate = self._modulation(condition, 3)
      x = x + gate * self._attend(_norm(x) * (1 + scale) + shift)
      shift, scale, gate = self._modulation(condition, 3)
      hidden = nn.Dense(4 * self.width)(_norm(x) * (1 + scale) + shift)
      x = x + gate * nn.Dense(self.width)(nn.gelu(hidden))
    shift, scale = self._modulation(condition, 2)
    x = nn.Dense(
      self.channels * self.patch**2, kernel_init=nn.initializers.zeros
    )(_norm(x) * (1 + scale) + shift)
    return unfold(x.reshape(B, h, w, -1), self.patch)

  def _modulation(self, condition, num):
    zeros = nn.initializers.zeros
    values = nn.Dense(num * self.width, kernel_init=zeros)(condition)
    return jnp.split(values, num, axis=-1)

  def _attend(self, x):
    B, T, D = x.shape
    heads = nn.Dense(3 * D)(x).reshape(B, T, 3, self.num_heads, -1)
    q, k, v = (heads[:, :, i] for i in range(3))
    scores = jnp.einsum('bqhd,bkhd->bhqk', q, k) / q.shape[-1] ** 0.5
    mixed = jnp.einsum('bhqk,bkhd->bqhd', jax.nn.softmax(scores), v)
    return nn.Dense(D)(mixed.reshape(B, T, D))


def _norm(x):
  """Layer normalisation without parameters."""
  mean = jnp.mean(x, axis=-1, keepdims=True)
  variance = jnp.var(x, axis=-1, keepdims=True)
  return (x - mean) * jax.lax.rsqrt(variance + 1e-6)
