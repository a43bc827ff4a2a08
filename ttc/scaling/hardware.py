"""Machines and models of the Kinetics cost model, by name.

Rates are peaks without structured sparsity. The intensity of a machine is what
`kinetics.eflops` asks for. Models are those that the paper evaluates (arXiv
2506.05333), and two mixtures of experts, whose `num_params` count what is
active.
"""

from typing import NamedTuple

from ttc.scaling.costs import ModelShape


class Hardware(NamedTuple):
  """Peak rates of one device."""

  flops: float  # per second
  bandwidth: float  # bytes per second, of its main memory
  source: str

  @property
  def intensity(self) -> float:
    """FLOPs that it does in the time it reads one byte."""
    return self.flops / self.bandwidth


HARDWARE = {
  # The paper's 562.5 FLOPs per byte pair FP8 products with a 16-bit cache.
  'b200_fp8': Hardware(4.5e15, 8e12, 'NVIDIA HGX B200 data sheet, FP8'),
  'b200': Hardware(2.25e15, 8e12, 'NVIDIA HGX B200 data sheet, BF16'),
  'h100': Hardware(989e12, 3.35e12, 'NVIDIA H100 SXM data sheet, BF16'),
  'h200': Hardware(989e12, 4.8e12, 'NVIDIA H200 SXM data sheet, BF16'),
  'tpu_v5e': Hardware(197e12, 819e9, 'Google Cloud TPU v5e, BF16'),
  'tpu_v5p': Hardware(459e12, 2765e9, 'Google Cloud TPU v5p, BF16'),
  'tpu_v6e': Hardware(918e12, 1638e9, 'Google Cloud TPU v6e, BF16'),
}


def _qwen3(
  billions: float, num_layers: int, num_heads: int, num_kv_heads: int = 8
) -> ModelShape:
  return ModelShape(
    round(billions * 1e9), num_layers, num_heads, num_kv_heads, head_dim=128
  )


# Layers and heads: Qwen3 Technical Report, arXiv 2505.09388, tables 1 and 2.
# Parameters: as the paper counts them. It counts the embedding of 0.6B and 1.7B
# twice, although it is tied to the output layer: 0.596 and 1.72 would be right.
QWEN3 = {
  '0.6B': _qwen3(0.752, 28, 16),
  '1.7B': _qwen3(2.03, 28, 16),
  '4B': _qwen3(4.02, 36, 32),
  '8B': _qwen3(8.19, 36, 32),
  '14B': _qwen3(14.77, 40, 40),
  '32B': _qwen3(32.76, 64, 64),
}
QWEN3_MOE = {  # 30.5 and 235 billion in all
  '30B-A3B': _qwen3(3.3, 48, 32, 4),
  '235B-A22B': _qwen3(22.0, 94, 64, 4),
}
