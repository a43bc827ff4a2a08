"""Four situations of decoding, a prompt, and everyone who can compute them.

  D1  dense, 64 sequences of 16384 tokens
  D2  the best 16 blocks of 64 (and 64 of 16) of the same, choice included
  D3  64 samples with 1024 tokens each, of one prompt of 16384
  D4  dense, one sequence of 131072 tokens
  P   one prompt of 16384 tokens, read at once: bound by FLOPs, not by bytes

Calls are repeated on the device, each query made from the output before it, and
times are medians over such loops.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ttc.kernels import block_topk
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.causal_attention import causal_attention
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import shared_prefix_attention


class Sizes(NamedTuple):
  """Of the cases, and how often each is timed."""

  kv_heads: int = 8  # K
  group: int = 4  # G
  head_dim: int = 128  # D
  sequences: int = 64  # of D1 and D2
  tokens: int = 16_384  # of each, and of the prompts of D3 and P
  budget: int = 1024  # tokens of D2
  blocks: tuple[int, ...] = (64, 16)
  samples: int = 64  # of D3
  suffix: int = 1024  # tokens of each
  long: int = 131_072  # tokens of D4
  dtype: str = 'bfloat16'
  repetitions: int = 50  # loops that are timed
  warm_ups: int = 20  # loops before those
  inner: int = 10  # calls in each loop


SMALL = Sizes(
  kv_heads=2,
  head_dim=16,
  sequences=2,
  tokens=256,
  budget=64,
  blocks=(16,),
  samples=3,
  suffix=32,
  long=512,
  dtype='float32',
  repetitions=3,
  warm_ups=1,
  inner=2,
)


class Case(NamedTuple):
  """One situation, and who can compute it.

  A contender is `(fn, query, others)` with `fn(query, *others)` an output of as
  many numbers as the query; or a function that returns its seconds by itself.
  """

  name: str
  num_bytes: int  # that have to be read
  contenders: dict[str, Callable[[], Any]]  # made when their turn comes


def attempt(fn, *args):
  """What `fn` returns, or why it does not."""
  try:
    return fn(*args)
  except (NotImplementedError, ImportError) as error:
    return {'skipped': str(error)}
  except Exception as error:  # whatever a peer or a new compiler comes up with
    lines = str(error).splitlines() or ['']
    return {'error': f'{type(error).__name__}: {lines[0][:200]}'}


def copy_bandwidth(sizes: Sizes, num_bytes: int) -> float:
  """Bytes per second that a copy reads and writes."""
  x = jnp.ones((num_bytes // 4,), jnp.float32)
  return 2 * num_bytes / seconds_of(sizes, lambda x: x, x, ())['seconds']


def seconds_of(sizes: Sizes, fn, query, others) -> dict[str, float]:
  """Seconds of a call: the median over loops that run on the device.

  The barrier keeps work on the caches, such as changes of layout, in the loop.
  """

  def loop(query, zero, others):
    def step(_, query):
      query, here = jax.lax.optimization_barrier((query, others))
      output = fn(query, *here).reshape(query.shape)
      return (query + zero * output).astype(query.dtype)

    return jax.lax.fori_loop(0, sizes.inner, step, query)

  args = query, jnp.zeros((), jnp.float32), others
  start = time.perf_counter()
  compiled = jax.jit(loop).lower(*args).compile()
  compile_s = time.perf_counter() - start
  call = lambda: jax.block_until_ready(compiled(*args))
  return {'compile_s': compile_s} | median_seconds(sizes, call)


def median_seconds(sizes: Sizes, call) -> dict[str, float]:
  """Seconds of one of the `inner` things that a call does."""
  seconds = []
  for _ in range(sizes.repetitions + sizes.warm_ups):
    start = time.perf_counter()
    call()
    seconds.append((time.perf_counter() - start) / sizes.inner)
  seconds = seconds[-sizes.repetitions :]
  return {
    'seconds': statistics.median(seconds),
    'fastest': min(seconds),
    'slowest': max(seconds),
  }


def time_case(case, missing):
  """Times all contenders of a case."""
  rows = {}
  for name, make in case.contenders.items():
    print(f'{case.name}: {name}', file=sys.stderr)
    rows[name] = attempt(lambda make: make(), make)
    if 'seconds' not in rows[name]:
      missing.append(f'{case.name}, {name}: {next(iter(rows[name].values()))}')
  return {'name': case.name, 'bytes': case.num_bytes, 'contenders': rows}


def make_cases(sizes, names):
  """D1 to D4, and P."""
  B, S = sizes.sequences, sizes.tokens
  yield dense_case('D1 dense', sizes, B, S, names)
  for block_size in sizes.blocks:
    yield sparse_case(sizes, block_size, names)
  yield shared_case(sizes, names)
  yield dense_case('D4 long', sizes, 1, sizes.long, names)
  yield prompt_case(sizes)


@functools.partial(jax.jit, static_argnums=(1, 2))
def normal(seed, shape, dtype):
  """Random numbers, made on the device, by a generator quick to compile."""
  return jax.random.normal(jax.random.key(seed, impl='rbg'), shape, dtype)


def segment_of(sizes, *leading, tokens):
  """A random cache `[*leading, K, S, D]`."""
  shape = *leading, sizes.kv_heads, tokens, sizes.head_dim
  return Segment(*(normal(i, shape, sizes.dtype) for i in (1, 2)))


def query_of(sizes, *leading):
  """Random queries `[*leading, K, G, D]`."""
  shape = *leading, sizes.kv_heads, sizes.group, sizes.head_dim
  return normal(0, shape, sizes.dtype)


def bytes_per_token(sizes):
  """Bytes of the keys and values of a token."""
  itemsize = jnp.dtype(sizes.dtype).itemsize
  return 2 * sizes.kv_heads * sizes.head_dim * itemsize


def dense_case(name, sizes, B, S, names):
  """Every sequence attends to all of its own tokens."""
  lengths = jnp.full((B,), S, jnp.int32)

  def ours(implementation):
    fn = lambda *args: decode_attention(*args, implementation=implementation)[0]
    keys = segment_of(sizes, B, tokens=S)
    return seconds_of(sizes, fn, query_of(sizes, B), (keys, lengths))

  contenders = {f'ttc {n}': functools.partial(ours, n) for n in names}
  peers = {
    'jax.nn, xla': functools.partial(jax_nn, implementation='xla'),
    'jax.nn, cudnn': functools.partial(jax_nn, implementation='cudnn'),
    'jax gqa': jax_gqa,
    'jax mqa, head-major cache': jax_mqa,
    'torch': torch_attention,
  }
  contenders |= {
    peer: functools.partial(fn, sizes, B, S) for peer, fn in peers.items()
  }
  return Case(name, B * S * bytes_per_token(sizes), contenders)


def token_major(sizes, B, S):
  """A cache in the layout of jax's operations, `[B, S, K, D]`."""
  shape = B, S, sizes.kv_heads, sizes.head_dim
  return tuple(normal(i, shape, sizes.dtype) for i in (1, 2))


