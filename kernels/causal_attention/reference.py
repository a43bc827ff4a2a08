"""Causal attention in plain XLA: shared-prefix attention without a prefix."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import reference


def causal_attention(
  query: Float[Array, 'B T K G D'],
  keys: Segment,
  *,
  window: Int[Array, ''] | int | None = None,
  softcap: float | None = None,
) -> Float[Array, 'B T K G D']:
  """See `api.causal_attention`."""
  zeros = jnp.zeros((query.shape[0], 1), jnp.int32)
  output, _ = reference.shared_prefix_attention(
    query[:, None],
    None,
    zeros[:, 0],
    jax.tree.map(lambda x: x[:, None], keys),
    zeros,
    window=window,
    softcap=softcap,
  )
  return output[:, 0]
