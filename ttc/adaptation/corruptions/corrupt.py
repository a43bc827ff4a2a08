"""Corruptions of images by name and severity, on device.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", arXiv 1903.12261. Every image has a key of its
own, so it is corrupted the same way in any batch.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.adaptation.corruptions import (
  blur,
  digital,
  geometric,
  noise,
  tables,
  weather,
)
from ttc.adaptation.corruptions.photographs import frost_textures
from ttc.adaptation.corruptions.weather import FrostTextures

# `(key, image, *parameters) -> image`.
_RANDOM = {
  'dotted_line': geometric.dotted_line,
  'elastic_transform': digital.elastic_transform,
  'fog': weather.fog,
  'gaussian_noise': noise.gaussian_noise,
  'glass_blur': blur.glass_blur,
  'impulse_noise': noise.impulse_noise,
  'motion_blur': blur.motion_blur,
  'rotate': geometric.rotate,
  'shear': geometric.shear,
  'shot_noise': noise.shot_noise,
  'snow': weather.snow,
  'spatter': weather.spatter,
  'speckle_noise': noise.speckle_noise,
  'translate': geometric.translate,
  'zigzag': geometric.zigzag,
}
# `(image, *parameters) -> image`.
_FIXED = {
  'brightness': digital.brightness,
  'contrast': digital.contrast,
  'defocus_blur': blur.defocus_blur,
  'gaussian_blur': blur.gaussian_blur,
  'jpeg_compression': digital.jpeg_compression,
  'pixelate': digital.pixelate,
  'saturate': digital.saturate,
  'scale': geometric.scale,
  'stripe': geometric.stripe,
  'zoom_blur': blur.zoom_blur,
}


def corrupt(
  key: PRNGKeyArray,
  images: Float[Array, 'B H W C'],
  name: str,
  severity: int = 5,
  table: str = 'cifar',
  *,
  numbers: Int[Array, ' B'] | None = None,
  textures: FrostTextures | None = None,
) -> Float[Array, 'B H W C']:
  """Corrupts each image, and rounds down to multiples of 1 / 255.

  The released files are of bytes, cut off as here. An image depends on the key,
  its number and nothing else. May be compiled, with `name`, `severity` and
  `table` static.

  Args:
    key: random key, consumed.
    images: in [0, 1], grey or in colour.
    name: of the corruption, see `tables`.
    severity: 1 to 5.
    table: 'cifar', 'imagenet', 'small' or 'mnist_ours'.
    numbers: of the images; None for 0, 1, ...
    textures: for frost; None for those of the package imagecorruptions.

  Raises:
    ValueError: for a name, severity or table that is not known, or images that
      are neither grey nor in colour.
    ImportError: for frost without its photographs, naming the extra.
  """
  parameters = tables.parameters(name, severity, table)
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(f'images {images.shape}, expected [B, H, W, 1 or 3]')
  if name == 'frost':
    if textures is None:
      textures = frost_textures(stride=1 if table == 'imagenet' else 5)
    height, width = images.shape[1:3]
    if (textures.sizes.min(axis=0) < (height, width)).any():
      raise ValueError(
        f'frost on images of {height} x {width} pixels, larger than its '
        'photographs'
      )
    photographs = textures
    function = lambda key, image, *args: weather.frost(
      key, image, *args, textures=photographs
    )
  elif name in _FIXED:
    function = lambda key, image, *args: _FIXED[name](image, *args)
  else:
    function = _RANDOM[name]

  def one(number, image):
    return function(jax.random.fold_in(key, number), image, *parameters)

  if numbers is None:
    numbers = jnp.arange(len(images), dtype=jnp.int32)
  found = jax.vmap(one)(numbers, jnp.asarray(images, jnp.float32))
  return jnp.floor(255 * jnp.clip(found, 0, 1) + 1e-3) / 255
