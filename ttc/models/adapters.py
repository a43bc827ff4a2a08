"""Guests: models that are not ours, as pure functions."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttc.models.base import LanguageModel
from ttc.types import Params


def from_nnx(module: Any) -> tuple[Params, Callable[..., Any]]:
  """Takes a Flax NNX module apart.

  Args:
    module: a `flax.nnx.Module`. All of its state becomes parameters; state that
      a call changes (dropout counts, running averages) is dropped.

  Returns:
    The parameters, and `apply_fn(params, *args)`, what calling the module does.
  """
  from flax import nnx

  graphdef, params = nnx.split(module)
  apply_fn = lambda params, *args: nnx.merge(graphdef, params)(*args)
  return params, apply_fn


def without_cache(
  apply_fn: Callable[[Params, Int[Array, 'B T']], Float[Array, 'B T V']],
  vocab_size: int,
  max_length: int,
  init: Callable[..., Params] | None = None,
) -> LanguageModel:
  """Makes a plain causal model decodable; it remembers the tokens themselves.

  Every step runs `apply_fn` over the whole of every row, prompt included: a
  response of `T` tokens to a prompt of `P` costs `T (P + T)` tokens of the
  model instead of `P + T`. Good for trying a model out and as a reference.

  Args:
    apply_fn: `(params, tokens) -> logits` of each next token. Must be causal:
      what stands behind a token must not change its logits.
    vocab_size: `V`.
    max_length: the longest sequence that `apply_fn` takes.
    init: `key -> params`, if the model is to be initialised through this.

  Returns:
    The language model. Its features are the logits.
  """

  def features(params, tokens, num_tokens, cache):
    B, N, T = tokens.shape
    steps = jnp.arange(T)
    start = cache.suffix_lengths[..., None]  # [B, N, 1]
    if cache.suffix is None:
      suffix = tokens
    else:
      capacity = cache.suffix.shape[-1]
      index = jnp.where(steps < num_tokens[..., None], start + steps, capacity)
      b, n = jnp.ogrid[:B, :N]
      put = cache.suffix.at[b[..., None], n[..., None], index]
      suffix = put.set(tokens, mode='drop')
    rows, offset = suffix, start
    if cache.prefix is not None:
      rows = _behind(cache.prefix, cache.prefix_lengths, suffix)
      offset = start + cache.prefix_lengths[:, None, None]
    rows = rows[..., :max_length]
    logits = apply_fn(params, rows.reshape(B * N, -1)).reshape(*rows.shape, -1)
    index = jnp.minimum(offset + steps, rows.shape[-1] - 1)
    logits = jnp.take_along_axis(logits, index[..., None], axis=2)
    lengths = cache.suffix_lengths + num_tokens
    return logits, cache._replace(suffix=suffix, suffix_lengths=lengths)

  return LanguageModel(
    init=init or _no_init,
    features=features,
    logits=lambda params, features: features.astype(jnp.float32),
    make_suffix=lambda B, N, size: jnp.zeros((B, N, size), jnp.int32),
    vocab_size=vocab_size,
    max_length=max_length,
    join=lambda prefix, more, lengths: jnp.concatenate([prefix, more], axis=1),
  )


def _behind(
  prefix: Int[Array, 'B P'],
  lengths: Int[Array, ' B'],
  suffix: Int[Array, 'B N S'],
) -> Int[Array, 'B N L']:
  """Each suffix right behind the `lengths` real tokens of its prefix."""
  P, S = prefix.shape[-1], suffix.shape[-1]
  position = jnp.arange(P + S)
  in_prefix = position < lengths[:, None]  # [B, P + S]
  index = jnp.where(in_prefix, position, P + position - lengths[:, None])
  both = jnp.concatenate(
    [jnp.broadcast_to(prefix[:, None], (*suffix.shape[:2], P)), suffix], -1
  )
  index = jnp.minimum(index, P + S - 1)[:, None]
  return jnp.take_along_axis(both, index, axis=-1)


def _no_init(key):
  del key
  raise ValueError('this model has no init: pass one to without_cache')
