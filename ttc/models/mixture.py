r"""The products of a mixture of experts, of each token with `k` of `E` MLPs.

Nothing is dropped: no expert has a capacity. Four ways to the same sum,

  dense   every expert reads every token, and weights are mostly zero; the
          definition. `E / k` times the products.
  ragged  `jax.lax.ragged_dot` over rows sorted by expert.
  blocks  rows sorted by expert in blocks of a few, one expert's products each.
          At most `M k / b + E` blocks of `b` rows.
  pairs   matrix-vector products for each token and choice, which read no more
          than the matrices of the chosen.

On a mesh each device multiplies its rows (axis `data`) with its own experts or
its part of each (`sharding.stack_axes`): no matrix of an expert travels, and of
the rows one sum.

Costs `6 k D F` FLOPs per token and layer, and the matrices of every expert that
some token chose are read once.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Float, Int

from ttc.kernels.dispatch import mesh_of
from ttc.models import experts as routes
from ttc.models.experts import Chosen, Experts, LayerOverride
from ttc.models.layers import Linear, gated_mlp, matmul
from ttc.models.sharding import RULES, stack_axes

Implementation: TypeAlias = Literal['dense', 'ragged', 'blocks', 'pairs']


class Kernels(NamedTuple):
  """The MLPs of all experts.

  `[in, out]`, other than those of `Linear`: what a TPU's grouped product reads.
  Of the other order it would make a copy of all experts.
  """

  gates: Float[Array, 'E D F']
  ups: Float[Array, 'E D F']
  downs: Float[Array, 'E F D']


def is_stack(parameter: str) -> bool:
  """Whether `mixture.gates` or the like: kernels of experts, `[in, out]`.

  Files have them `[out, in]`, one by one or stacked.
  """
  module, _, name = parameter.rpartition('.')
  return module == 'mixture' and name in Kernels._fields


class Routed(NamedTuple):
  """What a router said of each token, and what came of it."""

  logits: Float[Array, '*A E']
  chosen: Chosen


class Mixture(nn.Module):
  """A mixture of SwiGLU experts, and one that is shared where there is."""

  experts: Experts
  straight_through: bool = False
  many_rows: bool = False

  @nn.compact
  def __call__(
    self, x: Float[Array, '*A D'], override: LayerOverride | None
  ) -> tuple[Float[Array, '*A D'], Routed]:
    e, width = self.experts, x.shape[-1]
    stack = lambda name, *shape: self.param(
      name, _draw, (e.num_experts, *shape), x.dtype
    )
    kernels = Kernels(
      stack('gates', width, e.mlp_dim),
      stack('ups', width, e.mlp_dim),
      stack('downs', e.mlp_dim, width),
    )
    logits = RouterLogits(e.num_experts, name='router')(x)
    chosen = routes.choose(e, logits, override)
    rows = x.reshape(-1, width)
    flat = lambda leaf: leaf.reshape(-1, leaf.shape[-1])
    if self.straight_through:
      weights = routes.straight_through(e, logits, override)
      y = mix_all(kernels, rows, flat(weights))
    else:
      y = mix(kernels, rows, Chosen(*map(flat, chosen)))
    y = y.reshape(x.shape)
    if e.shared_mlp_dim is not None:
      gate = Linear(1, many_rows=self.many_rows, name='shared_gate')(x)
      y += nn.sigmoid(gate) * Shared(
        e.shared_mlp_dim, self.many_rows, name='shared'
      )(x)
    return y, Routed(logits, chosen)


class RouterLogits(nn.Module):
  """What a router says of all experts, in float32."""

  num_experts: int

  @nn.compact
  def __call__(self, x: Float[Array, '*A D']) -> Float[Array, '*A E']:
    init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', 1, 0)
    shape = (self.num_experts, x.shape[-1])
    kernel = self.param('kernel', init, shape, x.dtype)
    return matmul(kernel, x, jnp.float32)


class Shared(nn.Module):
  """The expert that reads every token."""

  mlp_dim: int
  many_rows: bool

  @nn.compact
  def __call__(self, x: Float[Array, '*A D']) -> Float[Array, '*A D']:
    return gated_mlp(x, self.mlp_dim, self.many_rows)


def _draw(key, shape: tuple[int, ...], dtype) -> Float[Array, 'E I O']:
  """Kernels of a new model, drawn `[out, in]` as those of `Linear` are."""
  init = nn.initializers.variance_scaling(1.0, 'fan_in', 'normal', 2, 1, (0,))
  num_experts, inputs, outputs = shape
  return init(key, (num_experts, outputs, inputs), dtype).swapaxes(1, 2)


def mix(
  kernels: Kernels,
  x: Float[Array, 'M D'],
  chosen: Chosen,
  implementation: Implementation | None = None,
) -> Float[Array, 'M D']:
  """The weighted sum of what the chosen experts make of each row.

  Args:
    kernels: of all experts.
    x: rows.
    chosen: the experts `[M, k]` of each row and their weights.
    implementation: None for what is fastest for so many rows, on the platform
      that the program is lowered for.

  Returns:
    The sums.
  """
  num_experts = kernels.gates.shape[0]
  mesh = mesh_of(kernels)
  if implementation is None:
    product = functools.partial(
      jax.lax.platform_dependent,
      cpu=IMPLEMENTATIONS[
        fastest_on_cpu(chosen.ids.size, num_experts, mesh is not None)
      ],
      default=_ragged,
    )
  else:
    product = IMPLEMENTATIONS[implementation]
  if mesh is None:
    return product(kernels, x, chosen)
  rows = RULES['batch']
  num_parts = mesh.shape.get(rows, 1)
  rows = rows if num_parts > 1 and x.shape[0] % num_parts == 0 else None
  experts, width = stack_axes(mesh, num_experts, kernels.gates.shape[2])
  axes = set(jax.tree.leaves((rows, experts, width)))
  if not axes:
    return product(kernels, x, chosen)
  spec = jax.sharding.PartitionSpec
  return jax.shard_map(
    functools.partial(_mix_own, product, experts, tuple(axes - {rows})),
    mesh=mesh,
    in_specs=(
      kernels._replace(
        gates=spec(experts, None, width),
        ups=spec(experts, None, width),
        downs=spec(experts, width),
      ),
      spec(rows),
      spec(rows),
    ),
    out_specs=spec(rows),
    axis_names=axes,
    check_vma=False,  # loops begin with zeros, which are the same everywhere
  )(kernels, x, chosen)


def _mix_own(product, experts, axes, kernels, x, chosen):
  """The sum over all devices of what each one's part makes of the rows.

  Its part is some of the experts, some of the width of each, or both. Rows are
  added up before they travel: pairs of rows and choices are `k` times as many.
  """
  if experts is not None:
    num_experts = kernels.gates.shape[0]
    ids = chosen.ids - jax.lax.axis_index(experts) * num_experts
    is_own = (ids >= 0) & (ids < num_experts)
    chosen = Chosen(
      jnp.where(is_own, chosen.weights, 0.0),
      jnp.where(is_own, ids, num_experts),  # behind all others, and no expert
    )
  return jax.lax.psum(product(kernels, x, chosen), axes)


def mix_all(
  kernels: Kernels, x: Float[Array, 'M D'], weights: Float[Array, 'M E']
) -> Float[Array, 'M D']:
  """The sum over all experts, whatever their weights."""
  gate = jnp.einsum('edf,md->efm', kernels.gates, x)
  up = jnp.einsum('edf,md->efm', kernels.ups, x)
  y = jnp.einsum('efd,efm->edm', kernels.downs, nn.silu(gate) * up)
  return jnp.einsum('edm,me->md', y, weights).astype(x.dtype)


def _one(kernels: Kernels, x: Float[Array, '*M D']) -> Float[Array, '*M D']:
  """What one expert makes of rows, or of one."""
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
def _blocks_jvp(primals, tangents):
  return jax.jvp(_dense, primals, tangents)


def _block_size(rows_of_expert: float) -> int:
  """The power of two that is nearest to the rows of an expert, 8 to 128."""
  return 2 ** min(max(round(math.log2(rows_of_expert)), 3), 7)


def _pairs(kernels, x, chosen):
  def add(y, i):
    row, choice = i // chosen.ids.shape[1], i % chosen.ids.shape[1]
    one = _one(_of_expert(kernels, chosen.ids[row, choice]), x[row])
    return y.at[row].add(chosen.weights[row, choice] * one), None

  sums = jnp.zeros(x.shape, jnp.float32)
  return jax.lax.scan(add, sums, jnp.arange(chosen.ids.size))[0].astype(x.dtype)


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
