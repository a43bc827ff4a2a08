"""Decode attention in plain XLA: the definition, and the CPU path."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels.partial_attention import (
  Segment,
  of_layer,
  softmax_attention,
)


def decode_attention(
  query: Float[Array, 'B K M D'],
  keys: Segment,
  lengths: Int[Array, ' B'],
  layer: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'B K M D'], Float[Array, 'B K M']]:
  """See `api.decode_attention`."""
  visible = jnp.arange(keys.k.shape[-2]) < lengths[:, None]
  keys = of_layer(keys, layer)
  return softmax_attention(query, keys, visible[:, None, None])
