r"""The attention kernels: are they right, and how far from the memory's limit?

  python scripts/bench_kernels.py --out=bench_kernels.json
  python scripts/bench_kernels.py --engine --out=bench_engine.json
  python scripts/bench_kernels.py --check  # tiny sizes, in seconds

First every kernel of this device is held to the float32 reference over the
matrix of cases of the tests. Then four situations of decoding are timed, with
head size 128, 8 key/value heads and 32 query heads in bfloat16:

  D1  dense, 64 sequences of 16384 tokens
  D2  the best 16 blocks of 64 (and 64 of 16) of the same, choice included
  D3  64 samples with 1024 tokens each, of one prompt of 16384
  D4  dense, one sequence of 131072 tokens

beside jax's own operations and those of torch, each on its own layout of the
cache. The limit is the time to read what has to be read at the measured
bandwidth of a copy. Calls are repeated on the device, each query made from the
output before it, and times are medians over such loops.

`--engine` draws samples from random weights in the shape of Qwen3-0.6B and 8B.

Whatever fails is noted in its row, and what was not measured is listed at the
end: without a GPU that is nearly everything, and the sizes are tiny. As jax
takes most of the device's memory when it starts, leave some to the peers:
XLA_PYTHON_CLIENT_MEM_FRACTION=.5.
"""

import functools
import importlib.util
import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from ttc import models, sampling
from ttc.kernels import block_topk
from ttc.kernels.block_sparse_attention import block_sparse_attention
from ttc.kernels.decode_attention import decode_attention
from ttc.kernels.partial_attention import Segment
from ttc.kernels.shared_prefix_attention import shared_prefix_attention
from ttc.types import Prompt

_OUT = flags.DEFINE_string(
  'out', None, 'JSON file for every figure; the tables go beside it as .md.'
)
_ENGINE = flags.DEFINE_bool('engine', False, 'Time whole generations too.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny sizes and few cases: does everything still run?'
)
_REPETITIONS = flags.DEFINE_integer('repetitions', 50, 'Loops that are timed.')
_WARM_UPS = flags.DEFINE_integer('warm_ups', 20, 'Loops before those.')
_INNER = flags.DEFINE_integer('inner', 10, 'Calls in each loop.')

# By backend; the first is the reference.
IMPLEMENTATIONS = {
  'cpu': ['xla'],
  'gpu': ['xla', 'triton', 'mosaic_gpu'],
  'tpu': ['xla', 'mosaic_tpu'],
}
MATRIX = pathlib.Path(__file__).parents[1] / 'tests/kernels/kernel_matrix.py'
OPERATIONS = {
  'decode_attention': decode_attention,
  'block_sparse_attention': block_sparse_attention,
  'block_scores': block_topk.block_scores,
}

QWEN3 = {
  'Qwen3-0.6B': models.TransformerConfig(
    vocab_size=151_936,
    num_layers=28,
    embed_dim=1024,
    mlp_dim=3072,
    num_heads=16,
    num_kv_heads=8,
    head_dim=128,
    max_length=40_960,
    rope_theta=1e6,
    norm_eps=1e-6,
    qk_norm=True,
    scan_layers=True,
    dtype='bfloat16',
  ),
  'Qwen3-8B': models.TransformerConfig(
    vocab_size=151_936,
    num_layers=36,
    embed_dim=4096,
    mlp_dim=12_288,
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    max_length=40_960,
    rope_theta=1e6,
    norm_eps=1e-6,
    qk_norm=True,
    tie_embeddings=False,
    scan_layers=True,
    dtype='bfloat16',
  ),
}
TINY = models.TransformerConfig(
  vocab_size=300,
  num_layers=2,
  embed_dim=32,
  mlp_dim=64,
  num_heads=4,
  num_kv_heads=2,
  head_dim=16,
)


class Sizes(NamedTuple):
  """Of the cases D1 to D4."""

  kv_heads: int = 8  # K
  group: int = 4  # G
  head_dim: int = 128  # D
  sequences: int = 64  # of D1 and D2
  tokens: int = 16_384  # of each, and of the prompt of D3
  budget: int = 1024  # tokens of D2
  blocks: tuple[int, ...] = (64, 16)
  samples: int = 64  # of D3
  suffix: int = 1024  # tokens of each
  long: int = 131_072  # tokens of D4
  dtype: str = 'bfloat16'


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
)