def jax_nn(sizes, B, S, *, implementation):
  """`jax.nn.dot_product_attention`."""
  if implementation == 'cudnn':
    need_gpu()
  query = query_of(sizes, B)
  lengths = jnp.full((B,), S, jnp.int32)

  def fn(query, keys, values):
    return jax.nn.dot_product_attention(
      query.reshape(B, 1, -1, query.shape[-1]),
      keys,
      values,
      query_seq_lengths=jnp.ones((B,), jnp.int32),
      key_value_seq_lengths=lengths,
      implementation=implementation,
    )

  return seconds_of(sizes, fn, query, token_major(sizes, B, S))


def jax_gqa(sizes, B, S):
  """The grouped decoding attention that ships with jax."""
  gqa = jax_decode_attention().gqa
  query = query_of(sizes, B)
  fn = lambda query, *cache: gqa(
    query.reshape(B, -1, query.shape[-1]), *cache, kv_seq_len=S
  )
  return seconds_of(sizes, fn, query, token_major(sizes, B, S))


def jax_mqa(sizes, B, S):
  """The same for a single head, on a cache that is head-major already."""
  mqa = jax_decode_attention().mqa
  heads = B * sizes.kv_heads
  flat = lambda x: x.reshape(heads, *x.shape[2:])
  query, keys = flat(query_of(sizes, B)), segment_of(sizes, B, tokens=S)
  fn = lambda query, *cache: mqa(query, *cache, kv_seq_len=S)
  return seconds_of(sizes, fn, query, tuple(map(flat, keys)))


def jax_decode_attention():
  """The operations that ship with jax."""
  need_gpu()
  from jax.experimental.pallas.ops.gpu import decode_attention as ops

  return ops


