"""A vision transformer (Dosovitskiy et al., 2021, arXiv 2010.11929).

Patches become tokens, a class token reads them, blocks normalise first. Layers
are normalised for each token alone, so that methods that learn scale and shift
work on batches of one. The default, four blocks of width 64 on patches of four
pixels, has 205 000 parameters on images of 28 x 28.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool

from ttc.models.vision.classifier import (
  Between,
  Classifier,
  Moments,
  from_module,
  standardised,
)


class Block(nn.Module):
  """Attention, then two dense layers."""

  width: int
  num_heads: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    seen = nn.LayerNorm(epsilon=1e-6, name='norm0')(x)
    x = x + nn.MultiHeadDotProductAttention(
      self.num_heads, qkv_features=self.width, name='attention'
    )(seen)
    seen = nn.LayerNorm(epsilon=1e-6, name='norm1')(x)
    hidden = nn.gelu(
      nn.Dense(4 * self.width, name='dense0')(seen), approximate=False
    )
    return x + nn.Dense(self.width, name='dense1')(hidden)


class Vit(nn.Module):
  """See `vit`."""

  num_classes: int
  patch: int
  width: int
  depth: int
  num_heads: int
  mean: Sequence[float]
  std: Sequence[float]

  @nn.compact
  def __call__(
    self,
    images: Array,
    moments: Moments = 'source',
    mask: Bool[Array, ' B'] | None = None,
    between: Between | None = None,
  ) -> tuple[Array, Array]:
    del moments, mask
    x = standardised(images, self.mean, self.std)
    size = (self.patch, self.patch)
    x = nn.Conv(self.width, size, size, 'VALID', name='patches')(x)
    x = x.reshape(x.shape[0], -1, self.width)
    start = nn.initializers.normal(0.02)
    first = self.param('class', start, (1, 1, self.width), jnp.float32)
    first = jnp.broadcast_to(first, (x.shape[0], 1, self.width))
    x = jnp.concatenate([first.astype(x.dtype), x], axis=1)
    places = self.param('places', start, (1, *x.shape[1:]), jnp.float32)
    x = x + places
    for i in range(self.depth):
      given = x
      x = Block(self.width, self.num_heads, name=f'block{i}')(x)
      x = between(i, given, x) if between else x
    features = nn.LayerNorm(epsilon=1e-6, name='last_norm')(x)[:, 0]
    return nn.Dense(self.num_classes, name='head')(features), features


def vit(
  num_classes: int = 10,
  *,
  patch: int = 4,
  width: int = 64,
  depth: int = 4,
  num_heads: int = 4,
  mean: Sequence[float] = (0.286,),
  std: Sequence[float] = (0.353,),
) -> Classifier:
  """A small transformer; images keep the size that `init` saw.

  Args:
    num_classes: `K`.
    patch: pixels of a patch's side; what is left over at the edge is not seen.
    width: of a token.
    depth: blocks, each a stage; the last quarter of them is the last stage.
    num_heads: of attention; divides the width.
    mean: of the images' channels; the default is Fashion-MNIST's.
    std: their standard deviations.

  Raises:
    ValueError: if heads do not divide the width, and without a block.
  """
  if width % num_heads or depth < 1:
    raise ValueError(
      f'{num_heads} heads of width {width} in {depth} blocks: heads divide the '
      'width, at least one block'
    )
  last = range(depth - max(depth // 4, 1), depth)
  return from_module(
    Vit(num_classes, patch, width, depth, num_heads, mean, std),
    num_classes=num_classes,
    num_stages=depth,
    last_stage=(*(f'block{i}' for i in last), 'last_norm'),
    normalises_batches=False,
  )
