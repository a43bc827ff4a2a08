"""Block top-k in plain XLA: the definition, and the CPU path."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels.partial_attention import of_layer


def block_scores(
  query: Float[Array, 'B N K G D'],
  pooled: Float[Array, '*L B K M D'],
  layer: Int[Array, ''] | None = None,
) -> Float[Array, 'B N K M']:
  """See `api.block_scores`."""
  scale = query.shape[-1] ** -0.5
  mean = jnp.mean(query, axis=-2, dtype=jnp.float32).astype(query.dtype)
  return scale * jnp.einsum(
    'bnkd,bkmd->bnkm',
    mean,
    of_layer(pooled, layer),
    preferred_element_type=jnp.float32,
  )
