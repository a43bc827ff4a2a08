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
  memory: float = 0.0  # bytes
  # Between devices: bytes per second that one sends and receives, together.
  link: float = 0.0
  most_linked: int = 1  # devices that such links connect
  price: float | None = None  # USD for an hour; None: ask who rents it out

  @property
  def intensity(self) -> float:
    """FLOPs that it does in the time it reads one byte."""
    return self.flops / self.bandwidth


# Memory and links are those of the same data sheets; prices of TPUs are list
# prices on demand of 2025, which change.
HARDWARE = {
  # The paper's 562.5 FLOPs per byte pair FP8 products with a 16-bit cache.
  'b200_fp8': Hardware(
    4.5e15, 8e12, 'NVIDIA HGX B200 data sheet, FP8', 180e9, 1800e9, 8
  ),
  'b200': Hardware(
    2.25e15, 8e12, 'NVIDIA HGX B200 data sheet, BF16', 180e9, 1800e9, 8
  ),
  'h100': Hardware(
    989e12, 3.35e12, 'NVIDIA H100 SXM data sheet, BF16', 80e9, 900e9, 8
  ),
  'h200': Hardware(
    989e12, 4.8e12, 'NVIDIA H200 SXM data sheet, BF16', 141e9, 900e9, 8
  ),
  'tpu_v5e': Hardware(
    197e12, 819e9, 'Google Cloud TPU v5e, BF16', 16e9, 400e9, 256, 1.2
  ),
  'tpu_v5p': Hardware(
    459e12, 2765e9, 'Google Cloud TPU v5p, BF16', 95e9, 1200e9, 8960, 4.2
  ),
  'tpu_v6e': Hardware(
    918e12, 1638e9, 'Google Cloud TPU v6e, BF16', 32e9, 800e9, 256, 2.7
  ),
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
