r"""Kernels in int8 with a scale for each output channel.

.. math:: W_{oi} \approx s_o Q_{oi}, \qquad s_o = \max_i |W_{oi}| / 127

so :math:`|W - s Q| \le s / 2`, and :math:`y_o = s_o (Q x)_o`: a byte for each
weight, and nothing to calibrate. Two kinds of kernel hold such numbers:

  int8  weights only. Where the compiler can, weights become the type of `x`
        inside the product. XLA's CPU product cannot, it would write a matrix of
        float32 first; there a row is two digits of int8, `x = a (X + Y / 254)`
        to `max |x| / 64516`, and both are multiplied with integers.
  w8a8  inputs too, each row by itself: `x = a X`, `a = max |x| / 127`, without
        the second digit (LLM.int8's vector-wise form, 2208.07339, without its
        outliers in float).

Sums of integers are exact, so there what a row gives does not depend on the
rows beside it. Norms, biases and the last softmax stay as they are. A table of
embeddings is a kernel too: its rows' scales serve what is looked up and, as
channels', what is predicted.

A step reads a byte for each weight and `4 / I` for its scale, instead of
float32's four; a CPU multiplies once for each digit, in int8.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Int8, Shaped

from ttc.types import Params

_HIGH = 127  # the largest digit; -128 is not used
_BASE = 2 * _HIGH  # of the second digit: what rounding leaves is at most 1/2


class Int8Kernel(NamedTuple):
  """Weights in int8, which stand where a kernel may stand."""

  values: Int8[Array, '*L O I']
  scale: Float[Array, '*L O']

  @property
  def shape(self) -> tuple[int, ...]:
    """Of the kernel."""
    return self.values.shape

  @property
  def size(self) -> int:
    """Number of weights."""
    return self.values.size

  @property
  def dtype(self) -> Any:
    """Of what is computed from it."""
    return self.scale.dtype


class W8A8Kernel(Int8Kernel):
  """The same for inputs that are rounded to int8 as well."""


QUANTIZATIONS = {'int8': Int8Kernel, 'w8a8': W8A8Kernel}


def is_quantized(leaf: Any) -> bool:
  """Whether something in a tree of parameters is a kernel in int8."""
  return isinstance(leaf, Int8Kernel)


def check_quantization(quantization: str | None) -> None:
  """ValueError for what is no kind of kernel."""
  if quantization not in (None, *QUANTIZATIONS):
    raise ValueError(
      f'quantization={quantization!r} is not one of None, '
      f'{", ".join(map(repr, QUANTIZATIONS))}'
    )


def quantize_kernel(
  kernel: Float[Array, '*L O I'] | Int8Kernel, quantization: str
) -> Int8Kernel:
  """The nearest kernel in int8; of one in int8 the same numbers.

  Args:
    kernel: rows are output channels, or a token's embedding.
    quantization: 'int8' or 'w8a8'.

  Returns:
    The kernel; a row of zeros has scale 1.
  """
  kind = QUANTIZATIONS[quantization]
  if isinstance(kernel, Int8Kernel):
    return kind(*kernel)
  return kind(*_quantize(kernel))


@jax.jit
def _quantize(kernel):
  (values,), scale = digits(kernel, 1)
  return values, scale


def quantize(params: Params, quantization: str | None) -> Params:
  """Parameters of a transformer with every kernel and table in int8.

  Args:
    params: of `ttc.models.transformer`, in floats or in int8.
    quantization: see `TransformerConfig`, whose parameters then are these; None
      leaves them as they are.

  Returns:
    The same pytree with an `Int8Kernel` in place of each kernel.

  Raises:
    ValueError: for another quantization, or a mixture of experts.
  """
  if quantization is None:
    return params
  check_quantization(quantization)

  def put(key_path, leaf):
    path = jax.tree_util.keystr(key_path, simple=True, separator='.')
    if 'mixture' in path.split('.'):
      raise ValueError(
        f'quantization={quantization!r} of a mixture of experts is not '
        'implemented'
      )
    return quantize_kernel(leaf, quantization) if is_kernel(path) else leaf

  return jax.tree_util.tree_map_with_path(put, params, is_leaf=is_quantized)


def dequantize(params: Params) -> Params:
  """The same parameters in the floats that they stand for, float32."""

  def put(leaf):
    if not is_quantized(leaf):
      return leaf
    return leaf.values.astype(leaf.dtype) * leaf.scale[..., None]

  return jax.tree.map(put, params, is_leaf=is_quantized)


def is_kernel(path: str) -> bool:
  """Whether the parameter at `layers.0.query.kernel` or `embed` is a kernel."""
  return path.split('.')[-1] in ('kernel', 'embed', 'unembed')


def digits(
  x: Float[Array, '*A I'], num_digits: int
) -> tuple[list[Int8[Array, '*A I']], Float[Array, '*A']]:
  """Digits of int8 and a scale for each row, `x = a (X + Y / 254 + ...)`."""
  wide = x.astype(jnp.float32)
  top = jnp.max(jnp.abs(wide), axis=-1)
  scale = jnp.where(top == 0, 1.0, top / _HIGH)  # NaN stays NaN
  rest = wide / scale[..., None]
  found = []
  for _ in range(num_digits):
    digit = jnp.clip(jnp.round(rest), -_HIGH, _HIGH)
    found.append(digit.astype(jnp.int8))
    rest = (rest - digit) * _BASE
  return found, scale


def matmul(
  kernel: Int8Kernel, x: Float[Array, '*A I'], dtype: Any
) -> Float[Array, '*A O']:
  """`x W^T`; a gradient is that of the product with `x` as it is."""
  product = _by_rows if isinstance(kernel, W8A8Kernel) else _by_weights
  y = product(kernel.values, x).astype(jnp.float32) * kernel.scale
  return y.astype(dtype)


def lookup(
  table: Shaped[Array, 'V D'] | Int8Kernel, index: Int[Array, '*A'], dtype: Any
) -> Float[Array, '*A D']:
  """Rows of a table; those of int8 in `dtype`."""
  if not isinstance(table, Int8Kernel):
    if table.dtype == jnp.bfloat16:
      # Or XLA's CPU compiler makes the whole table float32 first.
      table, index = jax.lax.optimization_barrier((table, index))
    return table[index]
  rows = table.values[index].astype(jnp.float32)
  return (rows * table.scale[index][..., None]).astype(dtype)


@jax.custom_jvp
def _by_weights(values, x) -> Array:
  """`x Q^T` with inputs as they are, or nearly."""
  return jax.lax.platform_dependent(
    values, x, cpu=lambda values, x: _in_integers(values, x, 2), default=_inside
  )


@jax.custom_jvp
def _by_rows(values, x) -> Array:
  """`x Q^T` with each row of `x` in int8."""
  return _in_integers(values, x, 1)


def _jvp(product):
  def rule(primals, tangents):
    values, x = primals
    weights = values.astype(x.dtype)
    return product(values, x), rows_times(tangents[1], weights, jnp.float32)

  return rule


_by_weights.defjvp(_jvp(_by_weights))
_by_rows.defjvp(_jvp(_by_rows))


def _in_integers(values, x, num_digits):
  """The product with digits of `x`, each in int8 and summed in int32."""
  found, scale = digits(x, num_digits)
  if x.size == x.shape[-1] and num_digits == 1:
    # A product with one vector is slow on a CPU: the matrix is made int32.
    found = [*found, jnp.zeros_like(found[0])]
  stacked = jnp.stack(found, axis=-2)
  y = rows_times(stacked, values, jnp.int32).astype(jnp.float32)
  total = sum(y[..., i, :] * _BASE**-i for i in reversed(range(num_digits)))
  return total * scale[..., None]


def _inside(values, x):
  """The product with weights that become floats inside."""
  # Or a compiler makes floats of them once, before the loop that decodes.
  values, x = jax.lax.optimization_barrier((values, x))
  return rows_times(x, values.astype(x.dtype), jnp.float32)


def rows_times(
  x: Shaped[Array, '*A I'], kernel: Shaped[Array, 'O I'], dtype: Any
) -> Shaped[Array, '*A O']:
  """`x W^T`, accumulated and given in `dtype`.

  As a product of two matrices: of more axes XLA's CPU compiler would turn the
  kernel around first.
  """
  y = jax.lax.dot_general(
    x.reshape(-1, x.shape[-1]),
    kernel,
    (((1,), (1,)), ((), ())),
    preferred_element_type=dtype,
  )
  return y.reshape(*x.shape[:-1], -1)
