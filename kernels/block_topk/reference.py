"""Block top-k in plain XLA: the definition, and the CPU path."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def block_scores(
  query: Float[Array, 'B N K G D'], pooled: Float[Array, 'B K M D']
) -> Float[Array, 'B N K M']:
  """See `api.block_scores`."""
  scale = query.shape[-1] ** -0.5
  mean = jnp.mean(query, axis=-2, dtype=jnp.float32).astype(query.dtype)
  return scale * jnp.einsum(
    'bnkd,bkmd->bnkm', mean, pooled, preferred_element_type=jnp.float32
  )
