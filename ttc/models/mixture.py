"""A mixture of experts: who reads a token, and what they make of it together.

On a mesh each device multiplies its rows (axis `data`) with its own experts or
its part of each (`sharding.stack_axes`): no matrix of an expert travels, and of
the rows one sum. The products are `ttc.models.expert_products`.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ttc.kernels.dispatch import mesh_of
from ttc.models import experts as routes
from ttc.models.expert_products import (
  IMPLEMENTATIONS,
  Implementation,
  Kernels,
  fastest_on_cpu,
  mix_all,
)
from ttc.models.experts import Chosen, Experts, LayerOverride
from ttc.models.layers import Linear, gated_mlp, matmul
from ttc.models.sharding import RULES, stack_axes


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
      default=IMPLEMENTATIONS['ragged'],
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
