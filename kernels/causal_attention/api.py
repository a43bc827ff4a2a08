r"""The front door of causal attention: how a prompt is read.

Token `t` attends to the tokens `s <= t` of its own sequence,

.. math:: o_t = \sum_{s \le t} \mathrm{softmax}_s
     \Big(\frac{q_t \cdot k_s}{\sqrt D}\Big)\, v_s,

`2 T^2 H D` FLOPs for `H` query heads. A matrix product of that size is what
others have tuned for years, so here no kernel is ours: on TPUs it is jax's
splash attention, on NVIDIA's GPUs cuDNN's flash attention (2205.14135,
2307.08691). What pads a sequence lies behind all that anyone reads, and the
order hides it: no kernel needs lengths.
"""

import functools

from jaxtyping import Array, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.causal_attention import reference
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment

_SHORT = 128  # tokens that are one tile: nothing to gain


def causal_attention(
  query: Float[Array, 'B T K G D'],
  keys: Segment,
  *,
  window: Int[Array, ''] | int | None = None,
  softcap: float | None = None,
  implementation: Implementation | None = None,
) -> Float[Array, 'B T K G D']:
  """Attends to the tokens up to each query's own.

  Args:
    query: grouped by key/value head.
    keys: keys and values `[B, K, T, D]` of the same tokens.
    window: if given, a query sees keys at distance less than this. One that is
      known only at run time is in no kernel.
    softcap: if given, scaled logits `s` become `softcap tanh(s / softcap)`.
    implementation: see `dispatch.call`. None is the reference for sequences of
      fewer than 128 tokens.

  Returns:
    The output. Its gradient is the reference's.
  """
  T = query.shape[1]
  ours = functools.partial(
    reference.causal_attention, query, keys, window=window, softcap=softcap
  )
  if implementation is None and T < _SHORT:
    return ours()
  if not (window is None or isinstance(window, int)):
    dispatch.say_that_none_can('a prompt with a window known at run time')
    return ours()
  if window is not None and window >= T:
    window = None
  define, kernels = _with_options(window, softcap)
  return dispatch.call(
    implementation, define, kernels, _fold, _AXES, query, keys
  )


@functools.cache
def _with_options(window, softcap):
  """Reference and kernels; the same objects for the same options."""
  of = lambda fn: functools.partial(fn, window=window, softcap=softcap)
  kernels = {name: of(kernel) for name, kernel in _KERNELS.items()}
  return of(reference.causal_attention), kernels


_AXES = dispatch.Axes(('btkgd', 'bksd', 'bksd'), 'btkgd')


# Pallas is imported when an operation is first traced, not before.
def _splash(*args, window, softcap, interpret=False):
  from ttc.kernels.causal_attention import splash

  return splash.causal_attention(
    *args, window=window, softcap=softcap, interpret=interpret
  )


def _cudnn(*args, window, softcap):
  from ttc.kernels.causal_attention import cudnn

  return cudnn.causal_attention(*args, window=window, softcap=softcap)


_KERNELS: dispatch.Kernels = {
  'splash': _splash,
  'cudnn': _cudnn,
  'interpret': functools.partial(_splash, interpret=True),
}


def _fold(axis_size, is_mapped, query, keys):
  """A mapped axis becomes sequences."""
  (*folded, _), unfold = dispatch.fold_into_batch(
    axis_size, (*is_mapped, False), query, keys
  )
  return tuple(folded), unfold
