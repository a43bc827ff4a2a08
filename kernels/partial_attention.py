"""Softmax attention over a set of keys, and over the union of such sets.

Every operation here returns `(output, lse)`: the attention output over the keys
that it saw, and the log-sum-exp of their scaled logits. Outputs over disjoint
sets of keys merge exactly into the output over all of them, so prompt and
response, splits of a long cache, and sparse and dense parts compose. Partial
outputs and log-sum-exps stay in float32 until they are merged.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Segment(NamedTuple):
  """Keys and values `[..., K, S, D]` of a stretch of tokens."""

  k: Float[Array, '*A K S D']
  v: Float[Array, '*A K S D']


def of_layer(stack: Any, layer: Int[Array, ''] | None) -> Any:
  """One layer of leaves `[L, ...]`, or all of the leaves if that is None."""
  if layer is None:
    return stack
  at = lambda x: jax.lax.dynamic_index_in_dim(x, layer, keepdims=False)
  return jax.tree.map(at, stack)


def in_one_batch(
  stack: Any, layer: Int[Array, ''] | None
) -> tuple[Any, Int[Array, ' 1']]:
  """Sequences of all layers behind each other, for kernels.

  Args:
    stack: leaves `[L, B, ...]`, or `[B, ...]` if `layer` is None.
    layer: that is meant.

  Returns:
    Leaves `[L B, ...]`, which is a view, and the first sequence of the layer.
  """
  if layer is None:
    return stack, jnp.zeros(1, jnp.int32)
  B = jax.tree.leaves(stack)[0].shape[1]
  flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stack)
  return flat, (layer * B).astype(jnp.int32)[None]


def softmax_attention(
  query: Float[Array, '*A D'],
  keys: Segment,
  mask: Bool[Array, '*#M'],
  softcap: float | None = None,
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  """Attention over the keys that `mask` keeps; both results in float32.

  The axes of `query` between those of `keys` and `D` are rows of one matrix
  product; `mask` broadcasts to `[*A, S]`. A query that sees no key gets output
  0 and log-sum-exp `-inf`. `softcap` is of the scaled logits.
  """
  scale = query.shape[-1] ** -0.5
  rows = query.reshape(*keys.k.shape[:-2], -1, query.shape[-1])
  logits = scale * jnp.einsum(
    '...md,...sd->...ms', rows, keys.k, preferred_element_type=jnp.float32
  )
  logits = soft_cap(logits, softcap).reshape(*query.shape[:-1], -1)
  logits = jnp.where(mask, logits, -jnp.inf)
  top = _finite(jnp.max(logits, axis=-1, keepdims=True))
  weights = jnp.exp(logits - top)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  output = jnp.einsum(
    '...ms,...sd->...md',
    weights.reshape(*rows.shape[:-1], -1).astype(keys.v.dtype),
    keys.v,
    preferred_element_type=jnp.float32,
  ).reshape(query.shape)
  output = output / jnp.where(total > 0, total, 1.0)
  return output, (jnp.log(total) + top)[..., 0]


def soft_cap(x: Float[Array, '*A'], cap: float | None) -> Float[Array, '*A']:
  """`c tanh(x / c)` (Gemma 2, 2408.00118); None leaves `x` as it is."""
  return x if cap is None else cap * jnp.tanh(x / cap)


def merge_partials(
  partials: Sequence[tuple[Float[Array, '*A D'], Float[Array, '*A']]],
) -> tuple[Float[Array, '*A D'], Float[Array, '*A']]:
  r"""Merges `(output, lse)` over disjoint sets of keys into that over all.

  .. math:: o = \frac{\sum_i e^{\ell_i - m} o_i}{\sum_i e^{\ell_i - m}},
     \qquad \ell = m + \log \sum_i e^{\ell_i - m}, \quad m = \max_i \ell_i

  Associative and commutative; a set that is wholly masked has `lse = -inf` and
  takes no part. If all are, the output is 0 and the log-sum-exp `-inf`.
  """
  if len(partials) == 1:
    return partials[0]
  top = _finite(functools.reduce(jnp.maximum, [lse for _, lse in partials]))
  weights = [jnp.exp(lse - top) for _, lse in partials]
  total = sum(weights)
  safe_total = jnp.where(total > 0, total, 1.0)
  # Without the barrier XLA may recompute the exponentials per element of D.
  weights = jax.lax.optimization_barrier([w / safe_total for w in weights])
  parts = [
    w[..., None] * output
    for w, (output, _) in zip(weights, partials, strict=True)
  ]
  output = functools.reduce(jnp.add, parts)
  return output, jnp.log(total) + top


def _finite(x: Float[Array, '*A']) -> Float[Array, '*A']:
  """Replaces `-inf` by 0, so that `-inf - x` stays `-inf` and not NaN."""
  return jnp.where(jnp.isfinite(x), x, 0.0)
