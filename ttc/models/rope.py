"""Rotary position embeddings (Su et al., 2104.09864), both channel layouts."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
  """Stretches low frequencies, as Llama 3.1 does for its long context.

  Wavelengths above `original_length / low_freq_factor` are stretched by
  `factor`, those below `original_length / high_freq_factor` are kept, and the
  ones between are interpolated.
  """

  factor: float = 8.0
  low_freq_factor: float = 1.0
  high_freq_factor: float = 4.0
  original_length: int = 8192


def frequencies(
  head_dim: int, theta: float, scaling: Llama3Scaling | None = None
) -> Float[Array, ' R']:
  """Angular frequencies `theta^(-2 i / D)`, in radians per token."""
  exponent = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
  frequency = 1.0 / theta**exponent
  if scaling is None:
    return frequency
  wavelengths = scaling.original_length * frequency / (2 * math.pi)
  span = scaling.high_freq_factor - scaling.low_freq_factor
  smooth = jnp.clip((wavelengths - scaling.low_freq_factor) / span, 0.0, 1.0)
  return frequency * (smooth + (1.0 - smooth) / scaling.factor)


def rotate(
  x: Float[Array, '*A T H D'],
  positions: Int[Array, '*A T'],
  frequency: Float[Array, ' R'],
  *,
  interleaved: bool = False,
) -> Float[Array, '*A T H D']:
  """Rotates channel pairs of `x` by `position * frequency`.

  Args:
    x: queries or keys.
    positions: of each token in its sequence.
    frequency: one for each of the `R = D / 2` pairs of channels.
    interleaved: pairs are the channels `(2 i, 2 i + 1)` (Meta's layout, and
      GGUF's for the Llama architecture) instead of `(i, i + D/2)` (Hugging
      Face's). The two differ by a permutation of the projection's rows.

  Returns:
    The rotated `x`, in its dtype; angles are float32.
  """
  angle = positions[..., None, None].astype(jnp.float32) * frequency
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  wide = x.astype(jnp.float32)
  if interleaved:
    first, second = wide[..., ::2], wide[..., 1::2]
  else:
    first, second = jnp.split(wide, 2, axis=-1)
  pair = (first * cos - second * sin, second * cos + first * sin)
  if interleaved:
    rotated = jnp.stack(pair, axis=-1).reshape(x.shape)
  else:
    rotated = jnp.concatenate(pair, axis=-1)
  return rotated.astype(x.dtype)
