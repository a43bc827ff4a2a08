"""A small convolutional network with batch normalisation everywhere.

Five convolutions of 3 x 3, each normalised and rectified, added to what came in
where the shapes agree; then a mean over space and a dense layer: 70 000
parameters at the default widths and 5.5 million multiplications for an image of
28 x 28.
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
from ttc.models.vision.convolution import Conv
from ttc.models.vision.normalisation import BatchNorm


class ConvNet(nn.Module):
  """See `convnet`."""

  num_classes: int
  widths: Sequence[int]
  strides: Sequence[int]
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
    x = standardised(images, self.mean, self.std)
    for i, (width, stride) in enumerate(
      zip(self.widths, self.strides, strict=True)
    ):
      given = x
      x = Conv(width, 3, stride, name=f'conv{i}')(x)
      x = nn.relu(BatchNorm(name=f'norm{i}')(x, moments, mask))
      x = x + given if x.shape == given.shape else x
      x = between(i, given, x) if between else x
    features = jnp.mean(x, (1, 2))
    return nn.Dense(self.num_classes, name='head')(features), features


def convnet(
  num_classes: int = 10,
  widths: Sequence[int] = (16, 32, 32, 64, 64),
  strides: Sequence[int] = (1, 2, 1, 2, 1),
  mean: Sequence[float] = (0.286,),
  std: Sequence[float] = (0.353,),
) -> Classifier:
  """The small network of this module.

  Args:
    num_classes: `K`.
    widths: channels of each convolution.
    strides: of each.
    mean: of the images' channels; the default is Fashion-MNIST's.
    std: their standard deviations.

  Raises:
    ValueError: if widths and strides differ in number.
  """
  if len(widths) != len(strides):
    raise ValueError(f'{len(strides)} strides for {len(widths)} widths')
  last = len(widths) - 1
  return from_module(
    ConvNet(num_classes, tuple(widths), tuple(strides), mean, std),
    num_classes=num_classes,
    num_stages=len(widths),
    last_stage=(f'conv{last}', f'norm{last}'),
    normalises_batches=True,
  )
