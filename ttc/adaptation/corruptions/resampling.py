"""Linear maps of an image: along its axes, and between its pixels.

Blurs, zooms and changes of size are separable: two matrices, one for rows and
one for columns, made once, when a program is traced. An image of `n` by `n`
pixels costs `4 n^3` FLOPs a channel.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import ndimage
from jaxtyping import Array, Float


def separable(
  rows: Float[np.ndarray, 'h H'],
  columns: Float[np.ndarray, 'w W'],
  image: Float[Array, 'H W C'],
) -> Float[Array, 'h w C']:
  """Applies a matrix to the rows and another to the columns."""
  return jnp.einsum(
    'hi,wj,ijc->hwc', rows, columns, image, precision=lax.Precision.HIGHEST
  )


def gaussian_matrix(
  size: int,
  sigma: float,
  radius: int | None = None,
  border: Literal['edge', 'symmetric', 'reflect'] = 'edge',
) -> Float[np.ndarray, 'n n']:
  """Gaussian blur along an axis.

  Args:
    size: `n` pixels.
    sigma: standard deviation in pixels; 0 gives the identity.
    radius: where the kernel ends, in pixels; None for four `sigma`.
    border: 'edge' repeats the last pixel, 'symmetric' mirrors about its edge,
      'reflect' about its middle.
  """
  if not sigma:
    return np.eye(size, dtype=np.float32)
  if radius is None:
    radius = int(4 * sigma + 0.5)
  offsets = np.arange(-radius, radius + 1)
  kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
  # Which pixel of the image each one of the padded axis is.
  source = np.pad(np.arange(size), radius, mode=border)
  matrix = np.zeros((size, size))
  for i in range(size):
    taps = source[i : i + 2 * radius + 1]
    np.add.at(matrix[i], taps, kernel / kernel.sum())
  return matrix.astype(np.float32)


def zoom_matrix(size: int, factor: float) -> Float[np.ndarray, 'n n']:
  """Enlarges the middle of an axis linearly; what is beyond it is cut off.

  The corners of the crop stay at the corners of what it becomes.
  """
  crop = int(np.ceil(size / factor))
  start = (size - crop) // 2
  enlarged = round(crop * factor)
  step = (crop - 1) / max(enlarged - 1, 1)
  first = (enlarged - size) // 2
  places = start + step * (first + np.arange(size))
  return _linear(places, size)


def upsampling_matrix(size: int, target: int) -> Float[np.ndarray, 'm n']:
  """Linear interpolation between the middles of pixels."""
  places = (np.arange(target) + 0.5) * size / target - 0.5
  return _linear(places, size)


def box_matrix(size: int, target: int) -> Float[np.ndarray, 'm n']:
  """Means over the pixels whose middles lie in a box, as Pillow's BOX.

  When an axis grows, a box is as wide as a pixel and holds the nearest one.
  """
  scale = size / target
  middles = (np.arange(target) + 0.5) * scale
  distances = np.arange(size) + 0.5 - middles[:, None]
  half = 0.5 * max(scale, 1.0)
  inside = (distances > -half) & (distances <= half)
  return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def interpolate(
  image: Float[Array, 'H W C'],
  places: Float[Array, 'h w 2'],
  border: Literal['constant', 'mirror', 'reflect'],
) -> Float[Array, 'h w C']:
  """Values between pixels, linear along both axes.

  Args:
    image: one.
    places: rows and columns.
    border: what lies beyond it: 'constant' black, 'mirror' about the middle of
      the last pixel, 'reflect' about its edge.
  """
  at = lambda plane: ndimage.map_coordinates(
    plane, [places[..., 0], places[..., 1]], order=1, mode=border
  )
  return jax.vmap(at, in_axes=-1, out_axes=-1)(image)


def pixels(image: Float[Array, 'H W C']) -> Float[Array, 'H W 2']:
  """Row and column of each pixel."""
  height, width, _ = image.shape
  return jnp.stack(jnp.indices((height, width), jnp.float32), axis=-1)


def _linear(places, size):
  """Interpolates at places between pixels; beyond the ends as at the ends."""
  places = np.clip(places, 0, size - 1)
  left = np.minimum(places.astype(int), max(size - 2, 0))
  share = places - left
  rows = np.arange(len(places))
  matrix = np.zeros((len(places), size))
  np.add.at(matrix, (rows, left), 1 - share)
  np.add.at(matrix, (rows, np.minimum(left + 1, size - 1)), share)
  return matrix.astype(np.float32)
