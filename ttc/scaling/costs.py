r"""FLOPs and KV-cache bytes of decoding with a decoder-only transformer.

Exact counts from lengths, for tables and cost axes. A multiply-add is 2 FLOPs.
Each token passed through the model costs `2 P` for the weights and
`4 H Dh L` for every position it attends to, itself included; it writes
`2 K Dh L` key and value numbers and reads that many for every such position.
Response token `i` (1, 2, ...) attends to `Tp + i` positions, in layers with a
window to no more than that; a cache keeps and reads them all. The last token of
a response is charged like the others, although an engine need not feed it.

These are NumPy float64 functions of the host: the counts exceed int32 and the
24 bits of float32. They are exact below 2^53. Formulas: Kaplan et al., 2020,
arXiv 2001.08361, table 1, with the attention term in full.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Int


class ModelShape(NamedTuple):
  """The numbers of a transformer that its costs depend on."""

  num_params: int  # P, those active for one token
  num_layers: int  # L
  num_heads: int  # H
  num_kv_heads: int  # K
  head_dim: int  # Dh
  bytes_per_element: int = 2  # of the KV cache
  # Of a mixture of experts; a dense model has one that is always chosen.
  expert_params: int = 0  # of one expert, in all layers that have it
  num_experts: int = 1  # E
  top_k: int = 1  # experts of one token, in `num_params`
  window: int | None = None  # positions that some layers attend to at most
  windowed_layers: int = 0  # how many these are

  @property
  def kv_bytes_per_token(self) -> int:
    """Bytes of the keys and values of one token, over all layers."""
    kv_elements = 2 * self.num_kv_heads * self.head_dim * self.num_layers
    return kv_elements * self.bytes_per_element


def model_shape(config: Any, num_params: int) -> ModelShape:
  """The shape of a transformer from its `TransformerConfig`.

  Args:
    config: of the transformer.
    num_params: all of them; of the experts of a mixture those that read no
      token are left out here.

  Returns:
    The numbers.
  """
  shape = ModelShape(
    num_params,
    config.num_layers,
    config.num_heads,
    config.num_kv_heads,
    config.head_dim,
    jnp.dtype(config.dtype).itemsize,
  )
  if config.sliding_window is not None:
    layers = config.windowed_layers
    shape = shape._replace(
      window=config.sliding_window,
      windowed_layers=config.num_layers if layers is None else len(layers),
    )
  experts = config.experts
  if experts is None:
    return shape
  layers = experts.layers
  num_layers = config.num_layers if layers is None else len(layers)
  of_one = 3 * config.embed_dim * experts.mlp_dim * num_layers
  return shape._replace(
    num_params=num_params - (experts.num_experts - experts.top_k) * of_one,
    expert_params=of_one,
    num_experts=experts.num_experts,
    top_k=experts.top_k,
  )


def prefill_flops(
  shape: ModelShape, prompt_lengths: Int[ArrayLike, ' B']
) -> Float[np.ndarray, ' B']:
  r"""FLOPs of reading each prompt once.

  .. math:: 2 P T_p + 4 H D_h L \, T_p (T_p + 1) / 2

  Args:
    shape: numbers of the model.
    prompt_lengths: `Tp`, tokens of each prompt.

  Returns:
    FLOPs of each prompt.
  """
  prompt = np.asarray(prompt_lengths, np.float64)
  return _flops(shape, np.zeros_like(prompt), prompt)


def decode_flops(
  shape: ModelShape,
  prompt_lengths: Int[ArrayLike, ' B'],
  lengths: Int[ArrayLike, 'B N'],
) -> Float[np.ndarray, 'B N']:
  r"""FLOPs of decoding each response, the prompt already in the cache.

  .. math:: 2 P l + 4 H D_h L \sum_{i=1}^{l} (T_p + i)

  Args:
    shape: numbers of the model.
    prompt_lengths: `Tp`, tokens of each prompt.
    lengths: `l`, tokens of each response.

  Returns:
    FLOPs of each response.
  """
  prompt = np.asarray(prompt_lengths, np.float64)[:, None]
  length = np.asarray(lengths, np.float64)
  return _flops(shape, prompt, length)


def kv_bytes_written(
  shape: ModelShape,
  prompt_lengths: Int[ArrayLike, ' B'],
  lengths: Int[ArrayLike, 'B N'],
  *,
  shared_prompt: bool = True,
) -> Float[np.ndarray, ' B']:
  """Bytes written to the KV cache for each problem.

  Args:
    shape: numbers of the model.
    prompt_lengths: `Tp`, tokens of each prompt.
    lengths: tokens of each response.
    shared_prompt: the prompt is written once, not once per response.

  Returns:
    Bytes of each problem, all its responses together.
  """
  prompt = np.asarray(prompt_lengths, np.float64)
  length = np.asarray(lengths, np.float64)
  copies = 1 if shared_prompt else length.shape[1]
  return shape.kv_bytes_per_token * (copies * prompt + length.sum(axis=1))


def kv_bytes_read(
  shape: ModelShape,
  prompt_lengths: Int[ArrayLike, ' B'],
  lengths: Int[ArrayLike, 'B N'],
  *,
  shared_prompt: bool = True,
) -> Float[np.ndarray, ' B']:
  r"""Bytes that decoding reads from the KV cache for each problem.

  .. math:: \text{bytes} \cdot \Big(T_p \max_j l_j
      + \sum_j l_j (l_j + 1) / 2\Big)

  All responses decode in step. The prompt is read once per step as long as one
  of them runs; unshared, every running response reads it, and the maximum
  becomes a sum. Reads of the prefill are not counted.

  Args:
    shape: numbers of the model.
    prompt_lengths: `Tp`, tokens of each prompt.
    lengths: `l_j`, tokens of each response.
    shared_prompt: attention reads the prompt once for all responses.

  Returns:
    Bytes of each problem, all its responses together.
  """
  prompt = np.asarray(prompt_lengths, np.float64)
  length = np.asarray(lengths, np.float64)
  prompt_reads = length.max(axis=1) if shared_prompt else length.sum(axis=1)
  own_reads = np.sum(length * (length + 1) / 2, axis=1)
  return shape.kv_bytes_per_token * (prompt * prompt_reads + own_reads)


def kv_cache_bytes(
  shape: ModelShape,
  num_prompts: int,
  num_samples: int,
  prompt_length: int,
  max_new_tokens: int,
  *,
  shared_prompt: bool = True,
) -> int:
  r"""Bytes of the KV cache that a decode loop allocates.

  Two segments, `B Tp + B N Td` tokens, or the naive `B N (Tp + Td)`.

  Args:
    shape: numbers of the model.
    num_prompts: `B`.
    num_samples: `N`, responses of each prompt.
    prompt_length: `Tp`, padded.
    max_new_tokens: `Td`.
    shared_prompt: the responses of a prompt share its segment.

  Returns:
    Bytes.
  """
  prompt_copies = 1 if shared_prompt else num_samples
  slots = prompt_copies * prompt_length + num_samples * max_new_tokens
  return num_prompts * slots * shape.kv_bytes_per_token


def _flops(shape, before, tokens):
  """Of so many tokens behind those that are cached."""
  full = _attended(before, tokens, None)
  windowed = _attended(before, tokens, shape.window)
  positions = (shape.num_layers - shape.windowed_layers) * full
  positions = positions + shape.windowed_layers * windowed
  per_position = 4 * shape.num_heads * shape.head_dim
  return 2 * shape.num_params * tokens + per_position * positions


def _attended(before, tokens, window):
  """Positions that tokens attend to in one layer, all of them together."""
  if window is None:
    return before * tokens + tokens * (tokens + 1) / 2
  up_to = lambda n: np.where(
    n <= window, n * (n + 1) / 2, window * (n - (window - 1) / 2)
  )
  return up_to(before + tokens) - up_to(before)
