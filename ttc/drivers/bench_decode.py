"""Decoding speed beside transformers and llama.cpp, and beside the machine."""

import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, sampling
from ttc.drivers import peers
from ttc.drivers.peers import Job
from ttc.drivers.timing import fastest, fastest_in_place, interleaved, spread
from ttc.io import files
from ttc.models.published import TINY
from ttc.types import Params, Prompt

PEERS = ('transformers', 'llama_cpp')


class Bench(NamedTuple):
  """What is timed."""

  model: str = 'smollm2-135m'  # of the Llama family; see `models.load`
  num_samples: tuple[int, ...] = (1, 4, 16, 64)
  prompt_tokens: int = 128
  new_tokens: int = 64
  repetitions: int = 5
  peers: tuple[str, ...] = PEERS
  gguf: str | None = None  # for llama_cpp
  check: bool = False  # tiny random model and sizes

  def load(self) -> tuple[models.TransformerConfig, Params]:
    """Config and parameters of the model."""
    if self.check:
      return TINY, jax.jit(models.transformer(TINY).init)(jax.random.key(0))
    loaded = models.load(self.model)
    return loaded.config, loaded.params


CHECK = Bench(
  num_samples=(1, 3), prompt_tokens=8, new_tokens=4, repetitions=2, check=True
)


def bench_decode(bench: Bench, out: files.Path | None) -> None:
  """Times all engines and prints two tables.

  Args:
    bench: what to time.
    out: JSON file for every single figure; rewritten after each `N`.

  Raises:
    ValueError: for sizes or peers that mean nothing.
    OSError: if `out` cannot be written, before anything is timed.
  """
  unknown = set(bench.peers) - {'', *PEERS}
  if unknown:
    raise ValueError(f'--peers: {sorted(unknown)} are not of {list(PEERS)}')
  if bench.new_tokens < 2:
    raise ValueError(f'--new_tokens={bench.new_tokens} must be at least 2')
  write = lambda report: (
    files.write_atomically(out, files.to_json(report, indent=2) + '\n')
    if out
    else None
  )
  write({})
  report = run(bench, write)
  write(report)
  print_report(report)


