"""Shapes of published models, and a tiny one, for planning and timing."""

from ttc.models.experts import Experts
from ttc.models.rope import Llama3Scaling
from ttc.models.transformer_config import TransformerConfig


def _qwen3(embed_dim: int, num_layers: int, num_heads: int, **other):
  return TransformerConfig(
    vocab_size=151_936,
    embed_dim=embed_dim,
    num_layers=num_layers,
    num_heads=num_heads,
    head_dim=128,
    max_length=40_960,
    rope_theta=1e6,
    norm_eps=1e-6,
    qk_norm=True,
    dtype='bfloat16',
    **other,
  )


# From the config.json of each.
PUBLISHED = {
  'SmolLM2-135M': TransformerConfig(
    vocab_size=49_152,
    num_layers=30,
    embed_dim=576,
    mlp_dim=1536,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    rope_theta=1e5,
    dtype='bfloat16',
  ),
  'Qwen3-0.6B': _qwen3(1024, 28, 16, mlp_dim=3072, num_kv_heads=8),
  'Qwen3-8B': _qwen3(
    4096, 36, 32, mlp_dim=12_288, num_kv_heads=8, tie_embeddings=False
  ),
  'Qwen3-32B': _qwen3(
    5120, 64, 64, mlp_dim=25_600, num_kv_heads=8, tie_embeddings=False
  ),
  'Qwen3-30B-A3B': _qwen3(
    2048,
    48,
    32,
    mlp_dim=6144,
    num_kv_heads=4,
    tie_embeddings=False,
    experts=Experts(num_experts=128, top_k=8, mlp_dim=768, normalise=True),
  ),
  'Llama-3.1-70B': TransformerConfig(
    vocab_size=128_256,
    num_layers=80,
    embed_dim=8192,
    mlp_dim=28_672,
    num_heads=64,
    num_kv_heads=8,
    head_dim=128,
    max_length=131_072,
    rope_theta=5e5,
    rope_scaling=Llama3Scaling(8.0, 1.0, 4.0, 8192),
    tie_embeddings=False,
    dtype='bfloat16',
  ),
}

# What `--check` of benches builds in place of one: everything runs, in seconds.
TINY = TransformerConfig(
  vocab_size=300,
  num_layers=2,
  embed_dim=32,
  mlp_dim=64,
  num_heads=4,
  num_kv_heads=2,
  head_dim=8,
)
