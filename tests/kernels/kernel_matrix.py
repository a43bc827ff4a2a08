"""The cases that every kernel is held to, and how close it has to come.

Each case is one compiled shape. Its batch holds all lengths at which something
begins or ends; its ids are unsorted, padded with -1, and one row has none.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc.kernels.block_sparse_attention import (
  reference as sparse_reference,
)
from ttc.kernels.block_topk import reference as topk_reference
from ttc.kernels.decode_attention import reference as decode_reference
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import reference as shared_reference

REFERENCES = {
  'decode_attention': decode_reference.decode_attention,
  'block_sparse_attention': sparse_reference.block_sparse_attention,
  'block_scores': topk_reference.block_scores,
  'shared_prefix_attention': shared_reference.shared_prefix_attention,
}
DTYPES = (jnp.float32, jnp.bfloat16)


class Tolerance(NamedTuple):
  """Largest and root mean square error of outputs; of log-sum-exps."""

  output: float
  rms: float
  lse: float


# For inputs N(0, 1), against the float32 reference on the same inputs.
TOLERANCES = {
  'float32': Tolerance(output=5e-6, rms=1e-6, lse=1e-5),
  'tf32': Tolerance(output=2e-3, rms=3e-4, lse=2e-3),
  'bfloat16': Tolerance(output=2e-2, rms=3e-3, lse=2e-3),
}


class Case(NamedTuple):
  """Arguments of an operation: float32 arrays, integers, static keywords."""

  name: str
  operation: str
  arguments: tuple[Any, ...]
  keywords: dict[str, int]

  def cast(self, dtype):
    """The arguments with all real numbers rounded to a dtype."""
    round_ = lambda x: x.astype(dtype) if x.dtype == np.float32 else x
    return jax.tree.map(lambda x: jnp.asarray(round_(x)), self.arguments)

  def with_large_logits(self):
    """Queries 100 times as long: one key gets nearly all the weight."""
    query, *others = self.arguments
    return self._replace(
      name=f'{self.name}_large', arguments=(100 * query, *others)
    )


def in_stack(case):
  """The case with its keys as layer 1 of 3, all else of which is NaN."""
  stack = lambda x: np.stack([np.full_like(x, np.nan), x, x + np.nan])
  arguments = [
    jax.tree.map(stack, x) if i == 1 or isinstance(x, Segment) else x
    for i, x in enumerate(case.arguments)
  ]
  return case._replace(arguments=tuple(arguments))


def expected(case, dtype):
  """The reference in float32 at the highest precision, as numpy arrays."""
  arguments = jax.tree.map(
    lambda x: x.astype(jnp.float32) if x.dtype == dtype else x, case.cast(dtype)
  )
  with jax.default_matmul_precision('highest'):
    results = _jit_reference(case.operation, tuple(case.keywords.items()))(
      *arguments
    )
  return jax.tree.map(np.asarray, results)


@functools.cache
def _jit_reference(operation, keywords):
  return jax.jit(functools.partial(REFERENCES[operation], **dict(keywords)))


def errors(case, got, dtype):
  """Largest and root mean square error of the output, largest of the lse."""
  want = expected(case, dtype)
  (got, got_lse), (want, want_lse) = (
    pair if isinstance(pair, tuple) else (pair, np.zeros(()))
    for pair in (got, want)
  )
  got, got_lse = np.asarray(got, np.float32), np.asarray(got_lse)
  nothing = np.isneginf(want_lse)
  assert np.all(np.isfinite(got)), 'not finite'
  assert np.array_equal(np.isneginf(got_lse), nothing), 'lse of nothing'
  assert not nothing.any() or np.all(got[nothing] == 0), 'output of nothing'
  error = np.abs(got - want)
  with np.errstate(invalid='ignore'):
    lse_error = np.where(nothing, 0, np.abs(got_lse - want_lse))
  return Tolerance(
    float(error.max()),
    float(np.sqrt(np.mean(error**2))),
    float(lse_error.max()),
  )


def check(case, got, dtype, tolerance=None):
  """Asserts that a kernel's results agree with the reference.

  Rounding of logits grows with them, so 100 times as large ones may be off by
  100 times as much in float32; products of bfloat16 are exact.
  """
  limit = tolerance or TOLERANCES[jnp.dtype(dtype).name]
  large = case.name.endswith('_large')
  found = errors(case, got, dtype)
  for name, error, most in zip(limit._fields, found, limit, strict=True):
    if large and jnp.dtype(dtype) == jnp.float32:
      most *= 100
    assert error <= most, f'{case.name}, {name}: {error:.2g} > {most:.2g}'
  return found


def _normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _segment(*shape):
  return Segment(_normal(1, *shape), _normal(2, *shape))


def _lengths(size, edge):
  """Six lengths at which a block of `edge` keys begins or ends."""
  return np.array([0, 1, edge - 1, edge, edge + 1, size], np.int32)


def _decode(name, *, K=2, M, S, D, edge):
  lengths = _lengths(S, edge)
  query = _normal(0, len(lengths), K, M, D)
  keys = _segment(len(lengths), K, S, D)
  return Case(name, 'decode_attention', (query, keys, lengths), {})


def _sparse(name, *, K=2, G, D, S, block_size, J, paged=False):
  B, N, M = 2, 3, -(-S // block_size)
  generator = np.random.default_rng(3)
  query = _normal(0, B, N, K, G, D)
  lengths = _lengths(S, block_size).reshape(N, B).T
  order = [generator.permutation(M)[:J] for _ in range(B * N * K)]
  ids = np.stack(order).reshape(B, N, K, J).astype(np.int32)
  ids[1, 2, 0] = -1  # one row of the longest sample sees nothing
  ids[0, 2, :, J - J // 3 :] = -1
  if not paged:
    keys, pages = _segment(B, K, S, D), ()
  else:
    keys = _segment(B * M + 3, K, block_size, D)
    pages = (generator.permutation(B * M + 3)[: B * M].reshape(B, M),)
  return Case(
    name,
    'block_sparse_attention',
    (query, keys, lengths, ids, *(x.astype(np.int32) for x in pages)),
    {'block_size': block_size},
  )


def _scores(name, *, B=2, N, K=2, G, M, D):
  arguments = _normal(0, B, N, K, G, D), _normal(1, B, K, M, D)
  return Case(name, 'block_scores', arguments, {})


def _shared(name, *, B=2, N=1, T, K=1, G, D=64, P, S):
  """Prompts of all lengths and of none; responses too, before `T` queries."""
  query = _normal(0, B, N, T, K, G, D)
  before = np.resize([0, S - T, (S - T) // 2], (B, N)).astype(np.int32)
  suffix = Segment(_normal(3, B, N, K, S, D), _normal(4, B, N, K, S, D))
  prompts = np.resize([P, 0], B).astype(np.int32)
  prefix = _segment(B, K, P, D) if P else None
  return Case(
    name,
    'shared_prefix_attention',
    (query, prefix, prompts, suffix, before),
    {},
  )


CASES = [
  _decode('one_row', M=1, S=40, D=64, edge=16),
  _decode('dim_96', M=8, S=100, D=96, edge=8),
  _decode('long', K=1, M=16, S=2500, D=128, edge=1024),
  _decode('odd_rows', M=5, S=72, D=256, edge=64),
  _decode('many_rows', K=1, M=700, S=1100, D=64, edge=1024),
  _sparse('block_8', G=1, D=64, S=64, block_size=8, J=8),
  _sparse('block_16', G=16, D=96, S=128, block_size=16, J=3),
  _sparse('many_blocks', K=1, G=2, D=128, S=1280, block_size=16, J=70),
  _sparse('one_block', G=5, D=256, S=256, block_size=64, J=1),
  _sparse('block_128', G=8, D=64, S=384, block_size=128, J=3),
  _sparse('paged', G=4, D=128, S=128, block_size=16, J=5, paged=True),
  _scores('group_1', N=1, G=1, M=40, D=64),
  _scores('samples', N=3, G=4, M=100, D=128),
  _scores('odd_group', N=2, G=5, M=7, D=256),
  _scores('many_blocks', B=1, N=2, G=8, M=5000, D=96),
  # The prompt is read for each sample of its own, or once for all of them.
  _shared('reading', T=300, G=2, P=1100, S=1200),
  _shared('reading_alone', B=1, N=2, T=70, G=3, P=0, S=200),
  _shared('few', B=1, N=3, T=4, K=2, G=3, P=600, S=300),
  _shared('decoding', N=3, T=1, K=2, G=2, P=40, S=24),
  _shared('decoding_long', B=1, N=2, T=1, G=5, D=96, P=1100, S=600),
]
# A cache that is not a whole number of blocks: the last block sticks out.
RAGGED = _sparse('ragged', G=4, D=64, S=100, block_size=16, J=4)


# One of each operation, for what is the same in all cases.
ONE_OF_EACH = [
  next(case for case in CASES if (case.operation, case.name) == names)
  for names in (
    ('decode_attention', 'odd_rows'),
    ('block_sparse_attention', 'block_16'),
    ('block_scores', 'samples'),
    ('shared_prefix_attention', 'few'),
  )
]


def cases_of(operation):
  """`(name, case)` of an operation, for `parameterized.named_parameters`."""
  return [(case.name, case) for case in CASES if case.operation == operation]
