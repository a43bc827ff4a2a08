"""Rotary position embeddings (Su et al., 2104.09864), both channel layouts.

Scalings stretch the frequencies, that a model reads texts longer than those of
its training; some also make the scores of attention a little sharper.
"""

import dataclasses
import math
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class LinearScaling:
  """Positions divided by `factor` (Chen et al., 2306.15595)."""

  factor: float


@dataclasses.dataclass(frozen=True)
class DynamicScaling:
  """A base that grows with the longest context (NTK-aware scaling).

  That is the model's `max_length`, decided once: were it the length of each
  text, keys in a cache would have been turned otherwise than new ones.
  """

  factor: float
  original_length: int


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


@dataclasses.dataclass(frozen=True)
class YarnScaling:
  """Stretches what turns seldom within the original length (2309.00071).

  Attributes:
    factor: of wavelengths that turn less than `beta_slow` times; those that
      turn more than `beta_fast` times are kept, a ramp lies between.
    original_length: of the texts of training.
    beta_fast: see `factor`.
    beta_slow: see `factor`.
    truncate: the ramp begins and ends at whole channels.
    attention_factor: of rotated queries and keys; None for the paper's
      `0.1 ln factor + 1`.
  """

  factor: float
  original_length: int
  beta_fast: float = 32.0
  beta_slow: float = 1.0
  truncate: bool = True
  attention_factor: float | None = None


@dataclasses.dataclass(frozen=True)
class LongRopeScaling:
  """A divisor for each frequency, found by search (LongRoPE, 2402.13753).

  Attributes:
    short: divisors of a model whose `max_length` is at most `original_length`.
    long: divisors of one that reads longer texts. As with `DynamicScaling`,
      they are those of all its texts.
    original_length: of the texts of training.
    attention_factor: of rotated queries and keys.
  """

  short: tuple[float, ...]
  long: tuple[float, ...]
  original_length: int
  attention_factor: float = 1.0


Scaling: TypeAlias = (
  LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling
)
KINDS: dict[str, type] = {
  'linear': LinearScaling,
  'dynamic': DynamicScaling,
  'llama3': Llama3Scaling,
  'yarn': YarnScaling,
  'longrope': LongRopeScaling,
}


class Rotation(NamedTuple):
  """How a layer turns its queries and keys; the first `2 R` channels of each.

  `factor` multiplies what is turned; None for 1.
  """

  frequency: Float[Array, ' R']
  factor: Float[Array, ''] | float | None = None


def frequencies(
  dim: int,
  theta: float,
  scaling: Scaling | None = None,
  max_length: int | None = None,
) -> Float[Array, ' R']:
  """Angular frequencies `theta^(-2 i / dim)`, in radians per token.

  Args:
    dim: number of channels that are turned.
    theta: the base.
    scaling: of the frequencies, if any.
    max_length: longest context, which `DynamicScaling` and `LongRopeScaling`
      depend on; None for the original one.

  Returns:
    One frequency for each of the `R = dim / 2` pairs of channels.
  """
  if isinstance(scaling, DynamicScaling):
    stretch = max(max_length or 0, scaling.original_length)
    stretch *= scaling.factor / scaling.original_length
    theta *= (stretch - (scaling.factor - 1.0)) ** (dim / (dim - 2))
  exponent = jnp.arange(0, dim, 2, dtype=jnp.float32) / dim
  frequency = 1.0 / theta**exponent
  if isinstance(scaling, LinearScaling):
    return frequency / scaling.factor
  if isinstance(scaling, Llama3Scaling):
    wavelengths = scaling.original_length * frequency / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    smooth = jnp.clip((wavelengths - scaling.low_freq_factor) / span, 0.0, 1.0)
    return frequency * (smooth + (1.0 - smooth) / scaling.factor)
  if isinstance(scaling, YarnScaling):
    kept = 1.0 - _yarn_ramp(scaling, dim, theta)
    return frequency * (kept + (1.0 - kept) / scaling.factor)
  if isinstance(scaling, LongRopeScaling):
    is_long = (max_length or 0) > scaling.original_length
    divisors = scaling.long if is_long else scaling.short
    return frequency / jnp.asarray(divisors, jnp.float32)
  return frequency


def _yarn_ramp(
  scaling: YarnScaling, dim: int, theta: float
) -> Float[Array, ' R']:
  """0 for the frequencies that are kept, 1 for those that are stretched."""

  def channel(num_turns):  # the one that turns so often
    length = scaling.original_length / (num_turns * 2 * math.pi)
    return dim * math.log(length) / (2 * math.log(theta))

  low, high = channel(scaling.beta_fast), channel(scaling.beta_slow)
  if scaling.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, dim - 1)
  high += 0.001 if low == high else 0.0
  index = jnp.arange(dim // 2, dtype=jnp.float32)
  return jnp.clip((index - low) / (high - low), 0.0, 1.0)


def attention_factor(scaling: Scaling | None) -> float | None:
  """What multiplies rotated queries and keys; None for 1."""
  factor = None
  if isinstance(scaling, LongRopeScaling):
    factor = scaling.attention_factor
  if isinstance(scaling, YarnScaling):
    factor = scaling.attention_factor
    factor = yarn_sharpness(scaling.factor) if factor is None else factor
  return None if factor == 1.0 else factor


def yarn_sharpness(factor: float, weight: float = 1.0) -> float:
  """YaRN's `0.1 w ln s + 1`, and 1 where nothing is stretched."""
  return 1.0 if factor <= 1.0 else 0.1 * weight * math.log(factor) + 1.0


def rotate(
  x: Float[Array, '*A T H D'],
  positions: Int[Array, '*A T'],
  frequency: Float[Array, ' R'],
  *,
  interleaved: bool = False,
  factor: Float[Array, ''] | float | None = None,
) -> Float[Array, '*A T H D']:
  """Rotates channel pairs of `x` by `position * frequency`.

  Args:
    x: queries or keys.
    positions: of each token in its sequence.
    frequency: one for each pair of the first `2 R` channels; channels behind
      them stay as they are.
    interleaved: pairs are the channels `(2 i, 2 i + 1)` (Meta's layout, and
      GGUF's for the Llama architecture) instead of `(i, i + R)` (Hugging
      Face's). The two differ by a permutation of the projection's rows.
    factor: of what is rotated; None for 1.

  Returns:
    The rotated `x`, in its dtype; angles are float32.
  """
  dim = 2 * frequency.shape[-1]
  if dim < x.shape[-1]:
    turned = rotate(
      x[..., :dim],
      positions,
      frequency,
      interleaved=interleaved,
      factor=factor,
    )
    return jnp.concatenate([turned, x[..., dim:]], axis=-1)
  angle = positions[..., None, None].astype(jnp.float32) * frequency
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  if factor is not None:
    cos, sin = factor * cos, factor * sin
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


def to_values(scaling: Scaling | None) -> dict[str, Any] | None:
  """A scaling as plain values, which `from_values` reads."""
  if scaling is None:
    return None
  (kind,) = (name for name, of in KINDS.items() if type(scaling) is of)
  return {'kind': kind, **dataclasses.asdict(scaling)}


def from_values(values: dict[str, Any] | None) -> Scaling | None:
  """What `to_values` made; without a kind it is Llama 3's."""
  if values is None:
    return None
  values = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in values.items()
  }
  return KINDS[values.pop('kind', 'llama3')](**values)
