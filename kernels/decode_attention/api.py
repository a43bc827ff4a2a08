"""The front door of decode attention."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.decode_attention import reference
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment


def decode_attention(
  query: Float[Array, 'B K M D'],
  keys: Segment,
  lengths: Int[Array, ' B'],
  *,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> tuple[Float[Array, 'B K M D'], Float[Array, 'B K M']]:
  """Attends to the first `lengths` keys of each sequence.

  The `M` queries of a key/value head are all that share its keys: the query
  heads of its group, and of all samples if the keys are a prompt's. Kernels
  split a long cache and merge the parts (flash-decoding, Dao et al., 2023).
  Reads `2 K S D` numbers per sequence, whatever `M`.

  Args:
    query: rows that share the keys of one head.
    keys: keys and values `[B, K, S, D]`.
    lengths: how many of the `S` are real.
    layer: if given, keys and values are `[L, B, K, S, D]`, those of all layers,
      and this one is read where it lies.
    implementation: see `dispatch.call`.

  Returns:
    The output and the log-sum-exp of the scaled logits, both in float32, to be
    merged with those over other keys; 0 and `-inf` where `lengths` is 0.
  """
  return dispatch.call(
    implementation, reference.decode_attention, _KERNELS, _fold,
    _AXES if layer is None else _STACKED_AXES, query, keys, lengths, layer,
  )  # fmt: skip


_AXES = dispatch.Axes(('bkmd', 'bksd', 'bksd', 'b'), ('bkmd', 'bkm'))
_STACKED_AXES = dispatch.Axes(
  ('bkmd', 'lbksd', 'lbksd', 'b', ''), ('bkmd', 'bkm')
)


# Pallas is imported when an operation is first traced, not before.
def _mosaic_tpu(*args, interpret=False):
  from ttc.kernels.decode_attention import mosaic_tpu

  return mosaic_tpu.decode_attention(*args, interpret=interpret)


def _triton(*args):
  from ttc.kernels.decode_attention import triton

  return triton.decode_attention(*args)


def _mosaic_gpu(*args):
  from ttc.kernels.decode_attention import mosaic_gpu

  return mosaic_gpu.decode_attention(*args)


_KERNELS: dispatch.Kernels = {
  'triton': _triton,
  'mosaic_gpu': _mosaic_gpu,
  'mosaic_tpu': _mosaic_tpu,
  'interpret': functools.partial(_mosaic_tpu, interpret=True),
}


def _fold(axis_size, is_mapped, query, keys, lengths, layer):
  """A mapped axis becomes rows if it shares the keys, else sequences."""
  query_mapped, (k_mapped, v_mapped), lengths_mapped, _ = is_mapped
  if query_mapped and not (k_mapped or v_mapped or lengths_mapped):
    rows = jnp.moveaxis(query, 0, 2)  # [B, K, A, M, D]
    folded = rows.reshape(*rows.shape[:2], -1, rows.shape[-1])
    split = lambda x: jnp.moveaxis(
      x.reshape(*x.shape[:2], axis_size, -1, *x.shape[3:]), 2, 0
    )
    return (folded, keys, lengths, layer), lambda out: jax.tree.map(split, out)

  return dispatch.fold_into_batch(
    axis_size, is_mapped, query, keys, lengths, layer=layer
  )
