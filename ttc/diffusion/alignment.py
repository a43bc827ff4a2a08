r"""DDA: brings an image from elsewhere home to what a diffusion model knows.

Gao et al., 2207.03442; stage 2 of SDA, 2406.04295. The image is noised to a
place and denoised by ancestral steps, each followed by one down the gradient of

.. math:: \|\phi_D(x_{ref}) - \phi_D(\hat x_0)\|_2

with respect to the state that the step began at, :math:`\phi_D` being a
low-pass filter: what is coarse stays that of the image, what is fine becomes
that of the model; here means of blocks stand for the authors' making smaller
and larger again. The norm is of each image by itself; the authors' is of the
whole batch, so that a result depends on its neighbours. Costs one call and one
backward pass for each step.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.diffusion import samplers
from ttc.diffusion.samplers import Particles, Sampler


def align(
  key: PRNGKeyArray,
  sampler: Sampler,
  images: Particles,
  start: int,
  *,
  strength: float | Float[Array, ''] = 6.0,
  factor: int = 4,
) -> Particles:
  """Draws images of the model's domain that look alike from afar.

  Args:
    key: random key, consumed.
    sampler: `ddim` with `eta=1`, of an unconditional model, for images in
      [-1, 1].
    images: `[N, H, W, C]`, or `[N, d]`.
    start: place that they are noised to; the middle of 100 steps in the paper.
      Static; 0 forgets all but what the guidance says.
    strength: `w`, 6 in the paper.
    factor: `D`, by which the filter makes smaller; static.

  Returns:
    Images.

  Raises:
    ValueError: if `start` is no place of the sampler, or the factor does not
      divide the sides.
  """
  if not 0 <= start < sampler.num_steps:
    raise ValueError(
      f'start={start} must be at least 0 and below the {sampler.num_steps} '
      'steps'
    )
  coarse = low_pass(images, factor)
  keys = samplers.particle_keys(key, images.shape[0])
  noise_keys = samplers.purpose(keys, 0)

  def apart(x, place):
    x0 = sampler.predict(x, place)
    return jnp.sum(_norms(coarse - low_pass(x0, factor))), x0

  def body(x, place):
    (_, x0), gradient = jax.value_and_grad(apart, has_aux=True)(x, place)
    then = samplers.branch(sampler, keys, x, x0, place).x
    return then - jnp.asarray(strength, then.dtype) * gradient, None

  x = samplers.renoise(sampler, noise_keys, images, sampler.num_steps, start)
  places = jnp.arange(start, sampler.num_steps, dtype=jnp.int32)
  return jax.lax.scan(body, x, places)[0]


def low_pass(images: Particles, factor: int) -> Particles:
  """Means of blocks of side `factor`, in place of their pixels.

  Args:
    images: `[N, H, W, C]`, or `[N, d]`, of which blocks are intervals.
    factor: side of a block; 1 changes nothing.

  Returns:
    The same shape.

  Raises:
    ValueError: if blocks do not fit.
  """
  axes = (1, 2) if images.ndim == 4 else (1,)
  for axis in axes:
    side = images.shape[axis]
    if side % factor:
      raise ValueError(f'factor={factor} does not divide the side {side}')
    blocks = jnp.stack(jnp.split(images, side // factor, axis), axis)
    means = jnp.mean(blocks, axis=axis + 1)
    images = jnp.repeat(means, factor, axis)
  return images


def _norms(x: Particles) -> Float[Array, ' N']:
  """Euclidean norms, whose gradient at 0 is 0."""
  squares = jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)))
  is_zero = squares == 0
  return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, squares)))
