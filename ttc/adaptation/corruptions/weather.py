"""Weather in one image, in [0, 1]; each consumes its key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ttc.adaptation.corruptions import blur, resampling

Image = Float[Array, 'H W C']
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MUD = np.array([63, 42, 20], np.float32) / 255


class FrostTextures(NamedTuple):
  """Photographs of frost, padded to one size.

  Attributes:
    images: in [0, 1], in colour.
    sizes: rows and columns of each that are filled.
  """

  images: Float[np.ndarray, 'n h w 3']
  sizes: Int[np.ndarray, 'n 2']


def fog(key: PRNGKeyArray, image: Image, amount: float, decay: float) -> Image:
  """Adds a cloud and dims, so that the brightest stays in range."""
  height, width, _ = image.shape
  size = 1 << (max(height, width) - 1).bit_length()
  cloud = plasma(key, size, decay)[:height, :width, None]
  most = image.max()
  return jnp.clip((image + amount * cloud) * most / (most + amount), 0, 1)


def plasma(key: PRNGKeyArray, size: int, decay: float) -> Float[Array, 'n n']:
  """A cloud by diamonds and squares, from 0 to 1, periodic.

  Args:
    key: random key, consumed.
    size: `n`, a power of two.
    decay: of the noise from one scale to the next.
  """
  # Each place is filled once, so one field of noise is enough.
  noise = jax.random.uniform(key, (size, size), jnp.float32, -1.0, 1.0)
  cloud = jnp.zeros((size, size), jnp.float32)
  step, wibble = size, 100.0
  while step >= 2:
    half = step // 2
    corners = cloud[::step, ::step]
    pairs = corners + jnp.roll(corners, -1, 0)
    middles = pairs + jnp.roll(pairs, -1, 1)
    middles = middles / 4 + wibble**2 * noise[half::step, half::step]
    across = middles + jnp.roll(middles, 1, 0) + corners
    across = across + jnp.roll(corners, -1, 1)
    across = across / 4 + wibble**2 * noise[::step, half::step]
    along = middles + jnp.roll(middles, 1, 1) + corners
    along = along + jnp.roll(corners, -1, 0)
    along = along / 4 + wibble**2 * noise[half::step, ::step]
    cloud = cloud.at[half::step, half::step].set(middles)
    cloud = cloud.at[::step, half::step].set(across)
    cloud = cloud.at[half::step, ::step].set(along)
    step, wibble = half, wibble / decay
  cloud = cloud - cloud.min()
  return cloud / cloud.max()


def frost(
  key: PRNGKeyArray,
  image: Image,
  share: float,
  amount: float,
  textures: FrostTextures,
) -> Image:
  """Adds a random crop of a photograph of frost to a share of the image."""
  height, width, channels = image.shape
  which_key, place_key = jax.random.split(key)
  count = len(textures.images)
  which = jax.random.randint(which_key, (), 0, count, jnp.int32)
  room = jnp.asarray(textures.sizes)[which] - jnp.array(
    [height, width], jnp.int32
  )
  start = jax.random.randint(
    place_key, (2,), 0, jnp.maximum(room, 1), jnp.int32
  )
  crop = lax.dynamic_slice(
    jnp.asarray(textures.images),
    (which, start[0], start[1], 0),
    (1, height, width, 3),
  )[0]
  if channels == 1:
    crop = (crop @ _LUMA)[..., None]
  return jnp.clip(share * image + amount * crop, 0, 1)


def snow(
  key: PRNGKeyArray,
  image: Image,
  mean: float,
  std: float,
  zoom: float,
  threshold: float,
  radius: int,
  sigma: float,
  mix: float,
) -> Image:
  """Flakes that fall, twice, over an image that is whitened.

  Args:
    key: random key.
    image: one.
    mean: of the field the flakes are made of.
    std: of it.
    zoom: that enlarges the flakes.
    threshold: below this there is no flake.
    radius: of the motion blur, in pixels.
    sigma: of it.
    mix: share of the image that is not whitened.
  """
  height, width, channels = image.shape
  layer_key, angle_key = jax.random.split(key)
  layer = mean + std * jax.random.normal(
    layer_key, (height, width, 1), jnp.float32
  )
  layer = resampling.separable(
    resampling.zoom_matrix(height, zoom),
    resampling.zoom_matrix(width, zoom),
    layer,
  )
  layer = jnp.clip(jnp.where(layer < threshold, 0.0, layer), 0, 1)
  angle = jax.random.uniform(angle_key, (), jnp.float32, -135.0, -45.0)
  layer = blur.line_blur(layer, radius, sigma, angle)
  layer = jnp.round(255 * layer) / 255
  grey = image if channels == 1 else (image @ _LUMA)[..., None]
  white = jnp.maximum(image, 1.5 * grey + 0.5)
  image = mix * image + (1 - mix) * white
  return jnp.clip(image + layer + jnp.rot90(layer, 2), 0, 1)


def spatter(
  key: PRNGKeyArray,
  image: Image,
  mean: float,
  std: float,
  sigma: float,
  threshold: float,
  softness: float,
) -> Image:
  """Drops of mud.

  Args:
    key: random key.
    image: one.
    mean: of the field the drops are made of.
    std: of it.
    sigma: of its blur, in pixels.
    threshold: above this there is mud.
    softness: of the rim, in pixels; what it covers by less than 0.8 is clean.
  """
  height, width, channels = image.shape
  smooth = lambda field, sigma: resampling.separable(
    resampling.gaussian_matrix(height, sigma),
    resampling.gaussian_matrix(width, sigma),
    field,
  )
  field = mean + std * jax.random.normal(key, (height, width, 1), jnp.float32)
  drops = (smooth(field, sigma) > threshold).astype(jnp.float32)
  drops = smooth(drops, softness)
  drops = jnp.where(drops < 0.8, 0.0, drops)
  mud = jnp.asarray(_MUD if channels == 3 else [_MUD @ _LUMA], jnp.float32)
  return jnp.clip(image * (1 - drops) + mud * drops, 0, 1)
