r"""A small U-Net that says what noise, or which way, there is in an image.

Pixels are folded by two into channels first, which quarters the cost; then
residual blocks on two resolutions (Ho et al., 2006.11239), each scaled and
shifted by time and class (Dhariwal and Nichol, 2105.05233), and attention at
the coarser one. With the default widths and one channel of 28 x 28 it has
102 000 parameters.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from ttc.models.vision.convolution import Conv


class UNet(nn.Module):
  """A denoiser `(images, time, labels) -> images`.

  Attributes:
    channels: of what it returns.
    num_classes: of labels; the label `num_classes` means none.
    widths: channels of the blocks at half and at a quarter of the resolution.
    groups: of a normalisation.
    embed_dim: of time and class.
    in_loops: whether gradients are fast inside loops on CPUs, a quarter of the
      time there, for 1.6 times that of a prediction; same parameters.
  """

  channels: int = 1
  num_classes: int = 10
  widths: tuple[int, int] = (16, 32)
  groups: int = 8
  embed_dim: int = 64
  in_loops: bool = False

  @nn.compact
  def __call__(
    self,
    images: Float[Array, 'B H W C'],
    time: Float[Array, ' B'],
    labels: Int[Array, ' B'],
  ) -> Float[Array, 'B H W O']:
    """Sides must be multiples of 4."""
    fine, coarse = self.widths
    condition = Condition(self.num_classes, self.embed_dim)(time, labels)
    conv = functools.partial(_conv, self.in_loops)
    block = lambda x, width: _Block(width, self.groups, self.in_loops)(
      x, condition
    )
    x = conv(fine)(fold(images, 2))
    before = [x := block(x, fine) for _ in range(2)]
    x = conv(coarse, stride=2)(x)
    x = block(x, coarse)
    x = _attend(nn.GroupNorm(self.groups)(x), coarse) + x
    x = block(x, coarse)
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    x = conv(fine)(x)
    for skip in reversed(before):
      x = block(jnp.concatenate([x, skip], axis=-1), fine)
    x = nn.silu(nn.GroupNorm(self.groups)(x))
    x = conv(4 * self.channels, kernel_init=nn.initializers.zeros)(x)
    return unfold(x, 2)


class Condition(nn.Module):
  """What is known of time and class, `[B, embed_dim]`."""

  num_classes: int
  embed_dim: int

  @nn.compact
  def __call__(
    self, time: Float[Array, ' B'], labels: Int[Array, ' B']
  ) -> Float[Array, 'B D']:
    """Times are in 0..1."""
    x = nn.Dense(self.embed_dim)(waves(time, self.embed_dim))
    label = nn.Embed(self.num_classes + 1, self.embed_dim)(labels)
    return nn.silu(nn.Dense(self.embed_dim)(nn.silu(x + label)))


def waves(time: Float[Array, ' B'], num: int) -> Float[Array, 'B num']:
  """Sines and cosines of times in 0..1, from one turn in 2 pi to 1000."""
  speeds = jnp.exp(
    jnp.linspace(0.0, jnp.log(1000.0), num // 2, dtype=jnp.float32)
  )
  angles = time[:, None] * speeds
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def fold(x: Float[Array, 'B H W C'], by: int) -> Float[Array, 'B h w c']:
  """Blocks of pixels become channels."""
  B, H, W, C = x.shape
  if H % by or W % by:
    raise ValueError(f'sides {H}, {W} must be multiples of {by}')
  x = x.reshape(B, H // by, by, W // by, by, C).swapaxes(2, 3)
  return x.reshape(B, H // by, W // by, by * by * C)


def unfold(x: Float[Array, 'B h w c'], by: int) -> Float[Array, 'B H W C']:
  """Channels become blocks of pixels again."""
  B, h, w, c = x.shape
  x = x.reshape(B, h, w, by, by, c // by**2).swapaxes(2, 3)
  return x.reshape(B, h * by, w * by, c // by**2)


class _Block(nn.Module):
  """Two convolutions, the second scaled and shifted by the condition."""

  width: int
  groups: int
  in_loops: bool

  @nn.compact
  def __call__(self, x, condition):
    given, conv = x, functools.partial(_conv, self.in_loops)
    x = conv(self.width)(nn.silu(nn.GroupNorm(self.groups)(x)))
    scale, shift = jnp.split(
      nn.Dense(2 * self.width)(condition)[:, None, None], 2, axis=-1
    )
    x = nn.silu(nn.GroupNorm(self.groups)(x) * (1 + scale) + shift)
    x = conv(self.width, kernel_init=nn.initializers.zeros)(x)
    if given.shape[-1] != self.width:
      given = nn.Dense(self.width)(given)
    return given + x


def _conv(in_loops, features, stride=1, kernel_init=None):
  """Of 3 x 3, XLA's or as a product of matrices."""
  init = kernel_init or nn.initializers.lecun_normal()
  if in_loops:
    return Conv(features, stride=stride, use_bias=True, kernel_init=init)
  return nn.Conv(features, (3, 3), stride, kernel_init=init)


def _attend(x, width):
  """Attention of one head over all places; inside a compact module."""
  tokens = x.reshape(x.shape[0], -1, x.shape[-1])
  q, k, v = jnp.split(nn.Dense(3 * width)(tokens), 3, axis=-1)
  weights = jax.nn.softmax(q @ k.swapaxes(1, 2) / width**0.5, axis=-1)
  out = nn.Dense(width, kernel_init=nn.initializers.zeros)(weights @ v)
  return out.reshape(x.shape)
