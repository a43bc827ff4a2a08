"""Causal attention on NVIDIA's GPUs by cuDNN, as jax reaches it.

Queries, keys and values go in as projections make them, tokens before heads: of
`[B, K, T, D]`, how a cache keeps them, XLA undoes the transposition.
"""

import jax
from jaxtyping import Array, Float

from ttc.kernels.partial_attention import Segment

_OLDEST = 8.0  # compute capability: Ampere


def causal_attention(
  query: Float[Array, 'B T K G D'],
  keys: Segment,
  *,
  window: int | None,
  softcap: float | None,
) -> Float[Array, 'B T K G D']:
  """See `api.causal_attention`.

  Raises:
    NotImplementedError: with a soft-cap, dtypes that are not all bfloat16 or
      all float16, heads that cuDNN does not take (of more than 128 numbers, 256
      on Hopper, or no multiple of 8), older GPUs, or without cuDNN.
  """
  dtypes = {str(x.dtype) for x in (query, *keys)}
  if dtypes not in ({'bfloat16'}, {'float16'}):
    raise NotImplementedError(f'dtypes {sorted(dtypes)}')
  if softcap is not None:
    raise NotImplementedError('a soft-cap')
  _check_device()
  B, T, K, G, D = query.shape
  try:
    output = jax.nn.dot_product_attention(
      query.reshape(B, T, K * G, D),
      *(x.swapaxes(1, 2) for x in keys),
      is_causal=True,
      local_window_size=None if window is None else (window - 1, 0),
      implementation='cudnn',
    )
  except RuntimeError as e:  # what jax says where cuDNN is not installed
    raise NotImplementedError(str(e)) from e
  return output.reshape(query.shape)


def _check_device():
  """That of this process, if there is one."""
  if jax.default_backend() == 'gpu':
    capability = jax.local_devices()[0].compute_capability
    if float(capability) < _OLDEST:
      raise NotImplementedError(f'compute capability {capability}')
