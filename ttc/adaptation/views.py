r"""Random views of a batch, as CoTTA draws them (arXiv 2203.13591).

Colours are jittered in a random order (brightness, contrast, saturation, hue,
gamma), then the image is turned, shifted and scaled in one bilinear sampling,
blurred, mirrored every other time, and noise is added. What lies outside the
image is its edge, or its reflection (ROID, arXiv 2306.00650).

The paper's code draws one jitter, one turn and one mirror for a whole batch,
and so do we unless asked for a draw per image. Sampling, blur and crop are one
gather and one convolution: nothing is padded to twice the size.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jaxtyping import Array, Float

# `(key, images in [0, 1]) -> images in [0, 1]` of the same shape.
View = Callable[[Array, Float[Array, 'B H W C']], Float[Array, 'B H W C']]
Padding = Literal['edge', 'reflect']

_MODES = {'edge': 'nearest', 'reflect': 'mirror'}
_FACTORS = ((0.6, 1.4), (0.7, 1.3), (0.7, 1.3), (0.5, 1.5), (-0.06, 0.06))
_LUMA = (0.2989, 0.587, 0.114)
_TAPS = 2  # the blur reads so many pixels on either side


def unchanged(key: Array, images: Array) -> Array:
  """The view that is the image itself."""
  del key
  return images


def cotta_view(
  *,
  padding: Padding = 'edge',
  blur: float | Float[Array, ''] = 0.5,
  noise: float | Float[Array, ''] = 0.005,
  per_image: bool = False,
) -> View:
  """Views of colour or grey images.

  Args:
    padding: what lies outside the image. ROID reflects.
    blur: greatest standard deviation of the blur in pixels; the least is .001.
      ROID takes none.
    noise: standard deviation of the noise, drawn for each image. ROID adds
      none.
    per_image: draws the rest for each image too, not once for all.

  Raises:
    ValueError: for another padding.
  """
  if padding not in _MODES:
    raise ValueError(f"padding {padding!r}: 'edge' or 'reflect'")

  def view(key, images):
    key, noise_key = jax.random.split(key)
    index = jnp.arange(images.shape[0])
    images = jnp.clip(images, 0, 1)
    if per_image:
      keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
      images = jax.vmap(lambda k, x: _draw(k, x[None], padding, blur)[0])(
        keys, images
      )
    else:
      images = _draw(key, images, padding, blur)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(noise_key, index)
    drawn = jax.vmap(lambda k, x: jax.random.normal(k, x.shape, x.dtype))(
      keys, images
    )
    return jnp.clip(images + jnp.asarray(noise, images.dtype) * drawn, 0, 1)

  return view


def _draw(
  key: Array, images: Array, padding: Padding, blur: float | Float[Array, '']
) -> Array:
  """Colour, place, blur and mirror, the same for all images."""
  jitter_key, place_key, blur_key, mirror_key = jax.random.split(key, 4)
  images = jitter(jitter_key, images)
  images = _move(place_key, images, padding)
  deviation = 0.001 + jax.random.uniform(blur_key) * jnp.maximum(
    jnp.asarray(blur, images.dtype) - 0.001, 0
  )
  images = _blur(images, deviation.astype(images.dtype))
  mirrored = jax.random.bernoulli(mirror_key)
  return jnp.where(mirrored, images[:, :, ::-1], images)


def jitter(
  key: Array, images: Float[Array, 'B H W C']
) -> Float[Array, 'B H W C']:
  """Changes brightness, contrast, gamma, saturation and hue, in any order.

  Args:
    key: consumed.
    images: of three channels; of another number, saturation and hue stay.
  """
  steps = [_brighten, _contrast, _gamma, _saturate, _turn_hue]
  steps = steps if images.shape[-1] == 3 else steps[:3]
  factor_key, order_key = jax.random.split(key)
  low, high = jnp.asarray(_FACTORS[: len(steps)], images.dtype).T
  factors = jax.random.uniform(
    factor_key, low.shape, images.dtype, minval=low, maxval=high
  )
  order = jax.random.permutation(order_key, len(steps))

  def step(images, i):
    return jax.lax.switch(i, steps, images, factors[i]), None

  return jax.lax.scan(step, images, order)[0]


def _grey(images: Array) -> Array:
  if images.shape[-1] != 3:
    return images
  weights = jnp.asarray(_LUMA, images.dtype)
  return jnp.sum(images * weights, axis=-1, keepdims=True)


def _blend(images: Array, other: Array, factor: Array) -> Array:
  return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def _brighten(images: Array, factor: Array) -> Array:
  return _blend(images, jnp.zeros_like(images), factor)


def _contrast(images: Array, factor: Array) -> Array:
  mean = jnp.mean(_grey(images), (1, 2, 3), keepdims=True)
  return _blend(images, mean, factor)


def _gamma(images: Array, factor: Array) -> Array:
  return jnp.clip(images, 1e-8, 1) ** factor


def _saturate(images: Array, factor: Array) -> Array:
  return _blend(images, _grey(images), factor)


def _turn_hue(images: Array, factor: Array) -> Array:
  """Turns the hue by a share of the circle; value and saturation stay."""
  high, low = jnp.max(images, -1), jnp.min(images, -1)
  span = high - low
  safe = jnp.where(span > 0, span, 1)
  red, green, blue = jnp.moveaxis(images, -1, 0)
  hue = jnp.where(
    high == red,
    (green - blue) / safe,
    jnp.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  # A channel is `high` within one sixth of its own hue, `low` beyond two.
  offsets = jnp.asarray([5.0, 3.0, 1.0], images.dtype)
  place = (hue[..., None] + 6 * factor + offsets) % 6
  part = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
  return high[..., None] - span[..., None] * part


def _move(key: Array, images: Array, padding: Padding) -> Array:
  """Turns by up to 15 degrees, shifts by up to an eighth, scales by a tenth.

  The window is wider than the image by what the blur reads. Shifts are whole
  pixels: one sixteenth of the padded image, which is twice as large.
  """
  height, width = images.shape[1:3]
  turn_key, scale_key, shift_key = jax.random.split(key, 3)
  dtype = images.dtype
  angle = jnp.deg2rad(jax.random.uniform(turn_key, (), dtype, -15.0, 15.0))
  scale = jax.random.uniform(scale_key, (), dtype, 0.9, 1.1)
  sizes = jnp.asarray([height, width], dtype)
  padded = sizes + 2 * (sizes // 2)
  shift = jnp.round(
    jax.random.uniform(shift_key, (2,), dtype, -1.0, 1.0) * padded / 16
  )
  centre = (sizes - 1) / 2
  rows, columns = jnp.meshgrid(
    jnp.arange(-_TAPS, height + _TAPS, dtype=dtype) - centre[0] - shift[0],
    jnp.arange(-_TAPS, width + _TAPS, dtype=dtype) - centre[1] - shift[1],
    indexing='ij',
  )
  cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
  where = [
    cos * rows - sin * columns + centre[0],
    sin * rows + cos * columns + centre[1],
  ]

  def sample(plane):
    return ndimage.map_coordinates(plane, where, 1, _MODES[padding])

  planes = jnp.moveaxis(images, -1, 1)
  return jnp.moveaxis(jax.vmap(jax.vmap(sample))(planes), 1, -1)


def _blur(images: Array, deviation: Array) -> Array:
  """A Gaussian of five taps by five; the window shrinks to the image."""
  taps = jnp.arange(-_TAPS, _TAPS + 1, dtype=images.dtype)
  kernel = jax.nn.softmax(-0.5 * (taps / deviation) ** 2)
  for axis in (1, 2):
    length = images.shape[axis] - 2 * _TAPS
    shifted = [
      jax.lax.slice_in_dim(images, i, i + length, axis=axis)
      for i in range(2 * _TAPS + 1)
    ]
    images = jnp.tensordot(kernel, jnp.stack(shifted), 1)
  return images


# As its paper draws them.
COTTA_VIEW = cotta_view()
