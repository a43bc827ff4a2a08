r"""Decoding speed beside transformers and llama.cpp, and beside the machine.

  python scripts/bench_decode.py --out=bench_decode.json
  python scripts/bench_decode.py --num_samples=1 --num_samples=16
  python scripts/bench_decode.py --check  # a tiny random model, in seconds

Each engine draws `N` samples of `--new_tokens` tokens to one prompt, prefill
included, compilation not, with the same float32 weights. Nothing stops a sample
early. Runs are interleaved (ours, peer, ours, peer, ...), so that what else the
machine does hits all of them; a ratio is of two neighbouring runs, and is
printed as its median with the smallest and the largest in brackets.

The limits of the machine are measured, not looked up: a decoding step must
read every weight once, at the bandwidth of copying an array, and multiply them
with every row, at the rate of matrix products. The fraction of the limit that
binds is printed: of bandwidth at the smallest `N`, of FLOPs at the largest.
"""

import functools
import json
import os
import statistics
import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from ttc import models, sampling
from ttc.types import Prompt

_MODEL = flags.DEFINE_string(
  'model', 'smollm2-135m', 'Model of the Llama family; see `ttc.models.load`.'
)
_NUM_SAMPLES = flags.DEFINE_multi_integer(
  'num_samples', [1, 4, 16, 64], 'Samples to the prompt; repeat for several.'
)
_PROMPT_TOKENS = flags.DEFINE_integer('prompt_tokens', 128, 'In the prompt.')
_NEW_TOKENS = flags.DEFINE_integer('new_tokens', 64, 'In each sample.')
_REPETITIONS = flags.DEFINE_integer(
  'repetitions', 5, 'Timed runs of each engine for each number of samples.'
)
_PEERS = flags.DEFINE_list(
  'peers',
  ['transformers', 'llama_cpp'],
  'Engines to compare with; those not installed are left out.',
)
_GGUF = flags.DEFINE_string(
  'gguf', None, "Path of the model's GGUF file, for llama_cpp."
)
_OUT = flags.DEFINE_string('out', None, 'JSON file for every single figure.')
_CHECK = flags.DEFINE_bool(
  'check', False, 'Tiny random model and sizes: does everything still run?'
)

TINY = models.TransformerConfig(
  vocab_size=300,
  num_layers=2,
  embed_dim=32,
  mlp_dim=64,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)


class Job(NamedTuple):
  """What every engine does."""

  prompt: np.ndarray  # [T]
  num_samples: int
  new_tokens: int


def main(argv):
  """Times all engines and prints two tables."""
  if len(argv) > 1:
    sys.exit(f'bench_decode: unexpected argument {argv[1]!r}')
  try:
    report = run()
  except (ValueError, OSError) as error:
    sys.exit(f'bench_decode: {" ".join(str(error).split())}')
  if _OUT.value:
    with open(_OUT.value, 'w', encoding='utf-8') as file:
      json.dump(report, file, indent=2)
  print_report(report)


def run():
  """All measurements, as a dictionary of JSON types."""
  config, params = load()
  prompt_tokens, new_tokens, repetitions, counts = sizes()
  prompt = np.random.default_rng(0).integers(
    min(config.vocab_size, 40_000), size=prompt_tokens, dtype=np.int32
  )
  peers = make_peers(config, params, prompt)
  results = []
  for num_samples in counts:
    job = Job(prompt, num_samples, new_tokens)
    draw, compile_s = ours(config, params, job)
    engines = {'ttc': draw}
    engines |= {name: functools.partial(fn, job) for name, fn in peers.items()}
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
    print(f'N = {num_samples} done', file=sys.stderr)
  weights = config.vocab_size * config.embed_dim
  weights += sum(x.size for x in jax.tree.leaves(params['layers']))
  return {
    'prompt_tokens': prompt_tokens,
    'new_tokens': new_tokens,
    'cores': len(os.sched_getaffinity(0)),
    'jax': jax.__version__,
    'device': jax.devices()[0].device_kind,
    'weights': weights,  # that a step multiplies with every row
    'results': results,
    'limits': machine_limits(config, max(counts)),
  }


def load():
  """Config and parameters of the model."""
  if _CHECK.value:
    return TINY, jax.jit(models.transformer(TINY).init)(jax.random.key(0))
  loaded = models.load(_MODEL.value)
  return loaded.config, loaded.params


