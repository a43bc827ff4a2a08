"""What a test does between its programs, by NumPy: XLA compiles nothing for it.

An array that a test makes, cuts or compares costs XLA some 25 ms for each new
shape, and most programs of the quick suite were such. Those of jax's own
functions for which `numpy_rules` has the same bits are run by it; all others,
and every function that is compiled by name, are XLA's. So are all of them in
the whole suite, which does not ask for cheap code.
"""

import numpy as np
from jax import config, device_put, dtypes, random
from numpy_rules import RULES, Decline

SMALL = 1 << 20  # elements of an array


def install():
  """From here on; a jax that is built otherwise stays as it is."""
  try:
    from jax._src import pjit

    compiled = pjit._pjit_call_impl_python
  except (ImportError, AttributeError):
    return

  def call(*args, jaxpr, **options):
    try:
      return by_numpy(args, jaxpr, options), None, None, []
    except Decline:
      return compiled(*args, jaxpr=jaxpr, **options)

  pjit._pjit_call_impl_python = call


def by_numpy(args, jaxpr, options):
  """The outputs of one of jax's own functions."""
  body = open_(jaxpr)
  source = body.debug_info.func_src_info or ''
  shardings = (*options['in_shardings'], *options['out_shardings'])
  if (
    '/jax/_src/' not in source
    or body.effects
    or any(type(x).__name__ != 'UnspecifiedValue' for x in shardings)
    or any(options['donated_invars'])
    or not options['ctx_mesh'].empty
    or config.jax_debug_nans
    or config.jax_debug_infs
    or not is_known(body)
  ):
    raise Decline
  values = [as_numpy(x, v.aval) for x, v in zip(args, body.invars, strict=True)]
  with np.errstate(all='ignore'):
    results = evaluate(body, jaxpr.consts, values)
  return [as_jax(x, v.aval) for x, v in zip(results, body.outvars, strict=True)]


def open_(jaxpr):
  """Without its constants, where it has them."""
  return getattr(jaxpr, 'jaxpr', jaxpr)


def is_known(body):
  """Whether there is a rule for each operation, and all arrays are small."""
  for eqn in body.eqns:
    if any(v.aval.size > SMALL for v in eqn.outvars):
      return False
    if eqn.primitive.name in ('jit', 'pjit'):
      if not is_known(open_(eqn.params['jaxpr'])):
        return False
    elif eqn.primitive.name not in RULES:
      return False
  return True


def is_key(aval):
  return dtypes.issubdtype(aval.dtype, dtypes.prng_key)


def as_numpy(x, aval):
  """An argument; a key is a whole number of 64 bits."""
  if getattr(x, '_committed', False):
    raise Decline
  if not is_key(aval):
    return np.asarray(x).astype(aval.dtype, copy=False)
  if 'fry' not in str(aval.dtype):
    raise Decline
  data = np.ascontiguousarray(random.key_data(x))
  return data.view(np.uint64)[..., 0]


def as_jax(x, aval):
  """A result, weak if it is; a copy, for arrays of jax do not change."""
  if is_key(aval):
    pairs = np.array(x, np.uint64)[..., None].view(np.uint32)
    return random.wrap_key_data(device_put(pairs), impl='threefry2x32')
  made = device_put(np.array(x, aval.dtype))
  if not aval.weak_type:
    return made
  weak = made.aval.update(weak_type=True)
  return type(made)(weak, made.sharding, made._arrays, committed=False)


def evaluate(body, consts, args):
  """Runs a jaxpr of known operations."""
  values = dict(zip(body.constvars, map(np.asarray, consts), strict=True))
  values.update(zip(body.invars, args, strict=True))
  read = lambda v: np.asarray(v.val if hasattr(v, 'val') else values[v])
  for eqn in body.eqns:
    given = [read(v) for v in eqn.invars]
    if eqn.primitive.name in ('jit', 'pjit'):
      inner = eqn.params['jaxpr']
      results = evaluate(open_(inner), inner.consts, given)
    else:
      results = RULES[eqn.primitive.name](eqn, *given)
      results = results if isinstance(results, list) else [results]
    for v, x in zip(eqn.outvars, results, strict=True):
      if np.shape(x) != v.aval.shape:
        raise Decline
      values[v] = np.asarray(x, np.uint64 if is_key(v.aval) else v.aval.dtype)
  return [read(v) for v in body.outvars]
