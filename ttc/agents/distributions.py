"""Laws of actions: categorical with illegal actions, and diagonal normal."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

_HALF_LOG_2PI = 0.5 * float(np.log(2 * np.pi))


class Categorical(NamedTuple):
  """Over actions `0 .. n - 1`; logits of illegal ones are `-inf`-like."""

  logits: Float[Array, '*B n']

  def sample(self, key: PRNGKeyArray) -> Int[Array, ' *B']:
    """A draw of each row."""
    return jax.random.categorical(key, self.logits).astype(jnp.int32)

  def mode(self) -> Int[Array, ' *B']:
    """The likeliest action, the first of equals."""
    return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

  def log_prob(self, action: Int[Array, ' *B']) -> Float[Array, ' *B']:
    """Of an action."""
    log_probs = jax.nn.log_softmax(self.logits)
    return jnp.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]

  def entropy(self) -> Float[Array, ' *B']:
    """In nats."""
    log_probs = jax.nn.log_softmax(self.logits)
    return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


class DiagonalNormal(NamedTuple):
  """Independent normal coordinates; actions are clipped by the environment."""

  mean: Float[Array, '*B n']
  log_std: Float[Array, '*B n']

  def sample(self, key: PRNGKeyArray) -> Float[Array, '*B n']:
    """A draw of each row."""
    noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
    return self.mean + jnp.exp(self.log_std) * noise

  def mode(self) -> Float[Array, '*B n']:
    """The mean."""
    return self.mean

  def log_prob(self, action: Float[Array, '*B n']) -> Float[Array, ' *B']:
    """Density of an action, in nats."""
    z = (action - self.mean) * jnp.exp(-self.log_std)
    terms = -0.5 * z**2 - self.log_std - _HALF_LOG_2PI
    return jnp.sum(terms, axis=-1)

  def entropy(self) -> Float[Array, ' *B']:
    """Differential, in nats."""
    return jnp.sum(self.log_std + 0.5 + _HALF_LOG_2PI, axis=-1)


ActionLaw: TypeAlias = Categorical | DiagonalNormal


def masked(
  logits: Float[Array, '*B n'], legal: Bool[Array, '*B n']
) -> Float[Array, '*B n']:
  """Logits, or values, with the least finite number at illegal actions.

  Finite, so that a product with a probability of 0 is 0.
  """
  return jnp.where(legal, logits, -1e10)