class Case(NamedTuple):
  """One situation, and who can compute it.

  A contender is `(fn, query, others)` with `fn(query, *others)` an output of as
  many numbers as the query; or a function that returns its seconds by itself.
  """

  name: str
  num_bytes: int  # that have to be read
  contenders: dict[str, Callable[[], Any]]  # made when their turn comes


def main(argv):
  """Checks, times and prints."""
  if len(argv) > 1:
    sys.exit(f'bench_kernels: unexpected argument {argv[1]!r}')
  report = run()
  tables = markdown(report)
  if _OUT.value:
    out = pathlib.Path(_OUT.value)
    out.write_text(json.dumps(report, indent=2), encoding='utf-8')
    out.with_suffix('.md').write_text(tables, encoding='utf-8')
  print(tables)


def run():
  """All measurements, as a dictionary of JSON types."""
  backend = jax.default_backend()
  small = _CHECK.value or backend == 'cpu'
  names = IMPLEMENTATIONS[backend]
  sizes = SMALL if small else Sizes()
  bandwidth = copy_bandwidth(2**20 if small else 2**30)
  missing = []
  if backend != 'gpu':
    missing.append(f'no GPU kernel: this is a {backend}; sizes are tiny')
  elif small:
    missing.append('nothing at full size: --check')
  if len(names) == 1:
    missing.append('no kernel was checked or timed: only XLA runs here')
  report = {
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'copy_bytes_per_s': bandwidth,
    'sizes': sizes._asdict(),
    'checks': check_numbers(names[1:], missing),
    'cases': [time_case(case, missing) for case in make_cases(sizes, names)],
  }
  if _ENGINE.value:
    report['engine'] = time_engine(small, missing)
  else:
    missing.append('no whole generation: needs --engine')
  return report | {'not_measured': missing}


def check_numbers(names, missing):
  """Errors of each kernel in each case of the tests' matrix."""
  if not MATRIX.exists():
    missing.append(f'no errors: {MATRIX} is not there')
    return []
  spec = importlib.util.spec_from_file_location('kernel_matrix', MATRIX)
  matrix = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(matrix)
  rows = []
  for name in names:
    for case in matrix.CASES[:: 6 if _CHECK.value else 1]:
      for dtype in matrix.DTYPES:
        row = {'implementation': name, 'operation': case.operation}
        row |= {'case': case.name, 'dtype': jnp.dtype(dtype).name}
        rows.append(row | attempt(check_case, matrix, case, dtype, name))
  return rows


def check_case(matrix, case, dtype, implementation):
  """Errors of one case, and whether they are small enough."""
  if (case.operation, implementation) == ('block_scores', 'mosaic_gpu'):
    raise NotImplementedError('Triton scores the blocks')
  operation = functools.partial(
    OPERATIONS[case.operation], implementation=implementation, **case.keywords
  )
  got = jax.jit(operation)(*case.cast(dtype))
  found = matrix.errors(case, got, dtype)
  limit = matrix.TOLERANCES[jnp.dtype(dtype).name]
  within = all(error <= most for error, most in zip(found, limit, strict=True))
  return found._asdict() | {'ok': within}


def attempt(fn, *args):
  """What `fn` returns, or why it does not."""
  try:
    return fn(*args)
  except (NotImplementedError, ImportError) as error:
    return {'skipped': str(error)}
  except Exception as error:  # whatever a peer or a new compiler comes up with
    lines = str(error).splitlines() or ['']
    return {'error': f'{type(error).__name__}: {lines[0][:200]}'}


