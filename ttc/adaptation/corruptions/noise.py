"""Noise of one image, in [0, 1]; each consumes its key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Image = Float[Array, 'H W C']


def gaussian_noise(key: PRNGKeyArray, image: Image, std: float) -> Image:
  """Adds normal noise of a standard deviation, then clips."""
  noise = jax.random.normal(key, image.shape, jnp.float32)
  return jnp.clip(image + std * noise, 0, 1)


def shot_noise(key: PRNGKeyArray, image: Image, photons: float) -> Image:
  """Counts photons, of which white has so many on average, then clips."""
  counts = jax.random.poisson(key, image * photons, dtype=jnp.int32)
  return jnp.clip(counts.astype(jnp.float32) / photons, 0, 1)


def impulse_noise(key: PRNGKeyArray, image: Image, share: float) -> Image:
  """Replaces a share of the scalars, one half by 0, the other by 1."""
  draw = jax.random.uniform(key, image.shape, jnp.float32)
  salted = jnp.where(draw < share, 1.0, image)
  return jnp.where(draw < share / 2, 0.0, salted)


def speckle_noise(key: PRNGKeyArray, image: Image, std: float) -> Image:
  """Adds normal noise in proportion to the image, then clips."""
  noise = jax.random.normal(key, image.shape, jnp.float32)
  return jnp.clip(image + std * image * noise, 0, 1)
