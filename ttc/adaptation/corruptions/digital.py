"""What cameras, screens and files do to one image, in [0, 1].

The one with a key consumes it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.adaptation.corruptions import resampling

Image = Float[Array, 'H W C']

# Quantisation of brightness and of colour at quality 50 (ITU-T T.81, annex K).
_BRIGHTNESS = np.array([
  [16, 11, 10, 16, 24, 40, 51, 61],
  [12, 12, 14, 19, 26, 58, 60, 55],
  [14, 13, 16, 24, 40, 57, 69, 56],
  [14, 17, 22, 29, 51, 87, 80, 62],
  [18, 22, 37, 56, 68, 109, 103, 77],
  [24, 35, 55, 64, 81, 104, 113, 92],
  [49, 64, 78, 87, 103, 121, 120, 101],
  [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
_COLOUR = np.full((8, 8), 99)
_COLOUR[:4, :4] = [
  [17, 18, 24, 47],
  [18, 21, 26, 66],
  [24, 26, 56, 99],
  [47, 66, 99, 99],
]  # fmt: skip
# To brightness and two differences of colour, and back (JFIF).
_TO_YCC = np.array([
  [0.299, 0.587, 0.114],
  [-0.168736, -0.331264, 0.5],
  [0.5, -0.418688, -0.081312],
], np.float32)  # fmt: skip
_FROM_YCC = np.array([
  [1, 0, 1.402],
  [1, -0.344136, -0.714136],
  [1, 1.772, 0],
], np.float32)  # fmt: skip


def brightness(image: Image, amount: float) -> Image:
  """Adds to the value of hue, saturation and value; black becomes grey."""
  value = image.max(axis=-1, keepdims=True)
  brighter = jnp.clip(value + amount, 0, 1)
  return jnp.where(
    value > 0, image * brighter / jnp.where(value > 0, value, 1), brighter
  )


def contrast(image: Image, factor: float) -> Image:
  """Shrinks the distance to the mean of each channel."""
  mean = image.mean(axis=(0, 1), keepdims=True)
  return jnp.clip((image - mean) * factor + mean, 0, 1)


def saturate(image: Image, factor: float, amount: float) -> Image:
  """Multiplies the saturation and adds to it; grey images stay as they are.

  A grey pixel of a coloured image has the hue 0, so it turns red.
  """
  if image.shape[-1] == 1:
    return image
  value = image.max(axis=-1, keepdims=True)
  chroma = value - image.min(axis=-1, keepdims=True)
  grey = chroma == 0
  saturation = chroma / jnp.where(value > 0, value, 1)
  wanted = jnp.clip(saturation * factor + amount, 0, 1)
  red = jnp.array([0.0, 1.0, 1.0], jnp.float32)
  distance = jnp.where(grey, red, (value - image) / jnp.where(grey, 1, chroma))
  return jnp.clip(value * (1 - wanted * distance), 0, 1)


def pixelate(image: Image, share: float) -> Image:
  """Shrinks the sides to a share of them, and enlarges the pixels again."""

  def matrix(size):
    small = max(int(size * share), 1)
    shrink = resampling.box_matrix(size, small)
    return resampling.box_matrix(small, size) @ shrink

  height, width, _ = image.shape
  pixels = resampling.separable(matrix(height), matrix(width), image)
  return _rounded(pixels)


def jpeg_compression(image: Image, quality: int) -> Image:
  """What JPEG loses; its entropy coding loses nothing and is left out.

  Cosine transforms of blocks of 8 by 8, rounded to the multiples that a quality
  allows. Of colours only every second row and column is kept.
  """
  scale = 5000 / quality if quality < 50 else 200 - 2 * quality
  tables = [
    np.clip((table * scale + 50) // 100, 1, 255).astype(np.float32)
    for table in (_BRIGHTNESS, _COLOUR)
  ]
  height, width, channels = image.shape
  levels = jnp.round(255 * image)
  if channels == 1:
    grey = _through_blocks(levels[..., 0] - 128, tables[0]) + 128
    return _rounded(grey[..., None] / 255)
  ycc = levels @ _TO_YCC.T - jnp.array([128.0, 0, 0], jnp.float32)
  ycc = jnp.round(ycc)
  planes = [_through_blocks(ycc[..., 0], tables[0]) + 128]
  for i in (1, 2):
    small = _halved(ycc[..., i])
    back = _through_blocks(small, tables[1])[..., None]
    rows, columns = (
      resampling.upsampling_matrix(n, 2 * n)[:size]
      for n, size in zip(small.shape, (height, width), strict=True)
    )
    planes.append(resampling.separable(rows, columns, back)[..., 0])
  return _rounded(jnp.stack(planes, axis=-1) @ _FROM_YCC.T / 255)


def elastic_transform(
  key: PRNGKeyArray, image: Image, alpha: float, sigma: float, affine: float
) -> Image:
  """Moves three corners of a square, then each pixel by a smooth field.

  Args:
    key: random key.
    image: one.
    alpha: times the smoothed uniform field, in sides of the image.
    sigma: of the smoothing, in sides.
    affine: the corners move by at most this, in sides, along each axis.
  """
  height, width, _ = image.shape
  side = height
  affine_key, field_key = jax.random.split(key)
  middle = np.array([height // 2, width // 2], np.float32)
  reach = min(height, width) // 3
  corners = middle + reach * np.array([[1, 1], [-1, 1], [-1, -1]], np.float32)
  moved = corners + affine * side * jax.random.uniform(
    affine_key, (3, 2), jnp.float32, -1.0, 1.0
  )
  # The linear map that takes the moved corners back to where they were.
  (a, c), (b, d) = moved[1] - moved[0], moved[2] - moved[0]
  inverse = jnp.array([[d, -b], [-c, a]]) / (a * d - b * c)
  back = (corners[1:] - corners[0]).T @ inverse
  grid = resampling.pixels(image)
  places = (grid - moved[0]) @ back.T + corners[0]
  image = resampling.interpolate(image, places, 'mirror')
  field = jax.random.uniform(
    field_key, (height, width, 2), jnp.float32, -1.0, 1.0
  )
  rows, columns = (
    resampling.gaussian_matrix(
      n, sigma * side, int(3 * sigma * side + 0.5), 'symmetric'
    )
    for n in (height, width)
  )
  field = alpha * side * resampling.separable(rows, columns, field)
  return jnp.clip(resampling.interpolate(image, grid + field, 'reflect'), 0, 1)


def _rounded(image):
  """To multiples of 1 / 255."""
  return jnp.round(255 * jnp.clip(image, 0, 1)) / 255


def _halved(plane):
  """Means of two by two pixels; the border repeats."""
  height, width = plane.shape
  plane = jnp.pad(plane, ((0, height % 2), (0, width % 2)), 'edge')
  blocks = plane.reshape(plane.shape[0] // 2, 2, plane.shape[1] // 2, 2)
  return blocks.mean(axis=(1, 3))


def _through_blocks(plane, table):
  """Rounds the cosine transform of each block to multiples of the table."""
  height, width = plane.shape
  down, right = -height % 8, -width % 8
  padded = jnp.pad(plane, ((0, down), (0, right)), 'edge')
  blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8)
  angles = np.pi * np.outer(np.arange(8), 2 * np.arange(8) + 1) / 16
  waves = np.cos(angles) / 2
  waves[0] /= np.sqrt(2)
  waves = jnp.asarray(waves, jnp.float32)
  transform = lambda blocks, waves: jnp.einsum(
    'ui,vj,aibj->aubv', waves, waves, blocks, precision=lax.Precision.HIGHEST
  )
  table = table[:, None]
  kept = jnp.round(transform(blocks, waves) / table) * table
  back = jnp.round(transform(kept, waves.T))
  back = jnp.clip(back, -128, 127).reshape(padded.shape)
  return back[:height, :width]
