"""Blurs of one image, in [0, 1]; those with a key consume it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.adaptation.corruptions import resampling

Image = Float[Array, 'H W C']


def gaussian_blur(image: Image, sigma: float) -> Image:
  """A Gaussian of `sigma` pixels; the border repeats."""
  blur = functools.partial(resampling.gaussian_matrix, sigma=sigma)
  height, width, _ = image.shape
  return jnp.clip(resampling.separable(blur(height), blur(width), image), 0, 1)


def defocus_blur(image: Image, radius: float, alias: float) -> Image:
  """A disk, itself blurred by `alias` pixels; the border is mirrored."""
  kernel = _disk(radius, alias)
  reach = len(kernel) // 2
  padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), 'reflect')
  blurred = lax.conv_general_dilated(
    padded.transpose(2, 0, 1)[:, None],
    jnp.asarray(kernel)[None, None],
    (1, 1),
    'VALID',
    precision=lax.Precision.HIGHEST,
  )
  return jnp.clip(blurred[:, 0].transpose(1, 2, 0), 0, 1)


def glass_blur(
  key: PRNGKeyArray, image: Image, sigma: float, reach: int, rounds: int
) -> Image:
  """Blurs, lets pixels take the value of a neighbour, and blurs again.

  The released files were made by a swap that, for arrays of colours, copies:
  a pixel takes its neighbour's colour and the neighbour keeps it. So here.
  Costs one step of a loop for each pixel and round.

  Args:
    key: random key.
    image: one.
    sigma: of both blurs, in pixels.
    reach: neighbours are at -reach to reach - 1 pixels, along both axes.
    rounds: over the image, from its end to its start.
  """
  height, width, channels = image.shape
  rows = jnp.arange(height - reach, reach, -1, dtype=jnp.int32)
  columns = jnp.arange(width - reach, reach, -1, dtype=jnp.int32)
  total = len(rows) * len(columns)
  moves = jax.random.randint(key, (rounds * total, 2), -reach, reach, jnp.int32)

  def copy(step, source):
    at = step % total
    row, column = rows[at // len(columns)], columns[at % len(columns)]
    taken = source[row + moves[step, 0], column + moves[step, 1]]
    return source.at[row, column].set(taken)

  # Which pixel each one shows: one loop for all channels.
  source = jnp.arange(height * width, dtype=jnp.int32).reshape(height, width)
  source = lax.fori_loop(0, rounds * total, copy, source)
  blurred = jnp.floor(255 * gaussian_blur(image, sigma) + 1e-3) / 255
  shuffled = blurred.reshape(-1, channels)[source]
  return gaussian_blur(shuffled, sigma)


def motion_blur(
  key: PRNGKeyArray, image: Image, radius: int, sigma: float
) -> Image:
  """Moves at an angle drawn from -45 to 45 degrees."""
  angle = jax.random.uniform(key, (), jnp.float32, -45.0, 45.0)
  return jnp.clip(line_blur(image, radius, sigma, angle), 0, 1)


def line_blur(
  image: Image, radius: int, sigma: float, degrees: Float[Array, '']
) -> Image:
  """Half a Gaussian along a line from each pixel; the border repeats.

  Args:
    image: one.
    radius: the line is `2 radius + 1` pixels long.
    sigma: of the Gaussian, in pixels.
    degrees: of the line, from the direction of the columns.
  """
  height, width, _ = image.shape
  steps = np.arange(2 * radius + 1, dtype=np.float32)
  kernel = np.exp(-0.5 * (steps / sigma) ** 2)
  angle = jnp.deg2rad(degrees)
  down = jnp.ceil(steps * jnp.sin(angle) - 0.5).astype(jnp.int32)
  right = jnp.ceil(steps * jnp.cos(angle) - 0.5).astype(jnp.int32)
  rows, columns = jnp.arange(height), jnp.arange(width)

  def add(total, step):
    weight, down, right = step
    moved = image[jnp.clip(rows + down, 0, height - 1)]
    moved = moved[:, jnp.clip(columns + right, 0, width - 1)]
    return total + weight * moved, None

  weights = jnp.asarray(kernel / kernel.sum(), jnp.float32)
  total, _ = lax.scan(add, jnp.zeros_like(image), (weights, down, right))
  return total


def zoom_blur(image: Image, num_factors: int, step: float) -> Image:
  """The mean of an image and of enlargements by 1, 1 + step, and so on."""
  height, width, _ = image.shape
  total = image
  for i in range(num_factors):
    factor = 1 + i * step
    rows = resampling.zoom_matrix(height, factor)
    columns = resampling.zoom_matrix(width, factor)
    total = total + resampling.separable(rows, columns, image)
  return jnp.clip(total / (num_factors + 1), 0, 1)


def _disk(radius, alias):
  """A disk on a grid, blurred at its rim, without the zeros around it."""
  reach, rim = (8, 1) if radius <= 8 else (int(radius), 2)
  grid = np.arange(-reach, reach + 1)
  disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float64)
  soften = resampling.gaussian_matrix(len(grid), alias, rim, 'reflect')
  kernel = soften @ (disk / disk.sum()) @ soften.T
  used = np.flatnonzero(kernel.any(axis=1))
  used = slice(used[0], used[-1] + 1)
  return kernel[used, used].astype(np.float32)
