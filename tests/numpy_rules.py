"""Operations of jax whose results have the same bits without a new program.

Moves, comparisons, whole numbers, single roundings, sorting and Threefry are
NumPy's; of exponentials and their like XLA compiles one program for all shapes.
A rule takes the equation and its arguments; what it does not do, it declines.
"""

import functools

import jax
import numpy as np
import numpy_threefry
from numpy_threefry import Decline


def exactly(function, kinds='fiub'):
  """A function of numbers that both round alike."""

  def rule(eqn, *args):
    del eqn
    for x in args:
      if x.dtype.kind not in kinds or (x.dtype.kind == 'f' and x.itemsize < 4):
        raise Decline
    return function(*args)

  return rule


@functools.cache
def program(name):
  return jax.jit(lambda x: getattr(jax.lax, name)(x))


def of_each(eqn, x):
  """A function of each number, by a program for a round number of them."""
  if x.dtype != np.float32 or eqn.params.get('accuracy') is not None:
    raise Decline
  filled = np.full(max(64, 4 ** int(np.ceil(np.log2(max(x.size, 1)) / 2))), 0.5)
  filled = filled.astype(np.float32)
  filled[: x.size] = x.ravel()
  name = eqn.primitive.name
  return np.asarray(program(name)(filled))[: x.size].reshape(x.shape)


def convert(eqn, x):
  new = np.dtype(eqn.params['new_dtype'])
  if new.kind in 'iu' and x.dtype.kind not in 'iub':
    x = np.asarray(x, np.float64)
    if not np.all(np.abs(x) < 2**31) or (new.kind == 'u' and np.any(x < 0)):
      raise Decline
  if new.kind == 'b' and x.dtype.kind not in 'iub':
    raise Decline
  return x.astype(new)


def broadcast(eqn, x):
  shape, dims = eqn.params['shape'], eqn.params['broadcast_dimensions']
  wide = [1] * len(shape)
  for d, size in zip(dims, x.shape, strict=True):
    wide[d] = size
  return np.broadcast_to(x.reshape(wide), shape)


def iota(eqn):
  shape, d = eqn.params['shape'], eqn.params['dimension']
  line = np.arange(shape[d]).astype(eqn.params['dtype'])
  wide = [1] * len(shape)
  wide[d] = shape[d]
  return np.broadcast_to(line.reshape(wide), shape)


def cut(eqn, x):
  starts, ends = eqn.params['start_indices'], eqn.params['limit_indices']
  strides = eqn.params['strides'] or (1,) * x.ndim
  return x[tuple(map(slice, starts, ends, strides))]


def clamped(starts, sizes, shape):
  """Where a window begins that must lie inside."""
  return [
    int(np.clip(int(s), 0, n - size))
    for s, size, n in zip(starts, sizes, shape, strict=True)
  ]


def dynamic_slice(eqn, x, *starts):
  sizes = eqn.params['slice_sizes']
  at = clamped(starts, sizes, x.shape)
  return x[tuple(slice(s, s + n) for s, n in zip(at, sizes, strict=True))]


def dynamic_update_slice(eqn, x, update, *starts):
  del eqn
  at = clamped(starts, update.shape, x.shape)
  out = x.copy()
  out[tuple(slice(s, s + n) for s, n in zip(at, update.shape, strict=True))] = (
    update
  )
  return out


def divide(eqn, x, y):
  if x.dtype.kind in 'iu':
    if np.any(y == 0) or np.any((y == -1) & (x == np.iinfo(x.dtype).min)):
      raise Decline
    return x // y + ((x % y != 0) & ((x < 0) != (y < 0)))
  # XLA multiplies by the reciprocal of what divides a whole array.
  if y.size and x.size > 1 and np.all(y == y.ravel()[0]):
    raise Decline
  return exactly(np.divide, 'f')(eqn, x, y)


def pad(eqn, x, value):
  amounts = eqn.params['padding_config']
  if any(low < 0 or high < 0 or inner for low, high, inner in amounts):
    raise Decline
  return np.pad(x, [x[:2] for x in amounts], constant_values=value)


def windows(shape, indices, index_map, batching, index_batching, sizes):
  """Where the elements of each window lie; all axes of windows come last."""
  lead = indices.shape[:-1]
  starts = [np.zeros(lead, np.int64) for _ in shape]
  for k, d in enumerate(index_map):
    starts[d] = indices[..., k].astype(np.int64)
  for d, k in zip(batching, index_batching, strict=True):
    starts[d] = np.broadcast_to(
      np.arange(lead[k]).reshape(
        [-1 if i == k else 1 for i in range(len(lead))]
      ),
      lead,
    )
  out = []
  for d, (start, size) in enumerate(zip(starts, sizes, strict=True)):
    if np.any(start < 0) or np.any(start > shape[d] - size):
      raise Decline
    along = [1] * len(shape)
    along[d] = size
    out.append(
      start.reshape(*lead, *[1] * len(shape)) + np.arange(size).reshape(along)
    )
  return tuple(out)