def need_gpu():
  """Raises `NotImplementedError` where there is no GPU."""
  if jax.default_backend() != 'gpu':
    raise NotImplementedError('needs a GPU')


def torch_attention(sizes, B, S):
  """`scaled_dot_product_attention` of torch."""
  need_gpu()
  import torch

  K, D = sizes.kv_heads, sizes.head_dim
  make = lambda *shape: torch.randn(
    *shape, device='cuda', dtype=getattr(torch, sizes.dtype)
  )
  query = make(B, K * sizes.group, 1, D)
  keys, values = make(B, K, S, D), make(B, K, S, D)
  attend = torch.nn.functional.scaled_dot_product_attention

  def call():
    for _ in range(sizes.inner):
      attend(query, keys, values, enable_gqa=True)
    torch.cuda.synchronize()

  return median_seconds(sizes, call)


def sparse_case(sizes, block_size, names):
  """Every sequence attends to its best blocks; their choice is timed too."""
  B, S = sizes.sequences, sizes.tokens
  num_blocks = sizes.budget // block_size
  lengths = jnp.full((B, 1), S, jnp.int32)

  def ours(implementation):
    scores = 'triton' if implementation == 'mosaic_gpu' else implementation

    def fn(query, keys, pooled):
      ids = block_topk.block_topk(
        query,
        pooled,
        lengths,
        block_size=block_size,
        num_blocks=num_blocks,
        implementation=scores,
      )
      return block_sparse_attention(
        query,
        keys,
        lengths,
        ids,
        block_size=block_size,
        implementation=implementation,
      )[0]

    keys = segment_of(sizes, B, tokens=S)
    pool = functools.partial(
      block_topk.pool_keys, lengths=S, block_size=block_size
    )
    pooled = jax.jit(pool)(keys.k)
    return seconds_of(sizes, fn, query_of(sizes, B, 1), (keys, pooled))

  pooled_tokens = S // block_size / 2  # of a token, the key only
  return Case(
    f'D2 blocks of {block_size}',
    int(B * (sizes.budget + pooled_tokens) * bytes_per_token(sizes)),
    {f'ttc {n}': functools.partial(ours, n) for n in names},
  )


def shared_case(sizes, names):
  """Samples of one prompt; naively, each has a copy of the prompt's cache."""
  N, P, S = sizes.samples, sizes.tokens, sizes.suffix
  query = query_of(sizes, 1, N, 1)

  def ours(implementation):
    fn = lambda *args: shared_prefix_attention(
      *args, implementation=implementation
    )[0]
    return seconds_of(
      sizes,
      fn,
      query,
      (
        segment_of(sizes, 1, tokens=P),
        jnp.full((1,), P, jnp.int32),
        segment_of(sizes, 1, N, tokens=S),
        jnp.full((1, N), S - 1, jnp.int32),
      ),
    )

  def naive(implementation):
    fn = lambda *args: decode_attention(*args, implementation=implementation)[0]
    keys = segment_of(sizes, N, tokens=P + S)
    lengths = jnp.full((N,), P + S, jnp.int32)
    return seconds_of(sizes, fn, query[0, :, 0], (keys, lengths))

  contenders = {f'ttc {n}': functools.partial(ours, n) for n in names}
  contenders |= {
    f'naively, ttc {n}': functools.partial(naive, n) for n in names
  }
  num_bytes = (P + N * S) * bytes_per_token(sizes)
  return Case('D3 shared prompt', num_bytes, contenders)


def prompt_case(sizes):
  """One prompt, by ours and by what the platform's prefill goes through."""
  T = sizes.tokens
  keys = segment_of(sizes, 1, tokens=T)
  query = query_of(sizes, 1, T)

  def read(implementation):
    fn = functools.partial(causal_attention, implementation=implementation)
    figures = seconds_of(sizes, fn, query, (keys,))
    got, want = (
      jax.jit(causal_attention, static_argnames='implementation')(
        query, keys, implementation=name
      ).astype(jnp.float32)
      for name in (implementation, 'xla')
    )
    return figures | {'output': float(jnp.max(jnp.abs(got - want)))}

  kernels = {'gpu': ('cudnn',), 'tpu': ('splash',)}
  names = ('xla', *kernels.get(jax.default_backend(), ()))
  num_bytes = T * bytes_per_token(sizes) * (1 + sizes.group)
  return Case(
    'P prompt',
    num_bytes,
    {f'ttc {n}': functools.partial(read, n) for n in names},
  )