def sizes():
  """Tokens of the prompt, new tokens, repetitions, numbers of samples."""
  if _CHECK.value:
    return 8, 4, 2, [1, 3]
  counts = sorted(_NUM_SAMPLES.value)
  settings = _PROMPT_TOKENS.value, _NEW_TOKENS.value, _REPETITIONS.value
  if min(*settings, *counts) < 1 or _NEW_TOKENS.value < 2:
    raise ValueError('flags: sizes start at 1, --new_tokens at 2')
  return *settings, counts


def interleaved(engines, repetitions):
  """Seconds of each run of each engine; one more run warms up."""
  seconds = {name: [] for name in engines}
  for repetition in range(repetitions + 1):
    for name, draw in engines.items():
      start = time.perf_counter()
      draw()
      if repetition:
        seconds[name].append(time.perf_counter() - start)
  return seconds


def ours(config, params, job):
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


def make_peers(config, params, prompt):
  """The engines to compare with: name -> function of a job."""
  makers = {'transformers': transformers_peer, 'llama_cpp': llama_cpp_peer}
  unknown = set(_PEERS.value) - {'', *makers}
  if unknown:
    raise ValueError(f'--peers: {sorted(unknown)} are not of {list(makers)}')
  peers = {}
  for name, make in makers.items():
    if name not in _PEERS.value:
      continue
    try:
      peers[name] = make(config, params, prompt)
    except ImportError as error:
      print(f'{name} is left out: {error}', file=sys.stderr)
  return peers


def transformers_peer(config, params, prompt):
  """`generate` of transformers in float32 on the same weights.

  Its logits of the prompt are compared with ours first.
  """
  # Threads that spin while they wait starve each other where other processes
  # use the cores: on two busy ones decoding was 14 times slower.
  os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
  import torch
  import transformers

  theirs = transformers.LlamaForCausalLM(
    transformers.LlamaConfig(
      vocab_size=config.vocab_size,
      hidden_size=config.embed_dim,
      intermediate_size=config.mlp_dim,
      num_hidden_layers=config.num_layers,
      num_attention_heads=config.num_heads,
      num_key_value_heads=config.num_kv_heads,
      head_dim=config.head_dim,
      max_position_embeddings=config.max_length,
      rms_norm_eps=config.norm_eps,
      rope_parameters={'rope_type': 'default', 'rope_theta': config.rope_theta},
      tie_word_embeddings=config.tie_embeddings,
      bos_token_id=None,
      eos_token_id=None,
      pad_token_id=0,
    )
  )
  theirs.load_state_dict(llama_state(config, params), strict=False)
  theirs.tie_weights()
  theirs.eval()
  tokens = torch.from_numpy(prompt)[None].long()
  with torch.no_grad():
    got = theirs(tokens).logits[0].numpy()
  forward = jax.jit(models.forward, static_argnums=0)
  expected = forward(models.transformer(config), params, prompt[None])[0]
  if not np.allclose(got, expected, atol=2e-3):
    raise ValueError('transformers computes other logits from these weights')

  def draw(job):
    tokens = theirs.generate(
      torch.from_numpy(job.prompt)[None].long(),
      attention_mask=torch.ones((1, job.prompt.size), dtype=torch.long),
      do_sample=True,
      temperature=1.0,
      top_k=0,
      top_p=1.0,
      num_return_sequences=job.num_samples,
      min_new_tokens=job.new_tokens,
      max_new_tokens=job.new_tokens,
      use_cache=True,
    )
    length = job.prompt.size + job.new_tokens
    assert tokens.shape == (job.num_samples, length)

  return draw


def llama_state(config, params):
  """Our parameters under the names of `LlamaForCausalLM`."""
  import torch

  names = {
    'query': 'self_attn.q_proj',
    'key': 'self_attn.k_proj',
    'value': 'self_attn.v_proj',
    'output': 'self_attn.o_proj',
    'gate': 'mlp.gate_proj',
    'up': 'mlp.up_proj',
    'down': 'mlp.down_proj',
    'attention_norm': 'input_layernorm',
    'mlp_norm': 'post_attention_layernorm',
  }
  if config.rope_interleaved or config.scan_layers:
    raise ValueError('the comparison needs half-split rope, unrolled layers')
  state = {
    'model.embed_tokens.weight': params['embed'],
    'model.norm.weight': params['final_norm'],
    'lm_head.weight': params.get('unembed', params['embed']),
  }
  for i, layer in enumerate(params['layers']):
    for ours, theirs in names.items():
      (weight,) = layer[ours].values()
      state[f'model.layers.{i}.{theirs}.weight'] = weight
  return {name: torch.tensor(np.asarray(x)) for name, x in state.items()}


