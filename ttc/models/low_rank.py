"""Kernels with a low-rank addition: two thin products beside the wide one."""

from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Array, Float


class LowRankSum(NamedTuple):
  r"""`W + scale (A B)^T`, which stands where a kernel `W` may stand.

  .. math:: y = W x + s\, B^\top A^\top x

  Costs `r (I + O)` products more for each input, instead of the `r I O` that
  adding it up once costs; a gradient to `A` and `B` never makes one for `W`.
  Leaves may have leading axes in common: layers, or adapters under `vmap`.
  """

  kernel: Float[Array, '*L O I']
  down: Float[Array, '*L I r']  # A
  up: Float[Array, '*L r O']  # B
  scale: Float[Array, '*L']


Kernel: TypeAlias = Any  # an array `[O, I]`, an `Int8Kernel`, or a `LowRankSum`
