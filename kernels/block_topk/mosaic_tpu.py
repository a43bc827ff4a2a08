"""Block scores on TPU: the pooled keys streamed once.

The mean over the group commutes with the product, so a head has one query row
per sample, and all samples' rows meet each tile of pooled keys while it is
here. Reads `K M D` numbers per sequence; tiles hold all heads, so that even a
short row of blocks makes long reads.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention.mosaic_tpu import check_dtypes
from ttc.kernels.partial_attention import in_one_batch

_TILE_BYTES = 2**21  # of the pooled keys of all heads, and of their scores
_MAX_ROWS = 2**11  # of all heads, held as a whole; XLA is good at more
_LANES = 128


@functools.partial(jax.jit, static_argnames=('interpret',))
def block_scores(
  query: Float[Array, 'B N K G D'],
  pooled: Float[Array, '*L B K M D'],
  layer: Int[Array, ''] | None = None,
  *,
  interpret=False,
) -> Float[Array, 'B N K M']:
  """See `api.block_scores`.

  Args:
    query: one query per sample and head.
    pooled: one key per block.
    layer: of pooled keys `[L, B, K, M, D]`, if given.
    interpret: for tests: run without a TPU; True, or a `pltpu.InterpretParams`.

  Returns:
    Scores in float32.

  Raises:
    NotImplementedError: if the dtypes are not both bfloat16 or both float32, or
      `N K` exceeds 2^11.
  """
  check_dtypes(query, pooled)
  B, N, K, _, D = query.shape
  pooled, first = in_one_batch(pooled, layer)
  M = pooled.shape[2]
  if N * K > _MAX_ROWS:
    raise NotImplementedError(f'{N} samples of {K} heads')
  mean = jnp.mean(query, axis=-2, dtype=jnp.float32).astype(query.dtype)
  tile = _tile_size(N, K, M, D, pooled.dtype)
  return pl.pallas_call(
    _kernel,
    out_shape=jax.ShapeDtypeStruct((B, N, K, M), jnp.float32),
    grid_spec=pltpu.PrefetchScalarGridSpec(
      num_scalar_prefetch=1,
      grid=(B, pl.cdiv(M, tile)),
      in_specs=[
        pl.BlockSpec((None, N, K, D), lambda b, m, _: (b, 0, 0, 0)),
        pl.BlockSpec(
          (None, K, tile, D), lambda b, m, first: (first[0] + b, 0, m, 0)
        ),
      ],
      out_specs=pl.BlockSpec((None, N, K, tile), lambda b, m, _: (b, 0, 0, m)),
    ),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=('parallel', 'parallel')
    ),
    interpret=interpret,
  )(first, mean, pooled)


def _kernel(_, query, pooled, scores):
  scale = query.shape[-1] ** -0.5
  for head in range(query.shape[1]):
    scores[:, head] = scale * jax.lax.dot_general(
      query[:, head],
      pooled[head],
      (((1,), (1,)), ((), ())),
      preferred_element_type=jnp.float32,
    )


def _tile_size(N, K, M, D, dtype):
  """Blocks of a tile: all, or whole lanes of scores."""
  key_bytes = pl.cdiv(D, _LANES) * _LANES * dtype.itemsize
  block_bytes = K * max(key_bytes, 4 * N)
  lanes = max(1, _TILE_BYTES // block_bytes // _LANES)
  return min(M, lanes * _LANES)
