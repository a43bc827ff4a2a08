"""Attention to a shared prompt and to responses as two decode attentions."""

from collections.abc import Callable

from jaxtyping import Array, Float, Int

from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.dispatch import Implementation
from ttc.kernels.partial_attention import Segment, merge_partials

# `(query, keys, lengths, layer) -> (output, lse)`, as `decode_attention`.
Decode = Callable[..., tuple[Array, Array]]


def shared_prefix_decode(
  decode: Decode,
  query: Float[Array, 'B N 1 K G D'],
  prefix: Segment | None,
  prefix_lengths: Int[Array, ' B'],
  suffix: Segment,
  suffix_lengths: Int[Array, 'B N'],
  layer: Int[Array, ''] | None = None,
) -> tuple[Float[Array, 'B N 1 K G D'], Float[Array, 'B N 1 K G']]:
  """`api.shared_prefix_attention` of one query per sample, by `decode`."""
  B, N, _, K, G, D = query.shape
  output, lse = decode(
    query.reshape(B * N, K, G, D),
    of_all_samples(suffix),
    suffix_lengths.reshape(B * N) + 1,
    layer,
  )
  partials = [(output.reshape(query.shape), lse.reshape(query.shape[:-1]))]
  if prefix is not None:
    rows = to_prompt(decode, query[:, :, 0], prefix, prefix_lengths, layer)
    partials.append((rows[0][:, :, None], rows[1][:, :, None]))
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

  def decode(query, keys, lengths, layer):
    return decode_attention(
      query, keys, lengths, layer=layer, implementation=implementation
    )

  return to_prompt(decode, query, prefix, lengths, layer)


def to_prompt(
  decode: Decode,
  query: Float[Array, 'B N K G D'],
  prefix: Segment,
  lengths: Int[Array, ' B'],
  layer: Int[Array, ''] | None,
) -> tuple[Float[Array, 'B N K G D'], Float[Array, 'B N K G']]:
  """As `attend_to_prompt`, by `decode`.

  All samples' queries are rows of one call on the prompt: `N G` rows read its
  keys once. On an accelerator that becomes bound by compute when `N G` exceeds
  its FLOPs per byte, about 180 on an H200.
  """
  B, N, K, G, D = query.shape
  rows = query.swapaxes(1, 2).reshape(B, K, N * G, D)
  output, lse = decode(rows, prefix, lengths, layer)
  back = lambda x: x.reshape(B, K, N, G, *x.shape[3:]).swapaxes(1, 2)
  return back(output), back(lse)


def of_all_samples(suffix: Segment) -> Segment:
  """Keys `[..., B, N, K, S, D]` with samples as so many sequences."""
  flat = lambda x: x.reshape(*x.shape[:-5], -1, *x.shape[-3:])
  return Segment(*map(flat, suffix))
