"""The front door of shared-prefix attention."""

from jaxtyping import Array, Float, Int

from ttc.kernels import dispatch
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import cascade, reference


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
    implementation: of decoding without a window and a soft-cap, which no kernel
      has, see `dispatch.call`; all else is the XLA reference.

  Returns:
    The output and the log-sum-exp of the scaled logits, the latter in float32.
  """
  is_decoding = query.shape[2] == 1
  if is_decoding and window is None and softcap is None:
    output, lse = cascade.shared_prefix_decode(
      query[:, :, 0],
      prefix,
      prefix_lengths,
      suffix,
      suffix_lengths + 1,
      layer=layer,
      implementation=implementation,
    )
    return output[:, :, None], lse[:, :, None]
  if is_decoding:
    what = 'a window' if softcap is None else 'a soft-cap'
    dispatch.say_that_none_can(f'decoding with {what}')
  return reference.shared_prefix_attention(
    query,
    prefix,
    prefix_lengths,
    suffix,
    suffix_lengths,
    window=window,
    softcap=softcap,
    layer=layer,
  )