def llama_cpp_peer(config, params, prompt):
  """llama.cpp, one sample after another, with the prompt's cache kept."""
  del config, params
  import llama_cpp

  if not _GGUF.value:
    raise ImportError('it needs --gguf')
  threads = len(os.sched_getaffinity(0))
  context = 2 * (prompt.size + _NEW_TOKENS.value)
  theirs = llama_cpp.Llama(
    _GGUF.value, n_ctx=context, n_threads=threads, verbose=False
  )

  def draw(job):
    for sample in range(job.num_samples):
      if not sample:
        theirs.reset()
      tokens = theirs.generate(
        job.prompt.tolist(), temp=1.0, top_k=0, top_p=1.0, min_p=0.0
      )
      for _ in range(job.new_tokens):
        next(tokens)

  return draw


def machine_limits(config, num_rows):
  """Measured bandwidth of a copy and rates of matrix products, per second."""
  big = 64 if _CHECK.value else 2048
  square = jnp.ones((big, big), jnp.float32)
  memory = jnp.ones((16 * big * big,), jnp.float32)  # 256 MiB
  copied_bytes = 2 * memory.nbytes  # read and written
  copy_s = fastest_in_place(lambda x: x + 1, memory)
  square_s = fastest(jnp.dot, square, square)

  heads, kv_heads = config.num_heads, config.num_kv_heads
  shapes = [
    ((heads + 2 * kv_heads) * config.head_dim, config.embed_dim),
    (config.embed_dim, heads * config.head_dim),
    (2 * config.mlp_dim, config.embed_dim),
    (config.embed_dim, config.mlp_dim),
  ]
  once = [(config.vocab_size, config.embed_dim)]
  seconds = flops = 0
  for shapes_, times in ((shapes, config.num_layers), (once, 1)):
    for out, in_ in shapes_:
      kernel = jnp.ones((out, in_), jnp.float32)
      rows = jnp.ones((in_, num_rows), jnp.float32)
      seconds += times * fastest(jnp.dot, kernel, rows)
      flops += times * 2 * out * in_ * num_rows
  return {
    'copy_bytes_per_s': copied_bytes / copy_s,
    'square_flops_per_s': 2 * big**3 / square_s,
    'model_shape_flops_per_s': flops / seconds,
  }


def fastest(fn, *args, repetitions=9):
  """Seconds of the fastest of several calls, each long enough to time."""
  compiled = jax.jit(fn).lower(*args).compile()
  inner, seconds = 1, []
  while True:
    start = time.perf_counter()
    for _ in range(inner):
      result = compiled(*args)
    jax.block_until_ready(result)
    elapsed = time.perf_counter() - start
    if elapsed < 2e-3:
      inner *= 2
      continue
    seconds.append(elapsed / inner)
    if len(seconds) == repetitions:
      return min(seconds)


def fastest_in_place(fn, x, repetitions=9):
  """Like `fastest`, into the memory of `x`: fresh pages are slow to touch."""
  compiled = jax.jit(fn, donate_argnums=0).lower(x).compile()
  seconds = []
  for _ in range(repetitions):
    start = time.perf_counter()
    x = jax.block_until_ready(compiled(x))
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def print_report(report):
  """Two markdown tables: beside the peers, and beside the machine."""
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
  print_table(header, rows)

  limits = report['limits']
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
  print()
  print_table(header, rows)
  print(
    f'\nCopy {limits["copy_bytes_per_s"] / 1e9:.1f} GB/s (read and written), '
    f'square matmul {limits["square_flops_per_s"] / 1e9:.0f} GFLOP/s, at the '
    f'shapes of N = {report["results"][-1]["num_samples"]} '
    f'{limits["model_shape_flops_per_s"] / 1e9:.0f} GFLOP/s.'
  )


def spread(values, form):
  """Median, smallest and largest."""
  middle, low, high = statistics.median(values), min(values), max(values)
  return f'{middle:{form}} ({low:{form}} to {high:{form}})'


def print_table(header, rows):
  """Prints a markdown table."""
  for row in [header, ['---'] * len(header), *rows]:
    print('| ' + ' | '.join(row) + ' |')


if __name__ == '__main__':
  app.run(main)