def copy_bandwidth(num_bytes):
  """Bytes per second that a copy reads and writes."""
  x = jnp.ones((num_bytes // 4,), jnp.float32)
  return 2 * num_bytes / seconds_of(lambda x: x, x, ())['seconds']


def seconds_of(fn, query, others):
  """Seconds of a call: the median over loops that run on the device.

  The barrier keeps work on the caches, such as changes of layout, in the loop.
  """
  inner = 2 if _CHECK.value else _INNER.value

  def loop(query, zero, others):
    def step(_, query):
      query, here = jax.lax.optimization_barrier((query, others))
      output = fn(query, *here).reshape(query.shape)
      return (query + zero * output).astype(query.dtype)

    return jax.lax.fori_loop(0, inner, step, query)

  args = query, jnp.zeros((), jnp.float32), others
  start = time.perf_counter()
  compiled = jax.jit(loop).lower(*args).compile()
  compile_s = time.perf_counter() - start
  call = lambda: jax.block_until_ready(compiled(*args))
  return {'compile_s': compile_s} | median_seconds(call, inner)


def median_seconds(call, inner):
  """Seconds of one of the `inner` things that a call does."""
  repetitions = 3 if _CHECK.value else _REPETITIONS.value
  seconds = []
  for _ in range(repetitions + (1 if _CHECK.value else _WARM_UPS.value)):
    start = time.perf_counter()
    call()
    seconds.append((time.perf_counter() - start) / inner)
  seconds = seconds[-repetitions:]
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
  """D1 to D4."""
  B, S = sizes.sequences, sizes.tokens
  yield dense_case('D1 dense', sizes, B, S, names)
  for block_size in sizes.blocks:
    yield sparse_case(sizes, block_size, names)
  yield shared_case(sizes, names)
  yield dense_case('D4 long', sizes, 1, sizes.long, names)


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
    return seconds_of(fn, query_of(sizes, B), (keys, lengths))

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

  return seconds_of(fn, query, token_major(sizes, B, S))


def jax_gqa(sizes, B, S):
  """The grouped decoding attention that ships with jax."""
  gqa = jax_decode_attention().gqa
  query = query_of(sizes, B)
  fn = lambda query, *cache: gqa(
    query.reshape(B, -1, query.shape[-1]), *cache, kv_seq_len=S
  )
  return seconds_of(fn, query, token_major(sizes, B, S))


def jax_mqa(sizes, B, S):
  """The same for a single head, on a cache that is head-major already."""
  mqa = jax_decode_attention().mqa
  heads = B * sizes.kv_heads
  flat = lambda x: x.reshape(heads, *x.shape[2:])
  query, keys = flat(query_of(sizes, B)), segment_of(sizes, B, tokens=S)
  fn = lambda query, *cache: mqa(query, *cache, kv_seq_len=S)
  return seconds_of(fn, query, tuple(map(flat, keys)))


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
    for _ in range(_INNER.value):
      attend(query, keys, values, enable_gqa=True)
    torch.cuda.synchronize()

  return median_seconds(call, _INNER.value)


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
    return seconds_of(fn, query_of(sizes, B, 1), (keys, pooled))

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
    return seconds_of(fn, query[0, :, 0], (keys, lengths))

  contenders = {f'ttc {n}': functools.partial(ours, n) for n in names}
  contenders |= {
    f'naively, ttc {n}': functools.partial(naive, n) for n in names
  }
  num_bytes = (P + N * S) * bytes_per_token(sizes)
  return Case('D3 shared prompt', num_bytes, contenders)


def time_engine(small, missing):
  """Tokens per second and memory of whole generations."""
  shapes = {'tiny': TINY} if small else QWEN3
  prompts, counts = ([16], [2, 3]) if small else ([2048, 16_384], [16, 64, 256])
  new_tokens = 8 if small else 256
  rows = []
  for name, config in shapes.items():
    params = jax.jit(models.transformer(config).init)(jax.random.key(0))
    for prompt_tokens in prompts:
      for num_samples in counts:
        row = {'model': name, 'prompt_tokens': prompt_tokens}
        row |= {'num_samples': num_samples, 'new_tokens': new_tokens}
        print(f'engine: {row}', file=sys.stderr)
        job = prompt_tokens, num_samples, new_tokens
        row |= attempt(generate, config, params, *job)
        rows.append(row)
    del params
    for prompt_tokens in prompts:
      row = {'model': f'{name}, transformers', 'prompt_tokens': prompt_tokens}
      row |= {'num_samples': counts[0], 'new_tokens': new_tokens}
      job = prompt_tokens, counts[0], new_tokens
      rows.append(row | attempt(transformers_generate, config, *job))
  for row in rows:
    if 'seconds' not in row:
      why = row.get('skipped') or row['error']
      missing.append(f'{row["model"]}, N = {row["num_samples"]}: {why}')
  return rows


def generate(config, params, prompt_tokens, num_samples, new_tokens):
  """Draws samples to one prompt; nothing stops them early."""
  decode = functools.partial(
    sampling.generate,
    num_samples=num_samples,
    model=models.transformer(config),
    capacity=new_tokens,
    stop=sampling.stop_rules(config.vocab_size),
  )
  tokens = np.random.default_rng(0).integers(
    min(config.vocab_size, 100_000), size=(1, prompt_tokens), dtype=np.int32
  )
  prompt = Prompt(jnp.asarray(tokens), jnp.array([prompt_tokens], jnp.int32))
  args = params, jax.random.split(jax.random.key(0), 1), prompt
  compiled = jax.jit(decode).lower(*args).compile()
  memory = compiled.memory_analysis()
  seconds = []
  for _ in range(2 if _CHECK.value else 4):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    seconds.append(time.perf_counter() - start)
  median = statistics.median(seconds[1:])
  return {
    'seconds': median,
    'tokens_per_s': num_samples * new_tokens / median,
    'memory_bytes': memory.argument_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.output_size_in_bytes,
  }


def transformers_generate(config, prompt_tokens, num_samples, new_tokens):
  """The same by `generate` of transformers."""
  need_gpu()
  import torch
  import transformers

  shape = transformers.Qwen3Config(
    vocab_size=config.vocab_size,
    hidden_size=config.embed_dim,
    intermediate_size=config.mlp_dim,
    num_hidden_layers=config.num_layers,
    num_attention_heads=config.num_heads,
    num_key_value_heads=config.num_kv_heads,
    head_dim=config.head_dim,
    max_position_embeddings=config.max_length,
    tie_word_embeddings=config.tie_embeddings,
    eos_token_id=None,
    pad_token_id=0,
  )
  with torch.device('cuda'):
    model = transformers.Qwen3ForCausalLM(shape).to(torch.bfloat16).eval()
    prompt = torch.randint(100_000, (1, prompt_tokens))
  torch.cuda.reset_peak_memory_stats()
  seconds = []
  for _ in range(3):
    start = time.perf_counter()
    model.generate(
      prompt,
      attention_mask=torch.ones_like(prompt),
      do_sample=True,
      top_k=0,
      num_return_sequences=num_samples,
      min_new_tokens=new_tokens,
      max_new_tokens=new_tokens,
    )
    torch.cuda.synchronize()
    seconds.append(time.perf_counter() - start)
  median = statistics.median(seconds[1:])
  return {
    'seconds': median,
    'tokens_per_s': num_samples * new_tokens / median,
    'memory_bytes': torch.cuda.max_memory_allocated(),
  }


def markdown(report):
  """The report as tables, and in plain words what it does not contain."""
  copy = report['copy_bytes_per_s']
  parts = [
    f'jax {report["jax"]} on {report["device"]}; a copy reads and writes '
    f'{copy / 1e9:.0f} GB/s.'
  ]
  if report['checks']:
    header = ['kernel', 'operation', 'dtype', 'cases', 'largest error', 'lse']
    parts.append(table([*header, 'not within bounds'], check_rows(report)))
  header = ['case', 'by', 'us', 'GB/s', 'of the copy bandwidth']
  rows = []
  for case in report['cases']:
    for name, figures in case['contenders'].items():
      if 'seconds' in figures:
        rate = case['bytes'] / figures['seconds']
        times = f'{1e6 * figures["seconds"]:.0f}', f'{rate / 1e9:.0f}'
        rows.append([case['name'], name, *times, f'{rate / copy:.0%}'])
  parts.append(table(header, rows))
  if 'engine' in report:
    header = ['model', 'prompt', 'N', 'new tokens', 'tokens/s', 'GB']
    rows = [
      [
        row['model'],
        *(f'{row[k]}' for k in ('prompt_tokens', 'num_samples', 'new_tokens')),
        f'{row["tokens_per_s"]:.0f}',
        f'{row["memory_bytes"] / 1e9:.1f}',
      ]
      for row in report['engine']
      if 'seconds' in row
    ]
    parts.append(table(header, rows))
  missing = '\n'.join(f'- {line}' for line in report['not_measured'])
  parts.append(f'Not measured:\n\n{missing}' if missing else 'All measured.')
  return '\n\n'.join(parts) + '\n'


def check_rows(report):
  """One row for each kernel and dtype: the worst of its cases."""
  groups = {}
  for row in report['checks']:
    key = row['implementation'], row['operation'], row['dtype']
    groups.setdefault(key, []).append(row)
  for key, rows in groups.items():
    done = [row for row in rows if 'ok' in row]
    bad = [row['case'] for row in rows if not row.get('ok', 'skipped' in row)]
    worst = lambda name, done=done: max((row[name] for row in done), default=0)
    errors = f'{worst("output"):.1g}', f'{worst("lse"):.1g}'
    yield [*key, f'{len(done)} of {len(rows)}', *errors, ', '.join(bad) or '-']


def table(header, rows):
  """A markdown table."""
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


if __name__ == '__main__':
  app.run(main)
