"""Whole generations from random weights in the shape of Qwen3.

With layers unrolled and dense attention at every size; scanned layers, and
sparse attention, beside them at the first.
"""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttc import models, sampling
from ttc.drivers.kernel_cases import attempt, need_gpu
from ttc.models.published import PUBLISHED, TINY
from ttc.types import Prompt

_RUNS = 4  # the first one warms up
QWEN3 = {name: PUBLISHED[name] for name in ('Qwen3-0.6B', 'Qwen3-8B')}


def time_engine(small: bool, missing: list[str]) -> Iterator[dict[str, Any]]:
  """Tokens per second and memory of whole generations, one by one."""
  for row in _rows(small):
    if 'seconds' not in row:
      why = row.get('skipped') or row['error']
      missing.append(f'{row["model"]}, N = {row["num_samples"]}: {why}')
    yield row


def _rows(small):
  shapes = {'tiny': TINY} if small else QWEN3
  prompts, counts = ([16], [2, 3]) if small else ([2048, 16_384], [16, 64, 256])
  new_tokens = 8 if small else 256
  for name, config in shapes.items():
    first = [(prompts[0], counts[0])]
    every = [(prompt, count) for prompt in prompts for count in counts]
    unrolled = models.transformer(config)
    attention = models.SparseAttention(budget=64 if small else 1024)
    scanned = models.transformer(dataclasses.replace(config, scan_layers=True))
    params = jax.jit(unrolled.init)(jax.random.key(0))
    yield from time_model(name, unrolled, params, every, new_tokens)
    sparse = models.transformer(config, attention)  # of the same parameters
    yield from time_model(f'{name}, sparse', sparse, params, first, new_tokens)
    del params
    params = jax.jit(scanned.init)(jax.random.key(0))
    yield from time_model(
      f'{name}, scanned', scanned, params, first, new_tokens
    )
    del params
    for prompt_tokens in prompts:
      row = {'model': f'{name}, transformers', 'prompt_tokens': prompt_tokens}
      row |= {'num_samples': counts[0], 'new_tokens': new_tokens}
      job = prompt_tokens, counts[0], new_tokens
      yield row | attempt(transformers_generate, config, *job)


def time_model(name, model, params, jobs, new_tokens):
  """A row of each number of prompt tokens and samples."""
  for prompt_tokens, num_samples in jobs:
    row = {'model': name, 'prompt_tokens': prompt_tokens}
    row |= {'num_samples': num_samples, 'new_tokens': new_tokens}
    print(f'engine: {row}', file=sys.stderr)
    job = prompt_tokens, num_samples, new_tokens
    yield row | attempt(generate, model, params, *job)


def generate(model, params, prompt_tokens, num_samples, new_tokens):
  """Draws samples to one prompt; nothing stops them early."""
  decode = functools.partial(
    sampling.generate,
    num_samples=num_samples,
    model=model,
    capacity=new_tokens,
    stop=sampling.stop_rules(model.vocab_size),
  )
  tokens = np.random.default_rng(0).integers(
    min(model.vocab_size, 100_000), size=(1, prompt_tokens), dtype=np.int32
  )
  prompt = Prompt(jnp.asarray(tokens), jnp.array([prompt_tokens], jnp.int32))
  args = params, jax.random.split(jax.random.key(0), 1), prompt
  compiled = jax.jit(decode).lower(*args).compile()
  memory = compiled.memory_analysis()
  if memory is None:
    raise NotImplementedError('the compiler does not tell the memory')
  seconds = []
  for _ in range(_RUNS):
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
    model: Any = transformers.Qwen3ForCausalLM(shape)
    model = model.to(torch.bfloat16).eval()
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
