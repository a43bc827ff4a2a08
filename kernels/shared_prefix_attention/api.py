"""The front door of shared-prefix attention."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import reference

_SHORT = 128  # keys that several queries read as fast without a kernel


def shared_prefix_attention(
  query: Float[Array, 'B N T K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  *,
  window: Int[Array, ''] | int | None = None,
  softcap: float | None = None,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> tuple[Float[Array, 'B N T K G D'], Float[Array, 'B N T K G']]:
  r"""Attends to a prompt that `N` samples share and to each sample's suffix.

  The two softmaxes are taken apart and merged by their log-sum-exps,

  .. math:: o = \frac{\sum_i e^{\ell_i - m} o_i}{\sum_i e^{\ell_i - m}},
     \qquad m = \max_i \ell_i,

  which equals attention over the concatenation, while the prompt's keys are
  stored and read once for all samples (bifurcated attention, 2403.08845;
  Hydragen, 2402.05099). Costs `P + N S` key/value reads per step, not
  `N (P + S)`. Decoding is `T = 1`; appending tokens is `T > 1`; prefilling is
  `prefix = None`.

  Args:
    query: `T` new queries per sample, grouped by key/value head: head `k G + g`
      of the model is `[..., k, g, :]`.
    prefix: keys and values `[B, K, P, D]` of the prompts, or None.
    prefix_lengths: how many of the `P` are real; zeros if `prefix` is None.
    suffix: keys and values `[B, N, K, S, D]`; those of the new queries have
      been written at `suffix_lengths + t` already.
    suffix_lengths: number of suffix entries before the new queries. Query `t`
      sees suffix entries `0..suffix_lengths + t`.
    window: if given, a query sees keys at distance less than this.
    softcap: if given, scaled logits `s` become `softcap tanh(s / softcap)`.
    layer: if given, keys and values have an axis `[L, ...]` of layers in front,
      and those of this one are read where they lie.
    implementation: without a window and a soft-cap, which no kernel has, see
      `dispatch.call`; None is the reference for `T > 1` queries of fewer than
      128 keys. With one of the two it is always the reference.

  Returns:
    The output and the log-sum-exp of the scaled logits, the latter in float32.
  """
  is_decoding = query.shape[2] == 1
  arguments = query, prefix, prefix_lengths, suffix, suffix_lengths
  if window is not None or softcap is not None:
    if is_decoding:
      what = 'a window' if softcap is None else 'a soft-cap'
      dispatch.say_that_none_can(f'decoding with {what}')
    return reference.shared_prefix_attention(
      *arguments, window=window, softcap=softcap, layer=layer
    )
  most_keys = max(x.shape[-2] for x in jax.tree.leaves((prefix, suffix)))
  if not is_decoding and implementation is None and most_keys < _SHORT:
    implementation = 'xla'
  axes = _axes(prefix is not None, layer is not None)
  return dispatch.call(
    implementation, _reference, _KERNELS, _fold, axes, *arguments, layer
  )


@functools.cache
def _axes(has_prefix, is_stacked):
  """Letters of the arrays, those that there are."""
  layers = 'l' * is_stacked
  prefix = 2 * (f'{layers}bkpd',) if has_prefix else ()
  suffix = 2 * (f'{layers}bnksd',)
  taken = ('bntkgd', *prefix, 'b', *suffix, 'bn', *(('',) * is_stacked))
  return dispatch.Axes(taken, ('bntkgd', 'bntkg'))


def _reference(*args):
  return reference.shared_prefix_attention(*args[:-1], layer=args[-1])


# Pallas is imported when an operation is first traced, not before.
def _mosaic_tpu(*args, interpret=False):
  from ttc.kernels.shared_prefix_attention import mosaic_tpu

  return mosaic_tpu.shared_prefix_attention(*args, interpret=interpret)


def _triton(*args):
  from ttc.kernels.shared_prefix_attention import triton

  return triton.shared_prefix_attention(*args)


def _mosaic_gpu(query, *args):
  from ttc.kernels.decode_attention import mosaic_gpu
  from ttc.kernels.shared_prefix_attention import cascade

  if query.shape[2] > 1:
    raise NotImplementedError(f'{query.shape[2]} queries of a sample')
  return cascade.shared_prefix_decode(mosaic_gpu.decode_attention, query, *args)


_KERNELS: dispatch.Kernels = {
  'triton': _triton,
  'mosaic_gpu': _mosaic_gpu,
  'mosaic_tpu': _mosaic_tpu,
  'interpret': functools.partial(_mosaic_tpu, interpret=True),
}


def _fold(axis_size, is_mapped, *args):
  """A mapped axis becomes samples if it shares the prompts, else prompts."""
  stacked = args[-1] is not None
  if any(jax.tree.leaves(is_mapped[1:3])):
    return dispatch.fold_into_batch(
      axis_size, is_mapped, *args[:-1], layer=args[-1], stacked=(1, 3)
    )
  if is_mapped[-1]:
    raise NotImplementedError('vmap over layers')

  def flatten(mapped, x, axis):
    x = x if mapped else jnp.broadcast_to(x, (axis_size, *x.shape))
    x = jnp.moveaxis(x, 0, axis)  # [..., B, A, N, ...]
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

  query, prefix, prefix_lengths, suffix, suffix_lengths, layer = args
  of_suffix = functools.partial(flatten, axis=1 + stacked)
  folded = (
    flatten(is_mapped[0], query, 1),
    prefix,
    prefix_lengths,
    jax.tree.map(of_suffix, is_mapped[3], suffix),
    flatten(is_mapped[4], suffix_lengths, 1),
    layer,
  )
  split = lambda x: jnp.moveaxis(
    x.reshape(x.shape[0], axis_size, -1, *x.shape[2:]), 1, 0
  )
  return folded, lambda out: jax.tree.map(split, out)
