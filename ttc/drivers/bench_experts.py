"""Decoding a mixture of experts: beside transformers, and what it reads."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ttc import evaluation, models, scaling
from ttc.drivers import bench_decode, peers
from ttc.drivers.peers import Job
from ttc.drivers.timing import fastest, fastest_in_place, interleaved
from ttc.io import files
from ttc.models import expert_products, experts, mixture
from ttc.types import Generation, Params

CONFIG = models.TransformerConfig(
  vocab_size=4096,
  num_layers=4,
  embed_dim=512,
  mlp_dim=1024,
  num_heads=8,
  num_kv_heads=2,
  head_dim=64,
  tie_embeddings=False,
  experts=models.Experts(8, 2, 1024, normalise=True),
)
TINY = models.TransformerConfig(
  vocab_size=64,
  num_layers=2,
  embed_dim=16,
  mlp_dim=16,
  num_heads=2,
  num_kv_heads=1,
  head_dim=8,
  tie_embeddings=False,
  experts=models.Experts(8, 2, 16, normalise=True),
)


class Bench(NamedTuple):
  """What is timed."""

  num_samples: tuple[int, ...] = (1, 16, 64)
  prompt_tokens: int = 64
  new_tokens: int = 33
  repetitions: int = 5
  has_peer: bool = True
  # Experts, top-k and width of an expert, and the rows of one product.
  products: tuple[tuple[int, int, int], ...] = ((8, 2, 1024), (64, 8, 256))
  num_rows: tuple[int, ...] = (1, 4, 16, 64, 256)
  config: models.TransformerConfig = CONFIG


CHECK = Bench(
  num_samples=(1, 3),
  prompt_tokens=8,
  new_tokens=4,
  repetitions=2,
  products=((4, 2, 8),),
  num_rows=(1, 8),
  config=TINY,
)


def bench_experts(bench: Bench, out: files.Path | None) -> None:
  """Times everything and prints three tables.

  Args:
    bench: what to time.
    out: JSON file for every single figure; rewritten after each `N`.

  Raises:
    ValueError: for sizes that mean nothing.
    OSError: if `out` cannot be written, before anything is timed.
  """
  if bench.new_tokens < 2:
    raise ValueError(f'--new_tokens={bench.new_tokens} must be at least 2')
  write = lambda report: (
    files.write_atomically(out, files.to_json(report, indent=2) + '\n')
    if out
    else None
  )
  write({})
  report = run(bench, write)
  report['products'] = time_products(bench)
  write(report)
  bench_decode.print_speeds(report)
  print()
  print_reads(report)
  print()
  print_products(report['products'])


def run(
  bench: Bench, write: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
  """Speeds and reads of whole generations, of JSON types."""
  config = bench.config
  params = jax.jit(models.transformer(config).init)(jax.random.key(0))
  prompt = np.random.default_rng(0).integers(
    config.vocab_size, size=bench.prompt_tokens, dtype=np.int32
  )
  others = {}
  if bench.has_peer:
    try:
      others['transformers'] = peers.transformers_peer(config, params, prompt)
    except ImportError as error:
      print(f'transformers is left out: {error}', file=sys.stderr)
  shape = scaling.model_shape(config, models.num_params(params))
  size = jnp.dtype(config.dtype).itemsize
  results = []
  for num_samples in sorted(bench.num_samples):
    job = Job(prompt, num_samples, bench.new_tokens)
    draw, compile_s = bench_decode.ours(config, params, job)
    engines = {'ttc': draw}
    engines |= {name: functools.partial(fn, job) for name, fn in others.items()}
    seconds = interleaved(engines, bench.repetitions)
    prefill, _ = bench_decode.ours(config, params, job._replace(new_tokens=1))
    prefill_s = min(interleaved({'ttc': prefill}, bench.repetitions)['ttc'])
    step_s = (min(seconds['ttc']) - prefill_s) / (bench.new_tokens - 1)
    counts = count_experts(config, params, prompt, draw())
    of_one = size * shape.expert_params
    bound = scaling.expert_bytes(shape, num_samples, size)
    results.append(
      {
        'num_samples': num_samples,
        'compile_s': compile_s,
        'prefill_s': prefill_s,
        'seconds': seconds,
        'step_s': step_s,
        'experts_touched': float(counts.mean()),
        'expert_bytes': float(of_one * counts.mean()),
        'expert_bytes_bound': float(bound),
        'all_expert_bytes': of_one * shape.num_experts,
      }
    )
    write({'results': results})
    print(f'N = {num_samples} done', file=sys.stderr)
  memory = jnp.ones((2**22 if bench.config is TINY else 2**26,), jnp.float32)
  num_bytes = 2 * memory.nbytes
  return {
    'prompt_tokens': bench.prompt_tokens,
    'new_tokens': bench.new_tokens,
    'cores': len(os.sched_getaffinity(0)),
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'params': models.num_params(params),
    'active_params': shape.num_params,
    'copy_bytes_per_s': num_bytes / fastest_in_place(lambda x: x + 1, memory),
    'results': results,
  }


def count_experts(
  config: models.TransformerConfig,
  params: Params,
  prompt: np.ndarray,
  generation: Generation,
) -> np.ndarray:
  """Experts that each decoding step read in each layer, counted.

  Of a generation `[1, N, T]` that nothing stopped: a step reads one token of
  each response, all but the last.
  """
  responses = generation.tokens[0]
  prompts = np.broadcast_to(prompt, (len(responses), prompt.size))
  tokens = jnp.asarray(np.concatenate([prompts, responses], axis=1))
  routing = jax.jit(models.routing, static_argnums=0)(
    models.transformer(config), params, tokens
  )
  weights = routing.weights[:, prompt.size : -1]
  return scaling.touched_experts(weights, np.ones(weights.shape[:2], bool))


def time_products(bench: Bench) -> list[dict[str, Any]]:
  """Each way of multiplying, for some experts and numbers of rows."""
  rows, width = [], bench.config.embed_dim
  for num_experts, top_k, mlp_dim in bench.products:
    keys = jax.random.split(jax.random.key(0), 4)
    stack = lambda key, *shape: jax.random.normal(key, shape) / shape[1] ** 0.5
    kernels = expert_products.Kernels(
      stack(keys[0], num_experts, width, mlp_dim),
      stack(keys[1], num_experts, width, mlp_dim),
      stack(keys[2], num_experts, mlp_dim, width),
    )
    config = models.Experts(num_experts, top_k, mlp_dim, normalise=True)
    for num_rows in bench.num_rows:
      x = jax.random.normal(keys[3], (num_rows, width))
      logits = jax.random.normal(keys[3], (num_rows, num_experts))
      chosen = experts.choose(config, logits)
      seconds = {
        name: fastest(
          functools.partial(mixture.mix, implementation=name),
          kernels,
          x,
          chosen,
          repetitions=3,
        )
        for name in expert_products.IMPLEMENTATIONS
      }
      rows.append(
        {
          'num_experts': num_experts,
          'top_k': top_k,
          'num_rows': num_rows,
          'chosen': expert_products.fastest_on_cpu(
            num_rows * top_k, num_experts, on_mesh=False
          ),
          'seconds': seconds,
        }
      )
  return rows


def print_reads(report: dict[str, Any]) -> None:
  """What a decoding step reads of experts, beside the law and the machine."""
  header = ['N', 'ms per step', 'experts touched', 'MB of them']
  header += ['even-use bound', 'of all experts', 'of the copy bandwidth']
  rows = []
  for result in report['results']:
    read, step_s = result['expert_bytes'], result['step_s']
    share = read / step_s / report['copy_bytes_per_s']
    rows.append(
      [
        str(result['num_samples']),
        f'{1e3 * step_s:.2f}',
        f'{result["experts_touched"]:.2f}',
        f'{read / 1e6:.1f}',
        f'{result["expert_bytes_bound"] / 1e6:.1f}',
        f'{read / result["all_expert_bytes"]:.0%}',
        f'{share:.0%}',
      ]
    )
  print('\n'.join(evaluation.markdown_table(header, rows)))
  print(
    f'\n{report["params"] / 1e6:.1f} million parameters, '
    f'{report["active_params"] / 1e6:.1f} active; a copy reads and writes '
    f'{report["copy_bytes_per_s"] / 1e9:.1f} GB/s.'
  )


def print_products(products: list[dict[str, Any]]) -> None:
  """Milliseconds of one layer's experts; the way that is taken is bold."""
  names = list(expert_products.IMPLEMENTATIONS)
  rows = []
  for case in products:
    figures = [f'{1e3 * case["seconds"][name]:.2f}' for name in names]
    bold = names.index(case['chosen'])
    figures[bold] = f'**{figures[bold]}**'
    sizes = case['num_experts'], case['top_k'], case['num_rows']
    rows.append([*map(str, sizes), *figures])
  header = ['E', 'k', 'rows', *(f'{name} ms' for name in names)]
  print('\n'.join(evaluation.markdown_table(header, rows)))
