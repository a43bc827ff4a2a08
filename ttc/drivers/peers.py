"""Other engines on the same weights: transformers and llama.cpp."""

import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from ttc import models
from ttc.types import Params


class Job(NamedTuple):
  """What every engine does."""

  prompt: np.ndarray  # [T]
  num_samples: int
  new_tokens: int


Draw = Callable[[Job], None]


def transformers_peer(
  config: models.TransformerConfig, params: Params, prompt: np.ndarray
) -> Draw:
  """`generate` of transformers in float32 on the same weights.

  Its logits of the prompt are compared with ours first.
  """
  # Threads that spin while they wait starve each other where other processes
  # use the cores: on two busy ones decoding was 14 times slower.
  os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
  import torch
  import transformers

  with tempfile.TemporaryDirectory() as path:
    models.save_safetensors(path, config, params)
    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(
      path, dtype=torch.float32
    )
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
      pad_token_id=0,
    )
    length = job.prompt.size + job.new_tokens
    assert tokens.shape == (job.num_samples, length)

  return draw


def llama_cpp_peer(
  path: str | None, prompt: np.ndarray, new_tokens: int
) -> Draw:
  """llama.cpp, one sample after another, with the prompt's cache kept."""
  import llama_cpp

  if not path:
    raise ImportError('it needs --gguf')
  threads = len(os.sched_getaffinity(0))
  context = 2 * (prompt.size + new_tokens)
  theirs = llama_cpp.Llama(
    path, n_ctx=context, n_threads=threads, verbose=False
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
