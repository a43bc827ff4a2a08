r"""The products of a mixture of experts: four ways to the same sum.

Of each token with `k` of `E` MLPs. Nothing is dropped: no expert has a
capacity.

  dense   every expert reads every token, and weights are mostly zero; the
          definition. `E / k` times the products.
  ragged  `jax.lax.ragged_dot` over rows sorted by expert.
  blocks  rows sorted by expert in blocks of a few, one expert's products each.
          At most `M k / b + E` blocks of `b` rows.
  pairs   a sum of an expert's rows for each token and choice, which reads no
          more than the matrices of the chosen, where they lie.

Costs `6 k D F` FLOPs per token and layer, and the matrices of every expert that
some token chose are read once.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int

from ttc.models import experts as routes
from ttc.models.experts import Chosen

Implementation: TypeAlias = Literal['dense', 'ragged', 'blocks', 'pairs']
_UNROLLED = 8  # rows of a matrix in one loop over a vector


class Kernels(NamedTuple):
  """The MLPs of all experts.

  `[in, out]`, other than those of `Linear`: what a TPU's grouped product reads.
  Of the other order it would make a copy of all experts.
  """

  gates: Float[Array, 'E D F']
  ups: Float[Array, 'E D F']
  downs: Float[Array, 'E F D']


def mix_all(
  kernels: Kernels, x: Float[Array, 'M D'], weights: Float[Array, 'M E']
) -> Float[Array, 'M D']:
  """The sum over all experts, whatever their weights.

  Rows are repeated for each expert, as products of a batch: of any other form
  XLA's CPU compiler would turn all kernels around, in every step.
  """
  rows = jnp.broadcast_to(x, (kernels.gates.shape[0], *x.shape))
  gate = jnp.einsum('emd,edf->emf', rows, kernels.gates)
  up = jnp.einsum('emd,edf->emf', rows, kernels.ups)
  y = jnp.einsum('emf,efd->emd', nn.silu(gate) * up, kernels.downs)
  return jnp.einsum('emd,me->md', y, weights).astype(x.dtype)


def _one(kernels: Kernels, x: Float[Array, 'M D']) -> Float[Array, 'M D']:
  """What one expert makes of rows."""
  return (nn.silu(x @ kernels.gates) * (x @ kernels.ups)) @ kernels.downs


def _dense(kernels, x, chosen):
  weights = routes.spread(chosen, kernels.gates.shape[0])
  return mix_all(kernels, x, weights)


class _Sorted(NamedTuple):
  """Pairs of rows and choices, sorted by expert."""

  rows: Int[Array, ' P']
  weights: Float[Array, ' P']
  sizes: Int[Array, ' E']  # pairs of each expert


def _sort(chosen: Chosen, num_experts: int) -> _Sorted:
  ids = chosen.ids.reshape(-1)
  order = jnp.argsort(ids, stable=True)
  is_of = jax.nn.one_hot(ids, num_experts, dtype=jnp.int32)
  return _Sorted(
    order // chosen.ids.shape[1],
    chosen.weights.reshape(-1)[order],
    jnp.sum(is_of, axis=0, dtype=jnp.int32),
  )


def _add_up(pairs: _Sorted, y: Float[Array, 'P D'], x: Float[Array, 'M D']):
  """The weighted sum of the pairs of each row."""
  is_real = jnp.arange(len(y)) < jnp.sum(pairs.sizes)
  y = jnp.where(is_real[:, None], y.astype(jnp.float32), 0.0)
  weighted = y * pairs.weights[:, None]
  sums = jnp.zeros(x.shape, jnp.float32).at[pairs.rows].add(weighted)
  return sums.astype(x.dtype)


def _ragged_once(kernels, x, chosen):
  pairs = _sort(chosen, kernels.gates.shape[0])
  product = lambda x, stack: jax.lax.ragged_dot(x, stack, pairs.sizes)
  of_pairs = x[pairs.rows]
  gate, up = product(of_pairs, kernels.gates), product(of_pairs, kernels.ups)
  return _add_up(pairs, product(nn.silu(gate) * up, kernels.downs), x)


@jax.custom_vjp
def _ragged(kernels, x, chosen):
  """One after the other under `vmap`, for which jax has no rule here.

  Nor has it for a second derivative, which is that of the dense product.
  """
  return sequential_vmap(_ragged_once)(kernels, x, chosen)


def _cotangents(product, kernels, x, chosen, cotangent):
  """To kernels, rows and weights."""
  once = lambda kernels, x, weights: product(
    kernels, x, chosen._replace(weights=weights)
  )
  return jax.vjp(once, kernels, x, chosen.weights)[1](cotangent)


@jax.custom_jvp
def _ragged_cotangents(*args):
  return sequential_vmap(functools.partial(_cotangents, _ragged_once))(*args)


@_ragged_cotangents.defjvp
def _ragged_cotangents_jvp(primals, tangents):
  dense = functools.partial(_cotangents, _dense)
  return jax.jvp(dense, primals, tangents)


def _ragged_backward(args, cotangent):
  kernels, x, weights = _ragged_cotangents(*args, cotangent)
  return kernels, x, args[2]._replace(weights=weights, ids=None)


_ragged.defvjp(lambda *args: (_ragged(*args), args), _ragged_backward)


@jax.custom_jvp  # the number of blocks is known at run time only
def _blocks(kernels, x, chosen):
  num_experts, num_pairs = kernels.gates.shape[0], chosen.ids.size
  pairs = _sort(chosen, num_experts)
  size = _block_size(num_pairs / num_experts)
  first = jnp.cumsum(pairs.sizes) - pairs.sizes
  num_blocks = -(-pairs.sizes // size)
  end = jnp.cumsum(num_blocks)
  of_pairs = jnp.pad(x[pairs.rows], ((0, size), (0, 0)))

  def block(state):
    i, y = state
    expert = jnp.sum(end <= i)
    # What a block has of the next expert's rows, the next block writes anew.
    at = first[expert] + (i - end[expert] + num_blocks[expert]) * size
    h = jax.lax.dynamic_slice_in_dim(of_pairs, at, size)
    h = _one(_of_expert(kernels, expert), h)
    return i + 1, jax.lax.dynamic_update_slice_in_dim(y, h, at, 0)

  state = (jnp.int32(0), jnp.zeros_like(of_pairs))
  _, y = jax.lax.while_loop(lambda state: state[0] < end[-1], block, state)
  return _add_up(pairs, y[:num_pairs], x)


@_blocks.defjvp
def _as_dense(primals, tangents):
  return jax.jvp(_dense, primals, tangents)


def _block_size(rows_of_expert: float) -> int:
  """The power of two that is nearest to the rows of an expert, 8 to 128."""
  return 2 ** min(max(round(math.log2(rows_of_expert)), 3), 7)


@jax.custom_jvp
def _pairs(kernels, x, chosen):
  def add(y, i):
    row, choice = i // chosen.ids.shape[1], i % chosen.ids.shape[1]
    one = _one_row(kernels, chosen.ids[row, choice], x[row])
    return y.at[row].add(chosen.weights[row, choice] * one), None

  sums = jnp.zeros(x.shape, jnp.float32)
  return jax.lax.scan(add, sums, jnp.arange(chosen.ids.size))[0].astype(x.dtype)


_pairs.defjvp(_as_dense)


def _one_row(
  kernels: Kernels, expert: Int[Array, ''], x: Float[Array, ' D']
) -> Float[Array, ' D']:
  """What an expert makes of one row, in float32."""
  gate, up = _row_times((kernels.gates, kernels.ups), expert, x)
  (y,) = _row_times((kernels.downs,), expert, nn.silu(gate) * up)
  return y


def _row_times(
  stacks: Sequence[Float[Array, 'E I O']],
  expert: Int[Array, ''],
  x: Float[Array, ' I'],
) -> list[Float[Array, ' O']]:
  """`x @ stack[expert]` of each stack, read where it lies.

  XLA's CPU product cannot take a matrix that is chosen at run time: it copies
  it first, which takes twice as long as the product. Here rows are scaled and
  added, `_UNROLLED` at a time, which is one loop over a vector that stays in
  the cache; weights become float32 as they are read.
  """
  num_inputs, unrolled = x.size, math.gcd(x.size, _UNROLLED)

  def add(i, sums):
    # Or stacks of bfloat16 become float32 as a whole, before the loop.
    weights, first = jax.lax.optimization_barrier((stacks, i * unrolled))
    for at in (first + j for j in range(unrolled)):
      rows = [_row(stack, expert, at) for stack in weights]
      sums = [y + x[at] * row for y, row in zip(sums, rows, strict=True)]
    return sums

  zeros = [jnp.zeros(stack.shape[-1], jnp.float32) for stack in stacks]
  return jax.lax.fori_loop(0, num_inputs // unrolled, add, zeros)


def _row(stack, expert, at):
  """A row of an expert's matrix in float32; as a gather it would be slower."""
  row = jax.lax.dynamic_slice(stack, (expert, at, 0), (1, 1, stack.shape[-1]))
  return row.reshape(-1).astype(jnp.float32)


def _of_expert(kernels: Kernels, expert: Int[Array, '']) -> Kernels:
  at = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, expert, keepdims=False)
  return Kernels(*map(at, kernels))


IMPLEMENTATIONS: dict[Implementation, Callable[..., Array]] = {
  'dense': _dense,
  'ragged': _ragged,
  'blocks': _blocks,
  'pairs': _pairs,
}


def fastest_on_cpu(
  num_pairs: int, num_experts: int, on_mesh: bool
) -> Implementation:
  """As measured with 8 and 64 experts (`scripts/bench_experts.py`).

  Few pairs leave most experts unread; with some rows for each expert, one large
  product over all beats many small ones; from eight on, its `E / k` is more
  than that. A CPU's `ragged_dot` is a masked product over copies, and is never
  chosen here; accelerators take nothing else.
  """
  if on_mesh:
    return 'dense'  # each device sums over its experts, and moves none
  if num_pairs < num_experts:
    return 'pairs'
  return 'dense' if num_pairs < 8 * num_experts else 'blocks'
