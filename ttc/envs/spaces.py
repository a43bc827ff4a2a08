"""Sets that observations and actions come from, of one agent."""

import dataclasses
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Integer, PRNGKeyArray, Shaped


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
  bits = jax.random.bits(key, shape, jnp.uint32)
  return (bits % jnp.uint32(num_values)).astype(dtype)


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