def gather(eqn, x, indices):
  names, sizes = eqn.params['dimension_numbers'], eqn.params['slice_sizes']
  at = windows(
    x.shape, indices, names.start_index_map, names.operand_batching_dims,
    names.start_indices_batching_dims, sizes,
  )  # fmt: skip
  lead = indices.ndim - 1
  gone = (*names.collapsed_slice_dims, *names.operand_batching_dims)
  out = np.squeeze(x[at], tuple(lead + d for d in gone))
  behind = range(lead, out.ndim)
  return np.moveaxis(out, tuple(behind), names.offset_dims)


def scatter(eqn, x, indices, updates):
  names = eqn.params['dimension_numbers']
  gone = {*names.inserted_window_dims, *names.operand_batching_dims}
  kept = iter(names.update_window_dims)
  sizes = [1 if d in gone else updates.shape[next(kept)] for d in range(x.ndim)]
  at = windows(
    x.shape, indices, names.scatter_dims_to_operand_dims,
    names.operand_batching_dims, names.scatter_indices_batching_dims, sizes,
  )  # fmt: skip
  lead = indices.ndim - 1
  last = range(lead, updates.ndim)
  updates = np.moveaxis(updates, names.update_window_dims, tuple(last))
  updates = np.expand_dims(updates, tuple(lead + d for d in sorted(gone)))
  out = x.copy()
  if eqn.primitive.name == 'scatter':
    out[at] = updates
  else:
    exactly(lambda *x: None)(eqn, x, updates)
    np.add.at(out, at, updates)
  return out


def sort(eqn, *args):
  axis, num_keys = eqn.params['dimension'], eqn.params['num_keys']
  if num_keys != 1 or not (eqn.params['is_stable'] or len(args) == 1):
    raise Decline
  order = np.argsort(args[0], axis=axis, kind='stable')
  return [np.take_along_axis(x, order, axis) for x in args]


def line_by_line(x, axes):
  """Sums over axes, one number after the other."""
  kept = [d for d in range(x.ndim) if d not in axes]
  lead = [x.shape[d] for d in kept]
  rows = np.transpose(x, kept + sorted(axes)).reshape(*lead, -1)
  rows = np.concatenate([np.zeros((*lead, 1), np.float32), rows], axis=-1)
  return np.add.accumulate(rows, axis=-1)[..., -1]


