r"""AugMix views (Hendrycks et al., 2020, arXiv 1912.02781), as MEMO draws them.

An image is cropped and mirrored at random; three chains of one to three
operations start from there, and the view is :math:`m x_0 + (1 - m) \sum_i w_i
c_i(x_0)` with :math:`w \sim Dir(1, 1, 1)` and :math:`m \sim Beta(1, 1)`. All
operations are those of the Python Imaging Library at the smallest severity, in
whole numbers from 0 to 255. At that severity posterisation always keeps four
bits, and images of up to 30 pixels are never shifted.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.adaptation.views import View

_CHAINS, _LONGEST = 3, 3


def augmix_view(*, padding: int = 4) -> View:
  """Views that differ for each row.

  Args:
    padding: black pixels around an image before it is cropped again.
  """

  def view(key, images):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))
    return jax.vmap(lambda k, x: _mix(k, x, padding))(keys, images)

  return view


def _mix(
  key: Array, image: Float[Array, 'H W C'], padding: int
) -> Float[Array, 'H W C']:
  """One view of one image."""
  crop_key, mirror_key, weight_key, chain_key = jax.random.split(key, 4)
  pixels = jnp.round(jnp.clip(image, 0, 1) * 255)
  padded = jnp.pad(pixels, [(padding, padding)] * 2 + [(0, 0)])
  corner = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1)
  pixels = jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)
  mirrored = jax.random.bernoulli(mirror_key)
  pixels = jnp.where(mirrored, pixels[:, ::-1], pixels)

  weight_key, mix_key = jax.random.split(weight_key)
  drawn = jax.random.exponential(weight_key, (_CHAINS,), image.dtype)
  weights = drawn / jnp.sum(drawn)
  share = jax.random.uniform(mix_key, (), image.dtype)
  keys = jax.random.split(chain_key, _CHAINS)
  chains = jax.vmap(_chain, (0, None))(keys, pixels)
  mixed = jnp.tensordot(weights, chains, 1)
  return (share * pixels + (1 - share) * mixed) / 255


def _chain(key: Array, pixels: Array) -> Array:
  """One to three operations, drawn with replacement."""
  length_key, which_key, level_key, sign_key = jax.random.split(key, 4)
  length = jax.random.randint(length_key, (), 1, _LONGEST + 1)
  which = jax.random.randint(which_key, (_LONGEST,), 0, len(OPERATIONS))
  levels = jax.random.uniform(
    level_key, (_LONGEST,), pixels.dtype, minval=0.1, maxval=1.0
  )
  signs = jax.random.rademacher(sign_key, (_LONGEST,), pixels.dtype)

  def step(pixels, i):
    changed = jax.lax.switch(which[i], OPERATIONS, pixels, levels[i], signs[i])
    return jnp.where(i < length, changed, pixels), None

  return jax.lax.scan(step, pixels, jnp.arange(_LONGEST))[0]


def autocontrast(pixels: Array, level: Array, sign: Array) -> Array:
  """Stretches each channel to 0 and 255."""
  del level, sign
  low = jnp.min(pixels, (0, 1))
  span = jnp.max(pixels, (0, 1)) - low
  scale = 255 / jnp.where(span > 0, span, 1)
  # A hair up, for what should be whole numbers.
  stretched = jnp.floor((pixels - low) * scale + 1e-3)
  return jnp.where(span > 0, jnp.clip(stretched, 0, 255), pixels)


def equalize(pixels: Array, level: Array, sign: Array) -> Array:
  """Makes each channel's histogram flat."""
  del level, sign

  def channel(plane):
    values = plane.astype(jnp.int32)
    counts = jnp.zeros(256, jnp.int32).at[values.reshape(-1)].add(1)
    last = counts[jnp.max(values)]
    step = (values.size - last) // 255
    before = jnp.cumsum(counts, dtype=jnp.int32) - counts
    table = (step // 2 + before) // jnp.maximum(step, 1)
    flat = jnp.clip(table[values], 0, 255).astype(plane.dtype)
    return jnp.where(step > 0, flat, plane)

  return jax.vmap(channel, 2, 2)(pixels)


def posterize(pixels: Array, level: Array, sign: Array) -> Array:
  """Keeps four bits: the severity never takes more."""
  del level, sign
  return jnp.floor(pixels / 16) * 16


def rotate(pixels: Array, level: Array, sign: Array) -> Array:
  """Turns by 0, 1 or 2 degrees."""
  angle = jnp.deg2rad(sign * jnp.floor(3 * level))
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  height, width = pixels.shape[:2]
  y, x = height / 2, width / 2
  return _transform(
    pixels,
    (cos, -sin, x - cos * x + sin * y),
    (sin, cos, y - sin * x - cos * y),
  )


def solarize(pixels: Array, level: Array, sign: Array) -> Array:
  """Inverts what is bright."""
  del sign
  threshold = 256 - jnp.floor(25.6 * level)
  return jnp.where(pixels < threshold, pixels, 255 - pixels)


def shear_x(pixels: Array, level: Array, sign: Array) -> Array:
  """Shifts rows by up to .03 of their height."""
  return _transform(pixels, (1, 0.03 * sign * level, 0), (0, 1, 0))


def shear_y(pixels: Array, level: Array, sign: Array) -> Array:
  """Shifts columns likewise."""
  return _transform(pixels, (1, 0, 0), (0.03 * sign * level, 1, 0))


def translate_x(pixels: Array, level: Array, sign: Array) -> Array:
  """Shifts to a side by a thirtieth of the width, whole pixels."""
  shift = sign * jnp.floor(level * pixels.shape[1] / 30)
  return _transform(pixels, (1, 0, shift), (0, 1, 0))


def translate_y(pixels: Array, level: Array, sign: Array) -> Array:
  """Shifts up or down likewise."""
  shift = sign * jnp.floor(level * pixels.shape[0] / 30)
  return _transform(pixels, (1, 0, 0), (0, 1, shift))


# `(pixels [H, W, C], level in [.1, 1], sign) -> pixels`.
OPERATIONS = (
  autocontrast,
  equalize,
  posterize,
  rotate,
  solarize,
  shear_x,
  shear_y,
  translate_x,
  translate_y,
)


def _transform(pixels: Array, across: tuple, down: tuple) -> Array:
  """Bilinear, rounded down; black outside, edges repeated within half a pixel.

  Args:
    pixels: `[H, W, C]`.
    across: `(a, b, c)`: a pixel at `(x, y)` comes from `a x + b y + c`.
    down: the same of its row.
  """
  height, width = pixels.shape[:2]
  y, x = jnp.meshgrid(
    jnp.arange(height, dtype=pixels.dtype) + 0.5,
    jnp.arange(width, dtype=pixels.dtype) + 0.5,
    indexing='ij',
  )
  column = across[0] * x + across[1] * y + across[2]
  row = down[0] * x + down[1] * y + down[2]
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  column, row = column - 0.5, row - 0.5
  left, top = jnp.floor(column), jnp.floor(row)
  right_share = (column - left)[..., None]
  low_share = (row - top)[..., None]

  def at(i, j):
    i = jnp.clip(i, 0, height - 1).astype(jnp.int32)
    j = jnp.clip(j, 0, width - 1).astype(jnp.int32)
    return pixels[i, j]

  upper = at(top, left) * (1 - right_share) + at(top, left + 1) * right_share
  lower = at(top + 1, left) * (1 - right_share) + (
    at(top + 1, left + 1) * right_share
  )
  mixed = upper * (1 - low_share) + lower * low_share
  return jnp.where(inside[..., None], jnp.floor(mixed + 1e-3), 0)


# As MEMO draws them for images of 32 pixels.
AUGMIX_VIEW = augmix_view()