def run(
  bench: Bench, write: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
  """All measurements, of JSON types; `write` gets them as they come."""
  config, params = bench.load()
  new_tokens, repetitions = bench.new_tokens, bench.repetitions
  counts = sorted(bench.num_samples)
  prompt = np.random.default_rng(0).integers(
    min(config.vocab_size, 40_000), size=bench.prompt_tokens, dtype=np.int32
  )
  others = make_peers(bench, config, params, prompt)
  results = []
  for num_samples in counts:
    job = Job(prompt, num_samples, new_tokens)
    draw, compile_s = ours(config, params, job)
    engines = {'ttc': draw}
    engines |= {name: functools.partial(fn, job) for name, fn in others.items()}
    seconds = interleaved(engines, repetitions)
    prefill, _ = ours(config, params, job._replace(new_tokens=1))
    prefill_s = interleaved({'ttc': prefill}, repetitions)['ttc']
    results.append(
      {
        'num_samples': num_samples,
        'compile_s': compile_s,
        'prefill_s': min(prefill_s),
        'seconds': seconds,
      }
    )
    write({'results': results})
    print(f'N = {num_samples} done', file=sys.stderr)
  weights = config.vocab_size * config.embed_dim
  weights += sum(x.size for x in jax.tree.leaves(params['layers']))
  return {
    'prompt_tokens': bench.prompt_tokens,
    'new_tokens': new_tokens,
    'cores': len(os.sched_getaffinity(0)),
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'weights': weights,  # that a step multiplies with every row
    'results': results,
    'limits': machine_limits(config, max(counts), small=bench.check),
  }


def ours(
  config: models.TransformerConfig, params: Params, job: Job
) -> tuple[Callable[[], Any], float]:
  """A function that runs the job, and the seconds it took to compile."""
  decode = functools.partial(
    sampling.generate,
    num_samples=job.num_samples,
    model=models.transformer(config),
    capacity=job.new_tokens,
    stop=sampling.stop_rules(config.vocab_size),
  )
  prompt = Prompt(
    jnp.asarray(job.prompt)[None], jnp.array([job.prompt.size], jnp.int32)
  )
  keys = jax.random.split(jax.random.key(0), 1)
  start = time.perf_counter()
  compiled = jax.jit(decode).lower(params, keys, prompt).compile()
  compile_s = time.perf_counter() - start
  return lambda: jax.device_get(compiled(params, keys, prompt)), compile_s


def make_peers(
  bench: Bench,
  config: models.TransformerConfig,
  params: Params,
  prompt: np.ndarray,
) -> dict[str, peers.Draw]:
  """The engines to compare with that are installed."""
  makers = {
    'transformers': lambda: peers.transformers_peer(config, params, prompt),
    'llama_cpp': lambda: peers.llama_cpp_peer(
      bench.gguf, prompt, bench.new_tokens
    ),
  }
  made = {}
  for name in PEERS:
    if name in bench.peers:
      try:
        made[name] = makers[name]()
      except ImportError as error:
        print(f'{name} is left out: {error}', file=sys.stderr)
  return made


def machine_limits(
  config: models.TransformerConfig, num_rows: int, *, small: bool
) -> dict[str, float]:
  """Measured bandwidth of a copy and rates of matrix products, per second."""
  big = 64 if small else 2048
  square = jnp.ones((big, big), jnp.float32)
  square_s = fastest(jnp.dot, square, square)

  once = [(config.vocab_size, config.embed_dim)]
  seconds = flops = 0
  for shapes, times in (
    (product_shapes(config), config.num_layers),
    (once, 1),
  ):
    for out, in_ in shapes:
      kernel = jnp.ones((out, in_), jnp.float32)
      rows = jnp.ones((in_, num_rows), jnp.float32)
      seconds += times * fastest(jnp.dot, kernel, rows)
      flops += times * 2 * out * in_ * num_rows
  return {
    'copy_bytes_per_s': copy_bandwidth(small=small),
    'square_flops_per_s': 2 * big**3 / square_s,
    'model_shape_flops_per_s': flops / seconds,
  }


def product_shapes(
  config: models.TransformerConfig,
) -> list[tuple[int, int]]:
  """`[out, in]` of a layer's kernels: attention in and out, MLP in and out."""
  heads, kv_heads = config.num_heads, config.num_kv_heads
  return [
    ((heads + 2 * kv_heads) * config.head_dim, config.embed_dim),
    (config.embed_dim, heads * config.head_dim),
    (2 * config.mlp_dim, config.embed_dim),
    (config.embed_dim, config.mlp_dim),
  ]


def copy_bandwidth(*, small: bool) -> float:
  """Bytes a second, read and written, of a copy of 256 MiB, or 256 KiB."""
  size = 1 << 16 if small else 1 << 26
  memory = jnp.ones((size,), jnp.float32)
  return 2 * memory.nbytes / fastest_in_place(lambda x: x + 1, memory)


def print_report(report: dict[str, Any]) -> None:
  """Two markdown tables: beside the peers, and beside the machine."""
  print_speeds(report)
  print()
  print_limits(report)


def print_speeds(report: dict[str, Any]) -> None:
  """Tokens a second, beside the peers."""
  new_tokens = report['new_tokens']
  peers = [name for name in report['results'][0]['seconds'] if name != 'ttc']
  print(
    f'{report["prompt_tokens"]} prompt tokens, {new_tokens} new, '
    f'{report["cores"]} cores, jax {report["jax"]} on {report["device"]}\n'
  )
  header = ['N', 'ttc tokens/s', 'compile s']
  for name in peers:
    header += [f'{name} tokens/s', f'ttc / {name}']
  rows = []
  for result in report['results']:
    seconds = result['seconds']
    tokens = result['num_samples'] * new_tokens
    speed = {name: [tokens / s for s in seconds[name]] for name in seconds}
    row = [
      str(result['num_samples']),
      spread(speed['ttc'], '.0f'),
      f'{result["compile_s"]:.1f}',
    ]
    for name in peers:
      pairs = zip(speed['ttc'], speed[name], strict=True)
      ratios = [ours / theirs for ours, theirs in pairs]
      row += [spread(speed[name], '.0f'), spread(ratios, '.2f')]
    rows.append(row)
  print('\n'.join(evaluation.markdown_table(header, rows)))


def print_limits(report: dict[str, Any]) -> None:
  """A decoding step beside what the machine could do."""
  new_tokens, limits = report['new_tokens'], report['limits']
  header = ['N', 'ms per step', 'of the copy bandwidth']
  header += ['of the square matmul rate', 'of the rate at its own shapes']
  rows = []
  for result in report['results']:
    decode_s = min(result['seconds']['ttc']) - result['prefill_s']
    step_s = decode_s / (new_tokens - 1)  # the prompt gives the first token
    flops = 2 * report['weights'] * result['num_samples']
    largest = result is report['results'][-1]
    rows.append(
      [
        str(result['num_samples']),
        f'{1e3 * step_s:.2f}',
        f'{4 * report["weights"] / step_s / limits["copy_bytes_per_s"]:.0%}',
        f'{flops / step_s / limits["square_flops_per_s"]:.0%}',
        f'{flops / step_s / limits["model_shape_flops_per_s"]:.0%}'
        if largest
        else '',
      ]
    )
  print('\n'.join(evaluation.markdown_table(header, rows)))
  print(
    f'\nCopy {limits["copy_bytes_per_s"] / 1e9:.1f} GB/s (read and written), '
    f'square matmul {limits["square_flops_per_s"] / 1e9:.0f} GFLOP/s, at the '
    f'shapes of N = {report["results"][-1]["num_samples"]} '
    f'{limits["model_shape_flops_per_s"] / 1e9:.0f} GFLOP/s.'
  )
