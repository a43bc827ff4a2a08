r"""LoRA: low-rank adapters as a pytree beside the parameters.

Hu et al., 2021, arXiv 2106.09685. A kernel `W` of the model, which stays as it
is, becomes

.. math:: W x + s\, B^\top A^\top x, \qquad s = \alpha / r

with `A [in, r]` Kaiming-uniform and `B [r, out]` zero at first, so the model
begins unchanged. Rank-stabilised (Kalajdzievski, 2023, arXiv 2312.03732):
`s = alpha / sqrt(r)`. An adapter is a dict from the path of each kernel to its
two factors; it is trained by differentiating
`lambda adapter: loss(apply_lora(params, adapter))`, and `jax.vmap` over its
leaves gives an adapter per context. Costs `r (in + out)` parameters a kernel.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ttc.models import LowRankSum, is_quantized
from ttc.types import Params

# The linear maps of `ttc.models.transformer`; all but the embeddings.
TARGETS = ('query', 'key', 'value', 'output', 'gate', 'up', 'down')


class LowRank(NamedTuple):
  """The two factors for one kernel; layers may be stacked in front."""

  a: Float[Array, '*L I r']
  b: Float[Array, '*L r O']


Adapter: TypeAlias = dict[str, LowRank]  # by path, 'layers.0.query.kernel'


def init_lora(
  key: PRNGKeyArray,
  params: Params,
  rank: int = 16,
  targets: Sequence[str] = TARGETS,
) -> Adapter:
  """An adapter that changes nothing yet.

  Args:
    key: random key, consumed.
    params: of the model, or their shapes; kernels are `[out, in]`.
    rank: `r`; static.
    targets: names of the maps whose `kernel` is adapted.

  Returns:
    The factors of each kernel, in its dtype.

  Raises:
    ValueError: if the rank is not at least 1, a target has no kernel, or is of
      the experts of a mixture.
  """
  if rank < 1:
    raise ValueError(f'rank={rank} must be at least 1')
  leaves = _leaves(params)
  stacks = sorted(path for path in leaves if path.endswith('mixture.gates'))
  if stacks and not {'gate', 'up', 'down'}.isdisjoint(targets):
    raise ValueError(
      f'the experts {stacks[0]!r} have no adapters: of a mixture targets may '
      'be query, key, value and output'
    )
  kernels = {
    path: leaf
    for path, leaf in leaves.items()
    if path.split('.')[-1] == 'kernel' and path.split('.')[-2] in targets
  }
  found = {path.split('.')[-2] for path in kernels}
  if missing := sorted(set(targets) - found):
    raise ValueError(f'target {missing[0]!r} is no kernel of these parameters')
  adapter = {}
  for i, (path, kernel) in enumerate(sorted(kernels.items())):
    *layers, fan_out, fan_in = kernel.shape
    # Kaiming with a = sqrt 5 is this bound.
    a = jax.random.uniform(
      jax.random.fold_in(key, i),
      (*layers, fan_in, rank),
      jnp.float32,
      -(fan_in**-0.5),
      fan_in**-0.5,
    )
    b = jnp.zeros((*layers, rank, fan_out), kernel.dtype)
    adapter[path] = LowRank(a.astype(kernel.dtype), b)
  return adapter


def lora_scale(
  adapter: Adapter,
  alpha: Float[Array, ''] | float = 32.0,
  rank_stabilised: bool = False,
) -> Float[Array, '']:
  """`alpha / r`, or `alpha / sqrt(r)`."""
  rank = next(iter(adapter.values())).a.shape[-1]
  return jnp.asarray(alpha, jnp.float32) / (
    rank**0.5 if rank_stabilised else rank
  )


def apply_lora(
  params: Params,
  adapter: Adapter,
  *,
  alpha: Float[Array, ''] | float = 32.0,
  rank_stabilised: bool = False,
) -> Params:
  """Parameters of the adapted transformer, nothing multiplied out.

  Args:
    params: of `ttc.models.transformer`.
    adapter: for some of them.
    alpha: strength.
    rank_stabilised: see the module; static.

  Returns:
    The same pytree with a `LowRankSum` in place of each kernel.
  """
  scale = lora_scale(adapter, alpha, rank_stabilised)

  def put(kernel, part):
    layers = kernel.shape[:-2]
    factor = jnp.broadcast_to(scale.astype(kernel.dtype), layers)
    return LowRankSum(kernel, part.a, part.b, factor)

  return _with_kernels(params, adapter, put)


def merge_lora(
  params: Params,
  adapter: Adapter,
  *,
  alpha: Float[Array, ''] | float = 32.0,
  rank_stabilised: bool = False,
) -> Params:
  """Parameters with the adapter added in; arguments as of `apply_lora`.

  Works for any model whose kernels are `[out, in]`. To take an adapter out
  again, merge it with `-alpha`.
  """
  scale = lora_scale(adapter, alpha, rank_stabilised)

  def put(kernel, part):
    if is_quantized(kernel):
      raise ValueError(
        'a kernel in int8 has no room for an adapter; apply_lora keeps it '
        'beside'
      )
    change = scale * jnp.swapaxes(part.a @ part.b, -1, -2)
    return kernel + change.astype(kernel.dtype)

  return _with_kernels(params, adapter, put)


def _with_kernels(params, adapter, put):
  """Parameters with `put(kernel, factors)` in place of adapted kernels."""
  if unknown := sorted(set(adapter) - set(_leaves(params))):
    raise ValueError(f'the adapter changes {unknown[0]!r}, which is no weight')

  def at(key_path, leaf):
    path = _dotted(key_path)
    return put(leaf, adapter[path]) if path in adapter else leaf

  return jax.tree_util.tree_map_with_path(at, params, is_leaf=is_quantized)


def _leaves(params: Params) -> dict[str, Any]:
  """Each weight by its path."""
  leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=is_quantized)
  return {_dotted(path): leaf for path, leaf in leaves}


def _dotted(key_path) -> str:
  return jax.tree_util.keystr(key_path, simple=True, separator='.')
