"""Sets that observations and actions come from, of one agent."""

import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Integer, PRNGKeyArray, Shaped, UInt32

# Of Threefry-2x32, by the round (Salmon et al., 2011, table 2).
_ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)


def random_index(
  key: PRNGKeyArray,
  shape: tuple[int, ...],
  num_values: int,
  dtype: DTypeLike = jnp.int32,
) -> Integer[Array, ' *shape']:
  """Uniform integers `0 .. num_values - 1`, from one hash, jax takes three.

  Some are likelier than others by a share of `num_values / 2**32`.

  Args:
    key: consumed.
    shape: of the result.
    num_values: how many there are, at most `2**31`.
    dtype: of the result; to uint32 nothing is converted, so that one kernel
      less is compiled.

  Returns:
    Integers of that type.
  """
  bits = jax.random.bits(key, shape, jnp.uint32) if shape else word(key)
  return (bits % jnp.uint32(num_values)).astype(dtype)


@jax.jit
def word(key: PRNGKeyArray) -> UInt32[Array, '']:
  """The 32 bits of `jax.random.bits(key, (), 'uint32')`, from one kernel.

  On a CPU jax makes a loop of Threefry, for which XLA compiles ten kernels and
  starts forty in each call. For one word it is written out here: 20 rounds of
  Threefry-2x32 (Salmon et al., 2011, section 4) on the counter 0, 0. What
  reads the word may not hash it anew: hence the barrier.

  Args:
    key: consumed; of another kind than Threefry it goes to `jax.random.bits`.
  """
  is_threefry = str(jax.random.key_impl(key)) == 'threefry2x32'
  counts_so = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]  # stub lacks it
  if not (is_threefry and counts_so):
    return jax.random.bits(key, (), jnp.uint32)
  first, second = x, y = jax.random.key_data(key)
  words = first, second, first ^ second ^ jnp.uint32(0x1BD11BDA)
  for i in range(5):
    for distance in _ROTATIONS[i % 2]:
      x = x + y
      y = x ^ (y << jnp.uint32(distance) | y >> jnp.uint32(32 - distance))
    x = x + words[(i + 1) % 3]
    y = y + words[(i + 2) % 3] + jnp.uint32(i + 1)
  return jax.lax.optimization_barrier(x ^ y)


@dataclasses.dataclass(frozen=True)
class Discrete:
  """The integers `0 .. num_values - 1`."""

  num_values: int

  @property
  def shape(self) -> tuple[int, ...]:
    """Of a value."""
    return ()

  def sample(self, key: PRNGKeyArray) -> Shaped[Array, '']:
    """A uniform value, int32."""
    return random_index(key, (), self.num_values)

  def contains(self, value: Shaped[Array, ' *shape']) -> Bool[Array, '']:
    """Whether a scalar is one of the integers."""
    return jnp.all((value >= 0) & (value < self.num_values))


@dataclasses.dataclass(frozen=True)
class Box:
  """Arrays of a shape with entries in `[low, high]`.

  Attributes:
    shape: of a value.
    low: least entry; may be -inf.
    high: greatest entry; may be inf.
  """

  shape: tuple[int, ...]
  low: float = -np.inf
  high: float = np.inf

  def sample(self, key: PRNGKeyArray) -> Shaped[Array, ' *shape']:
    """A uniform value; normal where there is no bound."""
    if np.isfinite(self.low) and np.isfinite(self.high):
      return jax.random.uniform(
        key, self.shape, jnp.float32, self.low, self.high
      )
    return jnp.clip(
      jax.random.normal(key, self.shape, jnp.float32), self.low, self.high
    )

  def contains(self, value: Shaped[Array, ' *shape']) -> Bool[Array, '']:
    """Whether all entries lie within the bounds."""
    return jnp.all((value >= self.low) & (value <= self.high))


Space: TypeAlias = Discrete | Box
