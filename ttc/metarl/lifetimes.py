"""Lifetimes of agents: what a rule may know of the time (2402.05828)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num


def lifetime_features(
  n: Num[Array, '*#B'], horizon: Num[Array, '*#B']
) -> Float[Array, '*B 2']:
  """`[n / N, log N]`.

  Args:
    n: updates done before this one; 0 at the first.
    horizon: `N`, updates of the whole lifetime.

  Returns:
    Relative, not absolute time, and the logarithm of the horizon.
  """
  n, horizon = jnp.float32(n), jnp.float32(horizon)
  relative, size = jnp.broadcast_arrays(n / horizon, jnp.log(horizon))
  return jnp.stack([relative, size], axis=-1)