def windows_of_32(x, axes):
  """The sums of windows along long axes, as many as XLA makes of them."""
  pads, parts = [], []
  for d, n in enumerate(x.shape):
    width = 1 if d not in axes else min(n, 32)
    count = -(-n // width)
    short = count * width - n
    pads.append((short // 2, short - short // 2))
    parts += [count, width]
  x = np.pad(x, pads).reshape(parts)
  return line_by_line(x, range(1, x.ndim, 2))


def total(eqn, x):
  axes = tuple(eqn.params['axes'])
  if x.dtype.kind in 'iub':
    return np.sum(x, axis=axes, dtype=x.dtype)
  if x.dtype != np.float32 or not 0 < x.size <= 2048:
    raise Decline
  while any(x.shape[d] > 32 for d in axes):
    x = windows_of_32(x, axes)
  return line_by_line(x, axes)


def over_axes(function):
  def rule(eqn, x):
    if x.dtype.kind == 'f' and x.itemsize < 4:
      raise Decline
    return function(x, axis=eqn.params['axes'])

  return rule


def first(function):
  return lambda eqn, x: function(x, axis=eqn.params['axes'][0])


def running(function):
  def rule(eqn, x):
    axis = eqn.params['axis']
    if x.dtype.kind not in 'iu':
      raise Decline
    x = np.flip(x, axis) if eqn.params['reverse'] else x
    out = function(x, axis=axis, dtype=x.dtype)
    return np.flip(out, axis) if eqn.params['reverse'] else out

  return rule


def select(eqn, which, *cases):
  del eqn
  if which.dtype != bool:
    raise Decline
  return np.where(which, cases[1], cases[0])


def power(eqn, x):
  """By squares, as jax does."""
  y, out = abs(eqn.params['y']), None
  multiply = lambda a, b: exactly(np.multiply, 'fiu')(eqn, a, b)
  while y:
    if y & 1:
      out = x if out is None else multiply(out, x)
    y >>= 1
    x = multiply(x, x) if y else x
  if out is None or (eqn.params['y'] < 0 and out.dtype.kind != 'f'):
    raise Decline
  return out if eqn.params['y'] > 0 else np.divide(out.dtype.type(1), out)


def nearest(eqn, x):
  if int(eqn.params['rounding_method']) != 1:
    raise Decline
  return exactly(np.rint)(eqn, x)


def pieces(eqn, x):
  ends = np.cumsum(eqn.params['sizes'])[:-1]
  return np.split(x, ends, eqn.params['axis'])


def unstack(eqn, x):
  return list(np.moveaxis(x, eqn.params['axis'], 0))


def remainder(eqn, x, y):
  if y.dtype.kind != 'f' and np.any(y == 0):
    raise Decline
  return exactly(np.fmod, 'fiu')(eqn, x, y)


def bitcast(eqn, x):
  new = np.dtype(eqn.params['new_dtype'])
  if new.itemsize != x.itemsize:
    raise Decline
  return np.ascontiguousarray(x).view(new).reshape(x.shape)


RULES = {
  'abs': exactly(np.abs),
  'add': exactly(np.add, 'fiu'),
  'and': exactly(np.bitwise_and, 'iub'),
  'argmax': first(np.argmax),
  'argmin': first(np.argmin),
  'bitcast_convert_type': bitcast,
  'broadcast_in_dim': broadcast,
  'ceil': exactly(np.ceil, 'f'),
  'clamp': exactly(lambda low, x, high: np.minimum(np.maximum(x, low), high)),
  'concatenate': lambda eqn, *x: np.concatenate(x, eqn.params['dimension']),
  'convert_element_type': convert,
  'copy': lambda eqn, x: x,
  'copy_p': lambda eqn, x: x,
  'cos': of_each,
  'cumprod': running(np.cumprod),
  'cumsum': running(np.cumsum),
  'digamma': of_each,
  'div': divide,
  'dynamic_slice': dynamic_slice,
  'dynamic_update_slice': dynamic_update_slice,
  'eq': exactly(np.equal),
  'erf': of_each,
  'erf_inv': of_each,
  'exp': of_each,
  'expm1': of_each,
  'floor': exactly(np.floor, 'f'),
  'gather': gather,
  'ge': exactly(np.greater_equal),
  'gt': exactly(np.greater),
  'integer_pow': power,
  'iota': iota,
  'iota_2x32_shape': lambda eqn: numpy_threefry.counts(eqn.params['shape']),
  'is_finite': exactly(np.isfinite, 'f'),
  'le': exactly(np.less_equal),
  'lgamma': of_each,
  'log': of_each,
  'log1p': of_each,
  'logistic': of_each,
  'lt': exactly(np.less),
  'max': exactly(np.maximum),
  'min': exactly(np.minimum),
  'mul': exactly(np.multiply, 'fiu'),
  'ne': exactly(np.not_equal),
  'neg': exactly(np.negative, 'fi'),
  'not': exactly(np.invert, 'iub'),
  'or': exactly(np.bitwise_or, 'iub'),
  'pad': pad,
  'random_bits': numpy_threefry.random_bits,
  'random_split': numpy_threefry.random_split,
  'reduce_and': over_axes(np.logical_and.reduce),
  'reduce_max': over_axes(np.max),
  'reduce_min': over_axes(np.min),
  'reduce_or': over_axes(np.logical_or.reduce),
  'reduce_sum': total,
  'rem': remainder,
  'reshape': lambda eqn, x: x.reshape(eqn.params['new_sizes']),
  'rev': lambda eqn, x: np.flip(x, eqn.params['dimensions']),
  'round': nearest,
  'rsqrt': of_each,
  'scatter': scatter,
  'scatter-add': scatter,
  'select_n': select,
  'shift_left': exactly(np.left_shift, 'u'),
  'shift_right_logical': exactly(np.right_shift, 'u'),
  'sign': exactly(np.sign, 'fi'),
  'sin': of_each,
  'slice': cut,
  'sort': sort,
  'split': pieces,
  'sqrt': exactly(np.sqrt, 'f'),
  'square': exactly(np.square, 'fiu'),
  'squeeze': lambda eqn, x: np.squeeze(x, eqn.params['dimensions']),
  'stack': lambda eqn, *x: np.stack(x, eqn.params['axis']),
  'stop_gradient': lambda eqn, x: x,
  'sub': exactly(np.subtract, 'fiu'),
  'tanh': of_each,
  'threefry2x32': lambda eqn, *x: numpy_threefry.rounds(*x),
  'tile': lambda eqn, x: np.tile(x, eqn.params['reps']),
  'transpose': lambda eqn, x: np.transpose(x, eqn.params['permutation']),
  'unstack': unstack,
  'xor': exactly(np.bitwise_xor, 'iub'),
}  # fmt: skip
