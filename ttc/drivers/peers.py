"""Other engines on the same weights: transformers and llama.cpp."""

import os
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


def llama_state(
  config: models.TransformerConfig, params: Params
) -> dict[str, Any]:
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
