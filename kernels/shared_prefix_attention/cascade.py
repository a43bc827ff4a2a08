"""Decoding over a shared prompt as two decode attentions, merged."""

from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment, merge_partials


def shared_prefix_decode(
  query: Float[Array, 'B N K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  *,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """One query per sample, to `prefix_lengths` and `suffix_lengths` keys.

  All samples' queries are rows of one call on the prompt: `N G` rows read its
  keys once. On an accelerator that becomes bound by compute when `N G` exceeds
  its FLOPs per byte, about 180 on an H200.
  """
  B, N, K, G, D = query.shape
  flat = Segment(
    *(x.reshape(*x.shape[:-5], B * N, *x.shape[-3:]) for x in suffix)
  )
  output, lse = decode_attention(
    query.reshape(B * N, K, G, D),
    flat,
    suffix_lengths.reshape(B * N),
    layer=layer,
    implementation=implementation,
  )
  partials = [(output.reshape(query.shape), lse.reshape(B, N, K, G))]
  if prefix is not None:
    partials.append(
      attend_to_prompt(
        query,
        prefix,
        prefix_lengths,
        layer=layer,
        implementation=implementation,
      )
    )
  output, lse = merge_partials(partials)
  return output.astype(query.dtype), lse


def attend_to_prompt(
  query: Float[Array, 'B N K G D'],
  prefix: Segment,
  lengths: Int[Array, ' B'],
  *,
  layer: Int[Array, ''] | None = None,
  implementation: Implementation | None = None,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """All samples' queries to the keys `[B, K, P, D]` of their prompt."""
  B, N, K, G, D = query.shape
  output, lse = decode_attention(
    query.swapaxes(1, 2).reshape(B, K, N * G, D),
    prefix,
    lengths,
    layer=layer,
    implementation=implementation,
  )
  back = lambda x: x.reshape(B, K, N, G, *x.shape[3:]).swapaxes(1, 2)
  return back(output), back(lse)
