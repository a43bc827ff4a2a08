"""Residual networks, for small images and for large ones, with BN or GN.

Of small images (He et al., 2016, arXiv 1512.03385): ResNet-8 and its kin,
`6n + 2` layers in three stages. Wide ones (Zagoruyko and Komodakis, 2016,
arXiv 1605.07146): WRN-16-1, WRN-28-10, WRN-40-2, `6n + 4` layers, which
normalise before they convolve. Of large images: ResNet-50, four stages of
bottlenecks, the stride in the 3 x 3 convolution. Any of them takes group
normalisation (arXiv 1803.08494) in the place of batch normalisation.

Where a stride halves an image of even size, convolutions start at its second
pixel, not at its first as in torch: weights trained there do not fit as such.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

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
from ttc.models.vision.convolution import Conv
from ttc.models.vision.normalisation import BatchNorm

Norm = Literal['batch', 'group']
Kind = Literal['basic', 'wide', 'bottleneck']
# `(name, x) -> x`, with the moments of the call.
Normalise = Callable[[str, Array], Array]

_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNet(nn.Module):
  """See the functions of this module."""

  num_classes: int
  kind: Kind
  depths: Sequence[int]  # blocks of each stage
  widths: Sequence[int]
  has_large_images: bool
  norm: Norm
  num_groups: int
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
    def normalise(name, x):
      if self.norm == 'batch':
        return BatchNorm(name=name)(x, moments, mask)
      return nn.GroupNorm(self.num_groups, epsilon=1e-5, name=name)(x)

    x = standardised(images, self.mean, self.std)
    if self.has_large_images:
      x = _conv('conv', x, 64, 7, 2)
      x = nn.relu(normalise('norm', x))
      around: Any = ((1, 1), (1, 1))
      x = nn.max_pool(x, (3, 3), (2, 2), around)
    else:
      x = _conv('conv', x, 16, 3, 1)
      x = x if self.kind == 'wide' else nn.relu(normalise('norm', x))
    block = {'basic': _basic, 'wide': _wide, 'bottleneck': _bottleneck}
    for stage, (depth, width) in enumerate(
      zip(self.depths, self.widths, strict=True)
    ):
      given = x
      for i in range(depth):
        name = f'stage{stage}_block{i}'
        stride = 2 if stage and not i else 1
        x = block[self.kind](name, x, width, stride, normalise)
      x = between(stage, given, x) if between else x
    if self.kind == 'wide':
      x = nn.relu(normalise('last_norm', x))
    features = jnp.mean(x, (1, 2))
    return nn.Dense(self.num_classes, name='head')(features), features


def _conv(name: str, x: Array, width: int, size: int, stride: int) -> Array:
  """Without a bias, started for rectifiers."""
  init = nn.initializers.kaiming_normal()
  return Conv(width, size, stride, kernel_init=init, name=name)(x)


def _shortcut(
  name: str, x: Array, width: int, stride: int, normalise: Normalise
) -> Array:
  if x.shape[-1] == width and stride == 1:
    return x
  x = _conv(f'{name}_short_conv', x, width, 1, stride)
  return normalise(f'{name}_short_norm', x)


def _basic(
  name: str, x: Array, width: int, stride: int, normalise: Normalise
) -> Array:
  given = _shortcut(name, x, width, stride, normalise)
  x = _conv(f'{name}_conv0', x, width, 3, stride)
  x = nn.relu(normalise(f'{name}_norm0', x))
  x = normalise(f'{name}_norm1', _conv(f'{name}_conv1', x, width, 3, 1))
  return nn.relu(x + given)


def _wide(
  name: str, x: Array, width: int, stride: int, normalise: Normalise
) -> Array:
  """Normalises first; where shapes change, the shortcut starts from there."""
  given, x = x, nn.relu(normalise(f'{name}_norm0', x))
  if given.shape[-1] != width or stride != 1:
    given = _conv(f'{name}_short_conv', x, width, 1, stride)
  x = _conv(f'{name}_conv0', x, width, 3, stride)
  x = nn.relu(normalise(f'{name}_norm1', x))
  return _conv(f'{name}_conv1', x, width, 3, 1) + given


def _bottleneck(
  name: str, x: Array, width: int, stride: int, normalise: Normalise
) -> Array:
  given = _shortcut(name, x, 4 * width, stride, normalise)
  x = nn.relu(
    normalise(f'{name}_norm0', _conv(f'{name}_conv0', x, width, 1, 1))
  )
  x = _conv(f'{name}_conv1', x, width, 3, stride)
  x = nn.relu(normalise(f'{name}_norm1', x))
  x = normalise(f'{name}_norm2', _conv(f'{name}_conv2', x, 4 * width, 1, 1))
  return nn.relu(x + given)


def resnet(
  num_classes: int = 10,
  depth: int = 8,
  *,
  norm: Norm = 'batch',
  num_groups: int = 8,
  mean: Sequence[float] = _CIFAR_MEAN,
  std: Sequence[float] = _CIFAR_STD,
) -> Classifier:
  """ResNet of small images: 8, 14, 20, 26, ... layers.

  Args:
    num_classes: `K`.
    depth: `6n + 2`.
    norm: batch or group normalisation.
    num_groups: of the latter.
    mean: of the images' channels; as many as they have.
    std: their standard deviations.

  Raises:
    ValueError: for another depth.
  """
  if depth < 8 or depth % 6 != 2:
    raise ValueError(f'depth {depth}: 6n + 2, at least 8')
  depths = (depth // 6,) * 3
  return _classifier(
    ResNet(num_classes, 'basic', depths, (16, 32, 64), False, norm, num_groups,
           mean, std)
  )  # fmt: skip


def wide_resnet(
  num_classes: int = 10,
  depth: int = 16,
  width: int = 1,
  *,
  norm: Norm = 'batch',
  num_groups: int = 8,
  mean: Sequence[float] = (0.0, 0.0, 0.0),
  std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Classifier:
  """WRN-`depth`-`width`; RobustBench's networks take images as they are.

  Args:
    num_classes: `K`.
    depth: `6n + 4`.
    width: how much wider than 16, 32 and 64 channels.
    norm: batch or group normalisation.
    num_groups: of the latter.
    mean: of the images' channels; as many as they have.
    std: their standard deviations.

  Raises:
    ValueError: for another depth, and no width.
  """
  if depth < 10 or depth % 6 != 4 or width < 1:
    raise ValueError(
      f'WRN-{depth}-{width}: depth 6n + 4, at least 10, and width at least 1'
    )
  depths = (depth // 6,) * 3
  widths = (16 * width, 32 * width, 64 * width)
  return _classifier(
    ResNet(num_classes, 'wide', depths, widths, False, norm, num_groups, mean,
           std)
  )  # fmt: skip


def resnet50(
  num_classes: int = 1000,
  *,
  norm: Norm = 'batch',
  num_groups: int = 32,
  mean: Sequence[float] = _IMAGENET_MEAN,
  std: Sequence[float] = _IMAGENET_STD,
) -> Classifier:
  """ResNet-50 of images of 224 pixels, 25.6 million parameters.

  Args:
    num_classes: `K`.
    norm: batch or group normalisation.
    num_groups: of the latter.
    mean: of the images' channels; as many as they have.
    std: their standard deviations.
  """
  return _classifier(
    ResNet(num_classes, 'bottleneck', (3, 4, 6, 3), (64, 128, 256, 512), True,
           norm, num_groups, mean, std)
  )  # fmt: skip


def _classifier(module: ResNet) -> Classifier:
  """Of four stages or three; the last is the last."""
  last = len(module.depths) - 1
  parts = ('conv0', 'conv1', 'conv2', 'norm0', 'norm1', 'norm2', 'short_conv',
           'short_norm')  # fmt: skip
  names = [
    f'stage{last}_block{i}_{part}'
    for i in range(module.depths[-1])
    for part in parts
  ]
  return from_module(
    module,
    num_classes=module.num_classes,
    num_stages=len(module.depths),
    last_stage=(*names, 'last_norm'),
    normalises_batches=module.norm == 'batch',
  )
